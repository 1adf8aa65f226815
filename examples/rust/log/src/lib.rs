//! Writes `?msg=TEXT` to standard output and to standard error, a line each.

use wasip2::cli::{stderr, stdout};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::io::streams::OutputStream;

struct Log;

impl Guest for Log {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let message = guest::query(&request, "msg").unwrap_or_default();
        write(&stdout::get_stdout(), &format!("out: {message}\n"));
        write(&stderr::get_stderr(), &format!("err: {message}\n"));
        guest::answer(out, 200, b"logged\n");
    }
}

/// A log that takes no more is no reason to fail the request.
fn write(stream: &OutputStream, line: &str) {
    for chunk in line.as_bytes().chunks(guest::CHUNK_MAX_BYTES) {
        let _ = stream.blocking_write_and_flush(chunk);
    }
}

wasip2::http::proxy::export!(Log);
