//! What a program tells about an error of its own, read from headers and body.
//!
//! Pure. The Python client sends no type in a header, so the body is looked at too; and what a body
//! says is passed on as it is.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{FunctionError, report};

static ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const WITH_CAUSE: &[u8] = b"application/vnd.aws.lambda.error.cause+json";

/// Longest type of an error, in bytes.
const ERROR_TYPE_MAX_BYTES: usize = 256;

/// What the program says about an error of its own: by header, else in the body.
pub(super) fn function_error(headers: &HeaderMap, body: Bytes) -> FunctionError {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Told {
        error_type: Option<String>,
    }
    let body = match headers.get(CONTENT_TYPE) {
        Some(kind) if kind.as_bytes() == WITH_CAUSE => without_cause(&body),
        _ => body,
    };
    let header = headers
        .get(&ERROR_TYPE)
        .and_then(|value| value.to_str().ok());
    let header = header.filter(|text| is_error_type(text)).map(str::to_owned);
    let told = || serde_json::from_slice::<Told>(&body).ok()?.error_type;
    let error_type = header.or_else(told).filter(|text| !text.is_empty());
    let mut error_type = error_type.unwrap_or_else(|| "Function.Unknown".to_owned());
    if let Some((at, _)) = error_type
        .char_indices()
        .find(|(at, _)| *at >= ERROR_TYPE_MAX_BYTES)
    {
        error_type.truncate(at);
    }
    let body = if body.is_empty() {
        report(&error_type, String::new())
    } else {
        body
    };
    FunctionError { error_type, body }
}

/// Whether AWS takes a header's text for the type of an error: `Runtime.Name` or `Function.Name`.
fn is_error_type(text: &str) -> bool {
    let name = text
        .strip_prefix("Runtime.")
        .or_else(|| text.strip_prefix("Function."));
    name.is_some_and(|name| {
        name.len() > 1
            && name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphabetic())
    })
}

/// The error without what is meant for tracing only.
fn without_cause(body: &[u8]) -> Bytes {
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Kept {
        #[serde(default)]
        error_message: Value,
        #[serde(default)]
        error_type: Value,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        stack_trace: Value,
    }
    let kept = serde_json::from_slice::<Kept>(body).and_then(|kept| serde_json::to_vec(&kept));
    kept.map_or(Bytes::from_static(br#""Invalid error body""#), Bytes::from)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_type_is_the_headers_if_it_is_one_and_the_bodys_otherwise() {
        let body = r#"{"errorType":"Own","errorMessage":"m"}"#;
        let long = format!(r#"{{"errorType":"{}"}}"#, "é".repeat(300));
        for (header, body, wanted) in [
            ("Function.Bad", body, "Function.Bad"),
            ("Runtime.Bad", body, "Runtime.Bad"),
            ("Runtime.bad", body, "Own"),
            ("Runtime.B", body, "Own"),
            ("unhandled", body, "Own"),
            ("", body, "Own"),
            ("", "[]", "Function.Unknown"),
            ("", r#"{"errorType":""}"#, "Function.Unknown"),
            ("", &long, &"é".repeat(128)),
        ] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(header) {
                headers.insert(&ERROR_TYPE, value);
            }
            let error = function_error(&headers, Bytes::copy_from_slice(body.as_bytes()));
            assert_eq!(error.error_type, wanted, "{header}");
            assert_eq!(error.body, body);
        }
    }
}
