//! The platform's side of one environment's Runtime API: is it ready, and one invocation after the
//! other.
//!
//! ```text
//! request ─event→ offered ─► the program's reply ─► response, and what is left of it (rest)
//! ```
//!
//! Deliberately absent: time limits and the program's end, with which the caller races these
//! futures; `failure::answer` makes the answers for both.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use usher_core::id::RequestId;
use usher_core::trace::{TRACEPARENT, TraceParent};

use std::sync::Arc;

use super::about::{About, request_id, trace_id};
use super::desk::{Closed, Delivery, Desk, IDLE_CALLS_MAX, Reply, Seen, Stream};
use super::event::event;
use super::failure::{Failure, FunctionError, JSON, answer, executed, executed_with, sign};
use super::life::State;
use super::stream::{Broken, Frames, INTEGRATION, Prelude, prelude};
use super::style::{self, Declined, Style};
use super::{result, server};
use crate::contract::{Answered, Rest};

/// The largest event, and the largest body of a request, in bytes.
pub const EVENT_MAX_BYTES: usize = 6 * 1024 * 1024;

static X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
static REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
static INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
static DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
static ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
static TRACE: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
static CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");

/// One call of the function.
#[derive(Debug)]
pub struct Invoke {
    /// Ties everything that is said about this call together.
    pub request_id: RequestId,
    /// Head and body as the gateway hands them on.
    pub request: http::Request<Body>,
    /// When the caller will give up. The program is told, and nothing here acts on it.
    pub deadline: SystemTime,
}

/// An extension of the responses to invocations that failed: what is to stand in the function's
/// log, besides what the program wrote there itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(pub String);

/// Why an environment does not become ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The program says that its initialisation failed. It exits by itself as a rule.
    #[error("the function's initialisation failed with {}", .0.error_type)]
    Reported(FunctionError),
    /// The Runtime API has ended before the program asked for an event.
    #[error("the Runtime API ended before the function was ready")]
    Closed,
}

/// Why an invocation has no answer, or why an answer's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The request makes an event that is too large. The program has not seen it.
    #[error("the request, as an event, is larger than {body_max_bytes} bytes")]
    BodyTooLarge {
        /// The bound.
        body_max_bytes: u64,
    },
    /// The request's body broke off. The program has not seen it.
    #[error("the request's body broke off before the function was called")]
    Request(#[source] BodyError),
    /// The program cannot take events: its initialisation failed.
    #[error("the function's initialisation failed with {}", .0.error_type)]
    Init(FunctionError),
    /// A streamed reply broke off after its head had left.
    #[error(transparent)]
    Stream(Broken),
    /// The program calls the Runtime API for nothing, over and over.
    #[error("the program made more than {IDLE_CALLS_MAX} calls that lead nowhere")]
    Disorder,
    /// The Runtime API has ended.
    #[error("the Runtime API of this environment has ended")]
    Closed,
}

impl InvokeError {
    /// What the caller is to be told, and whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BodyTooLarge { body_max_bytes } => Fault::BodyTooLarge {
                body_max_bytes: *body_max_bytes,
            },
            Self::Request(BodyError::Fault(fault)) => fault.clone(),
            Self::Request(_) | Self::Stream(Broken::CallerGone) => Fault::CallerGone,
            Self::Init(_) => Fault::StartFailed,
            Self::Stream(Broken::Function(_) | Broken::Cut) | Self::Disorder => Fault::Trap,
            Self::Closed => Fault::Unavailable,
        }
    }

    /// Whether the environment can serve another request all the same.
    pub fn spares_environment(&self) -> bool {
        match self {
            Self::BodyTooLarge { .. } | Self::Request(_) => true,
            Self::Stream(Broken::Function(_)) => true,
            Self::Stream(_) | Self::Init(_) | Self::Disorder | Self::Closed => false,
        }
    }
}

/// The Runtime API of one environment. Dropping it ends its connections and its task.
pub struct LambdaApi {
    desk: Arc<Desk>,
    task: AbortHandle,
}

impl Drop for LambdaApi {
    fn drop(&mut self) {
        self.task.abort();
        self.desk.close(Closed::Listener);
    }
}

impl LambdaApi {
    /// Serves a program that connects to `listener`. Must be called within a tokio runtime.
    pub fn serve(listener: TcpListener, about: About) -> Self {
        let desk = Desk::new(about);
        let task = tokio::spawn(server::serve(listener, Arc::clone(&desk))).abort_handle();
        Self { desk, task }
    }

    /// Resolves when the program asks for its first event. It may be awaited by any number, at any
    /// time, and dropped.
    ///
    /// # Errors
    /// The program says that its initialisation failed, or cannot be served any more.
    pub async fn ready(&self) -> Result<(), InitError> {
        let mut seen = self.desk.watch();
        let starting = |seen: &Seen| seen.state == State::Starting && seen.closed.is_none();
        let seen = seen
            .wait_for(|seen| !starting(seen))
            .await
            .map(|seen| *seen);
        match seen {
            Ok(seen) if seen.state == State::Failed => Err(self
                .desk
                .init_error()
                .map_or(InitError::Closed, InitError::Reported)),
            Ok(seen) if seen.closed.is_none() => Ok(()),
            _ => Err(InitError::Closed),
        }
    }

    /// Gives the program one request, and answers when it has replied: with all of a buffered
    /// result, or with the head of a streamed one. A function's error is an answer too, with a [`Note`]
    /// for the log. It waits until the program asks for an event, without a limit.
    ///
    /// Dropping the future leaves the program with an event that nobody waits for: the environment
    /// must then be destroyed.
    ///
    /// # Errors
    /// The request cannot be given to the program, or the program cannot be served any more.
    pub async fn invoke(&mut self, invoke: Invoke) -> Result<Answered<InvokeError>, InvokeError> {
        let id = invoke.request_id;
        let (head, body) = invoke.request.into_parts();
        let call = Call {
            id,
            style: Style::of_call(&head.method, head.uri.path()),
            headless: head.method == Method::HEAD,
        };
        let about = &self.desk.about;
        let delivery = match call.style {
            Style::Direct => match direct(about, id, &head, body, invoke.deadline).await? {
                Ok(delivery) => delivery,
                Err(declined) => return Ok(finished(declined.answer(id))),
            },
            Style::Url => of_url(about, id, &head, body, invoke.deadline).await?,
        };
        let mut seen = self.desk.watch();
        let asked = idle(&mut seen, &self.desk).await?.asked;
        let replied = self.desk.offer(id, delivery);
        // Idle was seen, and nobody else offers.
        let replied = replied.map_err(|_| InvokeError::Closed)?;
        let reply = reply(replied, &mut seen).await?;
        let after = After { seen, asked };
        Ok(call.answered(reply, after).await)
    }
}

/// Waits until the program asks for an event.
async fn idle(seen: &mut watch::Receiver<Seen>, desk: &Desk) -> Result<Seen, InvokeError> {
    let settled =
        |seen: &Seen| matches!(seen.state, State::Idle | State::Failed) || seen.closed.is_some();
    let seen = seen.wait_for(settled).await.map(|seen| *seen);
    let seen = seen.map_err(|_| InvokeError::Closed)?;
    still_open(&seen)?;
    if seen.state == State::Failed {
        return Err(desk
            .init_error()
            .map_or(InvokeError::Closed, InvokeError::Init));
    }
    Ok(seen)
}

fn still_open(seen: &Seen) -> Result<(), InvokeError> {
    match seen.closed {
        None => Ok(()),
        Some(Closed::Disorder) => Err(InvokeError::Disorder),
        Some(Closed::Listener) => Err(InvokeError::Closed),
    }
}

/// Waits for the program's reply.
async fn reply(
    replied: oneshot::Receiver<Reply>,
    seen: &mut watch::Receiver<Seen>,
) -> Result<Reply, InvokeError> {
    let closed = async {
        let seen = seen
            .wait_for(|seen| seen.closed.is_some())
            .await
            .map(|seen| *seen);
        seen.map_or(Err(InvokeError::Closed), |seen| still_open(&seen))
    };
    tokio::select! {
        biased;
        reply = replied => reply.map_err(|_| InvokeError::Closed),
        closed = closed => Err(closed.err().unwrap_or(InvokeError::Closed)),
    }
}

/// Reads a body to its end, if it is no longer than an event may be.
async fn read(mut body: Body) -> Result<Bytes, InvokeError> {
    let too_large = InvokeError::BodyTooLarge {
        body_max_bytes: EVENT_MAX_BYTES as u64,
    };
    if body.size_hint().lower() > EVENT_MAX_BYTES as u64 {
        return Err(too_large);
    }
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(InvokeError::Request)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + more.len() + data.len() > EVENT_MAX_BYTES {
            return Err(too_large);
        }
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    Ok([first, more.freeze()].concat().into())
}

async fn of_url(
    about: &About,
    id: RequestId,
    head: &request::Parts,
    body: Body,
    deadline: SystemTime,
) -> Result<Delivery, InvokeError> {
    let body = read(body).await?;
    let trace = traced(&head.headers);
    let payload = event(about, id, head, trace.as_deref(), &body, SystemTime::now());
    if payload.len() > EVENT_MAX_BYTES {
        return Err(InvokeError::BodyTooLarge {
            body_max_bytes: EVENT_MAX_BYTES as u64,
        });
    }
    let mut headers = told(about, id, trace.as_deref(), deadline);
    headers.insert(CONTENT_TYPE, JSON);
    Ok(Delivery {
        headers,
        payload: payload.into(),
    })
}

async fn direct(
    about: &About,
    id: RequestId,
    head: &request::Parts,
    body: Body,
    deadline: SystemTime,
) -> Result<Result<Delivery, Declined>, InvokeError> {
    if let Err(declined) = style::head(about, head) {
        return Ok(Err(declined));
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(InvokeError::BodyTooLarge { .. }) => {
            return Ok(Err(Declined::TooLarge(EVENT_MAX_BYTES)));
        }
        Err(error) => return Err(error),
    };
    let direct = match style::body(&head.headers, body) {
        Ok(direct) => direct,
        Err(declined) => return Ok(Err(declined)),
    };
    let mut headers = told(about, id, traced(&head.headers).as_deref(), deadline);
    let kind = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
    headers.insert(CONTENT_TYPE, kind);
    if let Some(context) = direct.client_context {
        headers.insert(&CLIENT_CONTEXT, context);
    }
    Ok(Ok(Delivery {
        headers,
        payload: direct.payload,
    }))
}

/// The trace in AWS's form: the caller's own, or made from `traceparent`.
fn traced(headers: &HeaderMap) -> Option<String> {
    if let Some(own) = headers.get(&X_AMZN_TRACE_ID) {
        return own.to_str().ok().map(str::to_owned);
    }
    let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
    parent.parse::<TraceParent>().ok().map(trace_id)
}

/// The headers of an event.
fn told(about: &About, id: RequestId, trace: Option<&str>, deadline: SystemTime) -> HeaderMap {
    let since = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = request_id(id);
    let mut headers = HeaderMap::new();
    let all = [
        (&REQUEST_ID, Some(id.clone())),
        (&INVOCATION_ID, Some(id)),
        (&DEADLINE, Some(since.as_millis().to_string())),
        (&ARN, Some(about.arn())),
        (&TRACE, trace.map(str::to_owned)),
    ];
    for (name, value) in all {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// One call, on its way back.
struct Call {
    id: RequestId,
    style: Style,
    /// The answer has no body whatever its head says.
    headless: bool,
}

impl Call {
    async fn answered(&self, reply: Reply, after: After) -> Answered<InvokeError> {
        match reply {
            Reply::Result(result) => match self.whole(result) {
                Ok(response) => Answered {
                    response,
                    rest: Some(after.next()),
                },
                Err(failure) => self.failed(&failure, after.next()),
            },
            Reply::Failed(failure) => self.failed(&failure, after.next()),
            Reply::Stream(stream) => self.streamed(stream, after).await,
        }
    }

    fn failed(&self, failure: &Failure, rest: Rest<InvokeError>) -> Answered<InvokeError> {
        let mut response = answer(self.style, self.id, failure);
        response.extensions_mut().insert(Note(failure.log(self.id)));
        Answered {
            response,
            rest: Some(rest),
        }
    }

    fn whole(&self, result: Bytes) -> Result<http::Response<Body>, Failure> {
        match self.style {
            Style::Direct => Ok(executed(result, self.id)),
            Style::Url => match result::reply(&result) {
                Ok(response) => Ok(sign(response, self.id)),
                Err(malformed) => Err(Failure::Malformed(malformed.to_string())),
            },
        }
    }

    async fn streamed(&self, mut stream: Stream, after: After) -> Answered<InvokeError> {
        let kind = stream.content_type.take();
        let integration = kind
            .as_ref()
            .is_some_and(|kind| kind.as_bytes() == INTEGRATION);
        let octets = HeaderValue::from_static("application/octet-stream");
        let kind = kind.unwrap_or(octets);
        let response = match self.style {
            Style::Url if integration => match prelude(&mut stream.frames).await {
                Prelude::Head(head, first) => match result::prelude(&head) {
                    Ok(head) => {
                        let mut response =
                            head.with(Body::stream(Frames::new(first, stream.frames)));
                        let octets = HeaderValue::from_static("application/octet-stream");
                        response.headers_mut().entry(CONTENT_TYPE).or_insert(octets);
                        response
                    }
                    Err(malformed) => {
                        let failure = Failure::Malformed(malformed.to_string());
                        return self.failed(&failure, after.next());
                    }
                },
                Prelude::None => {
                    let what = "the stream does not begin with a head and eight zeros";
                    let failure = Failure::Malformed(what.to_owned());
                    return self.failed(&failure, after.next());
                }
                Prelude::Broken(Broken::Function(error)) => {
                    return self.failed(&Failure::Function(error), after.next());
                }
                Prelude::Broken(_) => return self.failed(&Failure::Truncated, after.next()),
            },
            Style::Url => {
                let body = Body::stream(Frames::new(Bytes::new(), stream.frames));
                let mut response = http::Response::new(body);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Style::Direct => {
                let body = Body::stream(Frames::new(Bytes::new(), stream.frames));
                let mut response = executed_with(body, self.id);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
        };
        Answered {
            response: sign(response, self.id),
            rest: Some(after.stream(stream.ended, self.headless)),
        }
    }
}

/// An answer that the program has no part in.
fn finished(response: http::Response<Body>) -> Answered<InvokeError> {
    Answered {
        response,
        rest: None,
    }
}

/// What follows a reply.
struct After {
    seen: watch::Receiver<Seen>,
    /// How often the program had asked for an event when it was given this one.
    asked: u64,
}

impl After {
    /// The program asks for an event again.
    fn next(self) -> Rest<InvokeError> {
        Box::pin(self.asked_again())
    }

    async fn asked_again(mut self) -> Result<(), InvokeError> {
        let asked = self.asked;
        let again = |seen: &Seen| seen.asked > asked || seen.closed.is_some();
        let seen = self.seen.wait_for(again).await.map(|seen| *seen);
        let seen = seen.map_err(|_| InvokeError::Closed)?;
        if seen.asked > asked {
            return Ok(());
        }
        still_open(&seen)
    }

    /// The stream ends, and the program asks for an event again.
    fn stream(
        self,
        ended: oneshot::Receiver<Result<(), Broken>>,
        headless: bool,
    ) -> Rest<InvokeError> {
        Box::pin(async move {
            match ended.await.unwrap_or(Err(Broken::Cut)) {
                Ok(()) => self.asked_again().await,
                Err(Broken::CallerGone) if headless => self.asked_again().await,
                Err(Broken::Function(error)) => {
                    self.asked_again().await?;
                    Err(InvokeError::Stream(Broken::Function(error)))
                }
                Err(broken) => Err(InvokeError::Stream(broken)),
            }
        })
    }
}
