//! The routes for those who watch: metrics, and the table of the busiest.
//!
//! Reading the figures of ten thousand functions takes milliseconds, so it is done on a thread of
//! its own, where it holds up no request.
//!
//! Deliberately absent: counting; logs (`logs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::{HeaderMap, StatusCode, Uri, header};
use usher_api::top::{Top, TopQuery, WINDOW_DEFAULT_MS, WINDOW_MAX_MS};

use super::error::ApiError;
use super::routes::{Route, TEXT, route};
use super::{Shared, read};

/// What Prometheus has always read.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The format that grew out of it, with units and examples.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            gives: TEXT,
            handler: routing::get(metrics),
            ..route(
                "get",
                "/metrics",
                "Metrics, in the text format of Prometheus, or as OpenMetrics if that is accepted",
            )
        },
        Route {
            query: &[
                ("owner", "string", "Only this owner's; default: all"),
                (
                    "sort",
                    "string",
                    "requests, errors, p50, p99, running, environments, memory, cold or name",
                ),
                ("limit", "integer", "How many rows at most"),
                (
                    "offset",
                    "integer",
                    "How many rows to leave out before them",
                ),
                (
                    "window_ms",
                    "integer",
                    "For how long to look; 0: not at all, and without rates",
                ),
            ],
            handler: routing::get(top),
            ..route(
                "get",
                "/v1/top",
                "The busiest functions, and how they stand",
            )
        },
    ]
}

/// `GET /metrics`
async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let open = accepts_open_metrics(&headers);
    let read = tokio::task::spawn_blocking(move || {
        let text = open.then(|| shared.metrics.open_metrics()).flatten();
        match text {
            Some(text) => (OPEN_METRICS, text),
            None => (PROMETHEUS, shared.metrics.text()),
        }
    });
    match read.await {
        Ok((kind, text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => lost(&error).into_response(),
    }
}

fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        let name = kind.split(';').next().unwrap_or_default();
        name.trim() == "application/openmetrics-text"
    })
}

/// `GET /v1/top`
async fn top(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Json<Top>, ApiError> {
    let query: TopQuery = read::query(&uri)?;
    let window_ms = query.window_ms.unwrap_or(WINDOW_DEFAULT_MS);
    let window_ms = window_ms.min(WINDOW_MAX_MS);
    let source = Arc::clone(&shared.metrics);
    let begun = Instant::now();
    let watch = tokio::task::spawn_blocking(move || source.watch(window_ms > 0));
    let watch = watch.await.map_err(|error| lost(&error))?;
    let mut stopping = shared.stopping.clone();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(window_ms)) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    let looked_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let page = move || Top::of(watch(), &query, looked_ms);
    let page = tokio::task::spawn_blocking(page).await;
    page.map(Json).map_err(|error| lost(&error))
}

fn lost(error: &tokio::task::JoinError) -> ApiError {
    tracing::error!(%error, "the figures were not read");
    let message = "the figures were not read; the platform's log has the reason";
    ApiError::caller(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn open_metrics_are_given_to_those_who_ask_for_them() {
        let accepts = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            accepts_open_metrics(&headers)
        };
        assert!(accepts("application/openmetrics-text"));
        assert!(accepts(
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
        ));
        assert!(!accepts("text/plain, */*"));
        assert!(!accepts("application/openmetrics-textual"));
        assert!(!accepts_open_metrics(&HeaderMap::new()));
    }
}
