//! `usher dev` and `usher new`: what is saved is what is seen next, in a real browser too.
//!
//! The times from saving to seeing are printed and not judged. Chromium and its driver are those of
//! `cargo xtask peers`, the tools of components those of `cargo xtask examples`.

use std::fs;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use usher_api::body::Body;

use crate::browser::Browser;
use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::{Server, run, usher};
use crate::{event, target};

/// The first build of a Rust component may make the standard library along, in seconds.
const FIRST_BUILD_MAX_S: u64 = 900;

/// `usher dev`, and what it tells.
struct Dev {
    address: SocketAddr,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: NamedTempFile,
}

impl Dev {
    async fn start(path: &Path, more: &[&str]) -> Self {
        let stderr = NamedTempFile::new().unwrap();
        let mut command = usher();
        command.args(["dev", path.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        command.args(more).envs(tools());
        let started = command
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().unwrap())
            .spawn();
        let mut child = started.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = event("it is up", lines.next_line()).await.unwrap().unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        Self {
            address: ready["gateway"].as_str().unwrap().parse().unwrap(),
            child,
            lines,
            stderr,
        }
    }

    /// What it tells next of a change.
    async fn next(&mut self) -> Value {
        let line = event("it tells something", self.lines.next_line()).await;
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    }

    /// The same, of a change that is served.
    async fn reloaded(&mut self) -> Value {
        let told = self.next().await;
        assert!(told["reloaded"].is_u64(), "{told} {}", self.told());
        told
    }

    /// The same, of one that is not.
    async fn failed(&mut self) -> Value {
        let told = self.next().await;
        assert!(told["failed"].is_u64(), "{told}");
        told
    }

    /// What stands in the terminal.
    fn told(&self) -> String {
        fs::read_to_string(self.stderr.path()).unwrap()
    }

    fn group(&self) -> Pid {
        let id = i32::try_from(self.child.id().expect("it still runs")).unwrap();
        Pid::from_raw(id).unwrap()
    }

    /// Ends it as Ctrl-C does.
    async fn end(mut self) {
        kill_process_group(self.group(), Signal::INT).unwrap();
        let status = event("it ends", self.child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.told());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the terminal:\n{}", self.told());
        }
    }
}

/// The tools of components, as `cargo xtask examples` installed them.
fn tools() -> Vec<(&'static str, String)> {
    let tools = target().join("examples-tools");
    let path = std::env::var("PATH").unwrap();
    let at = |path: PathBuf| path.to_str().unwrap().to_owned();
    let bin = at(tools.join("venv/bin"));
    let npm = at(tools.join("npm/node_modules/.bin"));
    vec![
        ("PATH", format!("{bin}:{npm}:{path}")),
        ("RUSTC", "/usr/bin/rustc".to_owned()),
        ("CARGO_NET_OFFLINE", "true".to_owned()),
        ("CARGO_TARGET_DIR", at(target().join("test-cache/dev-rust"))),
        (
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
            at(tools.join("wasm-ld")),
        ),
    ]
}

/// A new function, as `usher new` makes it.
async fn new(around: &Folder, words: &[&str]) -> PathBuf {
    let mut command = usher();
    command.arg("new").args(words).current_dir(around.path());
    let made = event("it is made", command.output()).await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    around.path().join(made["folder"].as_str().unwrap())
}

/// Saves a file as editors do: written beside, then put in its place.
fn save(file: &Path, text: &str) {
    let beside = file.with_extension("new~");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// The folder of a Rust component, with the standard library built already.
async fn rust_component(around: &Folder, name: &str) -> PathBuf {
    let folder = new(around, &[name, "--lang", "rust"]).await;
    build(&folder).await;
    folder
}

/// Builds what is in a folder for the first time.
async fn build(folder: &Path) {
    let mut build = tokio::process::Command::new("sh");
    build.arg("build.sh").current_dir(folder).envs(tools());
    build.kill_on_drop(true);
    let bound = Duration::from_secs(FIRST_BUILD_MAX_S);
    let built = tokio::time::timeout(bound, build.output()).await;
    let built = built.expect("the first build ends").unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
}

/// A page that is open follows its source: changed, broken, mended.
async fn is_followed(folder: &Path, file: &str, broken: (&str, &str), word: &str) {
    let mut dev = Dev::start(folder, &["--live-reload"]).await;
    let told = dev.reloaded().await;
    println!(
        "{}: the first time {} ms",
        folder.display(),
        told["took_ms"]
    );
    let browser = Browser::open().await;
    browser.go(&format!("http://{}/", dev.address)).await;
    browser.sees("Hello from").await;

    let file = folder.join(file);
    let text = fs::read_to_string(&file).unwrap();
    for round in 1..=3 {
        let words = format!("Round {round} of");
        let saved = now_ms();
        save(&file, &text.replace("Hello from", &words));
        let seen = browser.sees(&words).await;
        let told = dev.reloaded().await;
        println!(
            "{}: edit to seen {} ms; {told}",
            folder.display(),
            seen.saturating_sub(saved)
        );
    }

    let (good, bad) = broken;
    assert!(text.contains(good), "{text}");
    save(&file, &text.replace(good, bad));
    let saved = now_ms();
    let seen = browser.sees(word).await;
    println!(
        "{}: broken to seen {} ms",
        folder.display(),
        seen.saturating_sub(saved)
    );
    let page = browser.text().await;
    assert!(page.contains("reloads when it is mended"), "{page}");
    dev.failed().await;

    save(&file, &text.replace("Hello from", "Mended in"));
    let saved = now_ms();
    let seen = browser.sees("Mended in").await;
    println!(
        "{}: mended to seen {} ms",
        folder.display(),
        seen.saturating_sub(saved)
    );
    dev.reloaded().await;
    browser.close().await;
    dev.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_program_in_python_follows_its_source() {
    let around = Folder::new();
    let folder = new(&around, &["in-python", "--lang", "py"]).await;
    let broken = ("def do_GET(self):", "def do_GET(self:");
    is_followed(&folder, "app.py", broken, "SyntaxError").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_program_in_javascript_follows_its_source() {
    let around = Folder::new();
    let folder = new(&around, &["in-js", "--lang", "js"]).await;
    let broken = ("http.createServer(", "http.createServer((");
    is_followed(&folder, "app.js", broken, "SyntaxError").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_component_in_rust_follows_its_source() {
    let around = Folder::new();
    let folder = rust_component(&around, "in-rust").await;
    let broken = ("path.replace(", "way.replace(");
    is_followed(&folder, "src/lib.rs", broken, "cannot find value `way`").await;
}

/// What `usher new` makes is deployed and answers.
async fn answers(folder: &Path, build: bool) {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let mut command = usher();
    command.args(["deploy", folder.to_str().unwrap()]);
    command.args(build.then_some("--build")).envs(tools());
    command.env("USHER_API", format!("http://{}", server.api));
    let deployed = event("it is deployed", command.output()).await.unwrap();
    assert!(deployed.status.success(), "{deployed:?}");
    let deployed: Value = serde_json::from_slice(&deployed.stdout).unwrap();
    let name = deployed["function"]["name"].as_str().unwrap();
    let caller = Caller::new(server.gateway);
    for _ in 0..3 {
        let answer = caller.get(&format!("/fn/{name}/there")).await;
        assert!(answer.text().contains("<h1>Hello from"), "{answer:?}");
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_program_in_each_language_is_deployed_and_answers() {
    let around = Folder::new();
    for (lang, build) in [("py", false), ("js", false), ("c", true), ("rust", true)] {
        let name = format!("new-{lang}");
        let folder = new(&around, &[&name, "--lang", lang, "--kind", "program"]).await;
        answers(&folder, build).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_component_in_rust_is_deployed_and_answers() {
    let around = Folder::new();
    let folder = rust_component(&around, "new-component").await;
    answers(&folder, true).await;
}

/// Built by itself first, as that takes longer than any other event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_component_in_javascript_is_deployed_and_answers() {
    let around = Folder::new();
    let words = ["new-js", "--lang", "js", "--kind", "component"];
    let folder = new(&around, &words).await;
    let modules = target().join("examples-tools/npm/node_modules");
    assert!(modules.exists(), "`cargo xtask examples` installs them");
    std::os::unix::fs::symlink(modules, folder.join("node_modules")).unwrap();
    build(&folder).await;
    answers(&folder, false).await;
}

/// A request that comes when a file was saved meets what was saved, without anybody waiting in
/// between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_meets_what_was_saved() {
    let around = Folder::new();
    let folder = new(&around, &["it", "--lang", "py"]).await;
    let mut dev = Dev::start(&folder, &[]).await;
    let caller = Caller::new(dev.address);
    let text = fs::read_to_string(folder.join("app.py")).unwrap();
    // Even the first one, which waits for all of the start.
    assert!(caller.get("/").await.text().contains("Hello from"));
    dev.reloaded().await;
    for nth in 0..5 {
        let words = format!("Number {nth}");
        save(&folder.join("app.py"), &text.replace("Hello from", &words));
        let begun = Instant::now();
        let answer = caller.get("/").await;
        println!("saved to answered: {:?}", begun.elapsed());
        assert!(answer.text().contains(&words), "{answer:?}");
        // Nothing is added to a page that nobody asked to have changed.
        assert!(!answer.text().contains("__usher"), "{answer:?}");
        let told = dev.reloaded().await;
        assert_eq!(told["reloaded"], nth + 2, "{told}");
    }
    // What is only touched is the same; what is noise is none of the source.
    fs::write(
        folder.join("app.py"),
        text.replace("Hello from", "Number 4"),
    )
    .unwrap();
    fs::write(folder.join("app.pyc"), "").unwrap();
    assert!(caller.get("/").await.text().contains("Number 4"));
    save(&folder.join("app.py"), &text);
    assert!(caller.get("/").await.text().contains("Hello from"));
    assert_eq!(dev.reloaded().await["reloaded"], 7);

    let told = dev.told();
    assert!(told.contains("GET / 200 in"), "{told}");
    dev.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_told_by_every_request_until_they_are_mended() {
    let around = Folder::new();
    let folder = new(&around, &["it", "--lang", "js"]).await;
    let manifest = folder.join("function.toml");
    let good = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, "name = \"It\"\ncolour = 1\n").unwrap();
    let mut dev = Dev::start(&folder, &[]).await;
    let caller = Caller::new(dev.address);
    let ask = |accept: &str| {
        let request = caller.request("/").header("accept", accept);
        caller.whole(request.body(Body::Empty).unwrap())
    };
    for (accept, kind) in [
        ("text/html", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let answer = ask(accept).await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert_eq!(answer.headers["content-type"], kind);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        for mistake in ["line 1: name: ", "line 2: colour: ", "component: missing"] {
            assert!(body.contains(mistake), "{mistake}: {body}");
        }
    }
    assert_eq!(dev.failed().await["label"], "source-wrong");
    save(&manifest, &good);
    assert!(ask("*/*").await.text().contains("Hello from"));
    dev.reloaded().await;

    // A folder that goes, and comes again.
    let away = around.path().join("away");
    fs::rename(&folder, &away).unwrap();
    let answer = ask("*/*").await;
    assert_eq!(answer.status, 500, "{answer:?}");
    dev.failed().await;
    fs::rename(&away, &folder).unwrap();
    assert!(ask("*/*").await.text().contains("Hello from"));
    dev.end().await;
}

/// What the front cannot do is told before anything is started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_and_a_path_that_is_not_there_are_told() {
    let around = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = run(None, &["dev", around.text(), "--listen", &address]).await;
    let told = error.error()["message"].to_string();
    assert!(
        told.contains(&address) && told.contains("is it in use?"),
        "{told}"
    );
    let error = run(None, &["dev", "nowhere", "--listen", "127.0.0.1:0"]).await;
    let told = error.error()["message"].to_string();
    assert!(told.contains("is the path right?"), "{told}");
}

/// After a change of protocol the bytes pass both ways, through the front too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_passes_the_front() {
    let folder = Folder::program("http-node-http", "it", "", "");
    let dev = Dev::start(folder.path(), &["--live-reload"]).await;
    let mut stream = TcpStream::connect(dev.address).await.unwrap();
    let asks = "GET /socket HTTP/1.1\r\nhost: any\r\nconnection: Upgrade\r\n\
                upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(asks.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(event("the head", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // A text frame of two letters, with a mask of zeros.
    let frame = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    stream.write_all(&frame).await.unwrap();
    let mut back = [0; 4];
    let read = event("the echo", stream.read_exact(&mut back)).await;
    read.unwrap();
    assert_eq!(back, [0x81, 2, b'h', b'i']);
    drop(stream);
    dev.end().await;
}

/// A build that is overtaken ends with its processes, and the newer one is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_change_ends_the_build_before() {
    let around = Folder::new();
    let folder = new(&around, &["it", "--lang", "py"]).await;
    let (app, script) = (folder.join("app.py"), folder.join("build.sh"));
    let manifest = folder.join("function.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text + "\n[build]\ncommand = [\"sh\", \"build.sh\"]\n",
    )
    .unwrap();
    fs::write(&script, "true\n").unwrap();
    let mut dev = Dev::start(&folder, &[]).await;
    dev.reloaded().await;

    // The build and its child hold this pipe: its end says that both have ended.
    let pipe = around.path().join("pipe");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.await.unwrap().success());
    let (tell, begun) = tokio::sync::oneshot::channel();
    let ended = tokio::task::spawn_blocking(move || {
        let mut lines = std::io::BufReader::new(fs::File::open(pipe).unwrap()).lines();
        tell.send(lines.next().unwrap().unwrap()).unwrap();
        assert!(lines.next().is_none(), "nothing more was written");
    });
    save(&script, "exec > ../pipe; sleep 600 & echo begun; wait\n");
    assert_eq!(event("the build begins", begun).await.unwrap(), "begun");
    let page = fs::read_to_string(&app).unwrap();
    save(&app, &page.replace("Hello from", "Overtaken by"));
    save(&script, "true\n");
    let answer = Caller::new(dev.address).get("/").await;
    assert!(answer.text().contains("Overtaken by"), "{answer:?}");
    event("the build before ended", ended).await.unwrap();
    let told = dev.reloaded().await;
    assert_eq!(told["reloaded"], 2, "{told}");
    dev.end().await;
}
