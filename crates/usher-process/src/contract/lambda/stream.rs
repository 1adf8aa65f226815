//! A streamed reply: from the frames that the program sends to the body that the caller reads.
//!
//! ```text
//! program ─frames→ Tail (is it an error instead?) ─few frames→ [prelude 0×8] ─► Frames (the body)
//! ```
//!
//! The channel in between holds [`FRAMES_MAX`] frames, so a caller who reads slowly slows the
//! program down. Deliberately absent: the HTTP on either side.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tokio::sync::mpsc;
use usher_api::body::BodyError;
use usher_core::fault::Fault;

use super::failure::{FunctionError, report};

/// Content type of a stream that begins with a head.
pub(super) const INTEGRATION: &[u8] = b"application/vnd.awslambda.http-integration-response";

/// How many frames wait for the caller at most.
pub(super) const FRAMES_MAX: usize = 4;

/// The largest head of a stream, in bytes.
const PRELUDE_MAX_BYTES: usize = 256 * 1024;

/// What stands between head and body.
const SEPARATOR: [u8; 8] = [0; 8];

/// The largest error that a stream may end with, in bytes.
const ERROR_MAX_BYTES: usize = 256 * 1024;

const TYPE: &str = "lambda-runtime-function-error-type";
const BODY: &str = "lambda-runtime-function-error-body";
const MARK: &[u8] = b"Lambda-Runtime-Function-Error-Type: ";
const MARK_BODY: &str = "Lambda-Runtime-Function-Error-Body: ";

/// Why a stream ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The function has said so.
    #[error("the function broke its streamed reply off with {}", .0.error_type)]
    Function(FunctionError),
    /// The program's connection was cut, or what came over it was not HTTP any more.
    #[error("the program's connection was cut before its streamed reply was complete")]
    Cut,
    /// The caller went away.
    #[error("the caller went away before the streamed reply was complete")]
    CallerGone,
}

/// A frame, the end, or why it is not reached. A channel that closes without either was cut: the
/// sender went with the program's connection.
pub(super) type Piece = Result<Option<Bytes>, Broken>;

/// Reads the error that a stream's trailers tell, if they do.
pub(super) fn trailers(trailers: &HeaderMap) -> Option<FunctionError> {
    let error_type = trailers.get(TYPE)?.to_str().ok()?;
    let body = trailers
        .get(BODY)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    Some(told(error_type, body))
}

/// An error from its type and its base64 body. The Rust client's body is the message alone.
fn told(error_type: &str, body: &[u8]) -> FunctionError {
    let body = BASE64.decode(body).unwrap_or_else(|_| body.to_vec());
    let is_json = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&body).is_ok();
    let body = if is_json {
        Bytes::from(body)
    } else {
        report(error_type, String::from_utf8_lossy(&body).into_owned())
    };
    FunctionError {
        error_type: error_type.to_owned(),
        body,
    }
}

/// Finds the error that the Rust client writes into a stream's body, where others have trailers.
///
/// It is a chunk of its own and the last, so a frame that begins with the mark is held back until
/// the end tells what it is; nothing else is ever delayed.
#[derive(Default)]
pub(super) struct Tail {
    /// Off for clients that do not write such a text.
    watching: bool,
    held: BytesMut,
}

impl Tail {
    /// For a client that calls itself so.
    pub(super) fn new(user_agent: Option<&HeaderValue>) -> Self {
        let rust = user_agent.is_some_and(|name| name.as_bytes().starts_with(b"aws-lambda-rust/"));
        Self {
            watching: rust,
            held: BytesMut::new(),
        }
    }

    /// Takes a frame, and gives what can be passed on.
    pub(super) fn feed(&mut self, frame: Bytes) -> Option<Bytes> {
        if self.held.is_empty() && !(self.watching && frame.starts_with(MARK)) {
            return Some(frame);
        }
        self.held.extend_from_slice(&frame);
        (self.held.len() > ERROR_MAX_BYTES).then(|| self.held.split().freeze())
    }

    /// The error, or what was held back and is none.
    pub(super) fn finish(self) -> Result<Option<Bytes>, FunctionError> {
        if self.held.is_empty() {
            return Ok(None);
        }
        match self.error() {
            Some(error) => Err(error),
            None => Ok(Some(self.held.freeze())),
        }
    }

    fn error(&self) -> Option<FunctionError> {
        let text = std::str::from_utf8(self.held.strip_prefix(MARK)?).ok()?;
        let (error_type, rest) = text.split_once("\r\n")?;
        let body = rest.strip_prefix(MARK_BODY)?.strip_suffix("\r\n")?;
        Some(told(error_type, body.as_bytes()))
    }
}

/// What a stream's prelude turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prelude {
    /// The head's JSON, and what of the body came with it.
    Head(Bytes, Bytes),
    /// There is none within the bound, or the stream ended before it did.
    None,
    /// The stream broke off.
    Broken(Broken),
}

/// Reads frames until the head is complete, wherever their borders are.
pub(super) async fn prelude(frames: &mut mpsc::Receiver<Piece>) -> Prelude {
    let mut read = BytesMut::new();
    loop {
        match frames.recv().await {
            Some(Ok(Some(frame))) => {
                // The separator may lie across the border of two frames.
                let from = read.len().saturating_sub(SEPARATOR.len() - 1);
                read.extend_from_slice(&frame);
                let found = read[from..]
                    .windows(SEPARATOR.len())
                    .position(|at| at == SEPARATOR);
                if let Some(at) = found {
                    let mut body = read.split_off(from + at);
                    return Prelude::Head(read.freeze(), body.split_off(SEPARATOR.len()).freeze());
                }
                if read.len() > PRELUDE_MAX_BYTES {
                    return Prelude::None;
                }
            }
            Some(Ok(None)) => return Prelude::None,
            Some(Err(broken)) => return Prelude::Broken(broken),
            None => return Prelude::Broken(Broken::Cut),
        }
    }
}

/// Reads the first frame of a stream without a head; an error before it is an error of the call.
pub(super) async fn first(frames: &mut mpsc::Receiver<Piece>) -> Result<Option<Bytes>, Broken> {
    frames.recv().await.unwrap_or(Err(Broken::Cut))
}

/// The body of a streamed reply.
pub(super) struct Frames {
    first: Bytes,
    frames: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Frames {
    /// `first`: what of the body has been read already, or None if that was its end.
    pub(super) fn new(first: Option<Bytes>, frames: mpsc::Receiver<Piece>) -> Self {
        Self {
            ended: first.is_none(),
            first: first.unwrap_or_default(),
            frames,
        }
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.frames.poll_recv(cx)).unwrap_or(Err(Broken::Cut));
        self.ended = !matches!(piece, Ok(Some(_)));
        Poll::Ready(match piece {
            Ok(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Ok(None) => None,
            Err(Broken::CallerGone) => Some(Err(Fault::CallerGone.into())),
            Err(Broken::Function(_) | Broken::Cut) => Some(Err(Fault::Trap.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.first.is_empty()
    }
}
