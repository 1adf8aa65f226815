//! `POST /v1/artifacts`.
//!
//! Deliberately absent: any look at the bytes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use usher_api::http::ArtifactStored;

use super::Shared;
use super::error::ApiError;
use super::read;
use crate::UploadError;

/// Streams the body into the store.
pub(super) async fn store(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ArtifactStored>, ApiError> {
    let artifact_max_bytes = shared.controller.core.options.artifact_max_bytes;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<u64>().ok());
    // What is announced too large is refused before it is sent.
    if announced.is_some_and(|bytes| bytes > artifact_max_bytes) {
        return Err(UploadError::TooLarge { artifact_max_bytes }.into());
    }
    let source = read::timed(body, &shared.options);
    Ok(Json(shared.controller.put_artifact(source).await?))
}
