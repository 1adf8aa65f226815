//! The endpoints, one after the other, and what is refused.

use serde_json::json;
use usher_process::contract::lambda::{InitError, InvokeError};

use super::rig::{Fake, about, direct, ended, get, serve, uuid, whole};

const OK: &str = r#"{"status":"OK"}"#;

#[tokio::test]
async fn an_invocation_goes_round() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    for run in 0..3 {
        let invoke = direct(r#"{"n":1}"#);
        let id = uuid(invoke.request_id);
        let program = async {
            let event = fake.next().await;
            assert_eq!(event.status, 200);
            assert_eq!(event.body, r#"{"n":1}"#);
            assert_eq!(event.header("content-type"), Some("application/json"));
            assert_eq!(event.id(), id);
            assert_eq!(
                event.header("lambda-runtime-invocation-id"),
                Some(id.as_str())
            );
            assert_eq!(
                event.header("lambda-runtime-invoked-function-arn"),
                Some("arn:aws:lambda:us-east-1:000000000000:function:probe")
            );
            let deadline = event.header("lambda-runtime-deadline-ms").unwrap();
            assert!(deadline.parse::<u64>().unwrap() > 1_600_000_000_000);
            assert_eq!(event.header("lambda-runtime-trace-id"), None);
            let said = fake.post(&id, "response", "", "[1, 2]").await;
            assert_eq!((said.status, said.body.as_ref()), (202, OK.as_bytes()));
        };
        let (answered, ()) = tokio::join!(api.invoke(invoke), program);
        let whole = whole(answered.unwrap().response).await;
        assert_eq!(
            (whole.status, whole.text.as_str()),
            (200, "[1, 2]"),
            "run {run}"
        );
        assert_eq!(whole.header("x-amzn-requestid"), Some(id.as_str()));
    }
}

#[tokio::test]
async fn ready_is_the_first_next_and_rest_the_one_after() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    {
        let mut ready = std::pin::pin!(api.ready());
        assert!(futures_util::poll!(&mut ready).is_pending());
        fake.send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        ready.await.unwrap();
    }
    let program = async {
        let id = fake.said().await.unwrap().id();
        fake.post(&id, "response", "", "1").await
    };
    let (answered, said) = tokio::join!(api.invoke(direct("{}")), program);
    assert_eq!(said.status, 202);
    let mut rest = answered.unwrap().rest.unwrap();
    assert!(futures_util::poll!(&mut rest).is_pending());
    fake.send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    rest.await.unwrap();
    api.ready().await.unwrap();
}

#[tokio::test]
async fn what_is_out_of_turn_is_refused() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let none = "00000000-0000-0000-0000-000000000000";
    let said = fake.post(none, "response", "", "1").await;
    assert_eq!(said.status, 400);
    let invalid = json!({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"});
    assert_eq!(said.json(), invalid);

    let program = async {
        let id = fake.next().await.id();
        for wrong in [none, "", "x", &id.to_uppercase().replace('0', "1")] {
            let said = fake.post(wrong, "error", "", "{}").await;
            assert_eq!(
                (said.status, said.json()),
                (400, invalid.clone()),
                "{wrong}"
            );
        }
        let said = fake
            .call("POST", "/2018-06-01/runtime/init/error", "", "{}")
            .await;
        assert_eq!(said.status, 403);
        assert_eq!(said.json()["errorType"], "InvalidStateTransition");
        // Asked again, the program gets the same event again.
        assert_eq!(fake.next().await.id(), id);
        assert_eq!(fake.post(&id, "response", "", "1").await.status, 202);
        // A second reply to the same event.
        for what in ["response", "error"] {
            let said = fake.post(&id, what, "", "2").await;
            assert_eq!(said.status, 403, "{what}");
            assert_eq!(said.json()["errorType"], "InvalidStateTransition");
        }
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    assert_eq!(whole(answered.unwrap().response).await.text, "1");
}

#[tokio::test]
async fn an_error_goes_to_the_caller_as_it_is() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let own = r#"{"errorMessage":"no","errorType":"Own","stackTrace":["a"]}"#;
    let cause = "content-type: application/vnd.aws.lambda.error.cause+json\r\n";
    let with_cause = r#"{"errorMessage":"no","errorType":"Own","causedBy":{"x":1}}"#;
    for (headers, body, wanted) in [
        ("", own, own),
        (
            "lambda-runtime-function-error-type: Function.Bad\r\n",
            own,
            own,
        ),
        (
            "lambda-runtime-function-xray-error-cause: not json\r\n",
            "no json",
            "no json",
        ),
        (
            cause,
            with_cause,
            r#"{"errorMessage":"no","errorType":"Own"}"#,
        ),
        (cause, "no json", r#""Invalid error body""#),
        (
            "lambda-runtime-function-error-type: Runtime.Bad\r\n",
            "",
            r#"{"errorType":"Runtime.Bad","errorMessage":""}"#,
        ),
        (
            "lambda-runtime-function-error-type: unhandled\r\n",
            "",
            r#"{"errorType":"Function.Unknown","errorMessage":""}"#,
        ),
    ] {
        let program = async {
            let id = fake.next().await.id();
            assert_eq!(fake.post(&id, "error", headers, body).await.status, 202);
        };
        let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
        let whole = whole(answered.unwrap().response).await;
        assert_eq!((whole.status, whole.text.as_str()), (200, wanted));
        assert_eq!(whole.header("x-amz-function-error"), Some("Unhandled"));
    }
}

#[tokio::test]
async fn a_failed_initialisation_is_told_once() {
    let (mut api, address) = serve(about("h")).await;
    let mut other = Fake::connect(address).await;
    let body = r#"{"errorType":"Runtime.ImportModuleError","errorMessage":"m","requestId":""}"#;
    let path = "/2018-06-01/runtime/init/error";
    let said = other
        .call("POST", path, "connection: close\r\n", body)
        .await;
    assert_eq!((said.status, said.body.as_ref()), (202, OK.as_bytes()));
    let Err(InitError::Reported(error)) = api.ready().await else {
        panic!("it was ready");
    };
    assert_eq!(error.error_type, "Runtime.ImportModuleError");
    assert_eq!(error.body, body);
    let mut fake = Fake::connect(address).await;
    assert_eq!(fake.call("POST", path, "", body).await.status, 403);
    assert_eq!(fake.next().await.status, 403);
    let refused = api.invoke(direct("{}")).await;
    assert!(matches!(refused, Err(InvokeError::Init(_))));
}

#[tokio::test]
async fn the_largest_result_passes_and_one_byte_more_does_not() {
    const MAX: usize = 6 * 1024 * 1024 + 100;
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let result = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    for chunked in [false, true] {
        for (length, status) in [(MAX, 202), (MAX + 1, 413)] {
            let program = async {
                let id = fake.next().await.id();
                if !chunked {
                    return fake.post(&id, "response", "", &result(length)).await;
                }
                let path = format!("/2018-06-01/runtime/invocation/{id}/response");
                let head = "HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
                fake.send(format!("POST {path} {head}{length:x}\r\n")).await;
                fake.send(result(length)).await;
                fake.send("\r\n0\r\n\r\n").await;
                fake.said().await.unwrap()
            };
            let (answered, said) = tokio::join!(api.invoke(direct("{}")), program);
            let whole = whole(answered.unwrap().response).await;
            assert_eq!(said.status, status);
            if status == 202 {
                assert_eq!(whole.text.len(), length);
                continue;
            }
            let text = "Exceeded maximum allowed payload size (6291556 bytes).";
            let wanted = json!({"errorType": "RequestEntityTooLarge", "errorMessage": text});
            assert_eq!(said.json(), wanted);
            assert_eq!(whole.json()["errorType"], "Function.ResponseSizeTooLarge");
        }
    }
}

#[tokio::test]
async fn a_mode_that_does_not_exist_fails_the_call() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        let mode = "lambda-runtime-function-response-mode: raw\r\n";
        let said = fake.post(&id, "response", mode, "1").await;
        assert_eq!(said.status, 400);
        assert_eq!(said.json()["errorType"], "InvalidFunctionResponseMode");
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    let whole = whole(answered.unwrap().response).await;
    assert_eq!(
        whole.json()["errorType"],
        "Runtime.InvalidResponseModeHeader"
    );
}

#[tokio::test]
async fn what_has_no_part_in_an_invocation_is_answered_politely() {
    let (_api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let said = fake.call("GET", "/2018-06-01/ping", "", "").await;
    assert_eq!((said.status, said.body.as_ref()), (200, &b"pong"[..]));
    let register = "/2020-01-01/extension/register";
    for (method, path, body, status, kind) in [
        ("PUT", "/2020-08-15/logs", "{}", 202, "Logs.NotSupported"),
        (
            "PUT",
            "/2022-07-01/telemetry",
            "{}",
            202,
            "Telemetry.NotSupported",
        ),
        (
            "POST",
            register,
            r#"{"events":["INVOKE"]}"#,
            403,
            "Extension.InvalidEventType",
        ),
        ("POST", register, "no json", 403, "InvalidRequestFormat"),
        (
            "GET",
            "/2020-01-01/extension/event/next",
            "",
            403,
            "Extension.MissingExtensionIdentifier",
        ),
        (
            "GET",
            "/2018-06-01/runtime/restore/next",
            "",
            404,
            "NotFound",
        ),
        ("POST", "/2018-06-01/ping", "", 405, "MethodNotAllowed"),
    ] {
        let said = fake.call(method, path, "", body).await;
        assert_eq!(said.status, status, "{path}");
        assert_eq!(said.json()["errorType"], kind, "{path}");
    }
    let said = fake.call("POST", register, "", r#"{"events":[]}"#).await;
    assert_eq!(
        (said.status, &said.json()["functionName"]),
        (200, &json!("probe"))
    );
    let extension = said
        .header("lambda-extension-identifier")
        .unwrap()
        .to_owned();
    // It waits, and keeps nobody else from going on.
    let next = "GET /2020-01-01/extension/event/next HTTP/1.1\r\nhost: a\r\n";
    fake.send(format!(
        "{next}lambda-extension-identifier: {extension}\r\n\r\n"
    ))
    .await;
    let mut other = Fake::connect(address).await;
    assert_eq!(
        other.call("GET", "/2018-06-01/ping", "", "").await.status,
        200
    );
}

#[tokio::test]
async fn a_next_whose_connection_breaks_is_forgotten() {
    let (mut api, address) = serve(about("h")).await;
    let mut gone = Fake::connect(address).await;
    gone.send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    api.ready().await.unwrap();
    drop(gone);
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        fake.post(&id, "response", "", r#""there""#).await.status
    };
    let (answered, status) = tokio::join!(api.invoke(get("/")), program);
    assert_eq!(status, 202);
    assert_eq!(whole(answered.unwrap().response).await.text, "there");
}

#[tokio::test]
async fn a_result_that_is_cut_is_the_functions_fault() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        let path = format!("/2018-06-01/runtime/invocation/{id}/response");
        fake.send(format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n\"half"
        ))
        .await;
        drop(fake);
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    let answered = answered.unwrap();
    let mut again = Fake::connect(address).await;
    again
        .send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let (whole, rest) = ended(answered).await;
    assert_eq!(whole.json()["errorType"], "Runtime.TruncatedResponse");
    assert!(matches!(rest, Some(Ok(()))));
}
