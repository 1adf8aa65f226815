// Draws an identity in the first request that it is ever sent, and answers what it has drawn.
//
// In a clean area that is a new one each time; behind a warm-up all callers would be answered the same.

import { answer } from '../guest.js';

let identity;

export const incomingHandler = {
  handle(_request, out) {
    identity ??= crypto.randomUUID();
    answer(out, 200, `${identity}\n`);
  },
};
