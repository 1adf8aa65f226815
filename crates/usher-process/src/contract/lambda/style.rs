//! How a request calls a function: by its URL, or by the Invoke API; and what the latter asks for.
//!
//! `POST /2015-03-31/functions/NAME/invocations` is what AWS's SDKs send when the function's own
//! address is their endpoint. The body is the event itself, and the answer the result itself.
//!
//! Deliberately absent: signatures. Who may call is decided before a request comes here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::IgnoredAny;
use usher_api::body::Body;
use usher_core::id::RequestId;

use super::about::{About, LATEST};
use super::failure::{executed, sign};

static INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
static CLIENT_CONTEXT: HeaderName = HeaderName::from_static("x-amz-client-context");
static ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

const PREFIX: &str = "/2015-03-31/functions/";
const SUFFIX: &str = "/invocations";

/// Longest client context, in bytes before decoding, as AWS bounds it.
const CLIENT_CONTEXT_MAX_BYTES: usize = 3583;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// An HTTP request that becomes an event, and a result that becomes a reply.
    Url,
    /// The Invoke API: event in, result out.
    Direct,
}

impl Style {
    /// How this request calls.
    pub fn of<B>(request: &http::Request<B>) -> Self {
        Self::of_call(request.method(), request.uri().path())
    }

    /// The path of a direct call.
    pub(crate) fn direct_path(name: &str) -> String {
        format!("{PREFIX}{name}{SUFFIX}")
    }

    pub(super) fn of_call(method: &Method, path: &str) -> Self {
        match named(path) {
            Some(_) if method == Method::POST => Self::Direct,
            _ => Self::Url,
        }
    }
}

/// The function that a path of the Invoke API names, still percent-encoded.
fn named(path: &str) -> Option<&str> {
    let name = path.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// What goes to the program for a direct call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Direct {
    pub(super) payload: Bytes,
    pub(super) client_context: Option<HeaderValue>,
}

/// Why a direct call does not reach the program: AWS's answers, and the two kinds of invocation
/// that run nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Declined {
    #[error("Function not found: {0}")]
    NotFound(String),
    #[error("Could not parse request body into json: {0}")]
    Payload(String),
    #[error("Client context must be a valid Base64-encoded JSON object.")]
    ClientContext,
    #[error("Request must be smaller than {0} bytes for the InvokeFunction operation")]
    TooLarge(usize),
    #[error(
        "InvocationType Event is not supported: asynchronous invocations are not there yet. \
         Use RequestResponse."
    )]
    Asynchronous,
    #[error(
        "Value '{0}' at 'invocationType' failed to satisfy constraint: \
         Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
    )]
    Kind(String),
    /// The caller only wanted to know whether it could.
    #[error("")]
    DryRun,
}

impl Declined {
    fn judge(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::Payload(_) | Self::ClientContext => {
                (StatusCode::BAD_REQUEST, "InvalidRequestContentException")
            }
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException"),
            Self::Asynchronous | Self::Kind(_) => {
                (StatusCode::BAD_REQUEST, "InvalidParameterValueException")
            }
            Self::DryRun => (StatusCode::NO_CONTENT, ""),
        }
    }

    /// The answer.
    pub(super) fn answer(&self, id: RequestId) -> http::Response<Body> {
        #[derive(Serialize)]
        struct Problem<'a> {
            #[serde(rename = "Type")]
            blame: &'a str,
            message: String,
        }
        let (status, name) = self.judge();
        let mut response = http::Response::new(Body::Empty);
        if *self == Self::DryRun {
            executed(response.headers_mut());
        } else {
            let problem = Problem {
                blame: "User",
                message: self.to_string(),
            };
            // Two strings are always JSON.
            *response.body_mut() = serde_json::to_string(&problem).unwrap_or_default().into();
            let headers = response.headers_mut();
            headers.insert(&ERROR_TYPE, HeaderValue::from_static(name));
        }
        *response.status_mut() = status;
        sign(response, id)
    }
}

/// Reads a direct call's head, before its body: whether it is meant for this function and wants
/// something that there is.
pub(super) fn head(about: &About, head: &request::Parts) -> Result<(), Declined> {
    let name = named(head.uri.path()).unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8_lossy();
    if !names(&name, about) {
        let whole = match about.arn().rsplit_once(':') {
            Some((prefix, _)) if !name.contains(':') => format!("{prefix}:{name}"),
            _ => name.into_owned(),
        };
        return Err(Declined::NotFound(whole));
    }
    let qualifier = query(head.uri.query().unwrap_or_default(), "Qualifier");
    if let Some(other) = qualifier.filter(|qualifier| qualifier != LATEST) {
        return Err(Declined::NotFound(format!("{}:{other}", about.arn())));
    }
    match head
        .headers
        .get(&INVOCATION_TYPE)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"RequestResponse") => Ok(()),
        Some(b"DryRun") => Err(Declined::DryRun),
        Some(b"Event") => Err(Declined::Asynchronous),
        Some(other) => {
            let other = String::from_utf8_lossy(&other[..other.len().min(64)]);
            Err(Declined::Kind(other.into_owned()))
        }
    }
}

/// Whether a text, a name or an ARN with or without the qualifier `$LATEST`, names the function.
fn names(text: &str, about: &About) -> bool {
    let text = text.strip_suffix(":$LATEST").unwrap_or(text);
    let last = text.rsplit(':').next().unwrap_or_default();
    last == about.name && (text == last || text.contains("function:"))
}

fn query(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(of, _)| *of == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Reads a direct call's body and client context. No body at all is the event `{}`.
pub(super) fn body(headers: &HeaderMap, payload: Bytes) -> Result<Direct, Declined> {
    let payload = if payload.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        serde_json::from_slice::<IgnoredAny>(&payload)
            .map_err(|error| Declined::Payload(error.to_string()))?;
        payload
    };
    let client_context = headers.get(&CLIENT_CONTEXT).map(client_context);
    Ok(Direct {
        payload,
        client_context: client_context.transpose()?,
    })
}

/// The context as the program sees it: decoded, and on one line.
fn client_context(encoded: &HeaderValue) -> Result<HeaderValue, Declined> {
    if encoded.len() > CLIENT_CONTEXT_MAX_BYTES {
        return Err(Declined::ClientContext);
    }
    let refuse = |_| Declined::ClientContext;
    let decoded = BASE64
        .decode(encoded)
        .map_err(|_| Declined::ClientContext)?;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&decoded).map_err(refuse)?;
    let line = serde_json::to_string(&object).map_err(refuse)?;
    HeaderValue::try_from(line).map_err(|_| Declined::ClientContext)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_a_post_to_the_invoke_apis_path_is_direct() {
        let path = "/2015-03-31/functions/f/invocations";
        for (method, path, wanted) in [
            (Method::POST, path, Style::Direct),
            (Method::GET, path, Style::Url),
            (
                Method::POST,
                "/2015-03-31/functions//invocations",
                Style::Url,
            ),
            (
                Method::POST,
                "/2015-03-31/functions/a/b/invocations",
                Style::Url,
            ),
            (
                Method::POST,
                "/2015-03-31/functions/f/invocations/",
                Style::Url,
            ),
            (Method::POST, "/", Style::Url),
        ] {
            let request = http::Request::builder()
                .method(&method)
                .uri(path)
                .body(())
                .unwrap();
            assert_eq!(Style::of(&request), wanted, "{method} {path}");
        }
    }

    #[test]
    fn a_client_context_is_an_object_on_one_line() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(&BASE64.encode(text)).unwrap();
            headers.insert(&CLIENT_CONTEXT, value);
            body(&headers, Bytes::from_static(b"1"))
        };
        let found = of("{\"b\":\n 1,\"a\":\"\\n\"}").unwrap();
        assert_eq!(found.client_context.unwrap(), r#"{"a":"\n","b":1}"#);
        for bad in [
            "",
            "[]",
            "1",
            "{",
            &format!("{{\"a\":\"{}\"}}", "x".repeat(4_000)),
        ] {
            assert_eq!(of(bad), Err(Declined::ClientContext), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(body(&HeaderMap::new(), Bytes::from(deep)).is_ok());
    }
}
