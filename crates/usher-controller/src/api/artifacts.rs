//! `POST /v1/artifacts`.
//!
//! Deliberately absent: any look at the bytes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Uri};
use usher_api::http::ArtifactStored;
use usher_core::id::Digest;

use super::call::Call;
use super::error::ApiError;
use super::{Shared, read};
use crate::keys::Caller;
use crate::{DeployError, RecordError, UploadError, uploads};

/// Streams the body into the store.
pub(super) async fn store(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ArtifactStored>, ApiError> {
    let owner = read::owner(&uri)?;
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
    let mut stored = shared.controller.put_artifact(source).await?;
    if let Some(owner) = owner {
        let backbone = &*shared.controller.core.backbone;
        let noted = uploads::note(backbone, &owner, &stored.digest).await;
        let before = noted.map_err(ApiError::unwritten)?;
        if confined(&call) {
            // What others have stored is not told.
            stored.existed = before;
        }
    }
    Ok(Json(stored))
}

/// Whether the caller may deploy an artifact: one that is confined to an owner, only what was
/// stored for it. Else the answer is as if it were not there.
pub(super) async fn may_use(
    shared: &Shared,
    call: &Call,
    artifact: &Digest,
) -> Result<(), ApiError> {
    let Some(owner) = call.who().ok().and_then(Caller::owner) else {
        return Ok(());
    };
    let has = uploads::has(&*shared.controller.core.backbone, owner, artifact).await;
    match has.map_err(RecordError::from)? {
        true => Ok(()),
        false => Err(DeployError::NoArtifact {
            artifact: *artifact,
        }
        .into()),
    }
}

fn confined(call: &Call) -> bool {
    call.who().is_ok_and(|caller| caller.owner().is_some())
}
