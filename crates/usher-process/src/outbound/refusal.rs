//! What a program is told when it is not connected.

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use usher_api::body::Body;
use usher_core::outbound::{Denied, Scheme};
use usher_engine::outbound::NotReached;

/// Where a program wants to go.
pub(super) struct Place {
    /// None: whatever is spoken in a tunnel.
    pub(super) scheme: Option<Scheme>,
    pub(super) host: String,
    pub(super) port: u16,
}

/// What is refused, and the entry that would permit it.
pub(super) fn sentence(denied: &Denied, place: &Place) -> String {
    let host = match denied {
        Denied::NotListed { host, .. } => host.clone(),
        Denied::Inside { address, .. } if address.is_ipv6() => format!("[{address}]"),
        Denied::Inside { address, .. } => address.to_string(),
    };
    let entry = match (place.scheme, place.port) {
        (Some(Scheme::Http), 80) => format!("http://{host}"),
        (Some(Scheme::Http), port) => format!("http://{host}:{port}"),
        (_, 443) => format!("https://{host}"),
        (_, port) => format!("{host}:{port}"),
    };
    format!("{denied}; to permit it, add {entry:?} to `outbound` in the function's manifest")
}

/// The reply to a program that is not connected, for another reason than the list.
pub(super) fn failed(failure: &NotReached, place: &Place) -> Response<Body> {
    let cause = match failure {
        NotReached::Resolve(error) | NotReached::Connect(error) => format!(": {error}"),
        NotReached::NoAddress | NotReached::Denied(_) => String::new(),
    };
    let text = format!(
        "{}:{} was not reached: {failure}{cause}",
        place.host, place.port
    );
    reply(StatusCode::BAD_GATEWAY, text)
}

/// A reply of the proxy itself, which ends the connection: what was meant for somebody else is not
/// read as a request.
pub(super) fn reply(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    response
}
