//! CloudEvents at a function's address, in the form that the caller likes: to components, to
//! programs and to Lambda functions, and back.

use serde_json::{Value, json};
use usher_api::body::Body;

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// Room for slow starts while others build beside this test.
const PATIENT: &str = "[limits]\nqueue_wait_max_ms = 60000\nstart_max_ms = 60000\n";

/// A platform with one function, `it`.
struct Rig {
    caller: Caller,
    _server: Server,
    _folders: [Folder; 2],
}

impl Rig {
    async fn new(function: Folder) -> Self {
        let data = Folder::new();
        let server = Server::up(data.path()).await;
        server.run(&["deploy", function.text()]).await.done();
        Self {
            caller: Caller::new(server.gateway),
            _server: server,
            _folders: [data, function],
        }
    }

    async fn component(name: &str, lines: &str) -> Self {
        Self::new(Folder::function("it", name, &format!("{PATIENT}{lines}"))).await
    }

    async fn program(name: &str, mode: &str) -> Self {
        let end = format!("{PATIENT}[events]\nmode = \"{mode}\"\n");
        Self::new(Folder::program(name, "it", "", &end)).await
    }

    /// Sends an event in headers.
    async fn binary(&self, path: &str, more: &[(&str, &str)], data: &str) -> Answer {
        let mut request = self.caller.request(path).method("POST");
        let usual = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/here"),
            ("ce-type", "a.b"),
        ];
        for (name, value) in usual.iter().chain(more) {
            request = request.header(*name, *value);
        }
        let body = Body::from(data.to_owned());
        self.caller.whole(request.body(body).unwrap()).await
    }

    /// Sends a body.
    async fn body(&self, path: &str, content_type: &str, body: impl ToString) -> Answer {
        let request = self.caller.request(path).method("POST");
        let request = request.header("content-type", content_type);
        let body = Body::from(body.to_string());
        self.caller.whole(request.body(body).unwrap()).await
    }
}

fn structured() -> Value {
    json!({
        "specversion": "1.0", "id": "1", "source": "/here", "type": "a.b",
        "subject": "gr\u{fc}n 5%",
        "datacontenttype": "application/json", "data": {"n": 1.5},
    })
}

fn of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_sees_its_form_and_callers_get_theirs() {
    let rig = Rig::component("rust-p3-event", "[events]\nmode = \"binary\"\n").await;
    for path in ["/fn/it/", "/fn/it/?form=structured"] {
        let answer = rig.body(path, STRUCTURED, structured()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["content-type"], STRUCTURED);
        assert!(!answer.headers.contains_key("ce-type"));
        let event = of(&answer);
        assert_eq!(event["type"], "a.b.seen");
        assert_eq!(event["data"], json!({"n": 1.5}));
        let json = ("content-type", "application/json");
        let answer = rig.binary(path, &[json], "{\"n\":2}").await;
        assert_eq!(answer.headers["ce-type"], "a.b.seen", "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(of(&answer), json!({"n": 2}));
    }
    let wrong = rig
        .body("/fn/it/?form=wrong", STRUCTURED, structured())
        .await;
    assert_eq!(wrong.error(502)["label"], "bad-reply-event");
    let plain = rig.body("/fn/it/", "text/plain", "no event").await;
    assert_eq!(plain.headers["ce-type"], "none.seen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_of_the_right_form_is_refused() {
    let lines = "[events]\nmode = \"structured\"\nevent_max_bytes = 1000\n";
    let rig = Rig::component("rust-p3-echo", lines).await;
    let answer = rig.binary("/fn/it/", &[("ce-time", "now")], "").await;
    let error = answer.error(400);
    assert_eq!(error["label"], "bad-event");
    assert!(
        error["message"].as_str().unwrap().contains("time: no time"),
        "{error}"
    );
    let answer = rig.body("/fn/it/", STRUCTURED, "{\"id\":1}").await;
    let message = answer.error(400)["message"].to_string();
    for attribute in ["source", "specversion", "type"] {
        assert!(
            message.contains(&format!("{attribute}: it is missing")),
            "{message}"
        );
    }
    let answer = rig.body("/fn/it/", BATCH, "[]").await;
    assert_eq!(answer.error(415)["label"], "event-form");
    let answer = rig.binary("/fn/it/", &[], &"x".repeat(1001)).await;
    assert_eq!(answer.error(413)["label"], "event-too-large");
    // The echo gives back what it saw: an event that came in headers, as JSON.
    let text = ("content-type", "text/plain");
    let answer = rig
        .binary("/fn/it/", &[text, ("ce-subject", "gr%C3%BCn")], "word")
        .await;
    let event = of(&answer);
    assert_eq!(event["subject"], "gr\u{fc}n");
    assert_eq!(event["data"], "word");
    let rig = Rig::component(
        "rust-p3-echo",
        "[events]\nmode = \"structured\"\nbatches = true\n",
    );
    let rig = rig.await;
    let batch = json!([structured(), structured()]).to_string();
    assert_eq!(rig.body("/fn/it/", BATCH, &batch).await.text(), batch);
    let answer = rig.body("/fn/it/", BATCH, "[{}]").await;
    let message = answer.error(400)["message"].to_string();
    assert!(message.contains("event 0, id"), "{message}");
}

/// Without a mode an event is a request like any other, even one that is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mode_events_pass_as_they_come() {
    let rig = Rig::component("rust-p3-echo", "").await;
    let answer = rig.body("/fn/it/", STRUCTURED, "{wrong").await;
    assert_eq!(answer.text(), "{wrong");
    let answer = rig.binary("/fn/it/", &[("ce-time", "now")], "data").await;
    assert_eq!(answer.text(), "data");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_sees_its_form() {
    let rig = Rig::program("http-node-http", "binary").await;
    let answer = rig.body("/fn/it/headers", STRUCTURED, structured()).await;
    let told = answer.text().to_lowercase();
    for part in [
        "\"ce-id\"",
        "\"ce-type\"",
        "gr%c3%bcn%205%25",
        "application/json",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let rig = Rig::program("http-node-http", "structured").await;
    let json = ("content-type", "application/json");
    let answer = rig.binary("/fn/it/echo", &[json], "{\"n\":1}").await;
    assert_eq!(of(&answer)["data"], json!({"n": 1}), "{answer:?}");
}

/// A Lambda function gets the event itself, and what it returns is the answer: `echo` returns the
/// event, `raise` fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lambda_function_gets_the_event_itself() {
    let rig = Rig::program("lambda-python", "structured").await;
    let mut sent = structured();
    sent["do"] = "echo".into();
    let answer = rig.body("/fn/it/", STRUCTURED, &sent).await;
    assert_eq!(answer.headers["content-type"], STRUCTURED, "{answer:?}");
    assert_eq!(of(&answer), sent);
    let json = ("content-type", "application/json");
    let answer = rig
        .binary("/fn/it/", &[json, ("ce-do", "echo")], "{\"n\":3}")
        .await;
    assert_eq!(answer.headers["ce-do"], "echo", "{answer:?}");
    assert_eq!(of(&answer), json!({"n": 3}));
    let answer = rig.binary("/fn/it/", &[("ce-do", "raise")], "").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(of(&answer)["errorMessage"].is_string(), "{answer:?}");
}
