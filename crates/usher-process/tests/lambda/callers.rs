//! What callers send, by URL and by the Invoke API, and what they get.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use usher_process::contract::lambda::{EVENT_MAX_BYTES, Invoke, InvokeError, Note};

use super::rig::{Fake, INVOCATIONS, about, get, invoke, serve, whole};

fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Invoke {
    let mut request = Request::post(format!("http://probe.localhost:8080{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    invoke(request.body(Body::from(body.to_owned())).unwrap())
}

#[tokio::test]
async fn direct_calls_that_run_nothing_are_answered_without_the_program() {
    let (mut api, _address) = serve(about("h")).await;
    let other = "/2015-03-31/functions/other/invocations";
    let kind = |kind| vec![("x-amz-invocation-type", kind)];
    for (path, headers, body, status, name) in [
        (INVOCATIONS, kind("DryRun"), "{}", 204, None),
        (
            INVOCATIONS,
            kind("Event"),
            "{}",
            400,
            Some("InvalidParameterValueException"),
        ),
        (
            INVOCATIONS,
            kind("Other"),
            "{}",
            400,
            Some("InvalidParameterValueException"),
        ),
        (other, vec![], "{}", 404, Some("ResourceNotFoundException")),
        (
            &format!("{INVOCATIONS}?Qualifier=prod"),
            vec![],
            "{}",
            404,
            Some("ResourceNotFoundException"),
        ),
        (
            INVOCATIONS,
            vec![],
            "{no json",
            400,
            Some("InvalidRequestContentException"),
        ),
        (
            INVOCATIONS,
            vec![("x-amz-client-context", "no base64")],
            "{}",
            400,
            Some("InvalidRequestContentException"),
        ),
        (
            INVOCATIONS,
            vec![],
            &"1".repeat(EVENT_MAX_BYTES + 1),
            413,
            Some("RequestTooLargeException"),
        ),
    ] {
        let answered = api.invoke(post(path, &headers, body)).await.unwrap();
        assert!(answered.rest.is_none());
        let whole = whole(answered.response).await;
        assert_eq!(
            (whole.status, whole.header("x-amzn-errortype")),
            (status, name),
            "{path}"
        );
        match name {
            Some("ResourceNotFoundException") => {
                let message = whole.json()["message"].as_str().unwrap().to_owned();
                let arn = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:";
                assert!(message.starts_with(arn), "{message}");
            }
            Some(_) => assert_eq!(whole.json()["Type"], "User"),
            None => assert_eq!(whole.text, ""),
        }
    }
}

#[tokio::test]
async fn direct_calls_reach_the_program_by_every_name() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    for name in [
        "probe",
        "probe:$LATEST",
        "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aprobe",
        "000000000000:function:probe",
    ] {
        let path = format!("/2015-03-31/functions/{name}/invocations?Qualifier=%24LATEST");
        let program = async {
            let event = fake.next().await;
            // No body is an empty event.
            assert_eq!(event.body, "{}");
            fake.post(&event.id(), "response", "", "1").await;
        };
        let (answered, ()) = tokio::join!(api.invoke(post(&path, &[], "")), program);
        let whole = whole(answered.unwrap().response).await;
        assert_eq!((whole.status, whole.text.as_str()), (200, "1"), "{name}");
        assert_eq!(whole.header("x-amz-executed-version"), Some("$LATEST"));
    }
}

#[tokio::test]
async fn a_request_by_url_is_an_event_of_format_2() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let headers = [
        ("content-type", "application/json"),
        ("cookie", "a=1; b=2"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-forwarded-for", "203.0.113.9"),
        ("user-agent", "probe/1"),
        ("x-amzn-trace-id", "Root=1-2-3"),
    ];
    let request = post("/pa2%2Fth/1?q=foo&q=%2Fbar", &headers, "{\"ü\":1}");
    let mut event = Value::Null;
    let program = async {
        let next = fake.next().await;
        assert_eq!(next.header("lambda-runtime-trace-id"), Some("Root=1-2-3"));
        event = next.json();
        fake.post(&next.id(), "response", "", "1").await;
    };
    let (answered, ()) = tokio::join!(api.invoke(request), program);
    answered.unwrap();
    let context = event["requestContext"].take();
    assert_eq!(
        event,
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/pa2%2Fth/1",
            "rawQueryString": "q=foo&q=%2Fbar",
            "cookies": ["a=1", "b=2"],
            "headers": {
                "content-type": "application/json",
                "host": "probe.localhost:8080",
                "user-agent": "probe/1",
                "x-amzn-trace-id": "Root=1-2-3",
                "x-forwarded-for": "203.0.113.9",
                "x-many": "1,2",
            },
            "queryStringParameters": {"q": "foo,/bar"},
            "requestContext": null,
            "body": "{\"ü\":1}",
            "isBase64Encoded": false,
        })
    );
    assert_eq!(context["domainName"], "probe.localhost");
    assert_eq!(context["domainPrefix"], "probe");
    assert_eq!(context["http"]["sourceIp"], "203.0.113.9");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_breaks_off_never_reaches_the_program() {
    let (mut api, _address) = serve(about("h")).await;
    let large = "x".repeat(EVENT_MAX_BYTES + 1);
    let error = api.invoke(post("/", &[], &large)).await.err().unwrap();
    let body_max_bytes = EVENT_MAX_BYTES as u64;
    assert_eq!(error.fault(), Fault::BodyTooLarge { body_max_bytes });
    assert!(error.spares_environment());
    // Within the bound as a body, and beyond it as an event.
    let grows = "\u{1}".repeat(EVENT_MAX_BYTES / 4);
    let error = api.invoke(post("/", &[], &grows)).await.err().unwrap();
    assert_eq!(error.fault(), Fault::BodyTooLarge { body_max_bytes });

    let frames = futures_util::stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
        Err(BodyError::Broken("gone".to_owned())),
    ]);
    let body = Body::stream(http_body_util::StreamBody::new(frames));
    let error = api
        .invoke(invoke(Request::post("http://p/").body(body).unwrap()))
        .await;
    let error = error.err().unwrap();
    assert!(matches!(error, InvokeError::Request(_)));
    assert_eq!(error.fault(), Fault::CallerGone);
}

#[tokio::test]
async fn a_result_that_is_no_reply_is_told_in_the_log() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        fake.post(&id, "response", "", "no json").await;
    };
    let (answered, ()) = tokio::join!(api.invoke(get("/")), program);
    let response = answered.unwrap().response;
    let Note(note) = response.extensions().get::<Note>().unwrap().clone();
    assert!(note.contains("the result is not JSON"), "{note}");
    let whole = whole(response).await;
    assert_eq!(
        (whole.status, whole.text.as_str()),
        (502, "Internal Server Error")
    );
}
