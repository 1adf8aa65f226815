// Leaves a marker wherever Node can leave something (`?plant=HEX`, 32 digits), or tells where one was left
// (`?seek=HEX`), as JSON.
//
// What is planted is the marker with each byte XORed by 0xa5: that form stands in no request. It runs on any platform
// for programs that listen on $PORT, and needs nothing but Node itself.
"use strict";

const fs = require("node:fs");
const http = require("node:http");

const MASK = 0xa5;
const BYTES = 16;
const COPIES = 64;
const SCRATCH = "/tmp";
const FILES = { file: `${SCRATCH}/left-behind`, shared: "/dev/shm/left-behind" };

let variable;
let text;
let calls = 0;
const cache = new Map();
const weak = new WeakMap();
const usualFolder = process.cwd();
const [closed, setClosed] = (() => {
  let inside;
  return [() => inside, (value) => (inside = value)];
})();
class Kept {
  static #private;
  static get value() {
    return Kept.#private;
  }
  static set value(value) {
    Kept.#private = value;
  }
}

const latin1 = (bytes) => String.fromCharCode(...bytes);
const readOrNothing = (path) => {
  try {
    return fs.readFileSync(path);
  } catch {
    return undefined;
  }
};
const inFile = (path) => ({
  leave: (marker) => fs.writeFileSync(path, marker),
  see: () => readOrNothing(path),
});

// Where something can be left: how to leave it, and how to see whether it is there.
const places = {
  variable: { leave: (marker) => (variable = marker), see: () => variable },
  closure: { leave: setClosed, see: closed },
  map: { leave: (marker) => cache.set("marker", marker), see: () => cache.get("marker") },
  weakMap: { leave: (marker) => weak.set(cache, marker), see: () => weak.get(cache) },
  private: { leave: (marker) => (Kept.value = marker), see: () => Kept.value },
  global: { leave: (marker) => (globalThis.leftBehind = marker), see: () => globalThis.leftBehind },
  prototype: {
    leave: (marker) => (Array.prototype.leftBehind = marker),
    see: () => Array.prototype.leftBehind,
  },
  builtin: { leave: (marker) => (JSON.leftBehind = marker), see: () => JSON.leftBehind },
  function: { leave: (marker) => (parse.leftBehind = marker), see: () => parse.leftBehind },
  text: { leave: (marker) => (text = latin1(marker)), see: () => text },
  environ: {
    leave: (marker) => (process.env.LEFT_BEHIND = Buffer.from(marker).toString("hex")),
    see: () => process.env.LEFT_BEHIND,
  },
  file: inFile(FILES.file),
  shared: inFile(FILES.shared),
  folder: {
    leave: () => process.chdir("/tmp"),
    see: () => (process.cwd() === usualFolder ? undefined : process.cwd()),
  },
  timer: {
    leave: () => setTimeout(() => {}, 1e6),
    see: () => (process.getActiveResourcesInfo().includes("Timeout") ? true : undefined),
  },
  listener: {
    leave: (marker) => process.on("SIGUSR2", () => marker),
    see: () => (process.listenerCount("SIGUSR2") > 0 ? true : undefined),
  },
};

// The planted form, or nothing if `hex` is no marker.
function parse(hex) {
  if (!/^[0-9a-f]{32}$/.test(hex ?? "")) return undefined;
  return Uint8Array.from({ length: BYTES }, (_, at) => parseInt(hex.substr(2 * at, 2), 16) ^ MASK);
}

function leaveGarbage(marker) {
  for (let copy = 0; copy < COPIES; copy += 1) new Uint8Array(marker);
}

const server = http.createServer((request, reply) => {
  calls += 1;
  const survived = Object.keys(places).filter((name) => places[name].see() !== undefined);
  const marker = parse(new URL(request.url, "http://a").searchParams.get("plant"));
  if (marker) {
    Object.values(places).forEach((place) => place.leave(marker));
    leaveGarbage(marker);
  }
  const body = JSON.stringify({ planted: marker !== undefined, survived, counter: calls });
  reply.writeHead(200, { "content-type": "application/json", connection: "close" }).end(`${body}\n`);
});

// The first process of a sandbox has no default for it.
process.on("SIGTERM", () => process.exit(0));
server.listen(Number(process.env.PORT ?? 8080));
