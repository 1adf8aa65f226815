#!/bin/sh
# Makes function.wasm: by the target wasm32-wasip2 where the compiler has it, else from the sources of
# its standard library, where those and wasm-tools are there.
set -eu
cd "$(dirname "$0")"
built=${CARGO_TARGET_DIR:-target}
libraries=$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib
if [ -d "$libraries/wasm32-wasip2" ]; then
  cargo build --release --target wasm32-wasip2
  cp "$built/wasm32-wasip2/release/my_function.wasm" function.wasm
elif [ -f "$libraries/src/rust/library/std/Cargo.toml" ] && command -v wasm-tools > /dev/null; then
  RUSTC_BOOTSTRAP=1 cargo build --release --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort
  wasm-tools component new "$built/wasm32-unknown-unknown/release/my_function.wasm" -o function.wasm
else
  echo "the compiler has no target for components: rustup target add wasm32-wasip2" >&2
  exit 1
fi
