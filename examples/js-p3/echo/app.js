// Streams the request's body back, piece by piece, at the pace of whoever reads the reply, and its
// trailers behind it.

import { Fields, Request, Response } from 'wasi:http/types@0.3.0';

async function* pieces(body) {
  for await (const piece of body) {
    yield piece;
  }
}

export const handler = {
  async handle(request) {
    const read = wit.Future.from({ tag: 'ok', val: null }, wit.Future.RESULT_VOID_ERROR_CODE);
    const [body, trailers] = Request.consumeBody(request, read.readable);
    const [response] = Response.new(new Fields(), pieces(body), trailers);
    return response;
  },
};
