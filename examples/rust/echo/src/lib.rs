//! Streams the request's body back, chunk by chunk, at the pace of whoever reads the reply.
//!
//! Holds one chunk at a time, so a body of any length passes at flat memory.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingBody, IncomingRequest, OutgoingBody, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

const CHUNK_MAX_BYTES: u64 = 64 * 1024;

struct Echo;

impl Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let Ok(body) = request.consume() else {
            return guest::answer(out, 500, b"the body cannot be read\n");
        };
        let reply = guest::begin(out, 200, &[("content-type", "application/octet-stream")]);
        if copy(&body, &reply).is_ok() {
            let _ = OutgoingBody::finish(reply, None);
        }
        // Otherwise the reply is dropped unfinished, and its reader learns that something is
        // missing.
    }
}

/// Passes everything on. Fails if the sender broke off or the reader has gone away.
fn copy(body: &IncomingBody, reply: &OutgoingBody) -> Result<(), StreamError> {
    let (Ok(input), Ok(output)) = (body.stream(), reply.write()) else {
        return Err(StreamError::Closed);
    };
    loop {
        match input.blocking_read(CHUNK_MAX_BYTES) {
            Ok(chunk) => send(&output, &chunk)?,
            Err(StreamError::Closed) => return Ok(()),
            Err(broken) => return Err(broken),
        }
    }
}

/// Writes `rest` as far as there is room, waits for more room, and so on; then flushes.
fn send(output: &OutputStream, mut rest: &[u8]) -> Result<(), StreamError> {
    while !rest.is_empty() {
        let room = usize::try_from(output.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            output.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(room.min(rest.len()));
        output.write(now)?;
        rest = later;
    }
    output.flush()
}

wasip2::http::proxy::export!(Echo);
