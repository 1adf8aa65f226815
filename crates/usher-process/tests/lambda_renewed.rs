//! The real Lambda runtime clients in sandboxes of the engine, put back after each request.
//!
//! Needs the right to make sandboxes, and the functions of `examples/lambda`
//! (`cargo xtask examples`).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::sync::mpsc;
use usher_core::function::{Contract, Isolation, Process, Settings};
use usher_core::id::{EnvironmentId, RequestId};
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{
    Call, Engine as _, Environment as _, GuestOutput, GuestStream, Over, Used as _,
};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine, ProcessImage};

/// How often each of them is called.
const TIMES: u128 = 200;

/// A function, as its manifest has it.
#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    command: &'static [&'static str],
    handler: &'static str,
    /// It says nothing of its randomness.
    reuse: bool,
}

const PYTHON: Client = Client {
    name: "lambda-python",
    command: &["/usr/bin/python3", "-m", "awslambdaric", "app.handler"],
    handler: "app.handler",
    reuse: false,
};
const NODE: Client = Client {
    name: "lambda-node",
    command: &["/usr/bin/node", "node_modules/aws-lambda-ric/index.mjs"],
    handler: "app.handler",
    reuse: false,
};
const RUST: Client = Client {
    name: "lambda-rust",
    command: &["./bootstrap"],
    handler: "bootstrap",
    reuse: true,
};

struct Silent;

impl GuestOutput for Silent {
    fn write(&self, request: RequestId, _: GuestStream, bytes: &[u8]) {
        println!("{request}: {}", String::from_utf8_lossy(bytes));
    }

    fn note(&self, request: RequestId, text: &str) {
        println!("{request}: {text}");
    }
}

fn engine(folder: &TempDir) -> ProcessEngine {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    ProcessEngine::new(ProcessConfig {
        bundles_folder: folder.path().join("bundles"),
        sandboxes: SandboxOptions {
            program: built.join("examples/sandbox-spawner"),
            args: Vec::new(),
            state_folder: folder.path().join("sandboxes"),
            stock: 2,
            root: Root::Host,
            predictors_apart: true,
        },
        areas: Default::default(),
    })
}

fn built(name: &str) -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_folder.ancestors().nth(2).unwrap();
    let folder = root.join("target/examples").join(name);
    assert!(
        folder.join("function.toml").is_file(),
        "{} is not there; `cargo xtask examples` builds it",
        folder.display()
    );
    folder
}

impl Client {
    async fn image(self, engine: &ProcessEngine, isolation: Isolation) -> Arc<ProcessImage> {
        let settings = Settings {
            isolation,
            process: Some(Process {
                contract: Contract::Lambda,
                command: self.command.iter().map(|&it| it.to_owned()).collect(),
                handler: Some(self.handler.to_owned()),
                environment: Default::default(),
                reuse: self.reuse,
                areas: Vec::new(),
                snap_start: false,
            }),
            ..Settings::default()
        };
        let packed = pack(&built(self.name), Default::default()).unwrap();
        let revision = Arc::new(revision(function(self.name), &packed.bytes, settings));
        let (progress, _) = mpsc::channel(1);
        let image = engine.load(revision, packed.bytes, progress).await;
        image.unwrap()
    }

    /// Calls it so many times, and says what it answered, in which environment, and how that had
    /// become clean.
    async fn calls(
        self,
        isolation: Isolation,
        times: u128,
    ) -> Vec<(String, EnvironmentId, Renewal)> {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(&folder);
        let image = self.image(&engine, isolation.clone()).await;
        let mut environment = engine.start(&image).await.unwrap();
        let mut answers = Vec::new();
        for number in 1..=times {
            let run = environment
                .run(Call {
                    request_id: RequestId(number),
                    request: get("http://lambda.test/counter"),
                    output: Arc::new(Silent),
                })
                .await;
            let body = run.reply.unwrap().into_body().collect().await.unwrap();
            let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
            answers.push((text, run.facts.environment, run.facts.renewal));
            let used = match run.over {
                Over::Now(used) => used,
                Over::Later(later) => later.await,
            };
            let used = used.unwrap_or_else(|ended| panic!("{}, {number}: {ended:?}", self.name));
            environment = match isolation {
                Isolation::None => used.keep().unwrap(),
                _ => used.renew(number % 10 == 0).await.unwrap().clean,
            };
        }
        answers
    }
}

async fn is_put_back(client: Client) {
    let answers = client.calls(Isolation::Request, TIMES).await;
    let (_, first, _) = answers[0];
    for (at, (text, environment, renewal)) in answers.iter().enumerate() {
        let name = client.name;
        assert_eq!(text, "1", "{name}, call {at}");
        let back = match at {
            0 => *renewal == Renewal::Fresh,
            _ => matches!(renewal, Renewal::InPlace | Renewal::Swap),
        };
        assert!(back, "{name}, call {at}: {renewal:?}");
        assert_eq!(*environment, first, "{name}, call {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_is_put_back() {
    is_put_back(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_is_put_back() {
    is_put_back(NODE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_is_put_back() {
    is_put_back(RUST).await;
}

/// The control: where state is kept, it is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_state_is_kept_counts() {
    for client in [PYTHON, NODE, RUST] {
        let answers = client.calls(Isolation::None, 3).await;
        let texts: Vec<_> = answers.iter().map(|(text, ..)| text.as_str()).collect();
        assert_eq!(texts, ["1", "2", "3"], "{}", client.name);
    }
}
