// Answers a random value from each of the engine's sources, as JSON.

import { answer } from '../guest.js';

const BYTES = 16;

export const incomingHandler = {
  handle(_request, out) {
    const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
    const values = {
      math: Math.random(),
      uuid: crypto.randomUUID(),
      bytes: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    };
    answer(out, 200, `${JSON.stringify(values)}\n`);
  },
};
