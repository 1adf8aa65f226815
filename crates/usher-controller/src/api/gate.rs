//! The gate before each route: whether the caller may make this call.
//!
//! It is the one place where this is decided, by what the table of routes says. A route says which
//! scope it needs and how its owner is told; where it says neither, the scope follows from the
//! method, and the owner from its path or query. A route whose owner cannot be told is for keys
//! that speak for everybody.
//!
//! ```text
//!   who? ─ nobody: 401
//!     └─► whose? ─ another owner's: 404, as if it were not there
//!           └─► scope? ─ missing: 403
//!                 └─► room in the audit log, for a change ─ none: 507
//!                       └─► handler
//! ```
//!
//! A key that speaks for one owner need not name it: the gate writes the owner into the query or
//! body, so that what the handler reads is what was judged.
//!
//! Deliberately absent: who the caller is (`keys`), which is known before.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri, header};
use serde_json::Value;
use usher_core::api_key::Scope;
use usher_core::id::{FunctionKey, Name};

use super::call::Call;
use super::error::ApiError;
use super::routes::Route;
use super::{ApiOptions, Shared, read};
use crate::keys::Caller;

/// What a route says about who may ask it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    /// The scope that it needs; none: by its method, `read` or `deploy`.
    pub(super) scope: Option<Scope>,
    /// How its owner is told.
    pub(super) of: Of,
}

/// How the owner of a route is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Of {
    /// By its path, if that has `{owner}`; else by its query, if the table names `owner` there;
    /// else it is the platform's.
    #[default]
    Derived,
    /// By the member `owner` of its JSON body.
    Body,
    /// It is nobody's, and anybody may ask without a key.
    Nobody,
    /// It is nobody's; any key will do.
    AnyKey,
    /// It is the platform's.
    Platform,
    /// By the path's `{owner}`.
    Path,
    /// By the query's `owner`.
    Query,
}

impl Of {
    /// What a row of the table says, or what follows from it.
    pub(super) fn said_by(route: &Route) -> Self {
        let in_query = route.query.iter().any(|(name, ..)| *name == "owner");
        match route.access.of {
            Self::Derived if route.path.contains("{owner}") => Self::Path,
            Self::Derived if in_query => Self::Query,
            Self::Derived => Self::Platform,
            said => said,
        }
    }
}

/// One route's gate.
pub(super) struct Gate {
    options: ApiOptions,
    scope: Scope,
    of: Of,
    /// Whether the path names a function, of the owner that the query names.
    function: bool,
}

/// The middleware around one route.
pub(super) async fn pass(
    State(gate): State<Arc<Gate>>,
    Extension(call): Extension<Arc<Call>>,
    request: Request,
    next: Next,
) -> Response {
    match gate.judge(&call, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

impl Gate {
    pub(super) fn new(route: &Route, shared: &Shared) -> Self {
        let safe = matches!(route.method, "get" | "head");
        let by_method = if safe { Scope::Read } else { Scope::Deploy };
        Self {
            options: shared.options.clone(),
            scope: route.access.scope.unwrap_or(by_method),
            of: Of::said_by(route),
            function: route.path.contains("{name}"),
        }
    }

    /// Judges a call, and makes the request what its handler is to read.
    async fn judge(&self, call: &Call, request: Request) -> Result<Request, ApiError> {
        let (mut parts, body) = request.into_parts();
        let mut body = body;
        if self.of != Of::Nobody {
            let caller = call.who()?;
            match self.of {
                Of::Body => body = self.by_body(call, caller, &mut parts, body).await?,
                Of::Query => self.by_query(call, caller, &mut parts).await?,
                Of::Path => self.by_path(call, caller, &mut parts).await?,
                Of::Nobody | Of::AnyKey => {}
                Of::Platform | Of::Derived => for_everybody(caller)?,
            }
            self.has_scope(caller)?;
        }
        call.passes().await?;
        Ok(Request::from_parts(parts, body))
    }

    /// The owner is the query's `owner`; none: that of the key, or what the handler makes of none.
    async fn by_query(
        &self,
        call: &Call,
        caller: &Caller,
        parts: &mut Parts,
    ) -> Result<(), ApiError> {
        let asked = owners_of(&parts.uri)?;
        let name = path(parts, "name").await.filter(|_| self.function);
        let mut owner = asked.first().and_then(|owner| owner.parse().ok());
        if let Some(own) = caller.owner() {
            if let Some(other) = asked.iter().find(|asked| *asked != own.as_str()) {
                let name = name.as_deref().unwrap_or_default();
                call.is_about(other.parse().ok(), name.parse().ok());
                return Err(not_there(other, name));
            }
            parts.uri = confined(&parts.uri, own)?;
            owner = Some(own.clone());
        }
        if owner.is_none() && asked.is_empty() && self.function {
            owner = Some(Name::default_owner());
        }
        call.is_about(owner, name.and_then(|name| name.parse().ok()));
        Ok(())
    }

    /// The owner is a part of the path.
    async fn by_path(
        &self,
        call: &Call,
        caller: &Caller,
        parts: &mut Parts,
    ) -> Result<(), ApiError> {
        let asked = path(parts, "owner").await.unwrap_or_default();
        call.is_about(asked.parse().ok(), None);
        match caller.owner() {
            Some(own) if *asked != *own.as_str() => Err(not_there(&asked, "")),
            _ => Ok(()),
        }
    }

    /// The owner is a member of the body; none: that of the key, or what the handler makes of none.
    async fn by_body(
        &self,
        call: &Call,
        caller: &Caller,
        parts: &mut Parts,
        body: Body,
    ) -> Result<Body, ApiError> {
        // Whoever may not make the call at all is not read to the end of his body.
        self.has_scope(caller)?;
        let mut json = read::json(body, &self.options).await?;
        let member = |json: &Value, name: &str| match json.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            // What is no text is nobody's name.
            Some(_) => Some(String::new()),
        };
        let asked = member(&json, "owner");
        let name = member(&json, "name").unwrap_or_default();
        let none = || match caller.owner() {
            None if name.is_empty() => None,
            own => Some(own.cloned().unwrap_or_else(Name::default_owner)),
        };
        let owner = asked
            .as_deref()
            .map_or_else(none, |asked| asked.parse().ok());
        call.is_about(owner, name.parse().ok());
        if let Some(own) = caller.owner() {
            if let Some(other) = asked.filter(|asked| asked != own.as_str()) {
                return Err(not_there(&other, ""));
            }
            let Some(members) = json.as_object_mut() else {
                let message = "the body is no JSON object";
                return Err(ApiError::caller(
                    StatusCode::BAD_REQUEST,
                    "bad-json",
                    message,
                ));
            };
            members.insert("owner".to_owned(), Value::from(own.as_str()));
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        Ok(Body::from(json.to_string()))
    }

    fn has_scope(&self, caller: &Caller) -> Result<(), ApiError> {
        match caller {
            Caller::Key(key) if self.of != Of::AnyKey && !key.allows(self.scope) => {
                let scope = self.scope.word();
                let message = format!(
                    "the key {} lacks the scope {scope}, which this needs; make one with \
                     `usher key create --scope {scope}`",
                    key.id
                );
                Err(ApiError::caller(
                    StatusCode::FORBIDDEN,
                    "scope-missing",
                    message,
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What belongs to no owner is for whoever is confined to none.
fn for_everybody(caller: &Caller) -> Result<(), ApiError> {
    match caller.owner() {
        None => Ok(()),
        Some(own) => {
            let message = format!(
                "this is about the platform as a whole, and the key speaks for owner {own} only"
            );
            Err(ApiError::caller(
                StatusCode::FORBIDDEN,
                "platform-only",
                message,
            ))
        }
    }
}

/// The answer about another owner's things: the very same as where there are none.
fn not_there(owner: &str, name: &str) -> ApiError {
    if let (Ok(owner), Ok(name)) = (owner.parse(), name.parse()) {
        return ApiError::no_such_function(&FunctionKey { owner, name });
    }
    let owner: String = owner.chars().take(64).collect();
    let message = format!("there is nothing of an owner {owner:?} here");
    ApiError::caller(StatusCode::NOT_FOUND, "no-such-owner", message)
}

/// A parameter of the path, decoded.
async fn path(parts: &mut Parts, wanted: &str) -> Option<String> {
    let all = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    let mut wanted = all.iter().filter(|(name, _)| *name == wanted);
    wanted.next().map(|(_, value)| value.to_owned())
}

/// All that the query says to be the owner.
fn owners_of(uri: &Uri) -> Result<Vec<String>, ApiError> {
    let pairs: Vec<(String, String)> = pairs(uri)?;
    let owners = pairs.into_iter().filter(|(name, _)| name == "owner");
    Ok(owners.map(|(_, owner)| owner).collect())
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let bad = |_| {
        let message = "the query cannot be read";
        ApiError::caller(StatusCode::BAD_REQUEST, "bad-query", message)
    };
    let Query(pairs) = Query::try_from_uri(uri).map_err(bad)?;
    Ok(pairs)
}

/// The same address with this owner in its query, and no other.
fn confined(uri: &Uri, owner: &Name) -> Result<Uri, ApiError> {
    let mut query = String::new();
    // Each piece is kept as it is written, unless it is an owner, however that is written.
    for piece in uri.query().unwrap_or_default().split('&') {
        let alone: Uri = format!("/?{piece}").parse().map_err(|_| unreadable())?;
        if !piece.is_empty() && owners_of(&alone)?.is_empty() {
            query.push_str(piece);
            query.push('&');
        }
    }
    let whole = format!("{}?{query}owner={owner}", uri.path());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).map_err(|_| unreadable())?);
    Uri::from_parts(parts).map_err(|_| unreadable())
}

fn unreadable() -> ApiError {
    let message = "the address cannot be read";
    ApiError::caller(StatusCode::BAD_REQUEST, "bad-query", message)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_one_owner_however_it_was_written() {
        let own: Name = "ann".parse().unwrap();
        for (before, after) in [
            ("/a", "/a?owner=ann"),
            ("/a?", "/a?owner=ann"),
            ("/a?tail=1&x=%20", "/a?tail=1&x=%20&owner=ann"),
            ("/a?owner=ann", "/a?owner=ann"),
            ("/a?owner=ann&tail=1&owner=ann", "/a?tail=1&owner=ann"),
            ("/a?%6fwner=ann", "/a?owner=ann"),
            ("/a?owne+r=x", "/a?owne+r=x&owner=ann"),
        ] {
            let uri = confined(&before.parse().unwrap(), &own).unwrap();
            assert_eq!(uri.to_string(), after, "{before}");
        }
        let all = owners_of(&"/a?owner=b&%6Fwner=c&x=d".parse().unwrap()).unwrap();
        assert_eq!(all, ["b", "c"]);
    }
}
