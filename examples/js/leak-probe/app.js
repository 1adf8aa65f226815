// Leaves a marker wherever JavaScript can leave something (`?plant=HEX`, 32 digits), or tells where one was left
// (`?seek=HEX`), as JSON.
//
// What is planted is the marker with each byte XORed by 0xa5: that form stands in no request. JavaScript cannot look
// at its own memory; a host that scans it finds the bytes of what was planted, of garbage too.

import { answer, query } from '../guest.js';

const MASK = 0xa5;
const BYTES = 16;
const COPIES = 64;

let variable;
let text;
let calls = 0;
const cache = new Map();
const weak = new WeakMap();
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

// Where something can be left: how to leave it, and how to see whether it is there.
const places = {
  variable: { leave: (marker) => (variable = marker), see: () => variable },
  closure: { leave: setClosed, see: closed },
  map: { leave: (marker) => cache.set('marker', marker), see: () => cache.get('marker') },
  weakMap: { leave: (marker) => weak.set(cache, marker), see: () => weak.get(cache) },
  private: { leave: (marker) => (Kept.value = marker), see: () => Kept.value },
  global: { leave: (marker) => (globalThis.leftBehind = marker), see: () => globalThis.leftBehind },
  prototype: {
    leave: (marker) => (Array.prototype.leftBehind = marker),
    see: () => Array.prototype.leftBehind,
  },
  builtin: { leave: (marker) => (JSON.leftBehind = marker), see: () => JSON.leftBehind },
  function: { leave: (marker) => (answer.leftBehind = marker), see: () => answer.leftBehind },
  text: { leave: (marker) => (text = latin1(marker)), see: () => text },
};

function latin1(bytes) {
  return String.fromCharCode(...bytes);
}

// The planted form, or nothing if `hex` is no marker.
function parse(hex) {
  if (!/^[0-9a-f]{32}$/.test(hex ?? '')) {
    return undefined;
  }
  return Uint8Array.from({ length: BYTES }, (_, at) => parseInt(hex.substr(2 * at, 2), 16) ^ MASK);
}

function leaveGarbage(marker) {
  for (let copy = 0; copy < COPIES; copy += 1) {
    new Uint8Array(marker);
  }
}

export const incomingHandler = {
  handle(request, out) {
    calls += 1;
    const survived = Object.keys(places).filter((name) => places[name].see() !== undefined);
    const asked = query(request);
    const marker = parse(asked.get('plant'));
    if (marker) {
      Object.values(places).forEach((place) => place.leave(marker));
      leaveGarbage(marker);
    }
    const planted = marker !== undefined;
    const json = JSON.stringify({ planted, survived, counter: calls });
    answer(out, 200, `${json}\n`);
  },
};
