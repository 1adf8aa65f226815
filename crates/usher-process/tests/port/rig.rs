//! Programs that see raw bytes, and a client for them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use usher_api::body::{Body, BodyError};
use usher_api::invoke::BoxFuture;
use usher_process::contract::Answered;
use usher_process::contract::port::{CallError, Connect, PortClient};

/// When a test that waits for an event gives up: only ever seen where something hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Waits for an event, and fails where it never comes.
pub(crate) async fn event<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, future).await.unwrap()
}

/// A port at which nobody listens, and which the system gives to nobody else while this lives, nor
/// to a connection that goes out: it is bound here. A program can listen at it all the same if it
/// asks for `SO_REUSEADDR`, as servers do.
///
/// A port that is free for a moment is another test's in the next, and both then talk to one
/// program.
pub(crate) struct Place(TcpSocket);

impl Place {
    pub(crate) fn take() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        Self(socket)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// One connection, as a program sees it.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn send(&mut self, text: &str) {
        let _ = self.0.write_all(text.as_bytes()).await;
    }

    /// Reads until the bytes end so. None: the connection ended before.
    pub(crate) async fn until(&mut self, end: &str) -> Option<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(self.0.read_u8().await.ok()?);
        }
        Some(String::from_utf8(bytes).unwrap())
    }

    /// Reads a request's head.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes).await;
        bytes
    }
}

/// A program: what it does with each connection, by number.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    served: JoinHandle<()>,
}

impl Program {
    pub(crate) async fn start<F, A>(serve: F) -> Self
    where
        F: Fn(Raw, usize) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let served = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counted.fetch_add(1, SeqCst);
                tokio::spawn(serve(Raw(stream), number));
            }
        });
        Self {
            address,
            connections,
            served,
        }
    }

    /// Answers every request of every connection with the same bytes.
    pub(crate) async fn saying(reply: &'static str) -> Self {
        Self::start(move |mut raw, _| async move {
            while raw.head().await.is_some() {
                raw.send(reply).await;
            }
        })
        .await
    }

    pub(crate) fn client(&self) -> PortClient {
        PortClient::new(Arc::new(Loopback), self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Connects as the platform does, without a sandbox in between.
pub(crate) struct Loopback;

impl Connect for Loopback {
    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
    }
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request("GET", path, Body::Empty)
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    let builder = Request::builder().method(method);
    builder
        .uri(format!("http://a.localhost{path}"))
        .body(body)
        .unwrap()
}

/// What came of a call, read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: http::response::Parts,
    pub(crate) text: String,
}

/// Calls, and reads the reply while the rest is driven.
pub(crate) async fn whole(
    client: &mut PortClient,
    request: Request<Body>,
) -> Result<Whole, CallError> {
    event(async { read(client.call(request).await?).await }).await
}

pub(crate) async fn read(answered: Answered<CallError>) -> Result<Whole, CallError> {
    let Answered { response, rest } = answered;
    let (head, body) = response.into_parts();
    let drive = async {
        match rest {
            Some(rest) => rest.await,
            None => Ok(()),
        }
    };
    let (over, body) = tokio::join!(drive, body.collect());
    over?;
    let body = body.unwrap();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Ok(Whole { head, text })
}

/// The reply's body and a task that drives the rest.
pub(crate) fn driven(
    answered: Answered<CallError>,
) -> (Response<Body>, JoinHandle<Result<(), CallError>>) {
    let rest = answered.rest.unwrap();
    (answered.response, tokio::spawn(rest))
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
