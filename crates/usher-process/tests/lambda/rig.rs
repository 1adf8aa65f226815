//! What the tests of the Lambda contract share: an API on a free port, requests, and a client that
//! speaks raw HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use usher_api::body::Body;
use usher_core::id::RequestId;
use usher_process::contract::Answered;
use usher_process::contract::lambda::{
    About, DEFAULT_REGION, Invoke, InvokeError, LATEST, LambdaApi,
};

pub(crate) const INVOCATIONS: &str = "/2015-03-31/functions/probe/invocations";

pub(crate) fn about(handler: &str) -> About {
    About {
        name: "probe".to_owned(),
        owner: "default".to_owned(),
        version: LATEST.to_owned(),
        memory_max_mib: 128,
        handler: handler.to_owned(),
        region: DEFAULT_REGION.to_owned(),
        environment: std::collections::BTreeMap::new(),
        snap_start: false,
    }
}

pub(crate) async fn serve(about: About) -> (LambdaApi, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (LambdaApi::serve(listener, about), address)
}

/// A request's id that no other of this process has.
pub(crate) fn request_id() -> RequestId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    RequestId(u128::from(LAST.fetch_add(1, Ordering::Relaxed) + 1))
}

/// The same in the form of a UUID.
pub(crate) fn uuid(id: RequestId) -> String {
    let text = id.to_string();
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

pub(crate) fn invoke(request: http::Request<Body>) -> Invoke {
    Invoke {
        request_id: request_id(),
        request,
        deadline: SystemTime::now() + Duration::from_secs(30),
    }
}

/// A request to the function's URL.
pub(crate) fn get(path: &str) -> Invoke {
    let request = http::Request::get(format!("http://probe.localhost:8080{path}"));
    invoke(request.body(Body::Empty).unwrap())
}

/// A call by the Invoke API.
pub(crate) fn direct(event: &str) -> Invoke {
    let request = http::Request::post(format!("http://probe.localhost:8080{INVOCATIONS}"));
    invoke(request.body(Body::from(event.to_owned())).unwrap())
}

/// A reply, whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    /// How the body ended, if it broke off.
    pub(crate) broken: Option<String>,
}

impl Whole {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) async fn whole(response: http::Response<Body>) -> Whole {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut broken = None;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Err(error) => broken = Some(error.to_string()),
        }
    }
    Whole {
        status: head.status.as_u16(),
        headers: head.headers,
        text: String::from_utf8(bytes).unwrap(),
        broken,
    }
}

/// A reply to its end, and how what was left of the call ended.
pub(crate) async fn ended(
    answered: Answered<InvokeError>,
) -> (Whole, Option<Result<(), InvokeError>>) {
    let whole = whole(answered.response).await;
    match answered.rest {
        Some(rest) => (whole, Some(rest.await)),
        None => (whole, None),
    }
}

/// A runtime client that speaks raw HTTP over one connection.
pub(crate) struct Fake {
    pub(crate) socket: TcpStream,
    read: Vec<u8>,
}

/// What the API answered to it.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

impl Said {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(of, _)| of.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.header("lambda-runtime-aws-request-id")
            .unwrap()
            .to_owned()
    }
}

impl Fake {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(address).await.unwrap(),
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one answer; None if the connection was closed instead.
    pub(crate) async fn said(&mut self) -> Option<Said> {
        loop {
            if let Some(at) = self.read.windows(4).position(|at| at == b"\r\n\r\n") {
                let head = String::from_utf8(self.read[..at].to_vec()).unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let mut said = Said {
                    status,
                    head,
                    body: Bytes::new(),
                };
                let length: usize = said
                    .header("content-length")
                    .unwrap_or("0")
                    .parse()
                    .unwrap();
                if self.read.len() >= at + 4 + length {
                    said.body = Bytes::copy_from_slice(&self.read[at + 4..at + 4 + length]);
                    self.read.drain(..at + 4 + length);
                    return Some(said);
                }
            }
            let mut piece = vec![0; 64 * 1024];
            match self.socket.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.read.extend_from_slice(&piece[..length]),
            }
        }
    }

    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Said {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: api\r\n{headers}");
        self.send(format!("{head}content-length: {length}\r\n\r\n{body}"))
            .await;
        self.said().await.unwrap()
    }

    pub(crate) async fn next(&mut self) -> Said {
        self.call("GET", "/2018-06-01/runtime/invocation/next", "", "")
            .await
    }

    pub(crate) async fn post(&mut self, id: &str, what: &str, headers: &str, body: &str) -> Said {
        let path = format!("/2018-06-01/runtime/invocation/{id}/{what}");
        self.call("POST", &path, headers, body).await
    }
}
