// A hostile program in Node on $PORT: what one run can leave to the next, a channel for each way.
//
//   /plant/CHANNEL?secret=HEX   leaves the secret there, or says what denied it
//   /look/CHANNEL               tells whether a program that runs now sees anything
//   /random/SOURCE              a value of a generator, all of which were used once before any request
//   /answer                     checks that the program still works
"use strict";

const { spawn } = require("node:child_process");
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const os = require("node:os");
const { Worker } = require("node:worker_threads");

const SCRATCH = "/tmp";
const FILE = `${SCRATCH}/left`;
// The platform's own file may be among them.
const LOADED = new Set(Object.keys(require.cache));
const USUAL_UMASK = 0o022;

let calls = 0;
let variable;
const map = new Map();
const weak = new WeakMap();
const [closed, setClosed] = (() => {
  let inside;
  return [() => inside, (value) => (inside = value)];
})();
class Kept {
  static #secret;
  static get value() {
    return Kept.#secret;
  }
  static set value(value) {
    Kept.#secret = value;
  }
}
const opened = fs.openSync(`${SCRATCH}/opened-before`, "w+");
const usualDescriptors = () => fs.readdirSync("/proc/self/fd").length;
let descriptorsBefore = 0;
// What runs this program may have asked for another one than the usual.
const priorityBefore = os.getPriority();

const readOrNothing = (path) => {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
};
const otherProcesses = () =>
  fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && isOurs(name));
// Those whose parent this is; its threads are no processes.
const isOurs = (pid) => new RegExp(`^PPid:\\t${process.pid}$`, "m").test(readOrNothing(`/proc/${pid}/status`) ?? "");

function* keeps() {
  let inside;
  for (;;) inside = (yield inside) ?? inside;
}
const suspended = keeps();
suspended.next();
let kept;
const shared = new Uint8Array(new SharedArrayBuffer(64));
// Made in a run only: its room of some GiB would make every look from outside long.
let memory;

const channels = {
  global: [(secret) => (variable = secret), () => variable],
  "global-object": [(secret) => (globalThis.leftBehind = secret), () => globalThis.leftBehind],
  closure: [setClosed, closed],
  map: [(secret) => map.set("left", secret), () => map.get("left")],
  "weak-map": [(secret) => weak.set(map, secret), () => weak.get(map)],
  private: [(secret) => (Kept.value = secret), () => Kept.value],
  prototype: [(secret) => (Object.prototype.leftBehind = secret), () => ({}).leftBehind],
  "array-prototype": [(secret) => (Array.prototype.leftBehind = secret), () => [].leftBehind],
  builtin: [(secret) => (JSON.leftBehind = secret), () => JSON.leftBehind],
  "builtin-replaced": [
    (secret) => (Math.max = () => secret),
    () => (Math.max(1, 2) === 2 ? undefined : Math.max(1, 2)),
  ],
  function: [(secret) => (works.leftBehind = secret), () => works.leftBehind],
  module: [(secret) => (require("node:path").leftBehind = secret), () => require("node:path").leftBehind],
  "module-cache": [(secret) => (require.cache[secret] = {}), () => Object.keys(require.cache).find((it) => !LOADED.has(it))],
  environ: [(secret) => (process.env.LEFT = secret), () => process.env.LEFT],
  title: [(secret) => (process.title = secret.slice(0, 12)), () => nameOrNothing()],
  listener: [
    (secret) => process.on("leftBehind", () => secret),
    () => process.listeners("leftBehind")[0]?.toString(),
  ],
  "exception-handler": [
    (secret) => process.on("uncaughtException", () => secret),
    () => (process.listenerCount("uncaughtException") > 0 ? "a handler" : undefined),
  ],
  signal: [
    () => process.on("SIGUSR2", () => {}),
    () => (process.listenerCount("SIGUSR2") > 0 ? "a handler" : undefined),
  ],
  timer: [
    () => setTimeout(() => {}, 1e6),
    () => (process.getActiveResourcesInfo().includes("Timeout") ? "a timer" : undefined),
  ],
  interval: [
    (secret) => setInterval(() => (variable = secret), 1),
    () => new Promise((tell) => setTimeout(() => tell(variable), 20)),
  ],
  immediate: [
    (secret) => setImmediate(() => setTimeout(() => (variable = secret), 5)),
    () => new Promise((tell) => setTimeout(() => tell(variable), 40)),
  ],
  worker: [
    () =>
      new Promise((ready) =>
        new Worker("setInterval(() => {}, 1e6)", { eval: true }).on("online", ready),
      ),
    () => (process.getActiveResourcesInfo().includes("MessagePort") || threads() > threadsBefore ? "a worker" : undefined),
  ],
  child: [
    () => new Promise((ready) => spawn("/bin/sleep", ["1000"], { stdio: "ignore" }).on("spawn", ready)),
    () => otherProcesses()[0],
  ],
  detached: [
    () =>
      new Promise((ready) =>
        spawn("/bin/sleep", ["1000"], { stdio: "ignore", detached: true }).on("spawn", ready),
      ),
    () => otherProcesses()[0],
  ],
  server: [
    () => new Promise((ready) => net.createServer().listen(18082, "127.0.0.1", ready)),
    () =>
      new Promise((tell) =>
        net.connect(18082, "127.0.0.1").on("connect", () => tell("a server")).on("error", () => tell(undefined)),
      ),
  ],
  file: [(secret) => fs.writeFileSync(FILE, secret), () => readOrNothing(FILE)],
  "opened-file": [
    (secret) => fs.writeSync(opened, secret, 0),
    () => {
      const bytes = Buffer.alloc(32);
      return fs.readSync(opened, bytes, 0, 32, 0) > 0 ? bytes.toString() : undefined;
    },
  ],
  cwd: [() => process.chdir("/tmp"), () => (process.cwd() === "/var/task" ? undefined : process.cwd())],
  umask: [
    () => process.umask(0o077),
    () => {
      const now = process.umask(USUAL_UMASK);
      process.umask(now);
      return now === USUAL_UMASK ? undefined : now.toString(8);
    },
  ],
  priority: [
    () => os.setPriority(19),
    () => (os.getPriority() === priorityBefore ? undefined : `nice ${os.getPriority()}`),
  ],
  descriptor: [
    () => fs.openSync("/dev/null"),
    () => (usualDescriptors() > descriptorsBefore ? "an open descriptor" : undefined),
  ],
  buffer: [
    (secret) => Buffer.from(secret),
    () => {
      const text = Buffer.allocUnsafe(Buffer.poolSize / 4).buffer;
      return /[0-9a-f]{32}/.exec(Buffer.from(text).toString("latin1"))?.[0];
    },
  ],
};

const opens = (path, flags) => fs.closeSync(fs.openSync(path, flags));
Object.assign(channels, {
  generator: [(secret) => suspended.next(secret), () => suspended.next(undefined).value],
  promise: [(secret) => (kept = Promise.resolve(secret)), () => kept],
  symbol: [(secret) => (Symbol.prototype[secret] = true), () => Object.keys(Symbol.prototype)[0]],
  "shared-buffer": [
    (secret) => Buffer.from(shared.buffer).write(secret),
    () => (shared[0] ? Buffer.from(shared.buffer).toString("latin1", 0, 32) : undefined),
  ],
  "wasm-memory": [
    (secret) => {
      memory = new WebAssembly.Memory({ initial: 2 });
      Buffer.from(memory.buffer).write(secret, 70_000);
    },
    () => (memory ? Buffer.from(memory.buffer).toString("latin1", 70_000, 70_032) : undefined),
  ],
  "socket-buffer": [
    (secret) =>
      new Promise((ready) => {
        const server = net.createServer({ pauseOnConnect: true }, () => ready());
        server.listen(18084, "127.0.0.1", () => net.connect(18084, "127.0.0.1").write(secret));
      }),
    // Of which somebody still has an end; the ports of one that is on its way out are known to be seen.
    () => {
      const rows = fs.readFileSync("/proc/self/net/tcp", "latin1").split("\n");
      const held = rows.map((row) => row.trim().split(/\s+/)).filter((row) => row[9] !== "0");
      return held.some(([, here, there]) => `${here} ${there}`.includes("0100007F:46A4")) ? "a connection" : undefined;
    },
  ],
  "own-code": [() => opens("/proc/self/mem", "r+"), () => undefined],
});

const threads = () => fs.readdirSync("/proc/self/task").length;
let threadsBefore = 0;
let nameBefore = "";
const nameOrNothing = () => {
  const now = readOrNothing("/proc/self/comm");
  return now === nameBefore ? undefined : now;
};

const bytesOf = (promise) => new Promise((give, fail) => promise((error, it) => (error ? fail(error) : give(it))));

const sources = {
  math: () => Math.random(),
  "random-bytes": () => crypto.randomBytes(16).toString("hex"),
  "random-bytes-later": async () => (await bytesOf((done) => crypto.randomBytes(16, done))).toString("hex"),
  uuid: () => crypto.randomUUID(),
  "uuid-uncached": () => crypto.randomUUID({ disableEntropyCache: true }),
  "random-int": () => [0, 1, 2].map(() => crypto.randomInt(2 ** 47)).join(),
  "random-int-later": async () => await bytesOf((done) => crypto.randomInt(2 ** 47, done)),
  "web-values": () => Buffer.from(crypto.webcrypto.getRandomValues(new Uint8Array(16))).toString("hex"),
  "web-uuid": () => globalThis.crypto?.randomUUID() ?? crypto.webcrypto.randomUUID(),
  fill: () => crypto.randomFillSync(Buffer.alloc(16)).toString("hex"),
  key: () => crypto.generateKeySync("aes", { length: 128 }).export().toString("hex"),
  "folder-name": () => {
    const path = fs.mkdtempSync(`${SCRATCH}/named-`);
    fs.rmdirSync(path);
    return path;
  },
  // The control: what it answers repeats from run to run, whatever the platform does.
  seeded: () => 0.25,
};

const WORKS = `${SCRATCH}/works`;
const works = () => {
  fs.writeFileSync(WORKS, "works");
  const text = fs.readFileSync(WORKS, "utf8");
  fs.unlinkSync(WORKS);
  return crypto.createHash("sha1").update("a").digest("hex").startsWith("86f7e437") ? text : "broken";
};

const route = async (url) => {
  const [, verb, name] = url.pathname.split("/");
  if (verb === "plant") {
    try {
      await channels[name][0](url.searchParams.get("secret"));
      return "planted";
    } catch (error) {
      return `denied ${error.code ?? error}`;
    }
  }
  if (verb === "look") {
    const seen = await channels[name][1]();
    return seen === undefined ? "clean" : `found ${seen}`;
  }
  if (verb === "random") return String(await sources[name]());
  if (verb === "channels") return Object.keys(channels).join(" ");
  if (verb === "sources") return Object.keys(sources).join(" ");
  return works();
};

const server = http.createServer(async (request, reply) => {
  calls += 1;
  const told = await route(new URL(request.url, "http://a"));
  const body = `${JSON.stringify({ pid: process.pid, calls, told })}\n`;
  reply.writeHead(200, { "content-type": "application/json", connection: "close" }).end(body);
});

const begin = async () => {
  // Each of them is used once here: a snapshot then holds a generator that was seeded.
  for (const source of Object.values(sources)) await source();
  // The first process of a sandbox has no default for it.
  process.on("SIGTERM", () => process.exit(0));
  server.listen(Number(process.env.PORT ?? 8080), () => {
    // Two more are there while a request is answered: its own, and the folder that is read for the count.
    descriptorsBefore = usualDescriptors() + 1;
    threadsBefore = threads();
    nameBefore = readOrNothing("/proc/self/comm");
  });
};
begin();
