"""What the Python functions for wasi:http 0.3 share: giving a reply whose body is a stream."""

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world.imports.wasi_http_types import Fields, Response


def no_trailers():
    """A future that says, at once, that there are none."""
    trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future
    _, reader = trailers(lambda: Ok(None))
    return reader


def answer(text):
    """A reply of `text`, which is sent after it was returned."""
    output, body = wit_world.byte_stream()
    headers = Fields.from_list([("content-type", b"text/plain; charset=utf-8")])
    response, _ = Response.new(headers, body, no_trailers())
    componentize_py_async_support.spawn(send(output, text.encode()))
    return response


async def send(output, data):
    with output:
        await output.write_all(data)
