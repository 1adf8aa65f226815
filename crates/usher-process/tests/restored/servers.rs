//! Unmodified servers of the examples, as they are deployed: those of Python and Node declare, and
//! answer the hook while they wait for a request.
//!
//! Needs what `cargo xtask examples --only http` builds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use usher_api::invoke::BoxFuture;
use usher_process::contract::port::{Connect, PortClient};
use usher_process::sandbox::Program;

use crate::guest::Guest;
use crate::rig::Rig;

const UVICORN: &[&str] = &[
    "/usr/bin/python3",
    "-m",
    "uvicorn",
    "app:app",
    "--host",
    "0.0.0.0",
    "--port",
    "8080",
];
/// Each server, its command, and whether it declares.
const SERVERS: [(&str, &[&str], bool); 6] = [
    ("http-python-flask", &["/usr/bin/python3", "app.py"], true),
    ("http-python-uvicorn", UVICORN, true),
    ("http-node-http", &["/usr/bin/node", "app.js"], true),
    ("http-node-express", &["/usr/bin/node", "app.js"], true),
    ("http-c", &["./server"], true),
    ("http-go", &["./server"], false),
];

struct Inside(Arc<Program>);

impl Connect for Inside {
    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(self.0.connect(port))
    }
}

fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let folder = root.unwrap().join("target/examples").join(name);
    let shown = folder.display();
    assert!(
        folder.join("function.toml").is_file(),
        "{shown} is not there; `cargo xtask examples --only http` builds it"
    );
    folder
}

/// A server that is ready.
pub(crate) async fn server(name: &str, command: &[&str]) -> Guest {
    let rig = Rig::new(0).await;
    let mut launch = rig.launch(command);
    launch.folder = folder(name);
    let port = ("PORT".to_owned(), "8080".to_owned());
    launch.environment.push(port);
    let guest = Guest::launch(rig, launch).await;
    let client = PortClient::new(Arc::new(Inside(guest.program.clone())), 8080);
    client.ready().await.unwrap();
    guest
}

#[tokio::test]
async fn servers_declare_what_their_language_can() {
    for (name, command, declares) in SERVERS {
        let mut guest = server(name, command).await;
        assert_eq!(guest.hook.declared().unwrap(), declares, "{name}");
        if declares {
            guest.hook.prepare().await.unwrap();
            for generation in 1..=20 {
                guest.hook.restored(generation).await.unwrap();
            }
        }
    }
}
