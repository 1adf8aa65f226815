//! The life of a function by the commands of the binary.

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::{Server, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_lives_from_deploy_to_delete() {
    let (data, function) = (Folder::new(), Folder::function("tally", "rust-counter", ""));
    let server = Server::up(data.path()).await;
    assert_eq!(server.run(&["list"]).await.done().len(), 0);

    let deployed = server.run(&["deploy", function.text()]).await.done();
    let deployed = deployed.last().unwrap();
    assert_eq!(deployed["created"], true, "{deployed}");
    assert_eq!(deployed["function"]["image"]["mode"], "live", "{deployed}");
    let again = server.run(&["deploy", function.text()]).await.done();
    assert_eq!(again.last().unwrap()["unchanged"], true);

    let listed = server.run(&["list"]).await.done();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "tally");

    let invoked = server.run(&["invoke", "tally"]).await.done();
    assert_eq!(invoked[0]["status"], 200);
    assert_eq!(invoked[0]["body"], "1\n");

    let shown = server.run(&["show", "tally"]).await.done();
    assert_eq!(shown[0]["revision"], deployed["function"]["revision"]);
    assert_eq!(shown[0]["status"]["served"], 1, "{shown:?}");

    let logged = server.run(&["logs", "tally"]).await.done();
    let requests = logged.iter().filter(|line| line["event"] == "request");
    assert_eq!(requests.count(), 1, "{logged:?}");

    let deleted = server.run(&["delete", "tally"]).await.done();
    assert_eq!(deleted[0]["name"], "tally");
    for command in ["show", "invoke", "delete"] {
        let error = server.run(&[command, "tally"]).await.error();
        assert_eq!(error["label"], "no-such-function", "{command}");
    }
    let gone = Caller::new(server.gateway).get("/fn/tally/").await;
    assert_eq!(gone.error(404)["label"], "no-such-function");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_not_there_is_told() {
    // Bound and not listened at: nobody else gets it meanwhile.
    let place = tokio::net::TcpSocket::new_v4().unwrap();
    place.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = place.local_addr().unwrap();
    let error = run(Some(nobody), &["list"]).await.error();
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("is `usher up` running?"), "{told}");
}
