"""What the Python functions share: the query of a request, the reply."""

from urllib.parse import parse_qs

from componentize_py_types import Ok
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam

# The most that one `blocking_write_and_flush` takes, in bytes.
CHUNK_MAX_BYTES = 4096


def query(request, name):
    """The first value of `name` in the query; None if there is none."""
    _, _, text = (request.path_with_query() or "").partition("?")
    return parse_qs(text, keep_blank_values=True).get(name, [None])[0]


def answer(response_out, status, text):
    """Answers with `text`, whole."""
    headers = Fields.from_list([("content-type", b"text/plain; charset=utf-8")])
    response = OutgoingResponse(headers)
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    data = text.encode()
    with body.write() as stream:
        for at in range(0, len(data), CHUNK_MAX_BYTES):
            stream.blocking_write_and_flush(data[at : at + CHUNK_MAX_BYTES])
    OutgoingBody.finish(body, None)
