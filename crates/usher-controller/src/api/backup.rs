//! `/v1/backup` and `/v1/restore`.
//!
//! Deliberately absent: what a back-up holds.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::{StatusCode, Uri, header};
use serde::Deserialize;
use usher_api::backup::{MEDIA_TYPE, OnConflict, ReadError, Restored};
use usher_backbone::{PutBlobError, WriteError};
use usher_core::api_key::Scope;

use super::Shared;
use super::error::ApiError;
use super::gate::{Access, Of};
use super::read;
use super::routes::{Route, route};
use crate::{RestoreError, TakeError};

pub(super) fn routes() -> Vec<Route> {
    // It holds what is everybody's, and what is kept of keys.
    let admin = Access {
        scope: Some(Scope::Admin),
        of: Of::Platform,
    };
    vec![
        Route {
            gives: MEDIA_TYPE,
            access: admin,
            handler: routing::get(take),
            ..route("get", "/v1/backup", "Take a back-up of the whole platform")
        },
        Route {
            query: &[(
                "on-conflict",
                "string",
                "refuse (default), keep what is there, or replace it",
            )],
            takes: Some(MEDIA_TYPE),
            access: admin,
            handler: routing::post(restore),
            ..route("post", "/v1/restore", "Restore a back-up")
        },
    ]
}

/// `GET /v1/backup`
async fn take(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let archive = shared.controller.take_backup().await?;
    let head = [
        (header::CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (header::CONTENT_LENGTH, archive.bytes.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((head, Body::from_stream(archive.pieces)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RestoreQuery {
    #[serde(default)]
    on_conflict: OnConflict,
}

/// `POST /v1/restore`
async fn restore(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    body: Body,
) -> Result<Json<Restored>, ApiError> {
    let RestoreQuery { on_conflict } = read::query(&uri)?;
    let source = read::timed(body, &shared.options);
    Ok(Json(shared.controller.restore(source, on_conflict).await?))
}

impl From<TakeError> for ApiError {
    fn from(error: TakeError) -> Self {
        Self::platform(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error)
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        use RestoreError as E;
        let caller = |status, label| Self::caller(status, label, error.to_string());
        match &error {
            E::Archive(ReadError::Source(_)) => {
                caller(StatusCode::REQUEST_TIMEOUT, "upload-broken")
            }
            E::Archive(_) | E::Damaged { .. } => {
                caller(StatusCode::UNPROCESSABLE_ENTITY, "bad-backup")
            }
            E::Conflicts { keys } => {
                let mut refused = caller(StatusCode::CONFLICT, "conflicts");
                refused.detail.details.clone_from(keys);
                refused
            }
            E::Overtaken { .. } | E::Contended { .. } => caller(StatusCode::CONFLICT, "contended"),
            E::Blob(PutBlobError::DiskFull(_))
            | E::Write(WriteError::DiskFull(_) | WriteError::StoreFull { .. }) => {
                Self::platform(StatusCode::INSUFFICIENT_STORAGE, "no-room", &error)
            }
            E::NotFollowed { .. } => {
                Self::platform(StatusCode::SERVICE_UNAVAILABLE, "not-followed", &error)
            }
            E::Blob(_) | E::Write(_) | E::Read(_) | E::CutOff => {
                Self::platform(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error)
            }
        }
    }
}
