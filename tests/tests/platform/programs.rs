//! Linux programs, unmodified: the three official Lambda clients and servers in four languages,
//! each kept from request to request, and each put back or replaced after every request.
//!
//! They need the right to make sandboxes. The programs are those of `cargo xtask examples`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_api::body::{Body, BodyError};

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;
use crate::{count, event};

/// Callers at the same time.
const CALLERS: usize = 8;
/// Most requests of one program that is kept.
const KEPT_MAX: usize = 10_000;
/// Requests of one program that is put back after each, in a proof and otherwise.
const PUT_BACK: [usize; 2] = [10_000, 24];
/// The same of one that is replaced.
const REPLACED: [usize; 2] = [500, 24];
/// Environments of programs that are put back: as many as there are callers, as many twins, and a
/// few for those that had to be replaced.
const ENVIRONMENTS_MAX: usize = 4 * CALLERS;
/// Those that do not say that they make their randomness fresh, and are replaced.
const UNDECLARED: [&str; 2] = ["http-go", "lambda-rust"];
/// Room for as many environments as there are callers.
const LIMITS: &str = "[limits]\nconcurrency_max = 8\nqueue_wait_max_ms = 60000\n\
                      start_max_ms = 60000";

/// Sends so many requests by several callers at a time; answers in any order.
async fn calls(caller: &Caller, path: &str, requests: usize) -> Vec<Answer> {
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..CALLERS {
        let (caller, path) = (caller.clone(), path.to_owned());
        tasks.spawn(async move {
            let mut answers = Vec::new();
            for _ in (nth..requests).step_by(CALLERS) {
                answers.push(caller.get(&path).await);
            }
            answers
        });
    }
    tasks.join_all().await.concat()
}

/// Every request is answered; kept programs count on, those that are put back or replaced begin
/// anew.
async fn serves(example: &str) {
    let data = Folder::new();
    let kept = Folder::program(example, "kept", "isolation = \"none\"", LIMITS);
    let renewed = Folder::program(example, "renewed", "", LIMITS);
    let server = Server::up(data.path()).await;
    for folder in [&kept, &renewed] {
        server.run(&["deploy", folder.text()]).await.done();
    }
    let caller = Caller::new(server.gateway);
    let hello = caller.get("/fn/kept/hello").await;
    assert!(hello.status == 200 || hello.status == 404, "{hello:?}");

    let requests = count().min(KEPT_MAX);
    let answers = calls(&caller, "/fn/kept/counter", requests).await;
    let mut highest = 0;
    for answer in &answers {
        highest = highest.max(answer.text().parse::<usize>().unwrap());
    }
    assert_eq!(answers.len(), requests);
    assert!(highest >= requests / CALLERS, "kept programs count on");

    if !UNDECLARED.contains(&example) {
        return is_put_back(&caller, "renewed").await;
    }
    is_replaced(&caller, "renewed").await;
    let reused = Folder::program(example, "reused", "", LIMITS);
    reused.insert("[process]", "reuse = true");
    server.run(&["deploy", reused.text()]).await.done();
    is_put_back(&caller, "reused").await;
}

/// Each request begins anew, in an environment that has served others.
async fn is_put_back(caller: &Caller, name: &str) {
    let requests = PUT_BACK[usize::from(count() < KEPT_MAX)];
    let environments = begins_anew(caller, name, requests, &["fresh", "in-place", "swap"]).await;
    let most = ENVIRONMENTS_MAX.min(requests - 1);
    assert!(environments <= most, "{environments} environments");
}

/// Each request has an environment of its own.
async fn is_replaced(caller: &Caller, name: &str) {
    let requests = REPLACED[usize::from(count() < KEPT_MAX)];
    let environments = begins_anew(caller, name, requests, &["fresh", "replaced"]).await;
    assert_eq!(environments, requests);
}

/// Returns how many environments have served.
async fn begins_anew(caller: &Caller, name: &str, requests: usize, ways: &[&str]) -> usize {
    let answers = calls(caller, &format!("/fn/{name}/counter"), requests).await;
    assert_eq!(answers.len(), requests);
    let mut environments = BTreeSet::new();
    for answer in &answers {
        assert_eq!(answer.text(), "1", "{answer:?}");
        let run = answer.run();
        assert!(ways.contains(&run.renewal.as_str()), "{run:?}");
        environments.insert(run.environment);
    }
    environments.len()
}

macro_rules! serves {
    ($($test:ident $example:literal)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            serves($example).await;
        }
    )* };
}

serves! {
    the_lambda_client_for_python_is_served "lambda-python"
    the_lambda_client_for_node_is_served "lambda-node"
    the_lambda_client_for_rust_is_served "lambda-rust"
    a_server_in_python_is_served "http-python-flask"
    an_asynchronous_server_in_python_is_served "http-python-uvicorn"
    a_server_in_node_is_served "http-node-http"
    an_express_application_is_served "http-node-express"
    a_server_in_go_is_served "http-go"
    a_static_server_in_c_is_served "http-c"
}

/// One file, without a manifest: what it is is recognised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_in_python_is_served_at_the_root() {
    let folder = Folder::new();
    let app = folder.path().join("app.py");
    let text = "import http.server, os\n\
                class Hello(http.server.BaseHTTPRequestHandler):\n    \
                    def do_GET(self):\n        \
                        body = b'Hello from one file'\n        \
                        self.send_response(200)\n        \
                        self.send_header('content-length', str(len(body)))\n        \
                        self.end_headers()\n        \
                        self.wfile.write(body)\n\
                port = int(os.environ['PORT'])\n\
                http.server.HTTPServer(('127.0.0.1', port), Hello).serve_forever()\n";
    fs::write(&app, text).unwrap();
    let mut server = Server::serve(&app).await;
    let answer = Caller::new(server.gateway).get("/any").await;
    assert_eq!(answer.text(), "Hello from one file");
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
}

/// What a program does to itself costs one request, and is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_fails_costs_one_request() {
    let data = Folder::new();
    let limits = "[limits]\nfirst_byte_max_ms = 1000\nmemory_max_mib = 32\nconcurrency_max = 2";
    let program = Folder::program("http-c", "it", "isolation = \"none\"", limits);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", program.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for (path, status, label) in [
        ("crash", 502, "trap"),
        ("exit", 502, "trap"),
        ("spin", 504, "time-out"),
        ("hog", 502, "out-of-memory"),
    ] {
        let answer = caller.get(&format!("/fn/it/{path}")).await;
        assert_eq!(answer.error(status)["label"], label, "{path}: {answer:?}");
        assert_eq!(
            caller.get("/fn/it/counter").await.text(),
            "1",
            "after {path}"
        );
    }
    let told = server.run(&["logs", "it"]).await.done();
    let told = serde_json::to_string(&told).unwrap();
    for cause in ["signal 6", "code 3", "more memory"] {
        assert!(told.contains(cause), "{cause}: {told}");
    }
}

/// What a program may not do fails in it, and stands in its function's log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sandbox_denies_is_told() {
    let (data, folder) = (Folder::new(), Folder::new());
    let app = "import ctypes, http.server, os\n\
               class Tries(http.server.BaseHTTPRequestHandler):\n    \
                   def do_GET(self):\n        \
                       libc = ctypes.CDLL(None, use_errno=True)\n        \
                       libc.unshare(0x10000000)\n        \
                       body = str(ctypes.get_errno()).encode()\n        \
                       self.send_response(200)\n        \
                       self.send_header('content-length', str(len(body)))\n        \
                       self.end_headers()\n        \
                       self.wfile.write(body)\n\
               port = int(os.environ['PORT'])\n\
               http.server.HTTPServer(('127.0.0.1', port), Tries).serve_forever()\n";
    fs::write(folder.path().join("app.py"), app).unwrap();
    let server = Server::up(data.path()).await;
    let deploy = ["deploy", folder.text(), "--name", "tries"];
    server.run(&deploy).await.done();
    let answer = Caller::new(server.gateway).get("/fn/tries/").await;
    // EPERM.
    assert_eq!(answer.text(), "1");
    let told = server.run(&["logs", "tries"]).await.done();
    let told = serde_json::to_string(&told).unwrap();
    assert!(told.contains("denied by the sandbox"), "{told}");
    assert!(told.contains("unshare"), "{told}");
}

/// After a change of protocol the bytes pass both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_passes() {
    let data = Folder::new();
    let program = Folder::program("http-node-http", "it", "isolation = \"none\"", LIMITS);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", program.text()]).await.done();
    let mut stream = TcpStream::connect(server.gateway).await.unwrap();
    let asks = "GET /fn/it/socket HTTP/1.1\r\nhost: any\r\nconnection: Upgrade\r\n\
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
    event("the echo", stream.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(back, [0x81, 2, b'h', b'i']);
}

/// A body streams through a program, both ways, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_streams_through_a_program() {
    const BODY_BYTES: usize = 64 << 20;
    let data = Folder::new();
    let program = Folder::program("http-c", "it", "", LIMITS);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", program.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let sent = (0..BODY_BYTES).map(|at| u8::try_from(at % 251).unwrap());
    let sent = bytes::Bytes::from_iter(sent);
    let request = caller.request("/fn/it/echo").method("POST");
    let answer = caller
        .whole(request.body(Body::Whole(sent.clone())).unwrap())
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == sent, "the body came back changed");
}

/// What a terminal sends to all processes of a platform ends none of its sandboxes: the request
/// that is under way finishes, and then nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_platform_lets_its_programs_finish() {
    let data = Folder::new();
    let program = Folder::program("http-c", "it", "", LIMITS);
    let mut server = Server::up(data.path()).await;
    server.run(&["deploy", program.text()]).await.done();
    let groups = groups(&data);
    assert!(
        !groups.is_empty(),
        "control groups are there to be looked for"
    );
    let caller = Caller::new(server.gateway);
    let (pieces, sent) = tokio::sync::mpsc::channel(1);
    let piece = |text: &'static str| {
        Ok::<_, BodyError>(Frame::data(bytes::Bytes::from_static(text.as_bytes())))
    };
    let sent = futures_util::stream::unfold(sent, async |mut sent| {
        sent.recv().await.map(|piece| (piece, sent))
    });
    let body = Body::stream(StreamBody::new(Box::pin(sent)));
    let request = caller.request("/fn/it/echo").method("POST").body(body);
    pieces.send(piece("first, ")).await.unwrap();
    let (_, mut echo) = caller.send(request.unwrap()).await.into_parts();
    let first = event("the first piece", echo.frame())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.into_data().unwrap(), "first, ");
    server.interrupt_all();
    pieces.send(piece("second")).await.unwrap();
    drop(pieces);
    let rest = event("the rest", echo.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "second");
    assert_eq!(server.ended().await.code(), Some(0));
    event("the control groups are gone", async {
        while groups.iter().any(|group| group.exists()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The control groups of the platform on this folder, which they are named after.
fn groups(data: &Folder) -> Vec<PathBuf> {
    let about = fs::metadata(data.path().join("sandboxes")).unwrap();
    let name = format!("usher-{:x}-{:x}", about.dev(), about.ino());
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                match entry.file_name() == *name {
                    true => found.push(entry.path()),
                    false => folders.push(entry.path()),
                }
            }
        }
    }
    found
}

/// A program whose state is kept is asked to end before it is ended, and does not outlive the time
/// that it is granted for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_program_is_asked_to_end_and_then_ended() {
    let (data, folder) = (Folder::new(), Folder::new());
    let mark = format!("asked-to-end-{}", std::process::id());
    // Asked to end, it becomes a program that never would, and that can be told by its words. That
    // must be seen within its grace, which therefore is a long one.
    let app = format!(
        "import http.server, os, signal\n\
         def asked(*_):\n    \
             os.execv('/bin/sh', ['sh', '-c', 'sleep 600; true', '{mark}'])\n\
         signal.signal(signal.SIGTERM, asked)\n\
         class Hello(http.server.BaseHTTPRequestHandler):\n    \
             def do_GET(self):\n        \
                 self.send_response(204)\n        \
                 self.end_headers()\n\
         port = int(os.environ['PORT'])\n\
         http.server.HTTPServer(('127.0.0.1', port), Hello).serve_forever()\n"
    );
    fs::write(folder.path().join("app.py"), app).unwrap();
    let manifest = "name = \"it\"\nisolation = \"none\"\n\
                    [process]\ncontract = \"http\"\ncommand = [\"python3\", \"app.py\"]\n\
                    [limits]\ngrace_max_ms = 5000\n";
    fs::write(folder.path().join("function.toml"), manifest).unwrap();
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let answer = Caller::new(server.gateway).get("/fn/it/").await;
    assert_eq!(answer.status, 204);
    assert!(!runs(&mark), "nobody has asked it yet");
    server.run(&["delete", "it"]).await.done();
    for (what, wanted) in [("it is asked to end", true), ("it is ended", false)] {
        event(what, async {
            while runs(&mark) != wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Whether a process of this machine has this word among its own.
fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let words = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    let mut words = words.flat_map(|all| {
        all.split(|byte| *byte == 0)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    });
    words.any(|it| it == word.as_bytes())
}
