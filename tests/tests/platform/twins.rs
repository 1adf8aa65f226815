//! One client that calls a program in sequence, and renewals that take longer than its pauses.

use std::collections::BTreeSet;
use std::fs;

use usher_core::id::{FunctionKey, Name};

use crate::caller::{Caller, Run};
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

/// Requests without twins.
const REQUESTS: usize = 50;

/// A program that writes to all of 16 MiB in every request, which are put back after each.
fn program(twins: &str) -> Folder {
    let folder = Folder::new();
    let app = "import http.server, os\n\
               pages = bytearray(16 << 20)\n\
               class Writes(http.server.BaseHTTPRequestHandler):\n    \
                   protocol_version = 'HTTP/1.1'\n    \
                   def do_GET(self):\n        \
                       count = str(pages[0] + 1).encode()\n        \
                       pages[::4096] = b'\\x01' * (len(pages) // 4096)\n        \
                       self.send_response(200)\n        \
                       self.send_header('content-length', str(len(count)))\n        \
                       self.end_headers()\n        \
                       self.wfile.write(count)\n\
               port = int(os.environ['PORT'])\n\
               http.server.HTTPServer(('127.0.0.1', port), Writes).serve_forever()\n";
    fs::write(folder.path().join("app.py"), app).unwrap();
    let manifest = format!(
        "name = \"it\"\n[process]\ncontract = \"http\"\ncommand = [\"python3\", \"app.py\"]\n\
         [keep]\ntwins = \"{twins}\"\n\
         [limits]\nqueue_wait_max_ms = 60000\nstart_max_ms = 60000\n"
    );
    fs::write(folder.path().join("function.toml"), manifest).unwrap();
    folder
}

/// Calls when the run before is over: one that begins while it ends is not in sequence.
async fn call(server: &Server, caller: &Caller) -> Run {
    let key = FunctionKey {
        owner: Name::default_owner(),
        name: "it".parse().unwrap(),
    };
    let over = async { while server.client().show(&key).await.unwrap().status.busy != 0 {} };
    event("the end of a run", over).await;
    let answer = caller.get("/fn/it/").await;
    assert_eq!(answer.text(), "1", "{answer:?}");
    answer.run()
}

/// Calls until another environment serves than did before.
async fn other(server: &Server, caller: &Caller, before: u64) -> Run {
    event("another environment", async {
        loop {
            let run = call(server, caller).await;
            // Who waits for a renewal gets the twin that is started meanwhile, if that is sooner.
            assert_ne!(
                run.start, "cold",
                "a twin is not made for a request: {run:?}"
            );
            if run.environment != before {
                return run;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_serve_a_sequential_client_in_turn() {
    let (data, folder) = (Folder::new(), program("always"));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let first = call(&server, &caller).await;
    let twin = other(&server, &caller, first.environment).await;
    assert_eq!((twin.renewal.as_str(), twin.renew_us), ("fresh", 0));
    let mut environments = BTreeSet::from([first.environment, twin.environment]);
    let mut last = twin.environment;
    for _ in 0..6 {
        let run = other(&server, &caller, last).await;
        assert!(
            ["in-place", "swap"].contains(&run.renewal.as_str()),
            "{run:?}"
        );
        last = run.environment;
        environments.insert(last);
    }
    assert_eq!(environments.len(), 2, "they take turns");
    let shown = server.run(&["show", "it"]).await.done();
    let status = &shown[0]["status"];
    assert_eq!(
        (&status["started"], &status["twins"]),
        (&2.into(), &1.into())
    );
    let because = status["twins_because"].as_str().unwrap();
    assert!(!because.is_empty(), "{shown:?}");
}

/// The control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_twins_a_sequential_client_waits_for_the_same_program() {
    let (data, folder) = (Folder::new(), program("off"));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let mut environments = BTreeSet::new();
    for _ in 0..REQUESTS {
        environments.insert(call(&server, &caller).await.environment);
    }
    assert_eq!(environments.len(), 1);
    let shown = server.run(&["show", "it"]).await.done();
    assert_eq!(shown[0]["status"]["twins"], 0, "{shown:?}");
}
