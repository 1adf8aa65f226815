// Counts its own calls in a module's variable: "1" in every clean area.

import { answer } from '../guest.js';

let calls = 0;

export const incomingHandler = {
  handle(_request, out) {
    calls += 1;
    answer(out, 200, `${calls}\n`);
  },
};
