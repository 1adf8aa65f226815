//! What every Rust function for wasi:http 0.3 needs and `wasip3` leaves to it: reading the query,
//! and giving a reply whose body is a stream.
//!
//! Deliberately absent: routing, headers, errors. These functions are meant to be read in one
//! glance.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// What the trailers of a body come by.
pub type Trailers = FutureReader<Result<Option<Fields>, ErrorCode>>;

/// The value of the first `name=value` in the query, empty for a bare `name`.
pub fn query(request: &Request, name: &str) -> Option<String> {
    let path = request.get_path_with_query().unwrap_or_default();
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| value.to_owned())
    })
}

/// The query's value as a number; `None` if it is missing or not one.
pub fn query_number(request: &Request, name: &str) -> Option<u64> {
    query(request, name)?.parse().ok()
}

/// A reply whose body is to be written, after the reply was returned.
pub fn begin(status: u16) -> (Response, StreamWriter<u8>) {
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (output, body) = wit_stream::new();
    (reply(status, body, no_trailers), output)
}

/// A reply with this body and these trailers.
pub fn reply(status: u16, body: StreamReader<u8>, trailers: Trailers) -> Response {
    let headers = Fields::new();
    let _ = headers.append("content-type", b"text/plain; charset=utf-8");
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    let _ = response.set_status_code(status);
    response
}

/// A reply of `text`, which is sent after it was returned.
pub fn answer(status: u16, text: impl Into<String>) -> Response {
    let (response, mut output) = begin(status);
    let text = text.into();
    spawn_local(async move {
        // A caller who has gone away is not an error.
        let _unsent = output.write_all(text.into_bytes()).await;
    });
    response
}

/// The body of a request, and its trailers.
pub fn body(request: Request) -> (StreamReader<u8>, Trailers) {
    let (_, read) = wit_future::new(|| Ok(()));
    Request::consume_body(request, read)
}
