//! What functions write stands in their logs under the request that they wrote it for.

use futures_util::future::join_all;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_finds_its_own_lines() {
    let (data, function) = (Folder::new(), Folder::function("log", "rust-log", ""));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let said: Vec<String> = (0..8).map(|nth| format!("word{nth}")).collect();
    let asked = said.iter().map(|word| {
        let caller = caller.clone();
        async move { caller.get(&format!("/fn/log/?msg={word}")).await }
    });
    for (word, answer) in said.iter().zip(join_all(asked).await) {
        assert_eq!(answer.text(), "logged");
        let id = answer.request_id();
        let lines = server.run(&["logs", "log", "--request", id]).await.done();
        assert!(lines.iter().all(|line| line["request"] == id), "{lines:?}");
        let of = |event: &str| {
            let lines = lines.iter().filter(|line| line["event"] == event);
            lines.map(|line| line["text"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(of("stdout"), [format!("out: {word}")], "{lines:?}");
        assert_eq!(of("stderr"), [format!("err: {word}")], "{lines:?}");
        let requests = lines.iter().filter(|line| line["event"] == "request");
        let requests: Vec<_> = requests.collect();
        assert_eq!(requests.len(), 1, "{lines:?}");
        assert_eq!(requests[0]["status"], 200, "{lines:?}");
        let run = answer.run();
        let proof = &requests[0]["proof"];
        assert_eq!(proof["environment"], run.environment, "{proof}");
        assert_eq!(proof["area"], run.area, "{proof}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_told_in_the_log_with_its_cause() {
    let (data, function) = (Folder::new(), Folder::function("hog", "rust-hog", ""));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let answer = Caller::new(server.gateway).get("/fn/hog/?oob=1").await;
    assert_eq!(answer.error(502)["label"], "trap");
    let id = answer.request_id();
    let lines = server.run(&["logs", "hog", "--request", id]).await.done();
    let told = serde_json::to_string(&lines).unwrap();
    assert!(told.contains("out of bounds memory access"), "{told}");
    // Callers are not told how the code looks inside.
    let told = str::from_utf8(&answer.body).unwrap();
    assert!(!told.contains("out of bounds"), "{told}");
}
