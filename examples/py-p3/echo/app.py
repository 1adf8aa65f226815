"""Streams the request's body back, piece by piece, at the pace of whoever reads the reply."""

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Request, Response

CHUNK_MAX_BYTES = 64 * 1024


class Handler(exports.Handler):
    async def handle(self, request):
        processed = wit_world.result_unit_wasi_http_types_error_code_future
        _, read = processed(lambda: Ok(None))
        source, trailers = Request.consume_body(request, read)
        output, body = wit_world.byte_stream()
        headers = Fields.from_list([("content-type", b"application/octet-stream")])
        response, _ = Response.new(headers, body, trailers)
        componentize_py_async_support.spawn(copy(source, output))
        return response


async def copy(source, output):
    with source, output:
        while not source.writer_dropped and not output.reader_dropped:
            await output.write_all(await source.read(CHUNK_MAX_BYTES))
