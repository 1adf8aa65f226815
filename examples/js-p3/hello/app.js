// Greets: the smallest function.

import { answer } from '../guest.js';

export const handler = {
  async handle(_request) {
    return answer('Hello from JavaScript\n');
  },
};
