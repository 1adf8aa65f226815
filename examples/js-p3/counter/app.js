// Counts its own calls in a module's variable: "1" in every clean area.

import { answer } from '../guest.js';

let calls = 0;

export const handler = {
  async handle(_request) {
    calls += 1;
    return answer(`${calls}\n`);
  },
};
