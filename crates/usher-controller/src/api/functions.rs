//! `/v1/functions` and what is below it.
//!
//! Deliberately absent: decisions. Each handler reads, asks the controller, and answers. Logs
//! (`logs`) and traffic (`traffic`) have files of their own.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use usher_api::http::{
    Deleted, DeployEvent, DeployRequest, Deployed, FunctionPage, FunctionView, PAGE_DEFAULT,
};
use usher_api::manifest;
use usher_api::node::Progress;
use usher_core::id::{FunctionKey, Name};

use super::call::Call;
use super::error::{ApiError, found};
use super::{Shared, artifacts, read};
use crate::DeployError;

/// Steps of a deployment that wait to be sent.
const PROGRESS_QUEUE_MAX: usize = 64;

/// The function of a path, with the owner of its query.
pub(super) fn key(name: &str, uri: &Uri) -> Result<FunctionKey, ApiError> {
    read::function(name, read::owner(uri)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployQuery {
    traffic: Option<bool>,
}

/// `POST /v1/functions`
pub(super) async fn deploy(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    let DeployQuery { traffic } = read::query(&uri)?;
    let traffic = traffic.unwrap_or(true);
    let json = read::json(body, &shared.options).await?;
    let request = manifest::deploy_request(&json)?;
    artifacts::may_use(&shared, &call, &request.artifact).await?;
    if read::wants_lines(&headers) {
        call.defer();
        return Ok(read::lines(followed(shared, call, request, traffic)));
    }
    let (progress, _) = mpsc::channel(1);
    let deployed = shared.controller.deploy_with(request, traffic, progress);
    let deployed = deployed.await?;
    let status = match deployed.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(deployed)).into_response())
}

/// A deployment as its steps and its outcome.
fn followed(
    shared: Arc<Shared>,
    call: Arc<Call>,
    request: DeployRequest,
    traffic: bool,
) -> impl Stream<Item = DeployEvent> + Send + 'static {
    struct Following {
        steps: mpsc::Receiver<Progress>,
        outcome: Option<JoinHandle<Result<Deployed, ApiError>>>,
    }
    let function = request.function();
    let (progress, steps) = mpsc::channel(PROGRESS_QUEUE_MAX);
    // Ends the call, and so writes its line, whether or not somebody still reads the steps.
    let outcome = tokio::spawn(async move {
        let deploying = shared.controller.deploy_with(request, traffic, progress);
        let deployed = deploying.await.map_err(ApiError::from);
        let (status, label) = match &deployed {
            Ok(deployed) if deployed.created => (StatusCode::CREATED, None),
            Ok(_) => (StatusCode::OK, None),
            Err(error) => (error.status, Some(error.detail.label.clone())),
        };
        call.end(status, label).await?;
        deployed
    });
    let following = Following {
        steps,
        outcome: Some(outcome),
    };
    stream::unfold(following, move |mut following| {
        let function = function.clone();
        async move {
            let outcome = following.outcome.as_mut()?;
            let event = tokio::select! {
                biased;
                Some(step) = following.steps.recv() => DeployEvent::Progress(step),
                outcome = outcome => {
                    following.outcome = None;
                    let cut_off = |_| Err(DeployError::CutOff { function }.into());
                    match outcome.unwrap_or_else(cut_off) {
                        Ok(deployed) => DeployEvent::Deployed(Box::new(deployed)),
                        Err(error) => DeployEvent::Error(error.detail),
                    }
                }
            };
            Some((event, following))
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    owner: Option<Name>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/functions`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<FunctionPage>, ApiError> {
    let query: ListQuery = read::query(&uri)?;
    let after = query.after.map(|after| {
        let parsed = after.split_once('.').and_then(|(owner, name)| {
            let owner = owner.parse().ok()?;
            Some(FunctionKey {
                owner,
                name: name.parse().ok()?,
            })
        });
        let message = "after is not what a page gave as next";
        parsed.ok_or_else(|| ApiError::caller(StatusCode::BAD_REQUEST, "bad-query", message))
    });
    let (owner, after) = (query.owner.as_ref(), after.transpose()?);
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    Ok(Json(
        shared.controller.list(owner, after.as_ref(), limit).await?,
    ))
}

/// `GET /v1/functions/{name}`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<FunctionView>, ApiError> {
    let function = key(&name, &uri)?;
    let view = shared.controller.show(&function).await?;
    Ok(Json(found(view, &function)?))
}

/// `DELETE /v1/functions/{name}`
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Deleted>, ApiError> {
    let function = key(&name, &uri)?;
    let deleted = shared.controller.remove(function.clone()).await?;
    Ok(Json(found(deleted, &function)?))
}
