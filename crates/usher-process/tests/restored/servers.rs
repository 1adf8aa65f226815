//! Unmodified servers of the examples, as they are deployed: those of Python and Node declare, and
//! answer the hook while they wait for a request.
//!
//! Needs what `cargo xtask examples` builds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use usher_api::invoke::BoxFuture;
use usher_process::contract::lambda::{About, DEFAULT_REGION, LATEST, LambdaApi, environment};
use usher_process::contract::port::{Connect, PortClient};
use usher_process::restored::Hook;
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
        "{shown} is not there; `cargo xtask examples` builds it"
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

/// It answers the hook while it waits.
async fn answers(hook: &mut Hook) {
    hook.prepare().await.unwrap();
    for generation in 1..=20 {
        hook.restored(generation).await.unwrap();
    }
}

#[tokio::test]
async fn servers_declare_what_their_language_can() {
    for (name, command, declares) in SERVERS {
        let mut guest = server(name, command).await;
        assert_eq!(guest.hook.declared().unwrap(), declares, "{name}");
        if declares {
            answers(&mut guest.hook).await;
        }
    }
}

#[tokio::test]
async fn clients_of_the_lambda_contract_declare() {
    let python: &[&str] = &["/usr/bin/python3", "-m", "awslambdaric", "app.handler"];
    let node: &[&str] = &["/usr/bin/node", "node_modules/aws-lambda-ric/index.mjs"];
    for (name, command) in [("lambda-python", python), ("lambda-node", node)] {
        let rig = Rig::new(0).await;
        let mut launch = rig.launch(command);
        launch.folder = folder(name);
        let about = About {
            name: "it".to_owned(),
            owner: "default".to_owned(),
            version: LATEST.to_owned(),
            memory_max_mib: 512,
            handler: "app.handler".to_owned(),
            region: DEFAULT_REGION.to_owned(),
            environment: Default::default(),
            snap_start: false,
        };
        launch.environment = environment(&about);
        let mut shell = rig.sandboxes.shell().await.unwrap();
        let listener = TcpListener::from_std(shell.take_api_listener().unwrap()).unwrap();
        let api = LambdaApi::serve(listener, about);
        let mut guest = Guest::launch_in(rig, shell, launch).await;
        api.ready().await.unwrap();
        assert!(guest.hook.declared().unwrap(), "{name}");
        answers(&mut guest.hook).await;
    }
}
