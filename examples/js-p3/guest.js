// What the JavaScript functions for wasi:http 0.3 share: giving a reply whose body is a stream.

import { Fields, Response } from 'wasi:http/types@0.3.0';

// The bytes of `text`, which is ASCII: QuickJS has no TextEncoder.
function bytes(text) {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

// A reply of `text`, which is sent after it was returned.
export function answer(text) {
  const headers = Fields.fromList([['content-type', bytes('text/plain; charset=utf-8')]]);
  const noTrailers = wit.Future.from(
    { tag: 'ok', val: null },
    wit.Future.RESULT_OPTION_OTHER_ERROR_CODE,
  );
  const body = (async function* () {
    yield bytes(text);
  })();
  const [response] = Response.new(headers, body, noTrailers.readable);
  return response;
}
