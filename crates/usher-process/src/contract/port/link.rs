//! One connection to a program, driven by whoever waits for it: no task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use usher_api::body::Body;

use super::error::CallError;
use super::wire::{Gauge, Wire};

/// The largest head of a reply, in bytes.
pub(super) const HEAD_MAX_BYTES: usize = 64 * 1024;
/// The most headers of a reply.
pub(super) const HEADERS_MAX: usize = 256;
/// What is held of a body on its way to the program or back, in bytes, beside the kernel's buffers.
const BUFFERED_MAX_BYTES: usize = HEAD_MAX_BYTES;

/// See the module.
pub(crate) struct Link {
    sender: SendRequest<Body>,
    driver: Driver,
    gauge: Arc<Gauge>,
}

/// What moves the bytes; asked no more once it has ended.
struct Driver(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Driver {
    /// Moves what can be moved. Ready: the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.0 else {
            return Poll::Ready(());
        };
        let ended = connection.as_mut().poll(cx);
        if let Poll::Ready(ended) = &ended {
            // Whoever waits for a head or a body is told the error there.
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a program ended early");
            }
            self.0 = None;
        }
        ended.map(|_| ())
    }
}

/// A reply whose head is there.
pub(crate) struct Begun {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Link,
}

/// A request that got no reply.
pub(crate) struct Lost {
    pub(crate) error: CallError,
    /// The program closed the connection, or it broke, before a byte of a reply came.
    pub(crate) unanswered: bool,
}

impl Link {
    /// Speaks HTTP/1.1 over a new connection.
    pub(crate) async fn open(stream: TcpStream) -> Result<Self, CallError> {
        // It only fails where the connection is gone, which the first write tells.
        let _ = stream.set_nodelay(true);
        let gauge = Arc::<Gauge>::default();
        let wire = Wire::new(stream, Arc::clone(&gauge));
        let mut http = http1::Builder::new();
        http.max_buf_size(BUFFERED_MAX_BYTES)
            .max_header_size(HEAD_MAX_BYTES)
            .max_headers(HEADERS_MAX);
        let shaken = http.handshake(TokioIo::new(wire)).await;
        let (sender, connection) = shaken.map_err(|_| CallError::Closed)?;
        Ok(Self {
            sender,
            driver: Driver(Some(Box::pin(connection.with_upgrades()))),
            gauge,
        })
    }

    /// Sends a request and waits for the reply's head. Dropping the future closes the connection.
    pub(crate) async fn send(mut self, request: Request<Body>) -> Result<Begun, Lost> {
        self.gauge.begin();
        let mut answered = pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        let answer = poll_fn(|cx| {
            if let Poll::Ready(answer) = answered.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            if driver.poll(cx).is_ready() {
                // What ends the connection tells the one who waits as well.
                return match answered.as_mut().poll(cx) {
                    Poll::Ready(answer) => Poll::Ready(Some(answer)),
                    Poll::Pending => Poll::Ready(None),
                };
            }
            answered.as_mut().poll(cx).map(Some)
        })
        .await;
        match answer {
            Some(Ok(response)) => {
                self.gauge.head_complete();
                let link = self;
                Ok(Begun { response, link })
            }
            Some(Err(error)) => {
                let error = CallError::before_head(&error, &self.gauge);
                let unanswered = matches!(error, CallError::Closed) && self.gauge.is_silent();
                Err(Lost { error, unanswered })
            }
            None => Err(Lost {
                error: CallError::Closed,
                unanswered: self.gauge.is_silent(),
            }),
        }
    }

    /// Moves bytes of the request and of the reply. Never ready: other things tell when to stop.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        let _ = self.driver.poll(cx);
    }

    /// Moves what can be moved now, and tells whether the connection could take another request:
    /// the request and its reply are complete, and nothing else has come.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> bool {
        self.driver.poll(cx).is_pending() && self.sender.is_ready()
    }
}
