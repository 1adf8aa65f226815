// What the JavaScript functions on the types of wasi:http share: the query of a request, the reply.

import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.10';

// The most that one `blockingWriteAndFlush` takes, in bytes.
const CHUNK_MAX_BYTES = 4096;

// The query of `request` (of wasi:http), as `URLSearchParams`.
export function query(request) {
  const path = request.pathWithQuery() ?? '/';
  const at = path.indexOf('?');
  return new URLSearchParams(at < 0 ? '' : path.slice(at + 1));
}

// Answers with `text`, whole.
export function answer(out, status, text) {
  const headers = new Fields();
  headers.append('content-type', new TextEncoder().encode('text/plain; charset=utf-8'));
  const response = new OutgoingResponse(headers);
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(out, { tag: 'ok', val: response });
  const stream = body.write();
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += CHUNK_MAX_BYTES) {
    stream.blockingWriteAndFlush(bytes.subarray(at, at + CHUNK_MAX_BYTES));
  }
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
