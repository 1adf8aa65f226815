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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    async fn of(result: &str) -> (u16, String, String) {
        let response = reply(&Bytes::copy_from_slice(result.as_bytes())).unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let kind = head.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        (
            head.status.as_u16(),
            kind,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    /// What AWS was recorded to answer, and the rules of its documents for the rest.
    #[tokio::test]
    async fn results_become_replies() {
        let json = "application/json";
        for (result, status, kind, body) in [
            (r#""hello""#, 200, json, "hello"),
            (r#" "h\u00e9" "#, 200, json, "hé"),
            ("3", 200, json, "3"),
            ("3.10", 200, json, "3.10"),
            ("true", 200, json, "true"),
            ("null", 200, json, "null"),
            (r#"["hello", 3, true]"#, 200, json, r#"["hello",3,true]"#),
            (
                r#"{"z": "a b", "a": "\" , \\"}"#,
                200,
                json,
                r#"{"z":"a b","a":"\" , \\"}"#,
            ),
            (
                r#"{"statusCode": null, "x": 1}"#,
                200,
                json,
                r#"{"statusCode":null,"x":1}"#,
            ),
            (r#"{"statusCode": 201}"#, 201, json, ""),
            (r#"{"statusCode": "418", "body": "tea"}"#, 418, json, "tea"),
            (
                r#"{"statusCode": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>"}"#,
                200,
                "text/html",
                "<p>",
            ),
            (
                r#"{"statusCode": 200, "body": "aGVsbG8=", "isBase64Encoded": true}"#,
                200,
                json,
                "hello",
            ),
            (
                r#"{"statusCode": 200, "body": "aGVsbG8=", "isBase64Encoded": false, "x": [{}]}"#,
                200,
                json,
                "aGVsbG8=",
            ),
        ] {
            let wanted = (status, kind.to_owned(), body.to_owned());
            assert_eq!(of(result).await, wanted, "{result}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(of(&deep).await.2, deep);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        let zero = Malformed::Status("99".to_owned());
        for (result, wanted) in [
            (r#"{"statusCode": 99}"#, zero),
            (
                r#"{"statusCode": 101}"#,
                Malformed::Status("101".to_owned()),
            ),
            (
                r#"{"statusCode": 600}"#,
                Malformed::Status("600".to_owned()),
            ),
            (
                r#"{"statusCode": 200.5}"#,
                Malformed::Status("200.5".to_owned()),
            ),
            (r#"{"statusCode": -1}"#, Malformed::Status("-1".to_owned())),
            (
                r#"{"statusCode": "+200"}"#,
                Malformed::Status("\"+200\"".to_owned()),
            ),
            (r#"{"statusCode": {}}"#, Malformed::Status("{}".to_owned())),
            (r#"{"statusCode": 200, "headers": []}"#, Malformed::Headers),
            (
                r#"{"statusCode": 200, "headers": {"a": {}}}"#,
                Malformed::Headers,
            ),
            (
                r#"{"statusCode": 200, "headers": {"a b": ""}}"#,
                Malformed::Header("a b".to_owned()),
            ),
            (
                r#"{"statusCode": 200, "headers": {"a": "1\r\nb: 2"}}"#,
                Malformed::Header("a".to_owned()),
            ),
            (
                r#"{"statusCode": 200, "cookies": "a=1"}"#,
                Malformed::Cookies,
            ),
            (
                r#"{"statusCode": 200, "cookies": ["a\nb"]}"#,
                Malformed::Cookies,
            ),
            (r#"{"statusCode": 200, "body": {}}"#, Malformed::Body),
            (
                r#"{"statusCode": 200, "body": "%", "isBase64Encoded": true}"#,
                Malformed::Base64,
            ),
        ] {
            let found = reply(&Bytes::copy_from_slice(result.as_bytes())).err();
            assert_eq!(found, Some(wanted), "{result}");
        }
        for result in [
            "",
            " ",
            "hello",
            "{",
            "\"",
            "[1,]",
            "1 2",
            "{\"statusCode\":1,\"statusCode\":2}",
        ] {
            let found = reply(&Bytes::copy_from_slice(result.as_bytes())).err();
            assert!(matches!(found, Some(Malformed::Json(_))), "{result}");
        }
    }

    #[test]
    fn headers_of_the_connection_stay_here() {
        let result = r#"{"statusCode": 200, "headers": {
            "Connection": "close", "Keep-Alive": "1", "Transfer-Encoding": "chunked",
            "Content-Length": "1", "TE": "x", "Trailer": "x", "Upgrade": "x",
            "Proxy-Authenticate": "x", "X-Number": 3, "X-True": true, "X-Null": null,
            "X-Many": ["a", "b"]
        }, "cookies": ["a=1", "b=2"]}"#;
        let response = reply(&Bytes::from(result)).unwrap();
        let mut found: Vec<String> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "content-type: application/json",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "x-many: a",
                "x-many: b",
                "x-number: 3",
                "x-true: true",
            ]
        );
    }

    #[test]
    fn a_prelude_may_leave_everything_out() {
        assert_eq!(prelude(b"{}").unwrap(), Head::default());
        assert!(prelude(b"").is_err());
        assert!(prelude(b"[]").is_err());
    }

    proptest! {
        #[test]
        fn no_result_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = reply(&Bytes::from(bytes));
        }

        /// White space goes, and nothing else does.
        #[test]
        fn compact_json_means_the_same(text in "[ -~\\n]{0,40}", key in "[ -~]{0,10}") {
            let value = serde_json::json!({"k": [text, 1, {key: null}]});
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            let made = compact(spaced.as_bytes());
            prop_assert_eq!(made, serde_json::to_vec(&value).unwrap());
        }
    }
}
