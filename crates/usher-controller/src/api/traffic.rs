//! Revisions, aliases and traffic: below `/v1/functions/{name}`.
//!
//! Deliberately absent: decisions. Each handler reads, asks the controller, and answers.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing;
use http::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use usher_api::http::Revisions;
use usher_api::traffic::{AliasView, Aliases, Changed, RollbackRequest, TrafficRequest};
use usher_core::traffic::{Alias, BadAlias};

use super::Shared;
use super::error::{ApiError, found};
use super::functions::key;
use super::read;
use super::routes::{JSON, OWNER, Route, route};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let owned = |route: Route| Route {
        query: &[OWNER],
        ..route
    };
    let taking = |route: Route| Route {
        takes: Some(JSON),
        ..owned(route)
    };
    let alias = "/v1/functions/{name}/aliases/{alias}";
    vec![
        Route {
            handler: routing::get(revisions),
            ..owned(route(
                "get",
                "/v1/functions/{name}/revisions",
                "List a function's revisions, and what traffic each gets",
            ))
        },
        Route {
            handler: routing::get(aliases),
            ..owned(route(
                "get",
                "/v1/functions/{name}/aliases",
                "List a function's aliases",
            ))
        },
        Route {
            handler: routing::get(show),
            ..owned(route("get", alias, "Show an alias"))
        },
        Route {
            handler: routing::put(point),
            ..taking(route(
                "put",
                alias,
                "Point an alias at revisions; a new one is made",
            ))
        },
        Route {
            handler: routing::delete(unpoint),
            ..owned(route("delete", alias, "Delete an alias"))
        },
        Route {
            handler: routing::put(share_out),
            ..taking(route(
                "put",
                "/v1/functions/{name}/traffic",
                "Share the traffic of the bare name out among revisions",
            ))
        },
        Route {
            handler: routing::post(roll_back),
            ..taking(route(
                "post",
                "/v1/functions/{name}/rollback",
                "Give the traffic back to a revision that had it before",
            ))
        },
    ]
}

/// `GET /v1/functions/{name}/revisions`
async fn revisions(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Revisions>, ApiError> {
    let function = key(&name, &uri)?;
    let revisions = shared.controller.revisions(&function).await?;
    Ok(Json(found(revisions, &function)?))
}

/// `GET /v1/functions/{name}/aliases`
async fn aliases(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Aliases>, ApiError> {
    let function = key(&name, &uri)?;
    let aliases = shared.controller.aliases(&function).await?;
    Ok(Json(found(aliases, &function)?))
}

/// `GET /v1/functions/{name}/aliases/{alias}`
async fn show(
    State(shared): State<Arc<Shared>>,
    Path((name, text)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<AliasView>, ApiError> {
    let (function, alias) = (key(&name, &uri)?, alias(&text)?);
    let aliases = found(shared.controller.aliases(&function).await?, &function)?;
    let view = aliases.aliases.into_iter().find(|it| it.alias == alias);
    view.map(Json).ok_or_else(|| {
        let missing = crate::Refusal::NoAlias { alias };
        crate::DeployError::from(missing).into()
    })
}

/// `PUT /v1/functions/{name}/aliases/{alias}`
async fn point(
    State(shared): State<Arc<Shared>>,
    Path((name, text)): Path<(String, String)>,
    uri: Uri,
    body: Body,
) -> Result<Json<Changed>, ApiError> {
    let (function, alias) = (key(&name, &uri)?, alias(&text)?);
    let TrafficRequest { revisions } = asked(body, &shared).await?;
    let changed = shared.controller.point(function, alias, revisions);
    Ok(Json(changed.await?))
}

/// `DELETE /v1/functions/{name}/aliases/{alias}`
async fn unpoint(
    State(shared): State<Arc<Shared>>,
    Path((name, text)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Changed>, ApiError> {
    let (function, alias) = (key(&name, &uri)?, alias(&text)?);
    Ok(Json(shared.controller.unpoint(function, alias).await?))
}

/// `PUT /v1/functions/{name}/traffic`
async fn share_out(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Json<Changed>, ApiError> {
    let function = key(&name, &uri)?;
    let TrafficRequest { revisions } = asked(body, &shared).await?;
    let changed = shared.controller.point(function, Alias::live(), revisions);
    Ok(Json(changed.await?))
}

/// `POST /v1/functions/{name}/rollback`
async fn roll_back(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Json<Changed>, ApiError> {
    let function = key(&name, &uri)?;
    let RollbackRequest { to } = asked(body, &shared).await?;
    Ok(Json(shared.controller.roll_back(function, to).await?))
}

fn alias(text: &str) -> Result<Alias, ApiError> {
    text.parse().map_err(|error: BadAlias| {
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-alias", error.to_string())
    })
}

/// The body as a type; an empty one is an empty object.
async fn asked<T: DeserializeOwned>(body: Body, shared: &Shared) -> Result<T, ApiError> {
    let json = read::json_or_nothing(body, &shared.options).await?;
    serde_json::from_value(json).map_err(|error| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let message = format!("the body is not what is asked for here: {error}");
        ApiError::caller(status, "mistakes", message)
    })
}
