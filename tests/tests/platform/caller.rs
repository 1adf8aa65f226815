//! A client of functions, and what an answer says about how it was served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use usher_api::body::Body;

use crate::event;

/// Calls functions; clones share their connections.
#[derive(Clone)]
pub(crate) struct Caller {
    hyper: Client<HttpConnector, Body>,
    gateway: SocketAddr,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the header `usher-run` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) environment: u64,
    pub(crate) area: u64,
    pub(crate) generation: u64,
    pub(crate) start: String,
    pub(crate) renewal: String,
    pub(crate) renew_us: u64,
}

impl Caller {
    pub(crate) fn new(gateway: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let hyper = Client::builder(TokioExecutor::new()).build(connector);
        Self { hyper, gateway }
    }

    /// A GET of a path, whatever host it is at.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.whole(self.request(path).body(Body::Empty).unwrap())
            .await
    }

    /// The beginning of a request.
    pub(crate) fn request(&self, path: &str) -> http::request::Builder {
        Request::builder().uri(format!("http://{}{path}", self.gateway))
    }

    /// Sends a request; returns with the head of the answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    /// The same, where there may be no answer.
    pub(crate) async fn try_send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        event("an answer's head", self.hyper.request(request)).await
    }

    /// Sends a request and reads the answer whole.
    pub(crate) async fn whole(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.send(request).await.into_parts();
        let body = event("an answer's body", body.collect()).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        }
    }
}

impl Answer {
    /// The body of an answer that is a success, without white space around it.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        str::from_utf8(&self.body).unwrap().trim()
    }

    /// The error in the body of an answer with this status.
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let told: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(told["error"]["request_id"], self.request_id(), "{told}");
        told["error"].clone()
    }

    /// How it was served.
    pub(crate) fn run(&self) -> Run {
        let text = self.headers["usher-run"].to_str().unwrap();
        read_run(text).unwrap_or_else(|| panic!("not well-formed: {text}"))
    }

    pub(crate) fn request_id(&self) -> &str {
        self.headers["x-request-id"].to_str().unwrap()
    }
}

/// Reads the header: these fields, in this order, and nothing else.
fn read_run(text: &str) -> Option<Run> {
    let mut fields = text.split(", ").map(|field| field.split_once('='));
    let mut field = |name| match fields.next()?? {
        (found, value) if found == name => Some(value),
        _ => None,
    };
    let run = Run {
        environment: field("env")?.parse().ok()?,
        area: field("area")?.parse().ok()?,
        generation: field("gen")?.parse().ok()?,
        start: field("start")?.to_owned(),
        renewal: field("renewal")?.to_owned(),
        renew_us: field("renew_us")?.parse().ok()?,
    };
    fields.next().is_none().then_some(run)
}

/// Holds runs of one function, in any order, to turning between two areas in each environment.
///
/// Areas count their own uses. If an environment's areas take turns, then the numbers of their uses
/// are without a gap from their first on and differ by one at most; two runs in a row in the same
/// area would leave the other one behind.
pub(crate) fn take_turns(runs: &[Run]) {
    let mut environments: BTreeMap<u64, BTreeMap<u64, BTreeSet<u64>>> = BTreeMap::new();
    for run in runs {
        let areas = environments.entry(run.environment).or_default();
        let uses = areas.entry(run.area).or_default();
        assert!(uses.insert(run.generation), "{run:?} was served twice");
    }
    for (environment, areas) in &environments {
        assert!(areas.len() <= 2, "environment {environment}: {areas:?}");
        let spans: Vec<_> = areas.values().map(span).collect();
        for (uses, span) in areas.values().zip(&spans) {
            assert_eq!(uses.len() as u64, span.1 - span.0 + 1, "{uses:?} has gaps");
        }
        let counts: Vec<_> = areas.values().map(BTreeSet::len).collect();
        let apart = counts.iter().max().unwrap() - counts.iter().min().unwrap();
        let alone = counts.len() == 1 && counts[0] > 1;
        assert!(
            !alone && apart <= 1,
            "environment {environment}: {counts:?}"
        );
    }
}

fn span(uses: &BTreeSet<u64>) -> (u64, u64) {
    (*uses.first().unwrap(), *uses.last().unwrap())
}

#[test]
#[should_panic(expected = "environment 1")]
fn an_area_that_stays_is_found() {
    let run = |area, generation| Run {
        environment: 1,
        area,
        generation,
        start: "warm".to_owned(),
        renewal: "swap".to_owned(),
        renew_us: 1,
    };
    take_turns(&[run(1, 1), run(2, 1), run(1, 2), run(1, 3)]);
}

#[test]
fn a_header_that_is_not_whole_is_not_read() {
    let whole = "env=1, area=2, gen=3, start=warm, renewal=swap, renew_us=4";
    let run = read_run(whole).unwrap();
    assert_eq!((run.environment, run.area, run.generation), (1, 2, 3));
    assert_eq!((run.start.as_str(), run.renew_us), ("warm", 4));
    for broken in [
        "env=1, area=2, gen=3, start=warm, renewal=swap",
        "area=2, env=1, gen=3, start=warm, renewal=swap, renew_us=4",
        "env=1, area=2, gen=3, start=warm, renewal=swap, renew_us=4, more=5",
        "env=x, area=2, gen=3, start=warm, renewal=swap, renew_us=4",
    ] {
        assert_eq!(read_run(broken), None, "{broken}");
    }
}
