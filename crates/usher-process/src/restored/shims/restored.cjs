// Node's shim: makes every generator of random values that JavaScript can call give others after
// the program was put back. Loaded before the program, in each of its threads.
//
//   native part: hears from the platform, seeds OpenSSL, then changes `shared`
//   here:        each call looks whether `shared` has changed, and seeds itself anew if it has
//
// So nothing has to run here between a put-back and the next request. What is drawn from OpenSSL
// directly (randomBytes, getRandomValues, keys) needs nothing here; what is drawn ahead and kept
// (randomUUID, randomInt, Math.random) does.
//
// Deliberately absent: bytes that a library has drawn ahead and keeps itself, and the seed of V8's
// hash tables, which stays for the life of the process.
'use strict';

const FOLDER = '/opt/usher';
const REQUIRE = `--require=${FOLDER}/node/restored.cjs`;
const VARIABLE = 'USHER_RESTORED_FD';
// Integers that crypto.randomInt draws ahead at most.
const INTEGERS_AHEAD = 1024;

// Takes our words out of the environment, so that child processes do without us.
function withdraw() {
  const descriptor = process.env[VARIABLE];
  delete process.env[VARIABLE];
  const options = process.env.NODE_OPTIONS;
  if (options === REQUIRE) {
    delete process.env.NODE_OPTIONS;
  } else if (options?.startsWith(`${REQUIRE} `)) {
    process.env.NODE_OPTIONS = options.slice(REQUIRE.length + 1);
  }
  return /^\d+$/.test(descriptor ?? '') ? Number(descriptor) : undefined;
}

// Math.random for one realm: xoshiro128++, seeded from what is shared and a number of its own.
function mathRandom(generation, entropy, own) {
  let seen = 0, a = 0, b = 0, c = 0, d = 0;
  const seed = (salt) => {
    let sum = salt;
    for (const word of [...entropy, ...own]) {
      sum = Math.imul(sum ^ word, 0x9e3779b1);
      sum = Math.imul(sum ^ (sum >>> 15), 0x85ebca6b);
      sum ^= sum >>> 13;
    }
    return sum;
  };
  const next = () => {
    let sum = (a + d) | 0;
    sum = (((sum << 7) | (sum >>> 25)) + a) | 0;
    const shifted = b << 9;
    c ^= a; d ^= b; b ^= c; a ^= d; c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return sum;
  };
  return () => {
    if (generation[0] !== seen) {
      seen = generation[0];
      a = seed(1); b = seed(2); c = seed(3); d = seed(4) | 1;
    }
    return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  };
}

function replace(object, name, value) {
  Object.defineProperty(value, 'name', { value: name, configurable: true });
  Object.defineProperty(object, name, { value, configurable: true, writable: true,
    enumerable: Object.getOwnPropertyDescriptor(object, name)?.enumerable ?? false });
}

// What crypto draws ahead: UUIDs are drawn singly, and old integers are thrown away.
function patchCrypto(crypto, generation) {
  const uuid = crypto.randomUUID;
  const fresh = { disableEntropyCache: true };
  // Whatever is wrong with what it was called with is for the original to say.
  const single = (original) => function randomUUID(options) {
    if (options !== undefined || this !== crypto) original.call(this, options);
    return uuid(fresh);
  };
  const web = Object.getPrototypeOf(crypto.webcrypto);
  replace(crypto, 'randomUUID', single(uuid));
  replace(web, 'randomUUID', single(web.randomUUID));
  const integer = crypto.randomInt;
  let seen = generation[0];
  replace(crypto, 'randomInt', function randomInt(...given) {
    if (generation[0] !== seen) {
      seen = generation[0];
      for (let i = 0; i < INTEGERS_AHEAD; i++) integer(2);
    }
    return integer(...given);
  });
}

// Realms that the program makes itself have a Math.random of their own.
function patchRealms(vm, make) {
  const known = new WeakSet();
  const create = vm.createContext;
  const prepare = (object = {}, options) => {
    const context = create(object, options);
    if (!known.has(context)) {
      known.add(context);
      const place = vm.runInContext('Math', context);
      replace(place, 'random', make());
    }
    return context;
  };
  const inNew = (run) => function runInNewContext(code, object, options) {
    const about = typeof options === 'object' && options !== null ? options : {};
    const given = Object.entries({
      name: about.contextName,
      origin: about.contextOrigin,
      codeGeneration: about.contextCodeGeneration,
      microtaskMode: about.microtaskMode,
    });
    const said = Object.fromEntries(given.filter(([, value]) => value !== undefined));
    return run.call(this, code, prepare(object, said), options);
  };
  replace(vm, 'createContext', function createContext(...given) { return prepare(...given); });
  replace(vm, 'runInNewContext', inNew(vm.runInNewContext));
  const script = vm.Script.prototype.runInNewContext;
  replace(vm.Script.prototype, 'runInNewContext', function runInNewContext(object, options) {
    return inNew(function (_, context, more) { return script.call(this, context, more); })
      .call(this, null, object, options);
  });
}

// A thread that was given an environment or arguments of its own has not loaded this file. That is
// noticed because fewer have loaded it than were made.
function countThreads(made) {
  process.on('worker', () => Atomics.add(made, 0, 1));
}

function patch({ shared, thread }) {
  const [generation, made] = [new Uint32Array(shared, 0, 1), new Uint32Array(shared, 4, 1)];
  const entropy = new Uint32Array(shared, 8);
  const crypto = require('node:crypto');
  let realms = 0;
  const make = () => mathRandom(generation, entropy, [thread, realms++]);
  replace(Math, 'random', make());
  patchCrypto(crypto, generation);
  patchRealms(require('node:vm'), make);
  countThreads(made);
  require('node:module').syncBuiltinESMExports();
}

function main() {
  const descriptor = withdraw();
  const { exports: native } = load();
  // Other threads have no descriptor, and are patched if their process listens.
  if (native.shared === undefined || (descriptor === undefined && !native.begun)) {
    return;
  }
  patch(native);
  if (descriptor !== undefined) {
    rest();
    native.begin(descriptor);
  }
}

// V8 collects garbage when the program has nothing else to do: young garbage at once, if there is
// some, and old garbage bit by bit, eight seconds later. Put back to before that, it would do so
// again in each request, for garbage that is put back with it. What a run has to collect it still
// collects, in one go.
function rest() {
  const v8 = require('node:v8');
  v8.setFlagsFromString('--no-minor-gc-task');
  v8.setFlagsFromString('--no-incremental-marking');
}

function load() {
  const module = { exports: {} };
  process.dlopen(module, `${FOLDER}/restored.so`);
  return module;
}

try {
  main();
} catch {
  // No hello is said then, and the program is not reused: it must not fail because of us.
}
