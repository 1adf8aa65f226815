//! The program's calls over HTTP, one function for each endpoint.
//!
//! Status codes and JSON are those of AWS's own server. Whatever a program sends is read to a bound
//! and no further. Deliberately absent: connections (`server`) and what is legal when (`life`).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::desk::{Desk, Reply, Stream, Turn};
use super::failure::{Failure, JSON, RESULT_MAX_BYTES, report};
use super::intake::{Unread, read, skip};
use super::life::{Event, Refusal};
use super::routes::{Endpoint, endpoint};
use super::stream::{Broken, FRAMES_MAX, Piece, Tail, trailers};
use super::told::function_error;

static MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
static EXTENSION: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// The largest body of a call that is no result, in bytes.
const CALL_MAX_BYTES: usize = 64 * 1024;

type Answer = http::Response<Full<Bytes>>;

/// Answers one call.
pub(super) async fn answer(
    desk: Arc<Desk>,
    request: http::Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (head, mut body) = request.into_parts();
    let endpoint = endpoint(&head.method, head.uri.path());
    let outcome = match endpoint {
        Endpoint::Next => next(&desk).await,
        Endpoint::Response(id) => {
            let turn = desk.begin(Event::Response(id));
            match turn {
                Ok(turn) => response(turn, &head.headers, &mut body).await,
                Err(refusal) => refuse(&desk, refusal),
            }
        }
        Endpoint::Error(id) => match desk.begin(Event::Error(id)) {
            Ok(turn) => error(turn, &head.headers, &mut body).await,
            Err(refusal) => refuse(&desk, refusal),
        },
        Endpoint::InitError => init_error(&desk, &head.headers, &mut body).await,
        Endpoint::RestoreNext if desk.about.snap_start => restore_next(&desk).await,
        Endpoint::RestoreError if desk.about.snap_start => {
            restore_error(&desk, &head.headers, &mut body).await
        }
        other => {
            desk.idle_call();
            aside(&desk, other, &head.headers, &mut body).await
        }
    };
    skip(&mut body).await;
    Ok(outcome)
}

async fn next(desk: &Desk) -> Answer {
    match desk.next().await {
        Ok(delivery) => {
            let mut answer = Answer::new(Full::new(delivery.payload.clone()));
            *answer.headers_mut() = delivery.headers.clone();
            answer
        }
        Err(refusal) => refuse(desk, refusal),
    }
}

async fn response(mut turn: Turn, headers: &HeaderMap, body: &mut Incoming) -> Answer {
    match headers.get(&MODE).map(HeaderValue::as_bytes) {
        None | Some(b"") => {}
        Some(b"streaming") => return stream(turn, headers, body).await,
        Some(_) => {
            turn.give(Reply::Failed(Failure::ResponseMode));
            let text = "Invalid function response mode";
            return problem(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", text);
        }
    }
    match read(body, RESULT_MAX_BYTES).await {
        Ok(result) => {
            turn.give(Reply::Result(result));
            accepted()
        }
        Err(Unread::TooLarge) => {
            turn.give(Reply::Failed(Failure::TooLarge));
            too_large()
        }
        Err(Unread::Cut) => truncated(),
    }
}

async fn error(mut turn: Turn, headers: &HeaderMap, body: &mut Incoming) -> Answer {
    match read(body, RESULT_MAX_BYTES).await {
        Ok(body) => {
            turn.give(Reply::Failed(Failure::Function(function_error(
                headers, body,
            ))));
            accepted()
        }
        Err(Unread::TooLarge) => {
            turn.give(Reply::Failed(Failure::TooLarge));
            too_large()
        }
        Err(Unread::Cut) => truncated(),
    }
}

async fn init_error(desk: &Desk, headers: &HeaderMap, body: &mut Incoming) -> Answer {
    // Looked at before the body is read as well, which may take its time.
    if let Err(refusal) = desk.may_fail() {
        return refuse(desk, refusal);
    }
    match read(body, RESULT_MAX_BYTES).await {
        Ok(body) => match desk.fail(function_error(headers, body)) {
            Ok(()) => accepted(),
            Err(refusal) => refuse(desk, refusal),
        },
        Err(Unread::TooLarge) => too_large(),
        Err(Unread::Cut) => truncated(),
    }
}

async fn restore_next(desk: &Desk) -> Answer {
    match desk.restore_next().await {
        Ok(()) => Answer::new(Full::default()),
        Err(refusal) => refuse(desk, refusal),
    }
}

async fn restore_error(desk: &Desk, headers: &HeaderMap, body: &mut Incoming) -> Answer {
    // As with the initialisation's.
    if let Err(refusal) = desk.may_fail_restore() {
        return refuse(desk, refusal);
    }
    match read(body, RESULT_MAX_BYTES).await {
        Ok(body) => match desk.fail_restore(function_error(headers, body)) {
            Ok(()) => accepted(),
            Err(refusal) => refuse(desk, refusal),
        },
        Err(Unread::TooLarge) => too_large(),
        Err(Unread::Cut) => truncated(),
    }
}

/// Passes a streamed result on. The answer comes when it is complete, as on AWS.
async fn stream(mut turn: Turn, headers: &HeaderMap, body: &mut Incoming) -> Answer {
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    let (ended, end) = oneshot::channel();
    turn.give(Reply::Stream(Stream {
        content_type: headers.get(CONTENT_TYPE).cloned(),
        frames,
        ended: end,
    }));
    let outcome = pump(body, Tail::new(headers.get(USER_AGENT)), &sender).await;
    if outcome == Err(Broken::CallerGone) {
        // Told at once; the program is not to suffer for it, and may send the rest.
        let _ = ended.send(outcome);
        while let Some(Ok(_)) = body.frame().await {}
        return accepted();
    }
    let answer = match outcome {
        Err(Broken::Cut) => truncated(),
        _ => accepted(),
    };
    let last: Piece = outcome.clone().map(|()| None);
    // Whoever reads may have gone by now.
    let _ = sender.send(last).await;
    let _ = ended.send(outcome);
    answer
}

async fn pump(
    body: &mut Incoming,
    mut tail: Tail,
    frames: &mpsc::Sender<Piece>,
) -> Result<(), Broken> {
    let pass = async |bytes: Bytes| {
        let sent = frames.send(Ok(Some(bytes))).await;
        sent.map_err(|_| Broken::CallerGone)
    };
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // Said now, and not at the next frame, for which there may be a long wait.
            () = frames.closed() => return Err(Broken::CallerGone),
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    if let Some(bytes) = tail.feed(data) {
                        pass(bytes).await?;
                    }
                }
                Err(frame) => {
                    let error = frame.trailers_ref().and_then(trailers);
                    if let Some(error) = error {
                        return Err(Broken::Function(error));
                    }
                }
            },
            Some(Err(_)) => return Err(Broken::Cut),
            None => {
                return match tail.finish() {
                    Ok(Some(bytes)) => pass(bytes).await,
                    Ok(None) => Ok(()),
                    Err(error) => Err(Broken::Function(error)),
                };
            }
        }
    }
}

/// The calls that have no part in an invocation.
async fn aside(
    desk: &Desk,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Answer {
    match endpoint {
        Endpoint::Ping => Answer::new(Full::from("pong")),
        Endpoint::Register => register(desk, body).await,
        Endpoint::ExtensionNext if headers.contains_key(&EXTENSION) => {
            // It has subscribed to nothing, so there is nothing that it could be told.
            std::future::pending().await
        }
        Endpoint::ExtensionNext => problem(
            StatusCode::FORBIDDEN,
            "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header",
        ),
        Endpoint::ExtensionError => accepted(),
        Endpoint::Logs => {
            let text = "Logs API is not supported";
            problem(StatusCode::ACCEPTED, "Logs.NotSupported", text)
        }
        Endpoint::Telemetry => {
            let text = "Telemetry API is not supported";
            problem(StatusCode::ACCEPTED, "Telemetry.NotSupported", text)
        }
        Endpoint::WrongMethod => {
            let text = "This path exists for another method";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut answer = problem(status, "MethodNotAllowed", text);
            let allowed = HeaderValue::from_static("GET, POST, PUT");
            answer.headers_mut().insert(ALLOW, allowed);
            answer
        }
        _ => problem(
            StatusCode::NOT_FOUND,
            "NotFound",
            "There is nothing at this path",
        ),
    }
}

/// An extension inside the program may join if it wants no events, which some clients do only so
/// that they are told to stop; one that wants events is told at once that it gets none.
async fn register(desk: &Desk, body: &mut Incoming) -> Answer {
    #[derive(Deserialize)]
    struct Wanted {
        #[serde(default)]
        events: Vec<String>,
    }
    let Ok(body) = read(body, CALL_MAX_BYTES).await else {
        return too_large();
    };
    match serde_json::from_slice::<Wanted>(&body) {
        Ok(wanted) if wanted.events.is_empty() => {
            let about = &desk.about;
            let text = serde_json::json!({
                "functionName": about.name,
                "functionVersion": about.version,
                "handler": about.handler,
            });
            let mut answer = json(StatusCode::OK, text.to_string().into());
            let one = HeaderValue::from_static("00000000-0000-0000-0000-000000000001");
            answer.headers_mut().insert(&EXTENSION, one);
            answer
        }
        Ok(_) => problem(
            StatusCode::FORBIDDEN,
            "Extension.InvalidEventType",
            "Extensions get no events here",
        ),
        Err(error) => problem(
            StatusCode::FORBIDDEN,
            "InvalidRequestFormat",
            &error.to_string(),
        ),
    }
}

fn refuse(desk: &Desk, refusal: Refusal) -> Answer {
    desk.idle_call();
    let (status, name) = match refusal {
        Refusal::RequestId => (StatusCode::BAD_REQUEST, "InvalidRequestID"),
        Refusal::Transition { .. } => (StatusCode::FORBIDDEN, "InvalidStateTransition"),
    };
    problem(status, name, &refusal.to_string())
}

fn accepted() -> Answer {
    json(
        StatusCode::ACCEPTED,
        Bytes::from_static(br#"{"status":"OK"}"#),
    )
}

fn too_large() -> Answer {
    let text = format!("Exceeded maximum allowed payload size ({RESULT_MAX_BYTES} bytes).");
    problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLarge",
        &text,
    )
}

fn truncated() -> Answer {
    let text = "HTTP request detected as truncated";
    problem(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", text)
}

fn problem(status: StatusCode, name: &str, text: &str) -> Answer {
    json(status, report(name, text.to_owned()))
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Answer::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}
