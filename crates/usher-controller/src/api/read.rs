//! Reading requests and writing streams: bounds on size and on time, and errors as JSON.
//!
//! Deliberately absent: what the values mean.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use http::{HeaderMap, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use usher_api::http::NDJSON;
use usher_core::id::{FunctionKey, Name};

use super::ApiOptions;
use super::error::ApiError;

/// The query as a type; what the type does not know is an error.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let Query(value) = Query::try_from_uri(uri).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |e| e.to_string());
        let message = format!("the query cannot be read: {cause}");
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-query", message)
    })?;
    Ok(value)
}

/// The owner that a query names, which may name nothing else.
pub(super) fn owner(uri: &Uri) -> Result<Option<Name>, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OwnerQuery {
        owner: Option<Name>,
    }
    let OwnerQuery { owner } = query(uri)?;
    Ok(owner)
}

/// The function that a path and a query name.
pub(super) fn function(name: &str, owner: Option<Name>) -> Result<FunctionKey, ApiError> {
    let name = name.parse().map_err(|error: usher_core::id::BadName| {
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-name", error.to_string())
    })?;
    let owner = owner.unwrap_or_else(Name::default_owner);
    Ok(FunctionKey { owner, name })
}

/// The body as JSON.
pub(super) async fn json(body: Body, options: &ApiOptions) -> Result<serde_json::Value, ApiError> {
    parsed(&whole(body, options).await?)
}

/// The same; no body is an empty object.
pub(super) async fn json_or_nothing(
    body: Body,
    options: &ApiOptions,
) -> Result<serde_json::Value, ApiError> {
    match &whole(body, options).await?[..] {
        [] => Ok(serde_json::json!({})),
        bytes => parsed(bytes),
    }
}

fn parsed(bytes: &[u8]) -> Result<serde_json::Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("the body is not JSON: {error}");
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-json", message)
    })
}

async fn whole(body: Body, options: &ApiOptions) -> Result<Vec<u8>, ApiError> {
    let max_bytes = options.json_max_bytes;
    let mut source = timed(body, options);
    let mut bytes = Vec::new();
    while let Some(piece) = source.next().await {
        let piece = piece.map_err(|error| {
            let message = format!("the body broke off: {error}");
            ApiError::caller(StatusCode::REQUEST_TIMEOUT, "body-broken", message)
        })?;
        if bytes.len() + piece.len() > max_bytes {
            let message = format!("a body of JSON has at most {max_bytes} bytes");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(ApiError::caller(status, "body-too-large", message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The body's bytes as they come; one that pauses or takes too long ends with an error.
pub(super) fn timed(body: Body, options: &ApiOptions) -> BoxStream<'static, io::Result<Bytes>> {
    let idle = Duration::from_millis(options.body_idle_max_ms);
    let end = Instant::now() + Duration::from_millis(options.body_wait_max_ms);
    let source = body.into_data_stream();
    stream::try_unfold(source, move |mut source| async move {
        let until = end.min(Instant::now() + idle);
        match timeout_at(until, source.next()).await {
            Ok(Some(Ok(piece))) => Ok(Some((piece, source))),
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Ok(None) => Ok(None),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing came for too long",
            )),
        }
    })
    .boxed()
}

/// Whether the caller asks for one JSON value per line.
pub(super) fn wants_lines(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter();
    accept
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(NDJSON))
}

/// One JSON value per line, each sent as soon as it is there.
pub(super) fn lines<T: Serialize>(values: impl Stream<Item = T> + Send + 'static) -> Response {
    let lines = values.map(|value| {
        let mut line = serde_json::to_vec(&value).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let head = [
        (header::CONTENT_TYPE, NDJSON),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (head, Body::from_stream(lines)).into_response()
}

/// The same of values that may go on without end: until the API stops.
pub(super) fn lines_until_stop<T: Serialize>(
    values: impl Stream<Item = T> + Send + 'static,
    stopping: &watch::Receiver<bool>,
) -> Response {
    let mut stopping = stopping.clone();
    let stopped = async move {
        // An error says that the API is gone, which is the same.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    lines(values.take_until(Box::pin(stopped)))
}
