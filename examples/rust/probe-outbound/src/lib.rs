//! Fetches `?url=http://…` and answers the status it got, or why it got none.
//!
//! Deliberately absent: the body, redirects, and any judgement of the address. That is the
//! platform's.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingRequest, ResponseOutparam, Scheme,
};

struct ProbeOutbound;

impl Guest for ProbeOutbound {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let Some(url) = guest::query(&request, "url") else {
            return guest::answer(out, 400, b"say which: ?url=http://...\n");
        };
        let text = match fetch(&url) {
            Ok(status) => format!("status {status}\n"),
            Err(code) => format!("error {code:?}\n"),
        };
        guest::answer(out, 200, text.as_bytes());
    }
}

fn fetch(url: &str) -> Result<u16, ErrorCode> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(ErrorCode::HttpRequestUriInvalid),
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let request = OutgoingRequest::new(Fields::new());
    let set = request.set_scheme(Some(&scheme)).is_ok()
        && request.set_authority(Some(authority)).is_ok()
        && request
            .set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
            .is_ok();
    if !set {
        return Err(ErrorCode::HttpRequestUriInvalid);
    }
    let future = outgoing_handler::handle(request, None)?;
    future.subscribe().block();
    match future.get() {
        Some(Ok(answer)) => Ok(answer?.status()),
        _ => Err(ErrorCode::InternalError(None)),
    }
}

wasip2::http::proxy::export!(ProbeOutbound);
