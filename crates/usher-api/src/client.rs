//! The client of the REST API, for the command line and for tests.
//!
//! Answers that are one JSON value come back as the types of [`crate::http`]; progress and logs
//! come as streams that read no faster than they are consumed. An error carries what the API said,
//! or why it could not be asked.
//!
//! Deliberately absent: TLS, which the API does not have yet, and retries, which are the caller's.

mod access;
mod backup;
mod lines;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use usher_core::api_key::Secret;
use usher_core::id::{FunctionKey, Name};

pub use backup::Download;

use crate::body::Body;
use crate::http::{
    ANSWER_MAX_BYTES, ArtifactStored, Deleted, DeployEvent, DeployRequest, Deployed, ErrorBody,
    ErrorDetail, FunctionPage, FunctionView, NDJSON, Revisions,
};
use crate::node::{LogLine, LogQuery, Progress};

/// How long connecting may take, in milliseconds.
pub const CONNECT_WAIT_MAX_MS: u64 = 5_000;
/// How long the head of an answer may take, in milliseconds. A deployment that is followed answers
/// at once.
pub const ANSWER_WAIT_MAX_MS: u64 = 60_000;
/// How long an upload may take until it is answered, in milliseconds.
pub const UPLOAD_WAIT_MAX_MS: u64 = 3_600_000;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why the API could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one that can be asked.
    #[error("{url:?} is no address of an API: {reason}; write one such as http://127.0.0.1:7070")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection came about.
    #[error(
        "nothing answers at {url}: is `usher up` running? use --api or USHER_API to name another"
    )]
    Unreachable {
        /// Which API was asked.
        url: String,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The API answered that it will not, or could not.
    #[error("{error}")]
    Refused {
        /// The status of the answer; 200 where a deployment failed after its answer had begun.
        status: StatusCode,
        /// What it said.
        #[source]
        error: ErrorDetail,
    },
    /// Something answers there, but it is not this API.
    #[error("{url} answered {status} with something that is not from this API: {text}")]
    Strange {
        /// Which API was asked.
        url: String,
        /// The status of the answer.
        status: StatusCode,
        /// Its beginning.
        text: String,
    },
    /// The connection broke, or nothing came for too long.
    #[error("the connection to {url} broke off: {reason}")]
    Broken {
        /// Which API was asked.
        url: String,
        /// How.
        reason: String,
    },
}

impl ClientError {
    /// Whether the API answered that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// Answers that come one by one. An error is the last of them.
pub type Answers<T> = BoxStream<'static, Result<T, ClientError>>;

/// A client of one API. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    authority: Authority,
    /// What is sent with each request; its `Debug` shows nothing of it.
    authorization: Option<HeaderValue>,
    hyper: HyperClient<HttpConnector, Body>,
}

impl Client {
    /// A client of the API at `url`, such as `http://127.0.0.1:7070`; the scheme may be left out.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let bad = |reason: &str| ClientError::BadUrl {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let whole = match url.contains("://") {
            true => url.to_owned(),
            false => format!("http://{url}"),
        };
        let uri: Uri = whole.parse().map_err(|_| bad("it cannot be read"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(bad("only http is spoken"));
        }
        if !matches!(
            uri.path_and_query().map(PathAndQuery::as_str),
            None | Some("/")
        ) {
            return Err(bad("it has a path"));
        }
        let authority = uri
            .into_parts()
            .authority
            .ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(CONNECT_WAIT_MAX_MS)));
        connector.set_nodelay(true);
        let hyper = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            authority,
            authorization: None,
            hyper,
        })
    }

    /// The same client, which shows this key with each request.
    #[must_use]
    pub fn with_key(mut self, key: &Secret) -> Self {
        // A key is made of letters and digits, which make a header.
        let header = HeaderValue::from_str(&format!("Bearer {}", key.text())).ok();
        self.authorization = header.map(|mut header| {
            header.set_sensitive(true);
            header
        });
        self
    }

    /// The address that is asked.
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Stores an artifact.
    pub async fn put_artifact(
        &self,
        bytes: impl Into<Body>,
    ) -> Result<ArtifactStored, ClientError> {
        let request = self.request(Method::POST, "/v1/artifacts", bytes.into());
        self.value(request, UPLOAD_WAIT_MAX_MS).await
    }

    /// Deploys a function whose artifact is stored, and tells each step as it begins.
    pub async fn deploy(
        &self,
        request: &DeployRequest,
        mut progress: impl FnMut(Progress),
    ) -> Result<Deployed, ClientError> {
        let mut events = self.deploy_events(request).await?;
        while let Some(event) = events.next().await {
            match event? {
                DeployEvent::Progress(step) => progress(step),
                DeployEvent::Deployed(deployed) => return Ok(*deployed),
                DeployEvent::Error(error) => {
                    let status = StatusCode::OK;
                    return Err(ClientError::Refused { status, error });
                }
            }
        }
        Err(self
            .broken("it ended before the deployment was done; `usher show` tells whether it was"))
    }

    /// Deploys a function whose artifact is stored; the last event tells what came of it.
    pub async fn deploy_events(
        &self,
        request: &DeployRequest,
    ) -> Result<Answers<DeployEvent>, ClientError> {
        let json = serde_json::to_vec(request).map_err(|error| self.broken(error))?;
        let body = Body::from(Bytes::from(json));
        let mut request = self.request(Method::POST, "/v1/functions", body);
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        self.stream(request).await
    }

    /// One page of functions, of one owner or of all; `after` is the last page's `next`.
    pub async fn list(
        &self,
        owner: Option<&Name>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<FunctionPage, ClientError> {
        let owner = owner.map(|owner| format!("owner={owner}"));
        let after = after.map(|after| format!("after={after}"));
        let limit = limit.map(|limit| format!("limit={limit}"));
        let query: Vec<_> = [owner, after, limit].into_iter().flatten().collect();
        self.get(&format!("/v1/functions?{}", query.join("&")))
            .await
    }

    /// One function as it stands.
    pub async fn show(&self, function: &FunctionKey) -> Result<FunctionView, ClientError> {
        self.get(&path(function, "")).await
    }

    /// The revisions of a function.
    pub async fn revisions(&self, function: &FunctionKey) -> Result<Revisions, ClientError> {
        self.get(&path(function, "/revisions")).await
    }

    /// Deletes a function. Requests that run are finished.
    pub async fn delete(&self, function: &FunctionKey) -> Result<Deleted, ClientError> {
        let request = self.request(Method::DELETE, &path(function, ""), Body::Empty);
        self.value(request, ANSWER_WAIT_MAX_MS).await
    }

    /// A function's log, oldest line first; with `follow` it goes on until it is dropped.
    pub async fn logs(
        &self,
        function: &FunctionKey,
        query: &LogQuery,
    ) -> Result<Answers<LogLine>, ClientError> {
        let mut path = path(function, "/logs");
        path.push_str(&format!("&follow={}&quiet={}", query.follow, query.quiet));
        if let Some(tail) = query.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        if let Some(request) = query.request {
            path.push_str(&format!("&request={request}"));
        }
        self.stream(self.request(Method::GET, &path, Body::Empty))
            .await
    }

    /// Whether all is up. Not being reachable is an error, not being ready is not.
    pub async fn ready(&self) -> Result<bool, ClientError> {
        let request = self.request(Method::GET, "/readyz", Body::Empty);
        match self.send(request, ANSWER_WAIT_MAX_MS).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status, .. })
                if status == StatusCode::SERVICE_UNAVAILABLE =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The metrics, in the text format of Prometheus.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let request = self.request(Method::GET, "/metrics", Body::Empty);
        let bytes = self
            .whole(self.send(request, ANSWER_WAIT_MAX_MS).await?)
            .await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, Body::Empty);
        self.value(request, ANSWER_WAIT_MAX_MS).await
    }

    /// Every path is made of our own literals, names, digests and numbers, which need no escape.
    ///
    /// With a key no owner is named where it would be `default`: without one it is that of the key,
    /// if it speaks for one, and else `default` too.
    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let unnamed = self.authorization.as_ref().map(|_| access::unnamed(path));
        let path = unnamed.as_deref().unwrap_or(path);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .unwrap_or_default();
        if let Some(authorization) = &self.authorization {
            let authorization = authorization.clone();
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        request
    }

    async fn value<T: DeserializeOwned>(
        &self,
        request: Request<Body>,
        wait_max_ms: u64,
    ) -> Result<T, ClientError> {
        let response = self.send(request, wait_max_ms).await?;
        let status = response.status();
        let bytes = self.whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|_| self.strange(status, &bytes))
    }

    async fn stream<T>(&self, mut request: Request<Body>) -> Result<Answers<T>, ClientError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let ndjson = HeaderValue::from_static(NDJSON);
        request.headers_mut().insert(ACCEPT, ndjson);
        let response = self.send(request, ANSWER_WAIT_MAX_MS).await?;
        let status = response.status();
        let this = self.clone();
        let lines = lines::of(response.into_body()).map(move |line| match line {
            Ok(line) => serde_json::from_slice(&line).map_err(|_| this.strange(status, &line)),
            Err(reason) => Err(this.broken(reason)),
        });
        Ok(lines.boxed())
    }

    /// Sends a request; an answer that is not a success becomes an error.
    async fn send(
        &self,
        request: Request<Body>,
        wait_max_ms: u64,
    ) -> Result<Response<Incoming>, ClientError> {
        let wait = Duration::from_millis(wait_max_ms);
        let answer = tokio::time::timeout(wait, self.hyper.request(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => {
                let (url, source) = (self.url(), Box::new(error));
                return Err(ClientError::Unreachable { url, source });
            }
            Ok(Err(error)) => return Err(self.broken(innermost(&error))),
            Err(_) => return Err(self.broken(format!("no answer within {wait_max_ms} ms"))),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.whole(response).await?;
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(ErrorBody { error }) => Err(ClientError::Refused { status, error }),
            Err(_) => Err(self.strange(status, &bytes)),
        }
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect();
        let wait = Duration::from_millis(ANSWER_WAIT_MAX_MS);
        match tokio::time::timeout(wait, body).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) => Err(self.broken(innermost(error.as_ref()))),
            Err(_) => Err(self.broken("the answer does not end")),
        }
    }

    fn broken(&self, reason: impl std::fmt::Display) -> ClientError {
        let (url, reason) = (self.url(), reason.to_string());
        ClientError::Broken { url, reason }
    }

    fn strange(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        let (url, text) = (self.url(), text.escape_debug().to_string());
        ClientError::Strange { url, status, text }
    }
}

/// The path of a function, with its owner as the query.
fn path(function: &FunctionKey, below: &str) -> String {
    format!(
        "/v1/functions/{}{below}?owner={}",
        function.name, function.owner
    )
}

/// The cause at the bottom, which is what a person can act on.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers its first request with these bytes and closes.
    async fn server_that_says(answer: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        Client::new(&url).unwrap()
    }

    fn hello() -> FunctionKey {
        FunctionKey {
            owner: Name::default_owner(),
            name: "hello".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_asked_is_refused_with_the_reason() {
        for (url, reason) in [
            ("https://localhost:7070", "only http"),
            ("http://localhost:7070/v1", "a path"),
            ("http://me@localhost", "a user"),
            ("http://", "cannot be read"),
            ("local host", "cannot be read"),
        ] {
            let error = Client::new(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
        for url in ["127.0.0.1:7070", "http://localhost:7070/", "[::1]:7070"] {
            assert!(Client::new(url).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn where_nothing_listens_the_error_says_what_to_do() {
        // The port was free a moment ago; nobody else is told its number.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::new(&url).unwrap().show(&hello()).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("is `usher up` running?"),
            "{error}"
        );
        assert!(error.to_string().contains("USHER_API"), "{error}");
    }

    #[tokio::test]
    async fn an_error_of_the_api_is_passed_on_with_its_details() {
        let client = server_that_says(
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n\
             {\"error\":{\"label\":\"no-such-function\",\"message\":\"there is none\",\
             \"blame\":\"caller\",\
             \"details\":[\"one\",\"two\"]}}",
        )
        .await;
        let error = client.show(&hello()).await.unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "there is none\n  one\n  two");
    }

    #[tokio::test]
    async fn another_server_is_not_taken_for_the_api() {
        for answer in [
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>",
            "HTTP/1.1 500 No\r\nconnection: close\r\n\r\noh",
        ] {
            let error = server_that_says(answer)
                .await
                .show(&hello())
                .await
                .unwrap_err();
            assert!(matches!(error, ClientError::Strange { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_deployment_that_breaks_off_is_not_taken_for_done() {
        let client = server_that_says(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"progress\":{\"step\":\"compiling\"}}\n",
        )
        .await;
        let request = DeployRequest {
            owner: None,
            name: "f".parse().unwrap(),
            artifact: usher_core::id::Digest([0; 32]),
            settings: usher_core::function::Settings::default(),
        };
        let mut steps = Vec::new();
        let outcome = client.deploy(&request, |step| steps.push(step.step)).await;
        assert!(
            matches!(outcome, Err(ClientError::Broken { .. })),
            "{outcome:?}"
        );
        assert_eq!(steps, ["compiling"]);
    }
}
