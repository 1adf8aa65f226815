//! Back-ups of a running platform, restored on an empty one; and data folders of older versions.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinHandle;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::variant::{answering, deploy};

/// Functions that are there before the back-up begins.
const BEFORE: usize = 8;

/// Deploys and calls until it is told to stop: new functions `new0`, `new1`, and one that changes.
struct Load {
    stop: Arc<AtomicBool>,
    /// The variant of `changing` that was acknowledged last.
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<usize>,
}

impl Load {
    fn begin(server: Arc<Server>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let task = tokio::spawn(async move {
            let caller = Caller::new(server.gateway);
            let mut nth = 0;
            while !stopped.load(SeqCst) {
                nth += 1;
                deploy(&server, "changing", nth).await;
                counted.store(nth, SeqCst);
                deploy(&server, &format!("new{nth}"), nth).await;
                assert_eq!(answering(&caller, "changing").await, nth);
            }
            nth
        });
        Self {
            stop,
            acknowledged,
            task,
        }
    }

    async fn has_come_to(&self, nth: usize) {
        let come = async {
            while self.acknowledged.load(SeqCst) < nth {
                tokio::task::yield_now().await;
            }
        };
        crate::event("deployments under load", come).await;
    }

    /// Ends it; how many rounds there were.
    async fn end(self) -> usize {
        self.stop.store(true, SeqCst);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_back_up_answers_on_an_empty_machine() {
    let (data, place, empty) = (Folder::new(), Folder::new(), Folder::new());
    let file = place.path().join("usher.tar");
    let file = file.to_str().unwrap();
    let old = Arc::new(Server::up(data.path()).await);
    for nth in 0..BEFORE {
        deploy(&old, &format!("f{nth}"), 100 + nth).await;
    }
    let load = Load::begin(Arc::clone(&old));
    load.has_come_to(2).await;
    let acknowledged = load.acknowledged.load(SeqCst);
    let told = old.run(&["backup", file]).await.done();
    assert!(
        told[0]["entries"].as_u64().unwrap() > BEFORE as u64,
        "{told:?}"
    );
    load.has_come_to(acknowledged + 2).await;
    let rounds = load.end().await;
    let Ok(old) = Arc::try_unwrap(old).map_err(drop) else {
        panic!("the load has ended");
    };
    old.kill().await;

    let new = Server::up(empty.path()).await;
    let checked = new.run(&["restore", file, "--check"]).await.done();
    assert_eq!(checked[0]["entries"], told[0]["entries"]);
    assert!(
        new.run(&["list"]).await.done().is_empty(),
        "a check restores nothing"
    );
    let restored = new.run(&["restore", file]).await.done();
    assert_eq!(restored[0]["added"], told[0]["entries"]);
    answers(&new, acknowledged, rounds).await;
    new.kill().await;
    answers(&Server::up(empty.path()).await, acknowledged, rounds).await;
}

async fn answers(server: &Server, acknowledged: usize, rounds: usize) {
    let caller = Caller::new(server.gateway);
    for nth in 0..BEFORE {
        assert_eq!(answering(&caller, &format!("f{nth}")).await, 100 + nth);
    }
    // A round deploys `changing` first, so the last new function may be one behind.
    for nth in 1..acknowledged {
        assert_eq!(answering(&caller, &format!("new{nth}")).await, nth);
    }
    let changing = answering(&caller, "changing").await;
    assert!((acknowledged..=rounds).contains(&changing), "{changing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_whole_back_up_is_refused_before_anything_is_sent() {
    let (data, place) = (Folder::new(), Folder::new());
    let server = Server::up(data.path()).await;
    deploy(&server, "f", 1).await;
    let file = place.path().join("usher.tar");
    let text = file.to_str().unwrap();
    server.run(&["backup", text]).await.done();
    let again = server.run(&["backup", text]).await.error();
    assert!(message(&again).contains("--force"), "{again}");
    server.run(&["backup", text, "--force"]).await.done();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let cut = server.run(&["restore", text, "--replace"]).await.error();
    assert!(message(&cut).contains("cut off"), "{cut}");
    std::fs::write(&file, "no archive at all").unwrap();
    let strange = server.run(&["restore", text]).await.error();
    assert!(
        message(&strange).contains("not a whole back-up"),
        "{strange}"
    );
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        1,
        "nothing partial stays"
    );
}

fn message(error: &serde_json::Value) -> &str {
    error["message"].as_str().unwrap()
}

/// A data folder as version 0.1.0 left it before functions had aliases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_of_an_older_version_opens_and_answers() {
    let data = Folder::new();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-0.1.0.tar.gz");
    let unpacked = std::process::Command::new("tar")
        .arg("-xzf")
        .args([&archive, Path::new("-C"), data.path()])
        .status();
    assert!(unpacked.unwrap().success());
    let server = Server::up(data.path()).await;
    let listed = server.run(&["list"]).await.done();
    let names: Vec<_> = listed
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["changed", "first"]);
    let caller = Caller::new(server.gateway);
    assert_eq!(answering(&caller, "first").await, 1);
    assert_eq!(answering(&caller, "changed").await, 3);
    let changed = server.run(&["show", "changed"]).await.done();
    assert_eq!(changed[0]["revision"]["number"], 2);
    // And it goes on being used.
    deploy(&server, "changed", 4).await;
    server.kill().await;
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    assert_eq!(answering(&caller, "changed").await, 4);
    assert_eq!(answering(&caller, "first").await, 1);
}
