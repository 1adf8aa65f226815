//! What the program is given for a request: the event, and the headers beside it.
//!
//! Deliberately absent: the event's form (`event`), and what the Invoke API asks for (`style`).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, request};
use http_body::Body as _;
use http_body_util::BodyExt;
use usher_api::body::Body;
use usher_core::id::RequestId;
use usher_core::trace::{TRACEPARENT, TraceParent};

use super::about::{About, request_id, trace_id};
use super::desk::Delivery;
use super::error::InvokeError;
use super::event::event;
use super::failure::JSON;
use super::style::{self, Declined};

/// The largest event, and the largest body of a request, in bytes.
pub const EVENT_MAX_BYTES: usize = 6 * 1024 * 1024;

static X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
static REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
static INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
static DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
static ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
static TRACE: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
static CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");

/// Reads a body to its end, if it is no longer than an event may be.
async fn read(mut body: Body) -> Result<Bytes, InvokeError> {
    let too_large = InvokeError::BodyTooLarge {
        body_max_bytes: EVENT_MAX_BYTES as u64,
    };
    if body.size_hint().lower() > EVENT_MAX_BYTES as u64 {
        return Err(too_large);
    }
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(InvokeError::Request)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + more.len() + data.len() > EVENT_MAX_BYTES {
            return Err(too_large);
        }
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    Ok([first, more.freeze()].concat().into())
}

/// The event of a request to the function's URL.
pub(super) async fn of_url(
    about: &About,
    id: RequestId,
    head: &request::Parts,
    body: Body,
    deadline: SystemTime,
) -> Result<Delivery, InvokeError> {
    let body = read(body).await?;
    let trace = traced(&head.headers);
    let payload = event(about, id, head, trace.as_deref(), &body, SystemTime::now());
    if payload.len() > EVENT_MAX_BYTES {
        return Err(InvokeError::BodyTooLarge {
            body_max_bytes: EVENT_MAX_BYTES as u64,
        });
    }
    let mut headers = told(about, id, trace.as_deref(), deadline);
    headers.insert(CONTENT_TYPE, JSON);
    Ok(Delivery {
        headers,
        payload: payload.into(),
    })
}

/// The event of a call by the Invoke API, or why there is none.
pub(super) async fn direct(
    about: &About,
    id: RequestId,
    head: &request::Parts,
    body: Body,
    deadline: SystemTime,
) -> Result<Result<Delivery, Declined>, InvokeError> {
    if let Err(declined) = style::head(about, head) {
        return Ok(Err(declined));
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(InvokeError::BodyTooLarge { .. }) => {
            return Ok(Err(Declined::TooLarge(EVENT_MAX_BYTES)));
        }
        Err(error) => return Err(error),
    };
    let direct = match style::body(&head.headers, body) {
        Ok(direct) => direct,
        Err(declined) => return Ok(Err(declined)),
    };
    let mut headers = told(about, id, traced(&head.headers).as_deref(), deadline);
    let kind = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
    headers.insert(CONTENT_TYPE, kind);
    if let Some(context) = direct.client_context {
        headers.insert(&CLIENT_CONTEXT, context);
    }
    Ok(Ok(Delivery {
        headers,
        payload: direct.payload,
    }))
}

/// The trace in AWS's form: the caller's own, or made from `traceparent`.
fn traced(headers: &HeaderMap) -> Option<String> {
    if let Some(own) = headers.get(&X_AMZN_TRACE_ID) {
        return own.to_str().ok().map(str::to_owned);
    }
    let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
    parent.parse::<TraceParent>().ok().map(trace_id)
}

/// The headers of an event.
fn told(about: &About, id: RequestId, trace: Option<&str>, deadline: SystemTime) -> HeaderMap {
    let since = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = request_id(id);
    let mut headers = HeaderMap::new();
    let all = [
        (&REQUEST_ID, Some(id.clone())),
        (&INVOCATION_ID, Some(id)),
        (&DEADLINE, Some(since.as_millis().to_string())),
        (&ARN, Some(about.arn())),
        (&TRACE, trace.map(str::to_owned)),
    ];
    for (name, value) in all {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}
