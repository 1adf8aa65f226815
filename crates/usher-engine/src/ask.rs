//! A request of the platform's own to a function, and its answer read whole: to warm an environment
//! up, and to see whether what it answers is fresh.
//!
//! Deliberately absent: whom it is asked of, which is an engine's own environment that nobody else
//! calls, and what follows from the answer.

use std::time::Instant;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use usher_api::body::{Body, BodyError};
use usher_core::freshness::Answer;
use usher_core::function::Sample;

use crate::environment::{Over, RunReply};

/// What a function finds as its own host.
pub const HOST: &str = "localhost";
/// How much of a body is looked at, in bytes; what is behind it is read and forgotten.
const BODY_MAX_BYTES: usize = 256 << 10;
/// The header by which a Lambda function's error is told to a direct caller.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, or the beginning of a long one.
    pub body: Bytes,
    /// From the request to the end of the run, in milliseconds.
    pub took_ms: u128,
}

impl Answered {
    /// Whether the answer says that something went wrong.
    pub fn is_error(&self) -> bool {
        let status = self.status.is_client_error() || self.status.is_server_error();
        status || self.headers.contains_key(FUNCTION_ERROR)
    }

    /// The answer as the freshness lint looks at it.
    pub fn looked_at(&self) -> Answer {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = self.headers.iter();
        Answer {
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: self.body.to_vec(),
        }
    }
}

/// Why there is no answer. The environment is gone, or to be ended.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// What the manifest says is no request.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    /// The run failed.
    #[error("{0}")]
    Run(String),
    /// The body did not come to its end.
    #[error("its answer broke off: {0}")]
    Body(#[from] BodyError),
}

/// The request that a sample is, if it is no event; `agent` is how it is signed.
///
/// # Errors
/// If a part of it is not legal in HTTP.
pub fn request(sample: &Sample, agent: &'static str) -> Result<Request<Body>, http::Error> {
    let mut request = Request::builder()
        .method(sample.method())
        .uri(format!("http://{HOST}{}", sample.path()))
        .body(Body::from(sample.body.clone()))?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in &sample.headers {
        headers.insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
    }
    Ok(request)
}

/// Reads the answer of a run that began at `begun`, and drives the run to its end. Answers what is
/// left of the environment.
///
/// # Errors
/// If the run failed, or the body broke off.
pub async fn whole<U>(
    reply: RunReply,
    over: Over<U>,
    begun: Instant,
) -> Result<(U, Answered), Unanswered> {
    let (head, body) = match reply {
        Ok(response) => response.into_parts(),
        Err((_, cause)) => return Err(Unanswered::Run(cause)),
    };
    let ended = async {
        match over {
            Over::Now(left) => left,
            Over::Later(left) => left.await,
        }
    };
    let (left, body) = tokio::join!(ended, beginning(body));
    let left = left.map_err(|ended| Unanswered::Run(ended.to_string()))?;
    let answered = Answered {
        status: head.status,
        headers: head.headers,
        body: body?,
        took_ms: begun.elapsed().as_millis(),
    };
    Ok((left, answered))
}

/// Reads a body to its end.
async fn beginning(mut body: Body) -> Result<Bytes, BodyError> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = BODY_MAX_BYTES - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(kept.into())
}
