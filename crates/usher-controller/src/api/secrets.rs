//! `/v1/secrets`: values go in, and never come out.
//!
//! Deliberately absent: a way to read a value, for anybody.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing;
use futures_util::StreamExt;
use http::{StatusCode, Uri};
use usher_api::secret::{SecretDeleted, SecretList, SecretView};
use usher_core::id::Name;
use usher_core::secret::{SECRET_MAX_BYTES, Secret};

use super::Shared;
use super::error::{ApiError, write_failed};
use super::read;
use super::routes::{Route, route};
use crate::secrets::SecretError;

const OWNER: (&str, &str, &str) = ("owner", "string", "Whose secret; default: default");

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            query: &[("owner", "string", "Only this owner's; default: all")],
            handler: routing::get(list),
            ..route("get", "/v1/secrets", "List secrets, without their values")
        },
        Route {
            query: &[OWNER],
            takes: Some("application/octet-stream"),
            handler: routing::put(set),
            ..route(
                "put",
                "/v1/secrets/{name}",
                "Set a secret; the body is its value",
            )
        },
        Route {
            query: &[OWNER],
            handler: routing::get(show),
            ..route("get", "/v1/secrets/{name}", "Show that a secret is there")
        },
        Route {
            query: &[OWNER],
            handler: routing::delete(remove),
            ..route(
                "delete",
                "/v1/secrets/{name}",
                "Delete a secret that no function uses",
            )
        },
    ]
}

/// Owner and name of a path with its query.
fn named(name: &str, uri: &Uri) -> Result<(Name, Name), ApiError> {
    let key = read::function(name, read::owner(uri)?)?;
    Ok((key.owner, key.name))
}

async fn list(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Json<SecretList>, ApiError> {
    let owner = read::owner(&uri)?;
    let secrets = shared.controller.secrets(owner.as_ref()).await?;
    Ok(Json(SecretList { secrets }))
}

async fn set(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Json<SecretView>, ApiError> {
    let (owner, name) = named(&name, &uri)?;
    let value = value(body, &shared).await?;
    Ok(Json(
        shared.controller.set_secret(owner, name, value).await?,
    ))
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SecretView>, ApiError> {
    let (owner, name) = named(&name, &uri)?;
    Ok(Json(shared.controller.secret(&owner, &name).await?))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SecretDeleted>, ApiError> {
    let (owner, name) = named(&name, &uri)?;
    Ok(Json(shared.controller.delete_secret(owner, name).await?))
}

/// The body, in memory that is written over later. It is taken at its whole length at once, so that
/// it leaves no shorter copies behind as it grows.
async fn value(body: Body, shared: &Shared) -> Result<Secret, ApiError> {
    let mut source = read::timed(body, &shared.options);
    let mut value = Vec::with_capacity(SECRET_MAX_BYTES);
    while let Some(piece) = source.next().await {
        let piece = piece.map_err(|error| {
            let message = format!("the body broke off: {error}");
            ApiError::caller(StatusCode::REQUEST_TIMEOUT, "body-broken", message)
        })?;
        if value.len() + piece.len() > SECRET_MAX_BYTES {
            let bytes = value.len() + piece.len();
            return Err(SecretError::Length { bytes }.into());
        }
        value.extend_from_slice(&piece);
    }
    Ok(Secret::new(value))
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        use SecretError as E;
        let (status, label) = match &error {
            E::NoVault => (StatusCode::NOT_IMPLEMENTED, "no-secrets"),
            E::Missing { .. } => (StatusCode::NOT_FOUND, "no-such-secret"),
            E::Used { .. } => (StatusCode::CONFLICT, "secret-in-use"),
            E::Length { bytes: 0 } => (StatusCode::BAD_REQUEST, "empty-secret"),
            E::Length { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "secret-too-large"),
            E::TooMany { .. } => (StatusCode::CONFLICT, "too-many-secrets"),
            E::Write { source, .. } => return write_failed(&error, source),
            E::Seal | E::Read(_) | E::Record(_) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Self::platform(status, "internal", &error);
            }
        };
        Self::caller(status, label, error.to_string())
    }
}
