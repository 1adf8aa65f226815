// Keeps the first `?value=V` that it is ever sent, and answers what it keeps.
//
// In a clean area that is always the value of this very request.

import { answer, query } from '../guest.js';

let kept;

export const incomingHandler = {
  handle(request, out) {
    kept ??= query(request).get('value') ?? '';
    answer(out, 200, `${kept}\n`);
  },
};
