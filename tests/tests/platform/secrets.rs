//! Secrets: functions get them, and nobody finds them anywhere else. Each search is made for a
//! plain value too, which it must find, or it would prove nothing.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;

/// A program that uses its secret without showing it, and tries what it must not be able to do.
const PROGRAM: &str = r#"
import hashlib, http.server, json, os
FOLDER = '/run/secrets'
def tried(act):
    try:
        act()
        return 'done'
    except OSError as error:
        return type(error).__name__ + ' ' + str(error.errno)
def about():
    path = FOLDER + '/DB'
    it = os.stat(path)
    return {
        'names': os.listdir(FOLDER),
        'mode': oct(it.st_mode & 0o7777),
        'folder': oct(os.stat(FOLDER).st_mode & 0o7777),
        'own': it.st_uid == os.getuid(),
        'write': tried(lambda: open(path, 'wb')),
        'chmod': tried(lambda: os.chmod(path, 0o644)),
        'unlink': tried(lambda: os.unlink(path)),
        'create': tried(lambda: open(FOLDER + '/new', 'wb')),
        'variable': os.environ.get('DB', 'none'),
    }
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/about':
            body = json.dumps(about())
        elif self.path == '/variable':
            body = hashlib.sha256(os.environ['TOKEN'].encode()).hexdigest()
        else:
            body = hashlib.sha256(open(FOLDER + '/DB', 'rb').read()).hexdigest()
        body = body.encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Answers).serve_forever()
"#;

/// A value that nobody can have written down.
fn random() -> String {
    let mut bytes = [0; 24];
    let mut source = fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `sha256sum` says, so that a value need not be shown to be compared.
fn digest(value: &str) -> String {
    let folder = Folder::new();
    let file = folder.path().join("value");
    fs::write(&file, value).unwrap();
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

async fn set(server: &Server, name: &str, owner: &str, value: &str) {
    let folder = Folder::new();
    let file = folder.path().join("value");
    fs::write(&file, value).unwrap();
    let file = file.to_str().unwrap();
    let words = ["secret", "set", name, "--owner", owner, "--file", file];
    let told = server.run(&words).await.done();
    assert!(told[0].get("value").is_none(), "{told:?}");
}

fn program(name: &str, lines: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.path().join("app.py"), PROGRAM).unwrap();
    let manifest = format!(
        "name = \"{name}\"\n{lines}\n\
         [process]\ncontract = \"http\"\ncommand = [\"python3\", \"app.py\"]\n\
         [limits]\nqueue_wait_max_ms = 60000\nstart_max_ms = 60000\n"
    );
    fs::write(folder.path().join("function.toml"), manifest).unwrap();
    folder
}

/// Where a text stands in the files of a folder.
fn found_in(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && holds(&fs::read(&path).unwrap_or_default(), text) => {
                    found.push(path.display().to_string());
                }
                _ => {}
            }
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|at| at == text.as_bytes())
}

/// Which processes of this machine have a text in this file of `/proc`.
fn processes(file: &str, text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let paths = all.map(|entry| entry.path().join(file));
    let with = paths.filter(|path| holds(&fs::read(path).unwrap_or_default(), text));
    with.map(|path| path.display().to_string()).collect()
}

/// All that the API answers to whoever reads.
async fn answers(server: &Server) -> String {
    let caller = Caller::new(server.api);
    let mut all = String::new();
    for path in [
        "/v1/functions",
        "/v1/functions/component",
        "/v1/functions/component/revisions",
        "/v1/functions/component/logs",
        "/v1/functions/program",
        "/v1/functions/program/logs",
        "/v1/secrets",
        "/v1/secrets/db",
        "/v1/openapi.json",
        "/metrics",
        "/",
    ] {
        let answer = caller.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        all.push_str(&String::from_utf8_lossy(&answer.body));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_found_nowhere_but_in_the_functions() {
    let (data, within) = (Folder::new(), Folder::new());
    let server = Server::up_within(within.path(), data.path()).await;
    let caller = Caller::new(server.gateway);
    let (db, token, plain) = (random(), random(), random());
    set(&server, "db", "default", &db).await;
    set(&server, "token", "default", &token).await;
    let granted = "[secrets]\nDB = \"db\"\nTOKEN = { secret = \"token\", as = \"env\" }\n";
    let lines = format!("[config]\nPLAIN = \"{plain}\"\n{granted}");
    let component = Folder::function("component", "rust-config", &lines);
    server.run(&["deploy", component.text()]).await.done();
    let lines = format!("[env]\nPLAIN = \"{plain}\"\n{granted}");
    let it = program("program", &lines);
    server.run(&["deploy", it.text()]).await.done();
    // Both use them, each in the way that its manifest names.
    for _ in 0..3 {
        let get = async |path: &str| caller.get(path).await;
        assert_eq!(get("/fn/component/?config=DB").await.text(), db);
        assert_eq!(get("/fn/component/?env=TOKEN").await.text(), token);
        assert_eq!(get("/fn/component/?env=DB").await.status, 404);
        assert_eq!(get("/fn/component/?config=TOKEN").await.status, 404);
        assert_eq!(get("/fn/program/").await.text(), digest(&db));
        assert_eq!(get("/fn/program/variable").await.text(), digest(&token));
    }
    let told = answers(&server).await;
    assert!(told.contains(&plain), "the search finds what is there");
    assert!(
        !found_in(data.path(), &plain).is_empty(),
        "the search finds what is there"
    );
    for value in [&db, &token] {
        assert!(
            !told.contains(value.as_str()),
            "an answer of the API shows it"
        );
        assert!(
            !server.told().contains(value.as_str()),
            "the platform's log shows it"
        );
        assert_eq!(found_in(data.path(), value), [] as [&str; 0]);
        assert_eq!(processes("cmdline", value), [] as [&str; 0]);
    }
    // Variables of a process can be read; that is what `as = "env"` says yes to.
    assert!(
        !processes("environ", &plain).is_empty(),
        "the search finds what is there"
    );
    assert!(
        !processes("environ", &token).is_empty(),
        "it was to be a variable"
    );
    assert_eq!(processes("environ", &db), [] as [&str; 0]);
    // A crash of the platform leaves nothing behind; another program's in the same folder does.
    server.crash().await;
    let left = fs::read_dir(within.path()).unwrap().count();
    assert_eq!(left, 0, "no dump at all");
    dumps(within.path(), &plain);
    assert!(
        !found_in(within.path(), &plain).is_empty(),
        "the search finds what is there"
    );
    for value in [&db, &token] {
        assert_eq!(found_in(within.path(), value), [] as [&str; 0]);
        assert_eq!(
            found_in(data.path(), value),
            [] as [&str; 0],
            "after the crash"
        );
    }
}

/// Has a process crash in a folder that holds this value in its memory, and may leave a dump.
fn dumps(within: &Path, value: &str) {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let beside = !pattern.starts_with('|') && !pattern.contains('/');
    if !beside {
        // Then no folder would show a dump; the file stands in for it.
        return fs::write(within.join("core"), value).unwrap();
    }
    let script =
        format!("ulimit -c unlimited; exec python3 -c 'import os; v = \"{value}\"; os.abort()'");
    let ended = Command::new("sh")
        .args(["-c", &script])
        .current_dir(within)
        .status();
    assert!(!ended.unwrap().success());
}

/// A program's files are its own to read, and nobody's to change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_programs_secrets_are_files_that_it_can_only_read() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    set(&server, "db", "default", "hunter2").await;
    let it = program("it", "[secrets]\nDB = \"db\"\n");
    server.run(&["deploy", it.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for _ in 0..3 {
        let about = caller.get("/fn/it/about").await;
        let about: serde_json::Value = serde_json::from_str(about.text()).unwrap();
        assert_eq!(about["names"], serde_json::json!(["DB"]));
        assert_eq!(
            (&about["mode"], &about["folder"]),
            (&"0o400".into(), &"0o500".into())
        );
        assert_eq!(about["own"], true);
        assert_eq!(about["variable"], "none");
        for tried in ["write", "chmod", "unlink", "create"] {
            assert_ne!(about[tried], "done", "{tried}: {about}");
        }
    }
}

/// A new value is what the next request finds, in every kind of function; what is kept with the old
/// one is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_is_what_the_next_request_finds() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    set(&server, "db", "default", "first").await;
    let secrets = "[secrets]\nDB = \"db\"\n";
    for (name, lines) in [
        ("live", ""),
        ("fresh", "renewal = \"fresh\"\n"),
        ("kept", "isolation = \"none\"\n"),
    ] {
        let folder = Folder::function(name, "rust-config", &format!("{lines}{secrets}"));
        server.run(&["deploy", folder.text()]).await.done();
    }
    for (name, lines) in [("program", ""), ("kept-program", "isolation = \"none\"")] {
        let folder = program(name, &format!("{lines}\n{secrets}"));
        server.run(&["deploy", folder.text()]).await.done();
    }
    for value in ["first", "second", "third"] {
        set(&server, "db", "default", value).await;
        for _ in 0..2 {
            for name in ["live", "fresh", "kept"] {
                let answer = caller.get(&format!("/fn/{name}/?config=DB")).await;
                assert_eq!(answer.text(), value, "{name}");
            }
            for name in ["program", "kept-program"] {
                let answer = caller.get(&format!("/fn/{name}/")).await;
                assert_eq!(answer.text(), digest(value), "{name}");
            }
        }
    }
}

/// A secret is its owner's, must be there, and stays while it is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_its_owners_and_must_be_there() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    set(&server, "db", "default", "hunter2").await;
    let folder = Folder::function("it", "rust-config", "[secrets]\nDB = \"db\"\n");
    let stranger = ["deploy", folder.text(), "--owner", "other"];
    let error = server.run(&stranger).await.error();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("db of owner other is not set"),
        "{message}"
    );
    assert!(!message.contains("hunter2"));
    server.run(&["deploy", folder.text()]).await.done();
    let listed = server.run(&["secret", "list"]).await.done();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["version"]),
        (&"db".into(), &1.into())
    );
    assert_eq!(listed[0]["used_by"], serde_json::json!(["it"]));
    assert!(!serde_json::to_string(&listed).unwrap().contains("hunter2"));
    let error = server.run(&["secret", "delete", "db"]).await.error();
    assert!(
        error["message"].as_str().unwrap().contains("used by it"),
        "{error}"
    );
    server.run(&["delete", "it"]).await.done();
    server.run(&["secret", "delete", "db"]).await.done();
    assert!(server.run(&["secret", "list"]).await.done().is_empty());
    let error = server.run(&["deploy", folder.text()]).await.error();
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("usher secret set db"),
        "{error}"
    );
}

/// The key can be elsewhere than the data; without it the data tells nothing, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_the_data_folder_opens_no_secret() {
    let (data, elsewhere) = (Folder::new(), Folder::new());
    let key = elsewhere.path().join("key");
    fs::write(&key, random() + &random()[..16]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let named = ["--secrets-key", key.to_str().unwrap()];
    let server = Server::up_with(data.path(), &named).await;
    set(&server, "db", "default", "hunter2").await;
    let folder = Folder::function("it", "rust-config", "[secrets]\nDB = \"db\"\n");
    server.run(&["deploy", folder.text()]).await.done();
    assert!(!data.path().join("secrets.key").exists());
    server.kill().await;
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    let answer = caller.get("/fn/it/?config=DB").await;
    assert_eq!(answer.error(503)["blame"], "platform");
    let listed = server.run(&["secret", "list"]).await.done();
    assert_eq!(listed[0]["readable"], false);
    assert!(
        server.told().contains("sealed by another key"),
        "{}",
        server.told()
    );
    server.kill().await;
    let server = Server::up_with(data.path(), &named).await;
    let caller = Caller::new(server.gateway);
    assert_eq!(caller.get("/fn/it/?config=DB").await.text(), "hunter2");
    // One that is not there is told, and nothing is made in its place.
    drop(server);
    let missing = elsewhere.path().join("missing");
    let free = "127.0.0.1:0";
    let folder = Folder::new();
    let words = [
        "up",
        "--gateway",
        free,
        "--api",
        free,
        "--data",
        folder.text(),
    ];
    let named = ["--secrets-key", missing.to_str().unwrap()];
    let told = crate::server::run(None, &[&words[..], &named].concat()).await;
    assert!(
        told.error()["message"]
            .as_str()
            .unwrap()
            .contains("cannot be used")
    );
    assert!(!missing.exists());
}
