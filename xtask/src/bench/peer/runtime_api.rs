//! The AWS Lambda Runtime API with nothing around it: what an official client costs when no
//! platform stands in front.
//!
//! ```text
//! HTTP request → event → whoever asks for `next` → its `response` → HTTP answer
//! ```
//!
//! Any number of clients may ask. Deliberately absent: time limits, logs, bodies of requests,
//! everything else that a platform does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for a client.
const WAITING_MAX: usize = 1024;
/// The longest reply that is taken, in bytes.
const REPLY_MAX_BYTES: usize = 1 << 20;
/// What a client is told of its deadline, from now, in seconds.
const DEADLINE_S: u64 = 60;
/// Where it tells how many clients wait for a request; of our own.
const WAITING: &str = "/waiting";
/// Where the API is.
const INVOCATION: &str = "/2018-06-01/runtime/invocation/";

type Answer = Response<Full<Bytes>>;

/// One request on its way to a client.
struct Call {
    id: u64,
    event: Bytes,
}

/// What the two sides share.
struct Desk {
    calls: mpsc::Sender<Call>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Call>>,
    answers: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    ids: AtomicU64,
    clients: AtomicUsize,
}

/// What a handler answers.
#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "statusCode")]
    status: u16,
    body: String,
}

/// Serves until it is ended.
pub(super) async fn serve() -> Result<()> {
    let (calls, waiting) = mpsc::channel(WAITING_MAX);
    let desk = Arc::new(Desk {
        calls,
        waiting: waiting.into(),
        answers: Mutex::default(),
        ids: AtomicU64::new(1),
        clients: AtomicUsize::new(0),
    });
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!(
        "{{\"ready\":true,\"gateway\":\"{}\",\"api\":\"{}\"}}",
        front.local_addr()?,
        api.local_addr()?
    );
    let both = tokio::try_join!(
        accept(front, desk.clone(), |desk, request| async move {
            desk.front(&request).await
        }),
        accept(
            api,
            desk,
            |desk, request| async move { desk.api(request).await }
        ),
    );
    both.map(drop)
}

async fn accept<F, A>(listener: TcpListener, desk: Arc<Desk>, answer: F) -> Result<()>
where
    F: Fn(Arc<Desk>, Request<Incoming>) -> A + Copy + Send + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let desk = desk.clone();
        let service = service_fn(move |request| {
            let answer = answer(desk.clone(), request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        // A client that goes away is the normal end of a connection.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

impl Desk {
    /// Answers a request by way of whichever client takes it.
    async fn front(&self, request: &Request<Incoming>) -> Answer {
        let (sender, answer) = oneshot::channel();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.answers().insert(id, sender);
        let event = event(request);
        let sent = self.calls.send(Call { id, event }).await;
        let reply = match sent {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        self.answers().remove(&id);
        match serde_json::from_slice::<Reply>(&reply) {
            Ok(reply) => Response::builder()
                .status(reply.status)
                .body(Full::from(reply.body))
                .unwrap_or_default(),
            Err(_) => only(StatusCode::BAD_GATEWAY),
        }
    }

    async fn api(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() == WAITING {
            let clients = self.clients.load(Ordering::Relaxed).to_string();
            return Response::new(Full::from(clients));
        }
        let path = request.uri().path().strip_prefix(INVOCATION);
        match (request.method(), path.and_then(|path| path.split_once('/'))) {
            (&Method::GET, None) if path == Some("next") => self.next().await,
            (&Method::POST, Some((id, "response"))) => {
                let sender = id.parse().ok().and_then(|id| self.answers().remove(&id));
                let read = Limited::new(request.into_body(), REPLY_MAX_BYTES).collect();
                let (Some(sender), Ok(body)) = (sender, read.await) else {
                    return only(StatusCode::BAD_REQUEST);
                };
                // Who asked may have gone away.
                let _ = sender.send(body.to_bytes());
                only(StatusCode::ACCEPTED)
            }
            (&Method::POST, Some((id, "error"))) => {
                // Without a sender the request is answered as failed.
                id.parse().ok().and_then(|id| self.answers().remove(&id));
                only(StatusCode::ACCEPTED)
            }
            _ => only(StatusCode::NOT_FOUND),
        }
    }

    async fn next(&self) -> Answer {
        self.clients.fetch_add(1, Ordering::Relaxed);
        let call = self.waiting.lock().await.recv().await;
        self.clients.fetch_sub(1, Ordering::Relaxed);
        let Some(call) = call else {
            return only(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let deadline = SystemTime::now() + Duration::from_secs(DEADLINE_S);
        let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:bench";
        Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", call.id)
            .header(
                "lambda-runtime-deadline-ms",
                deadline.as_millis().to_string(),
            )
            .header("lambda-runtime-invoked-function-arn", arn)
            .body(Full::new(call.event))
            .unwrap_or_default()
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Bytes>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request in the form of a function URL's event, as short as handlers here need it.
fn event(request: &Request<Incoming>) -> Bytes {
    let (path, query) = (request.uri().path(), request.uri().query());
    let event = serde_json::json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query.unwrap_or_default(),
        "headers": {},
        "requestContext": {"http": {"method": request.method().as_str(), "path": path}},
        "isBase64Encoded": false,
    });
    event.to_string().into()
}

fn only(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}
