//! The freshness lint at deployment, and requests that warm a program up, as users see them.
//!
//! The program is the one that the process engine's own tests have; `python3 -E` turns the shims
//! off that would make its randomness fresh.

use std::fs;

use serde_json::Value;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::target;

/// A function whose command is this one, with more lines of its manifest.
fn program(command: &str, lines: &str) -> Folder {
    let folder = Folder::new();
    let root = target();
    let app = root
        .parent()
        .unwrap()
        .join("crates/usher-process/tests/lint/app.py");
    fs::copy(app, folder.path().join("app.py")).unwrap();
    let manifest =
        format!("name = \"it\"\n[process]\ncontract = \"http\"\ncommand = {command}\n{lines}\n");
    fs::write(folder.path().join("function.toml"), manifest).unwrap();
    folder
}

const TOLD: &str = "[\"python3\", \"app.py\"]";
const UNTOLD: &str = "[\"python3\", \"-E\", \"app.py\"]";

fn texts(of: &Value) -> String {
    let texts = of.as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    texts.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_repeats_is_found_at_deployment_and_the_program_replaced() {
    let data = Folder::new();
    let untold = program(UNTOLD, "reuse = true\n[[lint.requests]]\npath = \"/ssl\"");
    let server = Server::up(data.path()).await;
    let deployed = server.run(&["deploy", untold.text()]).await.done();
    let shown = server.run(&["show", "it"]).await.done();
    for function in [&deployed[0]["function"], &shown[0]] {
        let image = &function["image"];
        assert_eq!(image["mode"], "replaced", "{function}");
        let told = texts(&image["reasons"]);
        assert!(
            told.contains("the freshness lint found that GET /ssl answers "),
            "{told}"
        );
        assert!(told.contains(" at /ssl again after each renewal"), "{told}");
    }
    let log = server.run(&["logs", "it"]).await.done();
    let log = log.iter().map(Value::to_string).collect::<String>();
    assert!(
        log.contains("the freshness lint found that GET /ssl answers"),
        "{log}"
    );
    let caller = Caller::new(server.gateway);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = caller.get("/fn/it/ssl").await;
        assert_ne!(answer.run().renewal, "in-place");
        answers.push(answer.text().to_owned());
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 3, "{answers:?}");

    // The control: the same program, told of its put-backs, is not found.
    let told = program(TOLD, "");
    let deployed = server.run(&["deploy", told.text()]).await.done();
    assert_eq!(
        deployed[0]["function"]["image"]["mode"], "live",
        "{deployed:?}"
    );

    // And who knows better is believed.
    let off = program(UNTOLD, "reuse = true\n[lint]\nfreshness = \"off\"");
    let deployed = server.run(&["deploy", off.text()]).await.done();
    assert_eq!(
        deployed[0]["function"]["image"]["mode"], "live",
        "{deployed:?}"
    );
    let first = caller.get("/fn/it/ssl").await.text().to_owned();
    assert_eq!(
        caller.get("/fn/it/ssl").await.text(),
        first,
        "the control does not repeat"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_warm_a_program_up_are_no_requests() {
    let data = Folder::new();
    let warm = program(TOLD, "[[warm_up]]\n[[warm_up]]\npath = \"/uuid4\"");
    let server = Server::up(data.path()).await;
    server.run(&["deploy", warm.text()]).await.done();
    let shown = server.run(&["show", "it"]).await.done();
    assert_eq!(shown[0]["status"]["served"], 0, "{shown:?}");
    let caller = Caller::new(server.gateway);
    for _ in 0..3 {
        let answer: Value = serde_json::from_str(caller.get("/fn/it/").await.text()).unwrap();
        assert_eq!(answer["calls"], 3, "two before, and this one");
    }
    let log = server.run(&["logs", "it"]).await.done();
    let log = log.iter().map(Value::to_string).collect::<String>();
    assert!(
        log.contains("warm-up: GET /uuid4 was answered 200"),
        "{log}"
    );

    let fails = program(TOLD, "[[warm_up]]\npath = \"/nowhere\"");
    let error = server.run(&["deploy", fails.text()]).await.error();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("its warm-up request GET /nowhere was answered 404"),
        "{message}"
    );
}
