//! Replies that no function gave: what went wrong, whose fault it is, and what to do.
//!
//! Deliberately absent: the decision, which is `Fault::judge`, and inner causes, which never leave.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use usher_api::body::Body;
use usher_core::fault::{Blame, Fault};
use usher_core::proof::Proof;

use crate::head;
use crate::stamp::Stamp;

#[derive(Serialize)]
struct Text {
    error: Error,
}

#[derive(Serialize)]
struct Error {
    label: &'static str,
    message: String,
    blame: Blame,
    request_id: String,
}

/// The reply that tells the caller of a fault, and how its run was served where there was one.
pub(crate) fn reply(fault: &Fault, stamp: &Stamp, proof: Option<&Proof>) -> Response<Body> {
    let judged = fault.judge();
    let text = Text {
        error: Error {
            label: judged.label,
            message: fault.to_string(),
            blame: judged.blame,
            request_id: stamp.id.to_string(),
        },
    };
    let mut body = serde_json::to_vec(&text).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(judged.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Fault::KeyNeeded = fault {
        let scheme = HeaderValue::from_static("Bearer realm=\"usher\"");
        headers.insert(WWW_AUTHENTICATE, scheme);
    }
    if let Fault::Busy { retry_after_s } | Fault::OwnerBusy { retry_after_s, .. } = fault {
        headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
    }
    head::sign(headers, stamp, proof);
    response
}
