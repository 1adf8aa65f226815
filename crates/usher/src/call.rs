//! A client of the gateway: one request, its answer, and the proof of how it was served.
//!
//! Deliberately absent: the API, which `usher_api::client` speaks to.

use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use usher_api::body::Body;
use usher_core::proof::PROOF_HEADER;

/// The largest answer that is read whole, in bytes.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// Calls functions through one gateway. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Caller {
    hyper: Client<HttpConnector, Body>,
}

/// A whole answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// How it was served, where the answer says so.
    pub(crate) run: Option<RunFacts>,
    /// Its body.
    pub(crate) body: Bytes,
}

/// What the checks need of the `usher-run` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunFacts {
    /// The environment.
    pub(crate) environment: u64,
    /// The area.
    pub(crate) area: u64,
    /// How the area became clean.
    pub(crate) renewal: String,
}

impl Caller {
    /// A client without connections yet.
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let hyper = Client::builder(TokioExecutor::new()).build(connector);
        Self { hyper }
    }

    /// Sends a request, and returns once the head of the answer is there.
    pub(crate) async fn send(&self, request: Request<Body>) -> anyhow::Result<Response<Incoming>> {
        let to = request.uri().authority().map(ToString::to_string);
        self.hyper.request(request).await.map_err(|error| {
            let cause = anyhow!(error);
            cause.context(format!(
                "the gateway at {} gave no answer",
                to.unwrap_or_default()
            ))
        })
    }

    /// A GET of a function's path and query, read whole.
    pub(crate) async fn get(
        &self,
        gateway: SocketAddr,
        function: &str,
        path: &str,
    ) -> anyhow::Result<Answer> {
        let path: PathAndQuery = format!("/fn/{function}{path}").parse()?;
        let uri = Uri::builder()
            .scheme("http")
            .authority(gateway.to_string())
            .path_and_query(path)
            .build()?;
        let mut request = Request::new(Body::Empty);
        *request.uri_mut() = uri;
        let (head, body) = self.send(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
        let body = body.map_err(|error| anyhow!(error)).with_context(|| {
            format!("the answer of {function} broke off or has over {ANSWER_MAX_BYTES} bytes")
        })?;
        Ok(Answer {
            status: head.status,
            run: facts(&head.headers),
            body: body.to_bytes(),
        })
    }
}

impl Answer {
    /// The body as text, without white space around it.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

fn facts(headers: &HeaderMap) -> Option<RunFacts> {
    let text = headers.get(PROOF_HEADER)?.to_str().ok()?;
    let field = |name: &str| {
        text.split(", ")
            .filter_map(|field| field.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    };
    Some(RunFacts {
        environment: field("env")?.parse().ok()?,
        area: field("area")?.parse().ok()?,
        renewal: field("renewal")?.to_owned(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::HeaderValue;
    use usher_core::id::{AreaId, EnvironmentId, Generation};
    use usher_core::proof::{Proof, Renewal, Start};

    use super::*;

    #[test]
    fn the_header_is_read_as_the_core_writes_it() {
        let proof = Proof {
            environment: EnvironmentId(7),
            area: AreaId(14),
            generation: Generation(3),
            start: Start::Warm,
            renewal: Renewal::Swap,
            renew_us: 2,
        };
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&proof.to_string()).unwrap();
        headers.insert(PROOF_HEADER, value);
        let read = facts(&headers).unwrap();
        assert_eq!((read.environment, read.area), (7, 14));
        assert_eq!(read.renewal, "swap");
        assert_eq!(facts(&HeaderMap::new()), None);
    }
}
