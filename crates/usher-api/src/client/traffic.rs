//! Asking about revisions, aliases and traffic.
//!
//! Deliberately absent: what a split is (`usher_core::traffic`).

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use usher_core::id::FunctionKey;
use usher_core::traffic::Alias;
use usher_core::traffic::wanted::{Revision, Wanted};

use super::{Answers, Client, ClientError, JSON, path};
use crate::body::Body;
use crate::http::{DeployEvent, DeployRequest};
use crate::traffic::{AliasView, Aliases, Changed, RollbackRequest, TrafficRequest};

/// How long a change of traffic may take until it is answered, in milliseconds: images are made
/// ready first, and what is not cached is compiled.
const CHANGE_WAIT_MAX_MS: u64 = 600_000;

impl Client {
    /// Deploys a function whose artifact is stored, and leaves the traffic where it is; the last
    /// event tells what came of it.
    pub async fn stage_events(
        &self,
        request: &DeployRequest,
    ) -> Result<Answers<DeployEvent>, ClientError> {
        let request = self.sends(Method::POST, "/v1/functions?traffic=false", request)?;
        self.stream(request).await
    }

    /// All aliases of a function, `live` first.
    pub async fn aliases(&self, function: &FunctionKey) -> Result<Aliases, ClientError> {
        self.get(&path(function, "/aliases")).await
    }

    /// One alias of a function.
    pub async fn alias(
        &self,
        function: &FunctionKey,
        alias: &Alias,
    ) -> Result<AliasView, ClientError> {
        self.get(&path(function, &format!("/aliases/{alias}")))
            .await
    }

    /// Points an alias at revisions; a new one is made.
    pub async fn set_alias(
        &self,
        function: &FunctionKey,
        alias: &Alias,
        revisions: Vec<Wanted>,
    ) -> Result<Changed, ClientError> {
        let path = path(function, &format!("/aliases/{alias}"));
        self.change(Method::PUT, &path, &TrafficRequest { revisions })
            .await
    }

    /// Deletes an alias.
    pub async fn delete_alias(
        &self,
        function: &FunctionKey,
        alias: &Alias,
    ) -> Result<Changed, ClientError> {
        let path = path(function, &format!("/aliases/{alias}"));
        let request = self.request(Method::DELETE, &path, Body::Empty);
        self.value(request, CHANGE_WAIT_MAX_MS).await
    }

    /// Shares the traffic of the bare name out among revisions.
    pub async fn set_traffic(
        &self,
        function: &FunctionKey,
        revisions: Vec<Wanted>,
    ) -> Result<Changed, ClientError> {
        let path = path(function, "/traffic");
        self.change(Method::PUT, &path, &TrafficRequest { revisions })
            .await
    }

    /// Gives the traffic of the bare name back to what had it before, or to a revision.
    pub async fn roll_back(
        &self,
        function: &FunctionKey,
        to: Option<Revision>,
    ) -> Result<Changed, ClientError> {
        let path = path(function, "/rollback");
        self.change(Method::POST, &path, &RollbackRequest { to })
            .await
    }

    async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.sends(method, path, body)?;
        self.value(request, CHANGE_WAIT_MAX_MS).await
    }

    /// A request with a body of JSON.
    fn sends(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<http::Request<Body>, ClientError> {
        let json = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let mut request = self.request(method, path, Body::from(Bytes::from(json)));
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        Ok(request)
    }
}
