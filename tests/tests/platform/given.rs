//! What functions are given beside their code: variables and configuration, for components and for
//! programs, the same in every run.

use std::fs;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;

/// A program that answers the variable which its path names.
const VARIABLES: &str = "import http.server, os\n\
    class Answers(http.server.BaseHTTPRequestHandler):\n    \
        def do_GET(self):\n        \
            body = os.environ.get(self.path[1:], 'none').encode()\n        \
            self.send_response(200)\n        \
            self.send_header('content-length', str(len(body)))\n        \
            self.end_headers()\n        \
            self.wfile.write(body)\n\
    port = int(os.environ['PORT'])\n\
    http.server.HTTPServer(('127.0.0.1', port), Answers).serve_forever()\n";

/// A component reads its variables and its configuration, stays live, and sees nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reads_what_its_manifest_gives_it() {
    let (data, other) = (Folder::new(), "renewal = \"fresh\"\n");
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    let given = "[env]\nCOLOUR = \"blue\"\n[config]\n\"a.key with spaces\" = \"yes\"\n";
    for (name, lines, mode, renewal) in [
        ("live", "", "live", "swap"),
        ("fresh", other, "fresh", "fresh"),
    ] {
        let folder = Folder::function(name, "rust-config", &format!("{lines}{given}"));
        let told = server.run(&["deploy", folder.text()]).await.done();
        assert_eq!(told[0]["function"]["image"]["mode"], mode, "{told:?}");
        let get = async |query: &str| caller.get(&format!("/fn/{name}/?{query}")).await;
        for _ in 0..3 {
            assert_eq!(get("env=COLOUR").await.text(), "blue");
            assert_eq!(get("config=a.key%20with%20spaces").await.text(), "yes");
            assert_eq!(get("calls").await.text(), "1", "put back, or new");
        }
        // Nothing of the platform's own, and nothing crosses from one table to the other.
        assert_eq!(get("all=env").await.text(), "COLOUR");
        assert_eq!(get("all=config").await.text(), "a.key with spaces");
        for missing in ["env=PATH", "env=HOME", "config=COLOUR", "config="] {
            assert_eq!(get(missing).await.status, 404, "{missing}");
        }
        assert_eq!(get("env=COLOUR").await.run().renewal, renewal);
    }
    // Another function with other variables, or none, sees its own.
    let bare = Folder::function("bare", "rust-config", "");
    server.run(&["deploy", bare.text()]).await.done();
    assert_eq!(caller.get("/fn/bare/?all=env").await.text(), "");
    assert_eq!(caller.get("/fn/bare/?all=config").await.text(), "");
}

/// A program gets the same table, and the older one beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_reads_what_its_manifest_gives_it() {
    let (data, folder) = (Folder::new(), Folder::new());
    fs::write(folder.path().join("app.py"), VARIABLES).unwrap();
    let manifest = "name = \"it\"\n[env]\nCOLOUR = \"blue\"\n\
                    [process]\ncontract = \"http\"\ncommand = [\"python3\", \"app.py\"]\n\
                    [process.environment]\nSHAPE = \"round\"\n";
    fs::write(folder.path().join("function.toml"), manifest).unwrap();
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for (name, value) in [
        ("COLOUR", "blue"),
        ("SHAPE", "round"),
        ("PORT", "8080"),
        ("NONE", "none"),
    ] {
        for _ in 0..3 {
            assert_eq!(caller.get(&format!("/fn/it/{name}")).await.text(), value);
        }
    }
}
