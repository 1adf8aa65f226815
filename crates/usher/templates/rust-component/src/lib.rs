//! A function: a component of wasi:http. Every request meets it as it was before its first one.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Function;

impl Guest for Function {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let page = format!(
            "<!doctype html>\n<title>my-function</title>\n<h1>Hello from Rust</h1>\n\
             <p>You asked for {}\n",
            path.replace('<', "&lt;")
        );
        answer(out, 200, "text/html; charset=utf-8", &page);
    }
}

/// Answers with a text, whole.
fn answer(out: ResponseOutparam, status: u16, kind: &str, text: &str) {
    let headers = Fields::new();
    let _ = headers.append("content-type", kind.as_bytes());
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body().expect("a body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a stream is taken once");
    // One such call takes at most 4,096 bytes.
    for piece in text.as_bytes().chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            break;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

wasip2::http::proxy::export!(Function);
