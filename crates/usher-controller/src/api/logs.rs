//! Logs: of one function, and of all of them.
//!
//! Deliberately absent: keeping lines, which the node does.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing;
use http::Uri;
use serde::Deserialize;
use usher_api::node::LogQuery;
use usher_core::id::{Name, RequestId};

use super::error::{ApiError, found};
use super::routes::{NDJSON, OWNER, Route, route};
use super::{Shared, read};

const TAIL: (&str, &str, &str) = ("tail", "integer", "Only so many of the latest lines");
const FOLLOW: (&str, &str, &str) = ("follow", "boolean", "Go on with new lines as they come");
const REQUEST: (&str, &str, &str) = ("request", "string", "Only those of one request");
const QUIET: (&str, &str, &str) = (
    "quiet",
    "boolean",
    "Leave out requests served without a fault",
);

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            query: &[OWNER, TAIL, FOLLOW, REQUEST, QUIET],
            gives: NDJSON,
            handler: routing::get(of_one),
            ..route("get", "/v1/functions/{name}/logs", "Read a function's log")
        },
        Route {
            query: &[
                ("owner", "string", "Only this owner's; default: all"),
                TAIL,
                FOLLOW,
                REQUEST,
                QUIET,
            ],
            gives: NDJSON,
            handler: routing::get(of_all),
            ..route("get", "/v1/logs", "Read the logs of all functions")
        },
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogsQuery {
    owner: Option<Name>,
    tail: Option<usize>,
    #[serde(default)]
    follow: bool,
    request: Option<RequestId>,
    #[serde(default)]
    quiet: bool,
}

/// Whose lines a query asks for, and which of them.
fn asked(uri: &Uri) -> Result<(Option<Name>, LogQuery), ApiError> {
    let query: LogsQuery = read::query(uri)?;
    let lines = LogQuery {
        tail: query.tail,
        follow: query.follow,
        request: query.request,
        quiet: query.quiet,
    };
    Ok((query.owner, lines))
}

/// `GET /v1/functions/{name}/logs`
async fn of_one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (owner, lines) = asked(&uri)?;
    let function = read::function(&name, owner)?;
    found(shared.controller.record(&function).await?, &function)?;
    let log = shared.controller.logs(&function, lines);
    Ok(read::lines_until_stop(log, &shared.stopping))
}

/// `GET /v1/logs`
async fn of_all(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, ApiError> {
    let (owner, lines) = asked(&uri)?;
    let log = shared.controller.all_logs(owner, lines);
    Ok(read::lines_until_stop(log, &shared.stopping))
}
