//! What every Rust function here needs and `wasip2` leaves to it: reading the query, and giving a
//! reply.
//!
//! Deliberately absent: routing, headers, errors. These functions are meant to be read in one
//! glance.

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// The most that one `blocking_write_and_flush` takes, by the contract of wasi:io, in bytes.
pub const CHUNK_MAX_BYTES: usize = 4096;

/// The text of the query behind `?`, empty if there is none.
pub fn query_text(request: &IncomingRequest) -> String {
    let path = request.path_with_query().unwrap_or_default();
    match path.split_once('?') {
        Some((_, query)) => query.to_owned(),
        None => String::new(),
    }
}

/// The value of the first `name=value` in the query, percent signs resolved, empty for a bare
/// `name`.
pub fn query(request: &IncomingRequest, name: &str) -> Option<String> {
    query_text(request).split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decoded(value))
    })
}

/// `text` with its `%XX` resolved; one that is not hexadecimal stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The query's value as a number; `None` if it is missing or not one.
pub fn query_number(request: &IncomingRequest, name: &str) -> Option<u64> {
    query(request, name)?.parse().ok()
}

/// Sends the head of a reply and hands back its body, to be ended with [`OutgoingBody::finish`].
///
/// Headers that the host refuses are left out.
pub fn begin(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> OutgoingBody {
    let fields = Fields::new();
    for (name, value) in headers {
        let _ = fields.append(name, value.as_bytes());
    }
    let response = OutgoingResponse::new(fields);
    let _ = response.set_status_code(status);
    let body = response.body().expect("a body is taken once");
    ResponseOutparam::set(out, Ok(response));
    body
}

/// Answers with `body`, whole. A caller who has gone away is not an error.
pub fn answer(out: ResponseOutparam, status: u16, body: &[u8]) {
    let outgoing = begin(
        out,
        status,
        &[("content-type", "text/plain; charset=utf-8")],
    );
    {
        let stream = outgoing.write().expect("a stream is taken once");
        for chunk in body.chunks(CHUNK_MAX_BYTES) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(outgoing, None);
}
