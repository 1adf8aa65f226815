//! What the caller gets, and what the log says, when a function fails: AWS's own words.
//!
//! Pure. Who finds out that a program has ended or that its time ran out makes a [`Failure`] of it,
//! and [`answer`] the answer. Deliberately absent: whose fault it is, and what becomes of the
//! environment.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use usher_api::body::Body;
use usher_core::id::RequestId;

use super::about::{LATEST, request_id};
use super::style::Style;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
static FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
static ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
static EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The largest buffered result, in bytes: 6 MiB and some room for its frame, as AWS counts.
pub const RESULT_MAX_BYTES: usize = 6 * 1024 * 1024 + 100;

/// Longest text of a function's error that is repeated in the log, in bytes.
const LOGGED_MAX_BYTES: usize = 16 * 1024;

/// An error that a function has told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// Such as `Function.Unknown`, or the exception's name.
    pub error_type: String,
    /// As the program sent it; JSON by convention.
    pub body: Bytes,
}

/// How a program ended that should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an exit status.
    Status(i32),
    /// By a signal, named as in `killed`.
    Signal(&'static str),
    /// Nobody knows how.
    Unknown,
}

/// Why an invocation has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The function has raised an error.
    Function(FunctionError),
    /// Its initialisation has failed, by its own account.
    Init(FunctionError),
    /// A hook of it that runs after a restore has failed, by its own account.
    Restore(FunctionError),
    /// Its hooks after a restore took too long.
    RestoreTimedOut {
        /// The limit.
        after: Duration,
    },
    /// It took too long.
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The program ended before it had answered.
    Exited(Ending),
    /// Its result is larger than [`RESULT_MAX_BYTES`].
    TooLarge,
    /// Its result broke off.
    Truncated,
    /// It asked for a mode of response that does not exist.
    ResponseMode,
    /// Its result is not one that can be made a reply to an HTTP request. It says what is wrong.
    Malformed(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    error_type: &'a str,
    error_message: String,
}

impl Failure {
    /// AWS's word for it.
    pub fn error_type(&self) -> &str {
        match self {
            Self::Function(error) | Self::Init(error) | Self::Restore(error) => &error.error_type,
            Self::RestoreTimedOut { .. } => "Sandbox.Timedout",
            Self::TimedOut { .. } => "Sandbox.Timedout",
            Self::Exited(_) => "Runtime.ExitError",
            Self::TooLarge => "Function.ResponseSizeTooLarge",
            Self::Truncated => "Runtime.TruncatedResponse",
            Self::ResponseMode => "Runtime.InvalidResponseModeHeader",
            Self::Malformed(_) => "Function.MalformedResponse",
        }
    }

    /// The JSON that AWS answers: the function's own, or the platform's about it.
    pub fn body(&self, id: RequestId) -> Bytes {
        let message = match self {
            Self::Function(error) | Self::Init(error) | Self::Restore(error) => {
                return error.body.clone();
            }
            Self::RestoreTimedOut { after } => {
                let seconds = after.as_secs_f64();
                format!(
                    "RequestId: {} Error: Restore timed out after {seconds:.2} seconds",
                    request_id(id)
                )
            }
            Self::TooLarge => format!(
                "Response payload size exceeded maximum allowed payload size \
                 ({RESULT_MAX_BYTES} bytes)."
            ),
            Self::TimedOut { after } => {
                let seconds = after.as_secs_f64();
                format!(
                    "RequestId: {} Error: Task timed out after {seconds:.2} seconds",
                    request_id(id)
                )
            }
            Self::Exited(ending) => {
                let how = match ending {
                    Ending::Status(0) | Ending::Unknown => {
                        "Runtime exited without providing a reason".to_owned()
                    }
                    Ending::Status(status) => {
                        format!("Runtime exited with error: exit status {status}")
                    }
                    Ending::Signal(name) => format!("Runtime exited with error: signal: {name}"),
                };
                format!("RequestId: {} Error: {how}", request_id(id))
            }
            Self::Truncated => {
                let id = request_id(id);
                format!("RequestId: {id} Error: Response was truncated before its end")
            }
            Self::ResponseMode => {
                format!(
                    "RequestId: {} Error: Invalid function response mode",
                    request_id(id)
                )
            }
            Self::Malformed(what) => format!("RequestId: {} Error: {what}", request_id(id)),
        };
        report(self.error_type(), message)
    }

    /// The Invoke API's answer that a call was not made at all, where this is one: its status, its
    /// name and what it says.
    fn exception(&self) -> Option<(StatusCode, &'static str, &'static str)> {
        match self {
            Self::Restore(_) => Some((
                StatusCode::BAD_REQUEST,
                "SnapStartException",
                "The afterRestore() runtime hook encountered an error. For more information, \
                 check the logs.",
            )),
            Self::RestoreTimedOut { .. } => Some((
                StatusCode::REQUEST_TIMEOUT,
                "SnapStartTimeoutException",
                "Lambda couldn't restore the snapshot within the timeout limit.",
            )),
            _ => None,
        }
    }

    /// What the function's log says: the JSON, cut to a length that a line may have.
    pub fn log(&self, id: RequestId) -> String {
        let body = self.body(id);
        let shown = &body[..body.len().min(LOGGED_MAX_BYTES)];
        String::from_utf8_lossy(shown).into_owned()
    }
}

/// An error in AWS's form.
pub(super) fn report(error_type: &str, error_message: String) -> Bytes {
    let report = Report {
        error_type,
        error_message,
    };
    // Two strings are always JSON.
    serde_json::to_vec(&report).unwrap_or_default().into()
}

/// The answer to a caller whose invocation failed: for a caller of the function's URL 502 and
/// nothing of the cause, for a caller of the Invoke API 200, a header, and the error; of hooks that
/// failed it learns that only, by 400 or 408.
pub fn answer(style: Style, id: RequestId, failure: &Failure) -> http::Response<Body> {
    match style {
        Style::Url => {
            let body = Body::from(Bytes::from_static(b"Internal Server Error"));
            let mut response = http::Response::new(body);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            sign(response, id)
        }
        Style::Direct => {
            if let Some((status, name, text)) = failure.exception() {
                let problem = serde_json::json!({"Type": "User", "Message": text});
                let mut response = http::Response::new(Body::from(problem.to_string()));
                *response.status_mut() = status;
                let name = HeaderValue::from_static(name);
                response.headers_mut().insert(&ERROR_TYPE, name);
                return sign(response, id);
            }
            let mut response = http::Response::new(Body::from(failure.body(id)));
            executed(response.headers_mut());
            let unhandled = HeaderValue::from_static("Unhandled");
            response.headers_mut().insert(&FUNCTION_ERROR, unhandled);
            sign(response, id)
        }
    }
}

/// Adds what an answer of the Invoke API says about the run.
pub(super) fn executed(headers: &mut HeaderMap) {
    headers.insert(&EXECUTED_VERSION, HeaderValue::from_static(LATEST));
}

/// Adds what every answer has.
pub(super) fn sign(mut response: http::Response<Body>, id: RequestId) -> http::Response<Body> {
    let headers = response.headers_mut();
    headers.entry(CONTENT_TYPE).or_insert(JSON);
    if let Ok(id) = HeaderValue::try_from(request_id(id)) {
        headers.insert(&REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const ID: RequestId = RequestId(7);
    const TEXT: &str = "00000000-0000-0000-0000-000000000007";

    async fn text(response: http::Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn own(error_type: &str) -> FunctionError {
        FunctionError {
            error_type: error_type.to_owned(),
            body: Bytes::from_static(br#"{"errorType":"E","errorMessage":"m","trace":[]}"#),
        }
    }

    /// The texts are those that AWS was recorded to answer, but for the last three.
    #[tokio::test]
    async fn a_direct_caller_reads_what_aws_writes() {
        let exit = |how| Failure::Exited(how);
        for (failure, kind, message) in [
            (
                Failure::TimedOut {
                    after: Duration::from_secs(1),
                },
                "Sandbox.Timedout",
                format!("RequestId: {TEXT} Error: Task timed out after 1.00 seconds"),
            ),
            (
                exit(Ending::Unknown),
                "Runtime.ExitError",
                format!("RequestId: {TEXT} Error: Runtime exited without providing a reason"),
            ),
            (
                exit(Ending::Status(127)),
                "Runtime.ExitError",
                format!("RequestId: {TEXT} Error: Runtime exited with error: exit status 127"),
            ),
            (
                exit(Ending::Signal("killed")),
                "Runtime.ExitError",
                format!("RequestId: {TEXT} Error: Runtime exited with error: signal: killed"),
            ),
            (
                Failure::TooLarge,
                "Function.ResponseSizeTooLarge",
                "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
                    .to_owned(),
            ),
            (
                Failure::Truncated,
                "Runtime.TruncatedResponse",
                format!("RequestId: {TEXT} Error: Response was truncated before its end"),
            ),
            (
                Failure::ResponseMode,
                "Runtime.InvalidResponseModeHeader",
                format!("RequestId: {TEXT} Error: Invalid function response mode"),
            ),
            (
                Failure::Malformed("no".to_owned()),
                "Function.MalformedResponse",
                format!("RequestId: {TEXT} Error: no"),
            ),
        ] {
            let response = answer(Style::Direct, ID, &failure);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
            assert_eq!(response.headers()["x-amz-executed-version"], "$LATEST");
            assert_eq!(response.headers()["x-amzn-requestid"], TEXT);
            assert_eq!(response.headers()["content-type"], "application/json");
            let wanted = serde_json::json!({"errorType": kind, "errorMessage": message});
            let body = text(response).await;
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&body).unwrap(),
                wanted
            );
            assert_eq!(failure.log(ID), body);
        }
    }

    #[tokio::test]
    async fn the_functions_own_words_pass_as_they_are() {
        for failure in [Failure::Function(own("E")), Failure::Init(own("E"))] {
            let response = answer(Style::Direct, ID, &failure);
            assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
            assert_eq!(
                text(response).await,
                r#"{"errorType":"E","errorMessage":"m","trace":[]}"#
            );
        }
    }

    #[tokio::test]
    async fn a_direct_caller_learns_of_a_hook_that_it_failed_or_was_late() {
        let late = Failure::RestoreTimedOut {
            after: Duration::from_secs(10),
        };
        let told = format!("RequestId: {TEXT} Error: Restore timed out after 10.00 seconds");
        assert!(late.log(ID).contains(&told));
        for (failure, status, name) in [
            (Failure::Restore(own("E")), 400, "SnapStartException"),
            (late, 408, "SnapStartTimeoutException"),
        ] {
            let response = answer(Style::Direct, ID, &failure);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["x-amzn-errortype"], name);
            assert!(!response.headers().contains_key("x-amz-function-error"));
            let body = text(response).await;
            assert!(body.contains(r#""Type":"User""#), "{body}");
            let response = answer(Style::Url, ID, &failure);
            assert_eq!(response.status(), 502);
        }
    }

    #[tokio::test]
    async fn a_caller_of_the_url_learns_nothing_of_the_cause() {
        for failure in [
            Failure::Function(own("Secret")),
            Failure::TooLarge,
            Failure::Exited(Ending::Unknown),
        ] {
            let response = answer(Style::Url, ID, &failure);
            assert_eq!(response.status(), 502);
            assert!(!response.headers().contains_key("x-amz-function-error"));
            assert_eq!(text(response).await, "Internal Server Error");
        }
    }

    #[test]
    fn a_long_error_is_cut_in_the_log() {
        let failure = Failure::Function(FunctionError {
            error_type: "E".to_owned(),
            body: Bytes::from("é".repeat(LOGGED_MAX_BYTES)),
        });
        assert!(failure.log(ID).len() <= LOGGED_MAX_BYTES + 3);
    }
}
