//! A gateway on a free port, functions that are closures, and a client that sees raw bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use usher_api::body::{Body, BodyError};
use usher_api::invoke::{BoxFuture, Failure, Invocation, Invoker, Reply};
use usher_core::function::{Revision, Settings};
use usher_core::id::{AreaId, Digest, EnvironmentId, Generation, RevisionId};
use usher_core::proof::{Proof, Renewal, Start};
use usher_gateway::{Bounds, Config, Drained, Gateway, Gauge, RouteTable};

/// When a test that waits for an event gives up: only ever seen where something hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A function that is a closure.
pub(crate) struct Fake<F>(pub(crate) F);

impl<F, A> Invoker for Fake<F>
where
    F: Fn(Invocation) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin((self.0)(invocation))
    }
}

pub(crate) const PROOF: Proof = Proof {
    environment: EnvironmentId(7),
    area: AreaId(14),
    generation: Generation(3),
    start: Start::Warm,
    renewal: Renewal::Swap,
    renew_us: 2,
};

pub(crate) fn reply(response: Response<Body>) -> Result<Reply, Failure> {
    Ok(Reply {
        response,
        proof: PROOF,
    })
}

pub(crate) fn text(text: impl Into<String>) -> Result<Reply, Failure> {
    reply(Response::new(Body::from(text.into())))
}

/// A body that the test feeds.
pub(crate) fn fed() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, Body::stream(Fed(frames)))
}

pub(crate) fn data(text: &str) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(Bytes::from(text.to_owned())))
}

struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BodyError>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx)
    }
}

/// Tells when it is dropped.
pub(crate) struct Alarm(Option<oneshot::Sender<()>>);

pub(crate) fn alarm() -> (Alarm, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    (Alarm(Some(sender)), receiver)
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

pub(crate) fn revision(owner: &str, name: &str, settings: Settings) -> Revision {
    Revision {
        id: RevisionId(Digest([1; 32])),
        function: usher_core::id::FunctionKey {
            owner: owner.parse().unwrap(),
            name: name.parse().unwrap(),
        },
        number: 1,
        artifact: Digest([2; 32]),
        settings,
    }
}

/// A gateway that runs.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) gauge: Gauge,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

impl Rig {
    /// One function answers everything.
    pub(crate) async fn single(settings: Settings, invoker: impl Invoker) -> Self {
        Self::with_bounds(Bounds::default(), settings, invoker).await
    }

    pub(crate) async fn with_bounds(
        bounds: Bounds,
        settings: Settings,
        invoker: impl Invoker,
    ) -> Self {
        let table = Arc::new(RouteTable::new());
        table.serve_single(revision("default", "only", settings));
        Self::start(bounds, table, invoker).await
    }

    pub(crate) async fn start(
        bounds: Bounds,
        table: Arc<RouteTable>,
        invoker: impl Invoker,
    ) -> Self {
        let config = Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            bounds,
            ..Config::default()
        };
        let gateway = Gateway::bind(config, table, Arc::new(invoker))
            .await
            .unwrap();
        let (address, gauge) = (gateway.local_addr(), gateway.gauge());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(gateway.serve(async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            gauge,
            stop,
            served,
        }
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own, which the answer closes.
    pub(crate) async fn once(&self, head: &str) -> Answer {
        let mut raw = self.connect().await;
        raw.send(head).await;
        raw.answer().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.once(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await
    }

    /// Begins the shutdown; what it comes to can be awaited.
    pub(crate) fn stop(self) -> JoinHandle<Drained> {
        self.stop.send(()).unwrap();
        self.served
    }
}

/// A connection whose bytes are looked at.
pub(crate) struct Raw(pub(crate) TcpStream);

/// A response's head, and its body with the framing taken off.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The `error` of a refusal.
    pub(crate) fn error(&self) -> serde_json::Value {
        let text: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        text["error"].clone()
    }
}

impl Raw {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the bytes end so.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let read = async {
            while !bytes.ends_with(end.as_bytes()) {
                let byte = self.0.read_u8().await;
                let seen = String::from_utf8_lossy(&bytes).into_owned();
                bytes.push(byte.unwrap_or_else(|_| panic!("closed before {end:?}: {seen:?}")));
            }
        };
        tokio::time::timeout(HANGS_AFTER, read).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        // A reset is an end too.
        let _ = tokio::time::timeout(HANGS_AFTER, read).await.unwrap();
        bytes
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let mut answer = Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: String::new(),
        };
        if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            let read = self.0.read_exact(&mut body);
            tokio::time::timeout(HANGS_AFTER, read)
                .await
                .unwrap()
                .unwrap();
            answer.body = String::from_utf8(body).unwrap();
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await {
                answer.body.push_str(&chunk);
            }
        }
        answer
    }

    /// The next chunk; none for the final one.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut bytes = vec![0; size + 2];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes.truncate(size);
        (size > 0).then(|| String::from_utf8(bytes).unwrap())
    }
}

/// Waits for an event, and fails where it never comes.
pub(crate) async fn event<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, future).await.unwrap()
}

/// Waits until the figures are so. There is no event for a counter; other tasks run meanwhile.
pub(crate) async fn figures(gauge: &Gauge, so: impl Fn(&usher_gateway::GatewayFigures) -> bool) {
    event(async {
        while !so(&gauge.snapshot()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// How often an outcome was counted for the one function of a rig.
pub(crate) fn outcome(gauge: &Gauge, label: &str) -> u64 {
    let figures = gauge.snapshot();
    let outcomes = &figures.functions[0].figures.outcomes;
    outcomes.get(label).copied().unwrap_or(0)
}
