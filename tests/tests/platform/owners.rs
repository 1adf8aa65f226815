//! Owners that do not see each other, keys, quotas and the audit log, by the commands of the binary
//! and by every route of the API's own description.

use std::fs;
use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::Value;
use usher_api::body::Body;

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;

/// Room for slow starts of programs while others build beside them.
const PATIENT: &str = "[limits]\nqueue_wait_max_ms = 60000\nstart_max_ms = 60000\n";
const ALL: [&str; 8] = [
    "--scope", "read", "--scope", "deploy", "--scope", "invoke", "--scope", "admin",
];

/// A platform that asks for keys, and the files of some.
struct Closed {
    server: Server,
    keys: Folder,
    _data: Folder,
}

impl Closed {
    async fn new() -> Self {
        let data = Folder::new();
        let closed = Self {
            server: Server::up(data.path()).await,
            keys: Folder::new(),
            _data: data,
        };
        closed.make("admin", None, &ALL).await;
        closed
    }

    fn file(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// Makes a key by the administrator's, if there is one, and puts it into a file.
    async fn make(&self, name: &str, owner: Option<&str>, more: &[&str]) -> Value {
        let admin = self.file("admin");
        let mut words = vec!["key", "create", "--name", name];
        if admin.exists() {
            words.extend(["--key-file", admin.to_str().unwrap()]);
        }
        if let Some(owner) = owner {
            words.extend(["--owner", owner]);
        }
        words.extend(more);
        let made = self.server.run(&words).await.done().remove(0);
        fs::write(self.file(name), made["secret"].as_str().unwrap()).unwrap();
        made
    }

    /// Runs a command with the key of this file.
    async fn run(&self, key: &str, words: &[&str]) -> crate::server::Told {
        let file = self.file(key);
        let shown = ["--key-file", file.to_str().unwrap()];
        self.server.run(&[words, &shown].concat()).await
    }

    /// Asks the API with the key of this file.
    async fn ask(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        let secret = fs::read_to_string(self.file(key)).unwrap();
        let request = Caller::new(self.server.api)
            .request(path)
            .method(method)
            .header("authorization", format!("Bearer {secret}"))
            .header("connection", "close");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Caller::new(self.server.api).whole(request).await
    }
}

fn label(error: &Value) -> &str {
    error["label"].as_str().unwrap()
}

/// Everything of ann's that an answer could show.
async fn marks(closed: &Closed) -> Vec<String> {
    let shown = closed.run("ann", &["list"]).await.done();
    let mut marks = Vec::new();
    for function in &shown {
        for mark in [
            &function["revision"]["id"],
            &function["revision"]["artifact"],
        ] {
            marks.push(mark.as_str().unwrap().to_owned());
        }
        marks.push(format!(
            "\"name\":\"{}\"",
            function["name"].as_str().unwrap()
        ));
    }
    marks
}

/// Every verb that the API itself describes, with everything filled in that names ann's things.
/// Answers how many succeeded, and how many showed something of ann's.
async fn walk(closed: &Closed, key: &str, marks: &[String], reads_only: bool) -> (usize, usize) {
    let document = closed.ask("admin", "GET", "/v1/openapi.json", "").await;
    let document: Value = serde_json::from_str(document.text()).unwrap();
    let (mut succeeded, mut showed) = (0, 0);
    for (row, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if reads_only && method != "get" {
                continue;
            }
            let path = row.replace("{name}", "mine").replace("{owner}", "ann");
            let parts = path.split('/').map(|part| match part.starts_with('{') {
                true => "1234567890ab",
                false => part,
            });
            let mut path = parts.collect::<Vec<_>>().join("/");
            let parameters = operation["parameters"].as_array().unwrap();
            if parameters
                .iter()
                .any(|it| it["name"] == "owner" && it["in"] == "query")
            {
                path.push_str("?owner=ann");
            }
            let body = "{\"owner\":\"ann\",\"name\":\"mine\",\"scopes\":[\"read\"]}";
            let body = if method == "get" { "" } else { body };
            let answer = closed.ask(key, &method.to_uppercase(), &path, body).await;
            let text = String::from_utf8_lossy(&answer.body);
            succeeded += usize::from(answer.status.is_success());
            showed += usize::from(marks.iter().any(|mark| text.contains(mark)));
            let open = ["/", "/healthz", "/readyz", "/v1/openapi.json"].contains(&row.as_str());
            if key == "eve" && !open {
                let refused = matches!(answer.status.as_u16(), 403 | 404);
                assert!(refused, "{method} {path}: {} {text}", answer.status);
            }
        }
    }
    (succeeded, showed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_key_reads_nothing_of_another_owner() {
    let closed = Closed::new().await;
    closed.make("ann", Some("ann"), &ALL).await;
    closed.make("eve", Some("eve"), &ALL).await;
    // A component and a program, called once each so that there is something in their logs.
    let component = Folder::function("mine", "rust-counter", "");
    let program = Folder::program("http-c", "program", "", PATIENT);
    for folder in [&component, &program] {
        let deployed = closed.run("ann", &["deploy", folder.text()]).await.done();
        assert_eq!(deployed.last().unwrap()["function"]["owner"], "ann");
    }
    for function in ["mine", "program"] {
        closed.run("ann", &["invoke", function]).await.done();
    }
    let marks = marks(&closed).await;
    assert_eq!(marks.len(), 6);
    let (succeeded, showed) = walk(&closed, "eve", &marks, false).await;
    let answered = (succeeded, showed);
    assert_eq!(answered, (4, 0), "only what is nobody's is answered");
    // The control: the same walk with her own key shows ann what is hers.
    let (succeeded, showed) = walk(&closed, "ann", &marks, true).await;
    assert!(succeeded >= 8 && showed >= 3, "{succeeded} {showed}");
    for word in ["show", "logs", "delete", "invoke"] {
        for function in ["mine", "program"] {
            for owner in [&["--owner", "ann"][..], &[]] {
                let words = [&[word, function], owner].concat();
                let told = closed.run("eve", &words).await.error();
                assert_eq!(label(&told), "no-such-function", "{words:?}");
            }
        }
    }
    let words = ["deploy", component.text(), "--owner", "ann"];
    let theirs = closed.run("eve", &words).await.error();
    assert_eq!(label(&theirs), "no-such-owner");
    for (words, said) in [
        (vec!["owner", "show", "ann"], "no-such-owner"),
        (vec!["owner", "list"], "platform-only"),
        (vec!["owner", "set", "eve", "--burst", "1"], "platform-only"),
        (vec!["key", "list", "--owner", "ann"], "no-such-owner"),
        (vec!["audit", "--owner", "ann"], "no-such-owner"),
        (vec!["list", "--owner", "ann"], "no-such-owner"),
    ] {
        assert_eq!(
            label(&closed.run("eve", &words).await.error()),
            said,
            "{words:?}"
        );
    }
    assert!(closed.run("eve", &["list"]).await.done().is_empty());
    assert_eq!(closed.run("eve", &["key", "list"]).await.done().len(), 1);
    let calls = closed.run("eve", &["audit"]).await.done();
    assert!(calls.iter().all(|call| call["owner"] == "eve"), "{calls:?}");
    // Without a key, and with one that was revoked, there is nothing at all.
    assert_eq!(label(&closed.server.run(&["list"]).await.error()), "no-key");
    let keys = closed.run("admin", &["key", "list"]).await.done();
    let eves = keys.iter().find(|key| key["label"] == "eve").unwrap();
    let id = eves["id"].as_str().unwrap();
    closed.run("admin", &["key", "revoke", id]).await.done();
    let refused = closed.run("eve", &["list"]).await.error();
    assert_eq!(label(&refused), "key-refused");
    // Nothing was lost by all that.
    assert_eq!(closed.run("ann", &["list"]).await.done().len(), 2);
    // No file of the platform holds a secret.
    let secrets = ["admin", "ann", "eve"].map(|key| fs::read_to_string(closed.file(key)).unwrap());
    assert_eq!(held(closed._data.path(), &secrets), 0);
    assert_eq!(held(closed.keys.path(), &secrets), 3, "the control");
}

/// How many files below a folder hold one of these texts.
fn held(folder: &Path, texts: &[String]) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            count += held(&entry.path(), texts);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            let holds = |text: &String| {
                let text = text.as_bytes();
                bytes.windows(text.len()).any(|window| window == text)
            };
            count += usize::from(texts.iter().any(holds));
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lost_the_key_makes_another_one_on_a_stopped_platform() {
    let data = Folder::new();
    let mut server = Server::up(data.path()).await;
    let offline = [
        "key",
        "create",
        "--scope",
        "admin",
        "--data",
        data.path().to_str().unwrap(),
    ];
    let running = server.run(&offline).await.error();
    let told = running["message"].as_str().unwrap();
    assert!(told.contains("while no platform runs"), "{told}");
    server
        .run(&["key", "create", "--scope", "admin"])
        .await
        .done();
    assert_eq!(label(&server.run(&["list"]).await.error()), "no-key");
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
    let made = crate::server::run(None, &offline).await.done().remove(0);
    let server = Server::up(data.path()).await;
    assert_eq!(label(&server.run(&["list"]).await.error()), "no-key");
    let keys = Folder::new();
    let file = keys.path().join("key");
    fs::write(&file, made["secret"].as_str().unwrap()).unwrap();
    let listed = server
        .run(&["key", "list", "--key-file", file.to_str().unwrap()])
        .await;
    assert_eq!(listed.done().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_asks_for_a_key_is_called_with_one() {
    let closed = Closed::new().await;
    closed.make("ann", Some("ann"), &ALL).await;
    closed
        .make("reader", Some("ann"), &["--scope", "read"])
        .await;
    closed.make("eve", Some("eve"), &ALL).await;
    let component = Folder::function("mine", "rust-hello", "invoke = \"key\"\n");
    let program = Folder::program("http-c", "program", "invoke = \"key\"\n", PATIENT);
    for folder in [&component, &program] {
        closed.run("ann", &["deploy", folder.text()]).await.done();
    }
    let caller = Caller::new(closed.server.gateway);
    for path in ["/fn/mine.ann/", "/fn/program.ann/"] {
        let call = async |key: &str| {
            let secret = fs::read_to_string(closed.file(key)).unwrap();
            let request = caller.request(path);
            let request = request.header("authorization", format!("Bearer {secret}"));
            caller.whole(request.body(Body::Empty).unwrap()).await
        };
        let refused = caller.get(path).await;
        assert_eq!(refused.error(401)["label"], "key-needed");
        assert!(refused.headers.contains_key("www-authenticate"));
        for key in ["reader", "eve"] {
            assert_eq!(call(key).await.error(401)["label"], "key-needed", "{key}");
        }
        assert_eq!(call("ann").await.status, StatusCode::OK);
    }
    // The command shows the key that it has.
    let invoked = closed.run("ann", &["invoke", "mine"]).await.done();
    assert_eq!(invoked[0]["status"], 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_hold_from_the_next_request_on() {
    let closed = Closed::new().await;
    closed.make("ann", Some("ann"), &ALL).await;
    let folder = Folder::function("mine", "rust-hello", "");
    closed.run("ann", &["deploy", folder.text()]).await.done();
    let caller = Caller::new(closed.server.gateway);
    let set = async |words: &[&str]| {
        let words = [&["owner", "set", "ann"], words].concat();
        closed.run("admin", &words).await.done().remove(0)
    };
    // No token ever comes, so that only the burst may begin, however slow this test is.
    set(&["--requests-per-s", "0", "--burst", "2"]).await;
    for status in [200, 200, 429] {
        let answer = caller.get("/fn/mine.ann/").await;
        assert_eq!(answer.status.as_u16(), status);
    }
    let refused = caller.get("/fn/mine.ann/").await;
    assert_eq!(refused.error(429)["label"], "owner-busy");
    assert!(refused.headers.contains_key("retry-after"));
    let now = set(&["--requests-per-s", "none", "--functions-max", "1"]).await;
    assert_eq!(now["quotas"]["functions_max"], 1);
    assert_eq!(now["quotas"]["burst"], Value::Null);
    assert_eq!(caller.get("/fn/mine.ann/").await.status, StatusCode::OK);
    let second = Folder::function("second", "rust-hello", "");
    let refused = closed.run("ann", &["deploy", second.text()]).await.error();
    assert_eq!(label(&refused), "owner-full");
    // One environment of 256 MiB fits, and makes place for that of another function.
    set(&["--functions-max", "none", "--memory-max-mib", "300"]).await;
    closed.run("ann", &["deploy", second.text()]).await.done();
    for path in ["/fn/mine.ann/", "/fn/second.ann/", "/fn/mine.ann/"] {
        assert_eq!(caller.get(path).await.status, StatusCode::OK, "{path}");
    }
    // None fits, of a program neither.
    set(&["--memory-max-mib", "100"]).await;
    let program = Folder::program("http-c", "program", "", PATIENT);
    let refused = closed.run("ann", &["deploy", program.text()]).await.error();
    let told = refused["message"].as_str().unwrap();
    assert!(
        told.contains("memory_max_mib") && told.contains("100 MiB"),
        "{told}"
    );
    set(&["--memory-max-mib", "none"]).await;
    closed.run("ann", &["deploy", program.text()]).await.done();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_is_changed_without_a_line_about_it() {
    let data = Folder::new();
    let audit = data.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let server = Server::up_mounted(data.path(), &audit, "256k").await;
    let folder = Folder::function("mine", "rust-hello", "");
    server.run(&["deploy", folder.text()]).await.done();
    // What the platform sees there, which has a file system of its own.
    let fill = server.seen(&audit.join("fill"));
    let mut filled = fs::File::create(&fill).unwrap();
    while std::io::Write::write_all(&mut filled, &[0; 4_096]).is_ok() {}
    // As long as it is open its room is not free, whether it has a name or not.
    drop(filled);
    // Room that was set aside before serves a few changes yet, each of which has its line.
    let mut set = 0;
    let refused = loop {
        let told = server
            .run(&["owner", "set", "ann", "--functions-max", "7"])
            .await;
        if !told.status.success() {
            break told.error();
        }
        set += 1;
        assert!(set < 100, "the disk never became full");
    };
    assert_eq!(label(&refused), "no-audit");
    let refused = server.run(&["delete", "mine"]).await.error();
    assert_eq!(label(&refused), "no-audit");
    assert_eq!(server.run(&["list"]).await.done().len(), 1);
    let caller = Caller::new(server.gateway);
    assert_eq!(caller.get("/fn/mine/").await.status, StatusCode::OK);
    fs::remove_file(&fill).unwrap();
    server.run(&["delete", "mine"]).await.done();
    let calls = server.run(&["audit"]).await.done();
    let deleted = calls
        .iter()
        .filter(|call| call["method"] == "DELETE" && call["status"] == 200);
    assert_eq!(deleted.count(), 1, "{calls:?}");
    let sets = calls
        .iter()
        .filter(|call| call["method"] == "PUT" && call["status"] == 200);
    assert_eq!(sets.count(), set, "{calls:?}");
    assert!(server.run(&["list"]).await.done().is_empty());
}
