// Greets, on the types of wasi:http.

import { answer } from '../guest.js';

export const incomingHandler = {
  handle(_request, out) {
    answer(out, 200, 'Hello from JavaScript\n');
  },
};
