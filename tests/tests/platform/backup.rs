//! Back-ups of a running platform, restored on an empty one; and data folders of older versions.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinHandle;

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;
use crate::variant::{answering, deploy};

/// Functions that are there before the back-up begins.
const BEFORE: usize = 8;
/// How a function is given a bucket.
const BUCKET: &str = "[keyvalue]\nbuckets = [\"default\"]\n";
/// How a function is given the secret.
const SECRET: &str = "[secrets]\nDB = \"db\"\n";

/// Deploys, calls and writes until it is told to stop: new functions `new0`, `new1`, one that
/// changes, and a number in a bucket.
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
                assert_eq!(bucket(&caller, "add=count").await.text(), nth.to_string());
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
    given(&old).await;
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
    set(&old, "later", "of no back-up").await;
    let caller = Caller::new(old.gateway);
    bucket(&caller, "set=later&value=1").await.text();
    drop(caller);
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
    let number = |name: &str| told[0][name].as_u64().unwrap();
    let all = number("entries") + number("bucket_entries");
    assert_eq!(restored[0]["added"], all);
    answers(&new, acknowledged, rounds).await;
    new.kill().await;
    let [before, own] = [&data, &empty].map(|it| key(it.path()));
    assert_ne!(before, own, "the other platform's key is not taken over");
    let new = Server::up(empty.path()).await;
    answers(&new, acknowledged, rounds).await;
    new.kill().await;
    // The control: the key that sealed them before opens them no more.
    write_key(&empty.path().join("secrets.key"), &before);
    let server = Server::up(empty.path()).await;
    assert_eq!(secret(&server).await.error(503)["blame"], "platform");
}

fn key(data: &Path) -> String {
    std::fs::read_to_string(data.join("secrets.key")).unwrap()
}

fn write_key(path: &Path, key: &str) {
    std::fs::write(path, key).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A platform whose key lies elsewhere takes secrets in by the key that comes along, and seals them
/// by its own; the back-up of such a platform has no key, and needs the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_whose_key_lies_elsewhere_seals_restored_secrets_by_it() {
    let (data, elsewhere, place) = (Folder::new(), Folder::new(), Folder::new());
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (carrying, without) = (path("carrying.tar"), path("without.tar"));
    let [own, other] = ["ab", "cd"].map(|digits| {
        let key = elsewhere.path().join(digits);
        write_key(&key, &digits.repeat(32));
        key.to_str().unwrap().to_owned()
    });
    let old = Server::up(data.path()).await;
    given(&old).await;
    old.run(&["backup", &carrying]).await.done();
    old.kill().await;
    let moved = Folder::new();
    let server = Server::up_with(moved.path(), &["--secrets-key", &own]).await;
    server.run(&["restore", &carrying]).await.done();
    assert_eq!(secret(&server).await.text(), "hunter2");
    assert!(
        !moved.path().join("secrets.key").exists(),
        "written nowhere"
    );
    // Once more changes nothing, though the same value is sealed in another way in the back-up.
    let again = server.run(&["restore", &carrying]).await.done();
    assert_eq!(again[0]["added"], 0, "{again:?}");
    server.run(&["backup", &without]).await.done();
    server.kill().await;
    let list = std::process::Command::new("tar")
        .args(["-tf", &without])
        .output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    assert!(!list.contains("secrets.key"), "{list}");
    for (key, opens) in [(&own, true), (&other, false)] {
        let folder = Folder::new();
        let server = Server::up_with(folder.path(), &["--secrets-key", key]).await;
        server.run(&["restore", &without]).await.done();
        let answer = secret(&server).await;
        match opens {
            true => assert_eq!(answer.text(), "hunter2"),
            false => assert_eq!(answer.error(503)["blame"], "platform"),
        }
    }
    // A key in the file that is not the one by which its secrets are sealed is refused.
    let wrong = wrong_key(&carrying, place.path());
    let folder = Folder::new();
    let server = Server::up_with(folder.path(), &["--secrets-key", &own]).await;
    let refused = server.run(&["restore", &wrong]).await.error();
    assert!(message(&refused).contains("the secret at"), "{refused}");
    assert!(server.run(&["list"]).await.done().is_empty());
}

/// The same back-up with another key in it, whole by all its digests.
fn wrong_key(file: &str, place: &Path) -> String {
    const SCRIPT: &str = r#"
import hashlib, io, json, sys, tarfile
old, new = tarfile.open(sys.argv[1]), tarfile.open(sys.argv[2], 'w', tarfile.USTAR_FORMAT)
key = b'12' * 32
for member in old:
    data = old.extractfile(member).read()
    if member.name.endswith('secrets.key'):
        data = key
    if member.name == 'usher-backup.json':
        contents = json.loads(data)
        for file in contents['files']:
            if file['name'] == 'secrets.key':
                file['digest'], file['bytes'] = hashlib.sha256(key).hexdigest(), len(key)
        data = json.dumps(contents).encode()
    member.size = len(data)
    new.addfile(member, io.BytesIO(data))
new.close()
"#;
    let wrong = place.join("wrong.tar").to_str().unwrap().to_owned();
    let written = std::process::Command::new("python3")
        .args(["-c", SCRIPT, file, &wrong])
        .status();
    assert!(written.unwrap().success());
    wrong
}

/// What is loaded answers by what was restored, from the end of the restore on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loaded_functions_answer_by_what_was_restored_at_once() {
    let (data, place) = (Folder::new(), Folder::new());
    let file = place.path().join("usher.tar");
    let file = file.to_str().unwrap();
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    given(&server).await;
    let kept = format!("isolation = \"none\"\n{SECRET}");
    let folder = Folder::function("kept", "rust-config", &kept);
    server.run(&["deploy", folder.text()]).await.done();
    deploy(&server, "changing", 1).await;
    let grant = format!("{BUCKET}keys_max = 5\n");
    let folder = Folder::function("small", "rust-bucket", &grant);
    server.run(&["deploy", folder.text()]).await.done();
    let small = async |query: &str| caller.get(&format!("/fn/small/?{query}")).await;
    assert_eq!(small("fill=9&value=1").await.text(), "5");
    server.run(&["backup", file]).await.done();
    set(&server, "db", "changed").await;
    deploy(&server, "changing", 2).await;
    for at in 0..5 {
        small(&format!("delete=fill{at}")).await.text();
    }
    small("set=another&value=1").await.text();
    let values = async |secret: &str, variant| {
        for name in ["config", "kept"] {
            for _ in 0..2 {
                let answer = caller.get(&format!("/fn/{name}/?config=DB")).await;
                assert_eq!(answer.text(), secret, "{name}");
            }
        }
        assert_eq!(answering(&caller, "changing").await, variant);
    };
    values("changed", 2).await;
    // The control: what stays is as it was.
    server.run(&["restore", file, "--keep"]).await.done();
    values("changed", 2).await;
    for at in 0..5 {
        small(&format!("delete=fill{at}")).await.text();
    }
    assert_eq!(small("set=another&value=2").await.text(), "set");
    let told = server.run(&["restore", file, "--replace"]).await.done();
    assert_eq!(told[0]["replaced"], 2, "{told:?}");
    values("hunter2", 1).await;
    // Six keys are there, which is one more than may be.
    let refused = small("set=more&value=1").await;
    assert_eq!(refused.status, 500, "{refused:?}");
    let told = String::from_utf8_lossy(&refused.body);
    assert!(told.contains("keyvalue.keys_max is 5"), "{told}");
}

/// What a function with a bucket answers.
async fn bucket(caller: &Caller, query: &str) -> Answer {
    caller.get(&format!("/fn/bucket/?{query}")).await
}

/// Has a function answer with its secret, and another one keep something in its bucket.
async fn given(server: &Server) {
    set(server, "db", "hunter2").await;
    let folder = Folder::function("config", "rust-config", SECRET);
    server.run(&["deploy", folder.text()]).await.done();
    let folder = Folder::function("bucket", "rust-bucket", BUCKET);
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    bucket(&caller, "set=%F0%9F%92%A7&value=kept").await.text();
}

async fn set(server: &Server, name: &str, value: &str) {
    let folder = Folder::new();
    let file = folder.path().join("value");
    std::fs::write(&file, value).unwrap();
    let words = ["secret", "set", name, "--file", file.to_str().unwrap()];
    server.run(&words).await.done();
}

async fn secret(server: &Server) -> Answer {
    let caller = Caller::new(server.gateway);
    caller.get("/fn/config/?config=DB").await
}

async fn answers(server: &Server, acknowledged: usize, rounds: usize) {
    let caller = Caller::new(server.gateway);
    assert_eq!(secret(server).await.text(), "hunter2");
    assert_eq!(bucket(&caller, "get=%F0%9F%92%A7").await.text(), "kept");
    let count = bucket(&caller, "get=count").await;
    let count = count.text().parse().unwrap();
    assert!((acknowledged..=rounds).contains(&count), "{count}");
    // The control: what was written after the back-up is not there.
    assert_eq!(bucket(&caller, "get=later").await.status, 404);
    let secrets = server.run(&["secret", "list"]).await.done();
    assert_eq!(secrets.len(), 1, "{secrets:?}");
    assert_eq!(secrets[0]["readable"], true, "by the platform's own key");
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
