//! What replies say to pages of other origins, where a function's owner has said anything about it.
//!
//! Deliberately absent: the decision, which is `usher_core::cors`, and functions without such a
//! table: what they say themselves is passed on.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, request};
use usher_api::body::Body;
use usher_core::cors::{Cors, Permission};

use crate::head;
use crate::stamp::Stamp;

/// What only the gateway says, where it says anything.
const SAID: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// The answer to a preflight; none: the request is none.
pub(crate) fn preflight(
    parts: &request::Parts,
    cors: &Cors,
    stamp: &Stamp,
) -> Option<Response<Body>> {
    if parts.method != Method::OPTIONS {
        return None;
    }
    let origin = parts.headers.get(ORIGIN)?;
    let method = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked: Vec<_> = parts
        .headers
        .get_all(ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    // What cannot be read permits nothing.
    let (origin, method) = (origin.to_str().ok(), method.to_str().ok());
    let permitted = origin
        .zip(method)
        .and_then(|(origin, method)| cors.preflight(origin, method, &asked.join(",")));

    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for name in [
        ORIGIN,
        ACCESS_CONTROL_REQUEST_METHOD,
        ACCESS_CONTROL_REQUEST_HEADERS,
    ] {
        headers.append(VARY, HeaderValue::from(name));
    }
    if let Some(permitted) = permitted {
        permit(headers, &permitted.permission);
        for (name, list) in [
            (ACCESS_CONTROL_ALLOW_METHODS, permitted.allow_methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, permitted.allow_headers),
        ] {
            if !list.is_empty() {
                say(headers, name, &list);
            }
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, permitted.max_age_s.into());
    }
    head::sign(headers, stamp, None);
    Some(response)
}

/// Makes a reply say to a page of this origin what its function's owner permits, and nothing of
/// what the function says itself.
pub(crate) fn mark(headers: &mut HeaderMap, cors: &Cors, origin: Option<&HeaderValue>) {
    for name in &SAID {
        headers.remove(name);
    }
    if cors.varies() {
        headers.append(VARY, HeaderValue::from(ORIGIN));
    }
    let origin = origin.and_then(|origin| origin.to_str().ok());
    let Some(permission) = origin.and_then(|origin| cors.permit(origin)) else {
        return;
    };
    permit(headers, &permission);
    if let Some(exposed) = cors.exposed() {
        say(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &exposed);
    }
}

fn permit(headers: &mut HeaderMap, permission: &Permission) {
    say(
        headers,
        ACCESS_CONTROL_ALLOW_ORIGIN,
        &permission.allow_origin,
    );
    if permission.credentials {
        let yes = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
}

fn say(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // Made of what was checked at deployment, or of what was a header's value before.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
