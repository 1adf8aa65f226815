//! The official runtime clients of Python, Node and Rust, unmodified and without a sandbox, on
//! every path that a call can take.
//!
//! `cargo xtask examples --only lambda` builds what they run.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "lambda/rig.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod rig;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};
use usher_process::contract::lambda::{
    Ending, Failure, InitError, Invoke, InvokeError, LambdaApi, Style, answer, environment,
};

use rig::{Whole, about, direct, ended, get, serve, whole};

/// An environment as the platform keeps it, without a sandbox.
struct Program {
    api: LambdaApi,
    child: Child,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Python,
    Node,
    NodeStream,
    Rust,
}

use Client::{Node, NodeStream, Python, Rust};

impl Client {
    fn folder(self) -> PathBuf {
        let name = match self {
            Python => "lambda-python",
            Node | NodeStream => "lambda-node",
            Rust => "lambda-rust",
        };
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let folder = root
            .ancestors()
            .nth(2)
            .unwrap()
            .join("target/examples")
            .join(name);
        assert!(
            folder.join("function.toml").is_file(),
            "{} is not there; build it with `cargo xtask examples --only lambda`",
            folder.display()
        );
        folder
    }

    fn command(self) -> &'static [&'static str] {
        match self {
            Python => &["/usr/bin/python3", "-m", "awslambdaric", "app.handler"],
            Node | NodeStream => &["/usr/bin/node", "node_modules/aws-lambda-ric/index.mjs"],
            Rust => &["./bootstrap"],
        }
    }

    fn handler(self) -> &'static str {
        match self {
            Python | Node => "app.handler",
            NodeStream => "app.stream",
            Rust => "bootstrap",
        }
    }

    async fn start(self, settings: &[(&str, &str)]) -> Program {
        let mut about = about(self.handler());
        for (name, value) in settings {
            about
                .environment
                .insert((*name).to_owned(), (*value).to_owned());
        }
        let variables = environment(&about);
        let (api, address) = serve(about).await;
        let (program, arguments) = self.command().split_first().unwrap();
        let folder = self.folder();
        // A path with a slash is meant within the folder, in which the program is to run.
        let program = folder.join(program);
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&folder)
            .env_clear()
            .envs(variables)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("LAMBDA_TASK_ROOT", &folder)
            .env("PWD", &folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Program { api, child }
    }
}

impl Program {
    async fn ready(&self) {
        self.api.ready().await.unwrap();
    }

    /// What the platform does: the answer, or AWS's if the program ends before there is one.
    async fn call(&mut self, invoke: Invoke) -> (Whole, Option<Result<(), InvokeError>>) {
        let style = Style::of(&invoke.request);
        let id = invoke.request_id;
        let answered = tokio::select! {
            biased;
            answered = self.api.invoke(invoke) => answered.unwrap(),
            status = self.child.wait() => {
                let code = status.unwrap().code().unwrap();
                let failure = Failure::Exited(Ending::Status(code));
                return (whole(answer(style, id, &failure)).await, None);
            }
        };
        ended(answered).await
    }

    /// A call that leaves the program ready for another.
    async fn fine(&mut self, invoke: Invoke) -> Whole {
        let (whole, rest) = self.call(invoke).await;
        assert!(matches!(rest, Some(Ok(()))), "{whole:?} {rest:?}");
        assert_eq!(whole.broken, None);
        whole
    }
}

const ALL: [Client; 3] = [Python, Node, Rust];

#[tokio::test]
async fn a_result_is_a_reply() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        program.ready().await;
        let hello = program.fine(get("/hello")).await;
        assert_eq!(hello.status, 200);
        assert_eq!(hello.header("content-type"), Some("application/json"));
        assert_eq!(hello.text, format!("hello from {client:?}"));

        let reply = program.fine(get("/reply")).await;
        assert_eq!(
            (reply.status, reply.text.as_str()),
            (418, "a teapot"),
            "{client:?}"
        );
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.header("x-kind"), Some("tea"));
        let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);

        // State is kept from call to call.
        for count in 1..=3 {
            let counter = program.fine(direct(r#"{"do":"counter"}"#)).await;
            assert_eq!(counter.text, (2 + count).to_string());
        }
    }
}

#[tokio::test]
async fn many_calls_in_a_row_are_answered_each_with_its_own() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        for call in 0..500 {
            let event = format!(r#"{{"do":"echo","call":{call}}}"#);
            let whole = program.fine(direct(&event)).await;
            assert_eq!(whole.json()["call"], call, "{client:?}");
        }
    }
}

#[tokio::test]
async fn the_event_arrives_as_it_was_made() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        let whole = program.fine(get("/echo?a=1&a=2&b=%20")).await;
        let event = whole.json();
        assert_eq!(event["rawPath"], "/echo", "{client:?}");
        assert_eq!(
            event["queryStringParameters"],
            json!({"a": "1,2", "b": " "})
        );
        assert_eq!(event["requestContext"]["http"]["method"], "GET");
        let raw = r#"{"do":"echo","deep":[{"ü":"\u0000"}]}"#;
        let whole = program.fine(direct(raw)).await;
        assert_eq!(
            whole.json(),
            serde_json::from_str::<serde_json::Value>(raw).unwrap()
        );
        assert_eq!(whole.header("x-amz-executed-version"), Some("$LATEST"));
    }
}

#[tokio::test]
async fn the_context_is_whole() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        let mut invoke = direct(r#"{"do":"context"}"#);
        let id = rig::uuid(invoke.request_id);
        let headers = invoke.request.headers_mut();
        // {"custom":{"k":"v"},"client":{...},"env":{}}, the last two as Rust's client wants them.
        let context = concat!(
            "eyJjdXN0b20iOnsiayI6InYifSwiY2xpZW50Ijp7Imluc3RhbGxhdGlvbl9pZCI6",
            "ImkiLCJhcHBfdGl0bGUiOiJ0IiwiYXBwX3ZlcnNpb25fbmFtZSI6InYiLCJhcHBf",
            "dmVyc2lvbl9jb2RlIjoiYyIsImFwcF9wYWNrYWdlX25hbWUiOiJwIn0sImVudiI6",
            "e319",
        );
        headers.insert("x-amz-client-context", context.parse().unwrap());
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", parent.parse().unwrap());
        let told = program.fine(invoke).await.json();
        assert_eq!(told["id"], id, "{client:?}");
        assert_eq!(
            told["arn"],
            "arn:aws:lambda:us-east-1:000000000000:function:probe"
        );
        assert_eq!(told["name"], "probe");
        assert!(told["memory"] == "128" || told["memory"] == 128, "{told}");
        assert!(told["left_ms"].as_u64().unwrap() > 1_000, "{told}");
        let trace = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1";
        assert_eq!(told["trace"], trace, "{client:?}");
        assert_eq!(told["client"], json!({"k": "v"}), "{client:?}");
    }
}

#[tokio::test]
async fn an_error_that_is_raised_is_the_callers_answer() {
    for (client, kind) in [(Python, "ValueError"), (Node, "TypeError"), (Rust, "")] {
        let mut program = client.start(&[]).await;
        let told = program.fine(direct(r#"{"do":"raise"}"#)).await;
        assert_eq!(told.status, 200);
        assert_eq!(
            told.header("x-amz-function-error"),
            Some("Unhandled"),
            "{client:?}"
        );
        assert_eq!(told.json()["errorMessage"], "raised on purpose");
        assert!(
            told.json()["errorType"].as_str().unwrap().contains(kind),
            "{told:?}"
        );
        let told = program.fine(get("/raise")).await;
        assert_eq!(
            (told.status, told.text.as_str()),
            (502, "Internal Server Error")
        );
        // The program lives on.
        assert_eq!(program.fine(direct(r#"{"do":"counter"}"#)).await.text, "3");
    }
}

#[tokio::test]
async fn a_failed_initialisation_is_told() {
    for client in ALL {
        let mut program = client.start(&[("USHER_INIT_FAIL", "1")]).await;
        if client == Rust {
            // Its client cannot report what fails before it runs; the program just exits.
            assert_eq!(program.child.wait().await.unwrap().code(), Some(1));
            continue;
        }
        let Err(InitError::Reported(error)) = program.api.ready().await else {
            panic!("{client:?} was ready");
        };
        let text = String::from_utf8(error.body.to_vec()).unwrap();
        assert!(
            text.contains("the initialisation fails on purpose"),
            "{text}"
        );
        let status = program.child.wait().await.unwrap();
        assert_ne!(status.code(), Some(0), "{client:?}");
        let answer = answer(Style::Direct, rig::request_id(), &Failure::Init(error));
        assert_eq!(answer.headers()["x-amz-function-error"], "Unhandled");
        assert_eq!(whole(answer).await.text, text);
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_is_refused() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        let answered = program
            .api
            .invoke(direct(r#"{"do":"large"}"#))
            .await
            .unwrap();
        let told = whole(answered.response).await;
        assert_eq!(
            told.header("x-amz-function-error"),
            Some("Unhandled"),
            "{client:?}"
        );
        assert_eq!(told.json()["errorType"], "Function.ResponseSizeTooLarge");
        // What the client makes of its 413 is its own affair: it goes on, or it ends.
        tokio::select! {
            rest = answered.rest.unwrap() => {
                println!("{client:?} goes on after 413: {rest:?}");
            }
            status = program.child.wait() => {
                println!("{client:?} ends after 413: {:?}", status.unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_program_that_takes_too_long_can_be_left() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        program.ready().await;
        let invoke = direct(r#"{"do":"sleep"}"#);
        let id = invoke.request_id;
        let short = Duration::from_millis(100);
        let late = tokio::time::timeout(short, program.api.invoke(invoke)).await;
        assert!(late.is_err(), "{client:?} did not sleep");
        let told = whole(answer(
            Style::Direct,
            id,
            &Failure::TimedOut { after: short },
        ))
        .await;
        assert_eq!(told.json()["errorType"], "Sandbox.Timedout");
        program.child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_program_that_exits_is_noticed() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        program.ready().await;
        let (told, _) = program.call(direct(r#"{"do":"exit"}"#)).await;
        assert_eq!(told.json()["errorType"], "Runtime.ExitError", "{client:?}");
        let message = told.json()["errorMessage"].as_str().unwrap().to_owned();
        assert!(
            message.ends_with("Runtime exited with error: exit status 7"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_malformed_result_is_the_functions_fault() {
    for client in ALL {
        let mut program = client.start(&[]).await;
        let told = program.fine(get("/malformed")).await;
        assert_eq!(
            (told.status, told.text.as_str()),
            (502, "Internal Server Error")
        );
        // By the Invoke API every result is as good as another.
        let told = program.fine(direct(r#"{"do":"malformed"}"#)).await;
        assert_eq!(
            told.json(),
            json!({"statusCode": "no status"}),
            "{client:?}"
        );
        if client != Rust {
            let told = program.fine(direct(r#"{"do":"unserialisable"}"#)).await;
            assert_eq!(
                told.header("x-amz-function-error"),
                Some("Unhandled"),
                "{client:?}"
            );
            println!("{client:?} says of an unserialisable result: {}", told.text);
        }
    }
}

#[tokio::test]
async fn a_stream_is_passed_on_with_its_head() {
    for client in [NodeStream, Rust] {
        let mut program = client.start(&[]).await;
        let told = program.fine(get("/stream")).await;
        assert_eq!(
            (told.status, told.text.as_str()),
            (201, "one,two,three"),
            "{client:?}"
        );
        assert_eq!(told.header("x-kind"), Some("stream"), "{client:?}");
        assert_eq!(told.header("content-type"), Some("text/plain"));
        assert_eq!(told.header("set-cookie"), Some("a=1"));
        // The Invoke API passes it as it is.
        let told = program.fine(direct(r#"{"do":"stream"}"#)).await;
        let (head, body) = told.text.split_once("\0\0\0\0\0\0\0\0").unwrap();
        assert!(head.contains("201"), "{head}");
        assert_eq!(body, "one,two,three");
    }
    let mut program = NodeStream.start(&[]).await;
    let told = program.fine(get("/plain")).await;
    assert_eq!((told.status, told.text.as_str()), (200, "one,two,three"));
    println!("a plain stream's type: {:?}", told.header("content-type"));
}

#[tokio::test]
async fn a_stream_that_is_cut_has_no_end() {
    for client in [NodeStream, Rust] {
        let mut program = client.start(&[]).await;
        let (told, rest) = program.call(get("/cut")).await;
        assert_eq!(
            (told.status, told.text.as_str()),
            (201, "one,two,"),
            "{client:?}"
        );
        assert!(told.broken.is_some());
        let Some(Err(InvokeError::Stream(broken))) = rest else {
            panic!("{client:?}: {rest:?}");
        };
        println!("{client:?} says of a cut stream: {broken:?}");
        // The program lives on.
        assert_eq!(program.fine(get("/stream")).await.text, "one,two,three");
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_its_head_is_an_error() {
    let mut program = NodeStream.start(&[]).await;
    let told = program.fine(get("/raise")).await;
    assert_eq!(
        (told.status, told.text.as_str()),
        (502, "Internal Server Error")
    );
}

#[tokio::test]
async fn an_exit_in_the_middle_of_a_stream_cuts_it() {
    let mut program = NodeStream.start(&[]).await;
    let (told, rest) = program.call(get("/exit")).await;
    assert_eq!((told.status, told.text.as_str()), (201, "one,two,"));
    assert!(told.broken.is_some());
    assert!(
        matches!(rest, Some(Err(InvokeError::Stream(_)))),
        "{rest:?}"
    );
}
