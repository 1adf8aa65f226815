//! A request of the platform's own to a program that nobody else calls, answered whole.
//!
//! Deliberately absent: why it is asked (`warm_up`, `lint`), and the log: what the program writes
//! meanwhile belongs to no request.

use std::time::Instant;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use usher_api::body::{Body, BodyError};
use usher_core::function::{Limits, Sample};
use usher_core::id::RequestId;
use usher_engine::Over;

use crate::contract::lambda::Style;
use crate::image::ProcessImage;
use crate::run::unheard;
use crate::served::Served;

/// How much of a body is looked at, in bytes; what is behind it is read and forgotten.
const BODY_MAX_BYTES: usize = 256 << 10;
/// What a program finds as its own host.
const HOST: &str = "localhost";
/// The header by which a Lambda function's error is told to a direct caller.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// What a program answered.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) took_ms: u128,
}

impl Answered {
    /// Whether the answer says that something went wrong.
    pub(crate) fn is_error(&self) -> bool {
        let status = self.status.is_client_error() || self.status.is_server_error();
        status || self.headers.contains_key(FUNCTION_ERROR)
    }
}

/// Why a program did not answer. It is gone, or to be ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    #[error("{0}")]
    Run(String),
    #[error("its answer broke off: {0}")]
    Body(#[from] BodyError),
}

/// Asks, and waits until the program is ready for the next request.
pub(crate) async fn ask(
    served: Served,
    image: &ProcessImage,
    sample: &Sample,
    agent: &'static str,
) -> Result<(Served, Answered), Unanswered> {
    let request = request(sample, image, agent)?;
    let limits: &Limits = &image.revision.settings.limits;
    let id = RequestId(rand::random());
    let begun = Instant::now();
    let (reply, over) = unheard(served, id, request, limits, true).await;
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
    let served = left.map_err(|ended| Unanswered::Run(ended.to_string()))?;
    let answered = Answered {
        status: head.status,
        headers: head.headers,
        body: body?,
        took_ms: begun.elapsed().as_millis(),
    };
    Ok((served, answered))
}

fn request(
    sample: &Sample,
    image: &ProcessImage,
    agent: &'static str,
) -> Result<Request<Body>, http::Error> {
    if let Some(event) = &sample.event {
        let path = Style::direct_path(image.revision.function.name.as_str());
        let body = Body::from(event.clone());
        return Request::post(format!("http://{HOST}{path}")).body(body);
    }
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
