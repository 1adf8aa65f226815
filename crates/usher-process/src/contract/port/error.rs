//! Why a call failed, in one sentence each.

use std::error::Error as _;
use std::io;

use usher_api::body::BodyError;

use super::wire::Gauge;

/// Why a program gave no answer that can be passed on, or broke one off.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody takes connections any more.
    #[error("the program cannot be reached at port {port}")]
    Connect {
        /// Where it was to listen.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The request's head cannot be written as HTTP/1.1.
    #[error("the request cannot be handed to a program: {0}")]
    Request(&'static str),
    /// The request's body broke off, so that the program cannot have all of it.
    #[error("the request's body broke off: {0}")]
    RequestBody(String),
    /// The connection ended before the reply's head did.
    #[error("the program closed the connection before it had answered")]
    Closed,
    /// What came back is not HTTP/1.1.
    #[error("the program's reply is not HTTP/1.1: {0}")]
    Malformed(String),
    /// The reply's head, or what came before it, is too large.
    #[error(
        "the program's reply has a head beyond {head_max_bytes} bytes or {headers_max} headers"
    )]
    HeadTooLarge {
        /// The bound, in bytes; interim replies count.
        head_max_bytes: usize,
        /// The bound on headers.
        headers_max: usize,
    },
    /// The reply broke off after its head.
    #[error("the program's reply broke off: {0}")]
    Broken(String),
    /// Nobody read the reply to its end.
    #[error("nobody read the reply to its end")]
    Dropped,
    /// After a change of protocol nothing moved for too long.
    #[error("nothing was sent either way for {idle_max_ms} ms after the change of protocol")]
    Idle {
        /// The bound, in milliseconds.
        idle_max_ms: u64,
    },
}

impl CallError {
    /// What an error of the connection means before the reply's head was there.
    pub(super) fn before_head(error: &hyper::Error, gauge: &Gauge) -> Self {
        if let Some(cause) = body_cause(error) {
            return Self::RequestBody(cause);
        }
        if gauge.is_flooded() || error.is_parse_too_large() {
            return Self::too_large();
        }
        if error.is_parse() {
            return Self::Malformed(whole(error));
        }
        Self::Closed
    }

    /// What it means while the reply's body was read.
    pub(super) fn in_body(error: &hyper::Error) -> Self {
        match body_cause(error) {
            Some(cause) => Self::RequestBody(cause),
            None => Self::Broken(whole(error)),
        }
    }

    pub(super) fn too_large() -> Self {
        Self::HeadTooLarge {
            head_max_bytes: super::link::HEAD_MAX_BYTES,
            headers_max: super::link::HEADERS_MAX,
        }
    }
}

/// Why the request's body ended, where that is what went wrong.
fn body_cause(error: &hyper::Error) -> Option<String> {
    let cause = error.source()?.downcast_ref::<BodyError>()?;
    Some(cause.to_string())
}

fn whole(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
