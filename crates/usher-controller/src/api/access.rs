//! `/v1/keys`, `/v1/owners` and `/v1/audit`.
//!
//! Deliberately absent: decisions. Who may ask for which of them stands in the table, and the gate
//! has seen to it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing;
use http::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use usher_api::access::{AuditQuery, KeyMade, KeyRequest, KeyView, Keys, OwnerView, Owners};
use usher_core::api_key::{KeyId, Scope};
use usher_core::id::Name;
use usher_core::owner::Quotas;

use super::error::ApiError;
use super::gate::{Access, Of};
use super::routes::{Route, route};
use super::{Shared, read};
use crate::owners;

const JSON: &str = "application/json";

/// Their part of the table.
pub(super) fn routes() -> Vec<Route> {
    let admin = |of| Access {
        scope: Some(Scope::Admin),
        of,
    };
    let mut routes = for_owners(admin(Of::Platform));
    routes.extend([
        Route {
            takes: Some(JSON),
            access: admin(Of::Body),
            handler: routing::post(create_key),
            ..route("post", "/v1/keys", "Make a key; its secret is told once")
        },
        Route {
            query: &[("owner", "string", "Only this owner's; default: all")],
            access: admin(Of::Query),
            handler: routing::get(list_keys),
            ..route("get", "/v1/keys", "List the keys, without their secrets")
        },
        Route {
            query: &[("owner", "string", "Only if it is this owner's")],
            access: admin(Of::Query),
            handler: routing::delete(revoke_key),
            ..route("delete", "/v1/keys/{id}", "Take a key back")
        },
        Route {
            query: &[
                ("owner", "string", "Only calls about this owner's things"),
                ("since_us", "integer", "Only from then on, in microseconds"),
                ("follow", "boolean", "Go on with new lines as they come"),
            ],
            gives: usher_api::http::NDJSON,
            access: admin(Of::Query),
            handler: routing::get(audit),
            ..route("get", "/v1/audit", "Read the audit log")
        },
    ]);
    routes
}

fn for_owners(admin: Access) -> Vec<Route> {
    vec![
        Route {
            handler: routing::get(list_owners),
            ..route("get", "/v1/owners", "List the owners and their quotas")
        },
        Route {
            handler: routing::get(show_owner),
            ..route("get", "/v1/owners/{owner}", "Show an owner's quotas")
        },
        Route {
            takes: Some(JSON),
            access: admin,
            handler: routing::put(set_owner),
            ..route("put", "/v1/owners/{owner}", "Set all quotas of an owner")
        },
    ]
}

/// `POST /v1/keys`
async fn create_key(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<(StatusCode, Json<KeyMade>), ApiError> {
    let request: KeyRequest = typed(read::json(body, &shared.options).await?)?;
    let made = shared.keys.create(request).await?;
    tracing::info!(key = %made.key.id, owner = ?made.key.owner, "a key was made");
    Ok((StatusCode::CREATED, Json(made)))
}

/// `GET /v1/keys`
async fn list_keys(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Json<Keys>, ApiError> {
    let owner = read::owner(&uri)?;
    let keys = shared.keys.list(owner.as_ref()).await?;
    Ok(Json(Keys { keys }))
}

/// `DELETE /v1/keys/{id}`
async fn revoke_key(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<KeyView>, ApiError> {
    let owner = read::owner(&uri)?;
    let id: KeyId = id.parse().map_err(|error: usher_core::api_key::BadKeyId| {
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-id", error.to_string())
    })?;
    let revoked = shared.keys.revoke(id, owner.as_ref()).await?;
    tracing::info!(key = %id, "a key was revoked");
    Ok(Json(revoked))
}

/// `GET /v1/owners`
async fn list_owners(State(shared): State<Arc<Shared>>) -> Result<Json<Owners>, ApiError> {
    let owners = owners::list(&*shared.controller.core.backbone).await?;
    Ok(Json(Owners { owners }))
}

/// `GET /v1/owners/{owner}`
async fn show_owner(
    State(shared): State<Arc<Shared>>,
    Path(owner): Path<String>,
) -> Result<Json<OwnerView>, ApiError> {
    let backbone = &*shared.controller.core.backbone;
    Ok(Json(owners::show(backbone, named(&owner)?).await?))
}

/// `PUT /v1/owners/{owner}`
async fn set_owner(
    State(shared): State<Arc<Shared>>,
    Path(owner): Path<String>,
    body: Body,
) -> Result<Json<OwnerView>, ApiError> {
    let owner = named(&owner)?;
    let quotas: Quotas = typed(read::json(body, &shared.options).await?)?;
    let (backbone, followers) = (
        &*shared.controller.core.backbone,
        &shared.options.owner_followers,
    );
    let set = owners::set(backbone, followers, owner, quotas).await?;
    tracing::info!(owner = %set.owner, quotas = ?set.quotas, "quotas were set");
    Ok(Json(set))
}

/// `GET /v1/audit`
async fn audit(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, ApiError> {
    let query: AuditQuery = read::query(&uri)?;
    let look = shared.audit.look().await.map_err(|error| {
        tracing::error!(%error, "the audit log was not read");
        let message = "the audit log could not be read";
        ApiError::ours(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    })?;
    Ok(read::lines_until_stop(look.lines(query), &shared.stopping))
}

fn named(owner: &str) -> Result<Name, ApiError> {
    owner.parse().map_err(|error: usher_core::id::BadName| {
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-name", error.to_string())
    })
}

fn typed<T: DeserializeOwned>(json: serde_json::Value) -> Result<T, ApiError> {
    serde_json::from_value(json).map_err(|error| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        ApiError::caller(status, "mistakes", error.to_string())
    })
}
