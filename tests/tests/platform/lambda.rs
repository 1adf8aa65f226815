//! Lambda functions by the official clients, and what their callers get when they fail: of the
//! function's URL, and of the Invoke API at the function's own address.

use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use usher_api::body::Body;

use crate::caller::{Answer, Caller};
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

const CLIENTS: [&str; 3] = ["lambda-python", "lambda-node", "lambda-rust"];
const LIMITS: &str = "[limits]\nfirst_byte_max_ms = 1500\nstart_max_ms = 60000";

/// A platform with one Lambda function that is kept.
struct Rig {
    server: Server,
    caller: Caller,
    _data: Folder,
}

impl Rig {
    async fn new(example: &str, limits: &str) -> Self {
        let data = Folder::new();
        let program = Folder::program(example, "it", "isolation = \"none\"", limits);
        let server = Server::up(data.path()).await;
        server.run(&["deploy", program.text()]).await.done();
        Self {
            caller: Caller::new(server.gateway),
            server,
            _data: data,
        }
    }

    /// Calls by the Invoke API.
    async fn invoke(&self, event: Value) -> Answer {
        let path = "/fn/it/2015-03-31/functions/it/invocations";
        let request = self.caller.request(path).method("POST");
        let body = Body::from(event.to_string());
        self.caller.whole(request.body(body).unwrap()).await
    }
}

fn of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

/// The error of an invocation that failed, in AWS's form.
fn unhandled(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["x-amz-function-error"], "Unhandled");
    of(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_invoke_api_answers_as_the_original_does() {
    for example in CLIENTS {
        let rig = Rig::new(example, LIMITS).await;
        let answer = rig.invoke(json!({"do": "echo", "n": 7})).await;
        assert_eq!(answer.headers["x-amz-executed-version"], "$LATEST");
        assert_eq!(of(&answer)["n"], 7, "{example}");

        let raised = unhandled(&rig.invoke(json!({"do": "raise"})).await);
        let message = raised["errorMessage"].as_str().unwrap();
        assert!(message.contains("purpose"), "{example}: {raised}");

        let large = unhandled(&rig.invoke(json!({"do": "large"})).await);
        assert_eq!(
            large["errorType"], "Function.ResponseSizeTooLarge",
            "{example}"
        );

        let late = unhandled(&rig.invoke(json!({"do": "sleep", "ms": 60_000})).await);
        assert_eq!(late["errorType"], "Sandbox.Timedout", "{example}");
        let message = late["errorMessage"].as_str().unwrap();
        assert!(
            message.ends_with("Task timed out after 1.50 seconds"),
            "{message}"
        );

        let gone = unhandled(&rig.invoke(json!({"do": "exit", "status": 7})).await);
        assert_eq!(gone["errorType"], "Runtime.ExitError", "{example}");
        let message = gone["errorMessage"].as_str().unwrap();
        assert!(message.ends_with("exit status 7"), "{message}");

        let answer = rig.invoke(json!({"do": "hello"})).await;
        assert_eq!(answer.status, 200, "{example} answers after all that");
        assert!(!answer.headers.contains_key("x-amz-function-error"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_url_answers_as_the_original_does() {
    for example in CLIENTS {
        let rig = Rig::new(example, LIMITS).await;
        let tea = rig.caller.get("/fn/it/reply").await;
        assert_eq!(tea.status, 418, "{example}");
        assert_eq!(tea.body, "a teapot", "{example}");
        for failing in ["raise", "large", "exit", "malformed"] {
            let answer = rig.caller.get(&format!("/fn/it/{failing}")).await;
            assert_eq!(answer.status, 502, "{example} {failing}");
            assert_eq!(answer.body, "Internal Server Error", "{example} {failing}");
        }
        // Of a time limit the platform tells more than the original.
        let late = rig.caller.get("/fn/it/sleep?ms=60000").await;
        assert_eq!(late.error(504)["label"], "time-out", "{example}");
        let told = rig.server.run(&["logs", "it"]).await.done();
        let told = serde_json::to_string(&told).unwrap();
        for cause in [
            "purpose",
            "Function.ResponseSizeTooLarge",
            "exited with code 7",
        ] {
            assert!(told.contains(cause), "{example} {cause}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_passes_and_one_that_is_cut_is_told() {
    let data = Folder::new();
    let program = Folder::program("lambda-node", "it", "isolation = \"none\"", LIMITS);
    let manifest = program.path().join("function.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(manifest, text.replace("app.handler", "app.stream")).unwrap();
    let server = Server::up(data.path()).await;
    server.run(&["deploy", program.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let whole = caller.get("/fn/it/stream").await;
    assert!(whole.status.is_success(), "{whole:?}");
    assert!(!whole.body.is_empty());
    let cut = caller.request("/fn/it/cut").body(Body::Empty).unwrap();
    let (_, body) = caller.send(cut).await.into_parts();
    let read = event("the body ends", http_body_util::BodyExt::collect(body)).await;
    assert!(read.is_err(), "a reply that was cut must not seem whole");
    let after = caller.get("/fn/it/stream").await;
    assert!(after.status.is_success(), "{after:?}");
}

/// A function that cannot begin is not deployed, and the reason is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_cannot_begin_is_not_deployed() {
    for (example, cause) in [
        ("lambda-python", "the initialisation fails on purpose"),
        ("lambda-node", "initialisation fails on purpose"),
        ("lambda-rust", "before it was ready"),
    ] {
        let data = Folder::new();
        let end = format!("[process.environment]\nUSHER_INIT_FAIL = \"1\"\n{LIMITS}");
        let program = Folder::program(example, "it", "", &end);
        let server = Server::up(data.path()).await;
        let error = server.run(&["deploy", program.text()]).await.error();
        let told = error["message"].as_str().unwrap();
        assert!(told.contains(cause), "{example}: {told}");
    }
}

/// One that begins to fail later is answered for as AWS does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_begins_no_more_is_answered_for() {
    const GOOD_FOR: Duration = Duration::from_secs(15);
    let ends = SystemTime::now() + GOOD_FOR;
    let ends = ends.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let data = Folder::new();
    let end = format!("[process.environment]\nENDS = \"{ends}\"\n{LIMITS}");
    // One that is put back begins only once.
    let program = Folder::program("lambda-python", "it", "renewal = \"fresh\"", &end);
    let manifest = program.path().join("function.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let from = r#"command = ["/usr/bin/python3", "-m", "awslambdaric", "app.handler"]"#;
    let begin = "[ $(date +%s) -lt $ENDS ] || export USHER_INIT_FAIL=1; \
                 exec python3 -m awslambdaric app.handler";
    let to = format!("command = [\"/bin/sh\", \"-c\", \"{begin}\"]");
    assert!(text.contains(from), "{text}");
    std::fs::write(manifest, text.replace(from, &to)).unwrap();
    let server = Server::up(data.path()).await;
    server.run(&["deploy", program.text()]).await.done();
    let rig = Rig {
        caller: Caller::new(server.gateway),
        server,
        _data: data,
    };
    let failed = event("the initialisation fails", async {
        loop {
            let answer = rig.invoke(json!({"do": "hello"})).await;
            if answer.headers.contains_key("x-amz-function-error") {
                return answer;
            }
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    let told = unhandled(&failed.await);
    assert_eq!(told["errorMessage"], "the initialisation fails on purpose");
    let url = rig.caller.get("/fn/it/hello").await;
    assert_eq!(url.status, 502);
    assert_eq!(url.body, "Internal Server Error");
    let logs = rig.server.run(&["logs", "it"]).await.done();
    let logs = serde_json::to_string(&logs).unwrap();
    assert!(logs.contains("initialisation failed"), "{logs}");
}
