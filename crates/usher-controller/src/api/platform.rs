//! The routes about the platform itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{StatusCode, header};
use usher_api::http::{ErrorBody, ErrorDetail, Ready};
use usher_core::fault::Blame;

use super::Shared;

const INDEX: &str = "\
This is the API of Usher, a serverless platform. The command line uses it: `usher deploy PATH` \
puts a function here, `usher list` shows what is deployed, and `usher --help` tells the rest. \
/v1/openapi.json describes every route, and /metrics has the figures.\n";

/// `GET /`
pub(super) async fn index() -> &'static str {
    INDEX
}

/// `GET /healthz`: that this is answered is all it says.
pub(super) async fn healthz(State(shared): State<Arc<Shared>>) -> Json<Ready> {
    let ready = *shared.ready.borrow();
    Json(Ready { ready })
}

/// `GET /readyz`
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let ready = *shared.ready.borrow();
    if ready {
        return Json(Ready { ready }).into_response();
    }
    let error = ErrorDetail {
        label: "not-ready".to_owned(),
        message: "the platform is starting or stopping".to_owned(),
        blame: Blame::Platform,
        details: Vec::new(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(ErrorBody { error })).into_response()
}

/// `GET /v1/openapi.json`
pub(super) async fn openapi(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        shared.openapi.clone(),
    )
}
