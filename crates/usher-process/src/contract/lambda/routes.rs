//! The calls that a program can make of the Runtime API, by method and path.
//!
//! Pure. `restore/next` and `restore/error` exist for programs that are told of SnapStart only, as
//! on AWS; whether one is, is looked at where they are answered (`calls`).

use http::Method;
use usher_core::id::RequestId;

use super::about::read_request_id;

/// What a program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Is somebody there?
    Ping,
    /// Wait for an event.
    Next,
    /// The result of an invocation; None if the id is no id.
    Response(Option<RequestId>),
    /// The error of an invocation.
    Error(Option<RequestId>),
    /// The initialisation has failed.
    InitError,
    /// Wait for the state to be taken and given back.
    RestoreNext,
    /// The hooks that run after that have failed.
    RestoreError,
    /// Join as an extension.
    Register,
    /// Wait for an event as an extension.
    ExtensionNext,
    /// An extension reports an error.
    ExtensionError,
    /// Subscribe to logs, by the older of the two ways.
    Logs,
    /// Subscribe to telemetry.
    Telemetry,
    /// The path exists, for another method.
    WrongMethod,
    /// Nothing of that name.
    Unknown,
}

/// The endpoint that a request means.
pub(super) fn endpoint(method: &Method, path: &str) -> Endpoint {
    let (wanted, endpoint) = match path {
        "/2018-06-01/ping" => (Method::GET, Endpoint::Ping),
        "/2018-06-01/runtime/invocation/next" => (Method::GET, Endpoint::Next),
        "/2018-06-01/runtime/init/error" => (Method::POST, Endpoint::InitError),
        "/2018-06-01/runtime/restore/next" => (Method::GET, Endpoint::RestoreNext),
        "/2018-06-01/runtime/restore/error" => (Method::POST, Endpoint::RestoreError),
        "/2020-01-01/extension/register" => (Method::POST, Endpoint::Register),
        "/2020-01-01/extension/event/next" => (Method::GET, Endpoint::ExtensionNext),
        "/2020-01-01/extension/init/error" | "/2020-01-01/extension/exit/error" => {
            (Method::POST, Endpoint::ExtensionError)
        }
        "/2020-08-15/logs" => (Method::PUT, Endpoint::Logs),
        "/2022-07-01/telemetry" => (Method::PUT, Endpoint::Telemetry),
        other => match invocation(other) {
            Some(endpoint) => (Method::POST, endpoint),
            None => return Endpoint::Unknown,
        },
    };
    if method == wanted {
        endpoint
    } else {
        Endpoint::WrongMethod
    }
}

fn invocation(path: &str) -> Option<Endpoint> {
    let rest = path.strip_prefix("/2018-06-01/runtime/invocation/")?;
    let (id, what) = rest.split_once('/')?;
    let id = read_request_id(id);
    match what {
        "response" => Some(Endpoint::Response(id)),
        "error" => Some(Endpoint::Error(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_exact() {
        let id = "00000000-0000-0000-0000-000000000007";
        let of = |what: &str| format!("/2018-06-01/runtime/invocation/{id}/{what}");
        for (method, path, wanted) in [
            (Method::GET, "/2018-06-01/ping", Endpoint::Ping),
            (
                Method::GET,
                "/2018-06-01/runtime/invocation/next",
                Endpoint::Next,
            ),
            (
                Method::POST,
                "/2018-06-01/runtime/invocation/next",
                Endpoint::WrongMethod,
            ),
            (
                Method::POST,
                &of("response"),
                Endpoint::Response(Some(RequestId(7))),
            ),
            (Method::GET, &of("response"), Endpoint::WrongMethod),
            (
                Method::POST,
                &of("error"),
                Endpoint::Error(Some(RequestId(7))),
            ),
            (Method::POST, &of("response/"), Endpoint::Unknown),
            (
                Method::POST,
                "/2018-06-01/runtime/invocation/x/response",
                Endpoint::Response(None),
            ),
            (
                Method::POST,
                "/2018-06-01/runtime/init/error",
                Endpoint::InitError,
            ),
            (
                Method::GET,
                "/2018-06-01/runtime/restore/next",
                Endpoint::RestoreNext,
            ),
            (
                Method::POST,
                "/2018-06-01/runtime/restore/error",
                Endpoint::RestoreError,
            ),
            (
                Method::GET,
                "/2018-06-01/runtime/restore/error",
                Endpoint::WrongMethod,
            ),
            (Method::PUT, "/2022-07-01/telemetry", Endpoint::Telemetry),
            (Method::GET, "/", Endpoint::Unknown),
        ] {
            assert_eq!(endpoint(&method, path), wanted, "{method} {path}");
        }
    }
}
