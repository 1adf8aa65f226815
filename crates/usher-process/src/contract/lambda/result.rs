//! A function's result made into the reply of a function URL.
//!
//! ```text
//! JSON object with statusCode ─► that status, its headers, cookies and body
//! any other JSON              ─► 200, application/json, the JSON (a string without its quotes)
//! anything else               ─► malformed
//! ```
//!
//! Pure. The head of a streamed reply has the same form and is read here too.
//! Deliberately absent: what the caller of a malformed result is told (`failure`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TE, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use usher_api::body::Body;

use super::failure::JSON;

/// A status, and headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// What is wrong with a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the result is not JSON: {0}")]
    Json(String),
    #[error("statusCode is {0}, which is not a status of 200 to 599")]
    Status(String),
    #[error("headers is not an object whose values are strings, numbers or booleans")]
    Headers,
    #[error("{0:?} cannot be a header's name or has a value that no header may have")]
    Header(String),
    #[error("cookies is not a list of strings")]
    Cookies,
    #[error("body is not a string")]
    Body,
    #[error("the stream does not begin with a head and eight zeros")]
    Prelude,
    #[error("isBase64Encoded is true, and body is not base64")]
    Base64,
}

/// What counts in an object. All of it may be left out, and what else there is passes unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shaped {
    status_code: Option<Value>,
    #[serde(default)]
    headers: Value,
    #[serde(default)]
    cookies: Value,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    is_base64_encoded: Value,
}

/// The reply that a buffered result asks for.
pub(super) fn reply(result: &Bytes) -> Result<http::Response<Body>, Malformed> {
    match result.trim_ascii_start().first() {
        Some(b'{') => {
            let shaped: Shaped = read(result)?;
            match shaped.status_code {
                Some(_) => self::shaped(shaped),
                None => Ok(plain(compact(result))),
            }
        }
        Some(b'"') => Ok(plain(Bytes::from(read::<String>(result)?))),
        _ => {
            read::<IgnoredAny>(result)?;
            Ok(plain(compact(result)))
        }
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(json).map_err(|error| Malformed::Json(error.to_string()))
}

/// JSON without the white space between its tokens, as AWS sends it.
fn compact(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in json {
        if quoted || !byte.is_ascii_whitespace() {
            out.push(byte);
        }
        if escaped {
            escaped = false;
        } else if byte == b'"' {
            quoted = !quoted;
        } else {
            escaped = quoted && byte == b'\\';
        }
    }
    out.into()
}

fn plain(body: Bytes) -> http::Response<Body> {
    let mut response = http::Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn shaped(shaped: Shaped) -> Result<http::Response<Body>, Malformed> {
    let status = shaped.status_code.unwrap_or_default();
    let mut head = head_of(&status, &shaped.headers, &shaped.cookies)?;
    head.headers.entry(CONTENT_TYPE).or_insert(JSON);
    let body = match shaped.body {
        Value::Null => Bytes::new(),
        Value::String(text) if shaped.is_base64_encoded == Value::Bool(true) => {
            BASE64.decode(text).map_err(|_| Malformed::Base64)?.into()
        }
        Value::String(text) => text.into(),
        _ => return Err(Malformed::Body),
    };
    Ok(head.with(Body::from(body)))
}

/// The head that the prelude of a stream asks for; all of it may be left out.
pub(super) fn prelude(bytes: &[u8]) -> Result<Head, Malformed> {
    let shaped: Shaped = read(bytes)?;
    let status = shaped.status_code.unwrap_or_default();
    head_of(&status, &shaped.headers, &shaped.cookies)
}

impl Head {
    /// A reply with this head.
    pub(super) fn with(self, body: Body) -> http::Response<Body> {
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn head_of(status: &Value, headers: &Value, cookies: &Value) -> Result<Head, Malformed> {
    let mut head = Head {
        status: status_of(status)?,
        headers: headers_of(headers)?,
    };
    let cookies: &[Value] = match cookies {
        Value::Null => &[],
        Value::Array(cookies) => cookies,
        _ => return Err(Malformed::Cookies),
    };
    for cookie in cookies {
        let cookie = cookie.as_str().ok_or(Malformed::Cookies)?;
        let value = HeaderValue::try_from(cookie).map_err(|_| Malformed::Cookies)?;
        // So many that they have no room cannot be sent either.
        head.headers
            .try_append(SET_COOKIE, value)
            .map_err(|_| Malformed::Cookies)?;
    }
    Ok(head)
}

/// A number, or a string of its digits. A status that only a connection may have is refused.
fn status_of(value: &Value) -> Result<StatusCode, Malformed> {
    let number = match value {
        Value::Null => Some(200),
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u16::try_from(number).ok()),
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let status = number.filter(|number| (200..600).contains(number));
    status
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| Malformed::Status(value.to_string().chars().take(64).collect()))
}

fn headers_of(value: &Value) -> Result<HeaderMap, Malformed> {
    let mut headers = HeaderMap::new();
    let object = match value {
        Value::Null => return Ok(headers),
        Value::Object(object) => object,
        _ => return Err(Malformed::Headers),
    };
    for (name, value) in object {
        let bad = || Malformed::Header(name.chars().take(64).collect());
        let parsed = HeaderName::try_from(name).map_err(|_| bad())?;
        // The prelude of the Rust client has a list where a header comes more than once.
        let values: &[Value] = match value {
            Value::Array(values) => values,
            one => std::slice::from_ref(one),
        };
        if ends_here(&parsed) {
            continue;
        }
        for value in values {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(Malformed::Headers),
            };
            let text = HeaderValue::try_from(text).map_err(|_| bad())?;
            headers
                .try_append(parsed.clone(), text)
                .map_err(|_| bad())?;
        }
    }
    Ok(headers)
}

/// Whether a header belongs to the connection that it was written for, or speaks of a length that
/// the platform knows better.
fn ends_here(name: &HeaderName) -> bool {
    [CONTENT_LENGTH, TE, TRAILER, UPGRADE].contains(name)
        || matches!(
            name.as_str(),
            "connection" | "keep-alive" | "transfer-encoding"
        )
        || name.as_str().starts_with("proxy-")
}
