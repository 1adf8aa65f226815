//! Programs in environments of an engine of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::mpsc;
use usher_api::node::ImageReport;
use usher_core::function::{Contract, Process, Sample, Settings};
use usher_core::id::RequestId;
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{
    Call, Engine as _, Environment as _, GuestOutput, GuestStream, Over, Used as _,
};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine, ProcessEnvironment, ProcessImage};

/// The Lambda function whose client the tests' own has.
const LAMBDA: &str = "lambda-python";

/// A program, as its manifest has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// The example whose files it has; none: those beside this file.
    example: Option<&'static str>,
    command: &'static [&'static str],
    contract: Contract,
    reuse: bool,
}

impl Program {
    /// The tests' own server.
    pub(crate) const fn own(command: &'static [&'static str]) -> Self {
        Self {
            example: None,
            command,
            contract: Contract::Http,
            reuse: false,
        }
    }

    /// The same as a Lambda function.
    pub(crate) const fn lambda(command: &'static [&'static str]) -> Self {
        Self {
            contract: Contract::Lambda,
            ..Self::own(command)
        }
    }

    /// An example.
    pub(crate) const fn example(name: &'static str, command: &'static [&'static str]) -> Self {
        Self {
            example: Some(name),
            ..Self::own(command)
        }
    }

    /// The same with `reuse = true`.
    pub(crate) const fn reused(self) -> Self {
        Self {
            reuse: true,
            ..self
        }
    }

    fn bundle(self) -> Bytes {
        let folder = tempfile::tempdir().unwrap();
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint");
        let copy = |from: PathBuf| {
            let copied = Command::new("cp")
                .arg("-aT")
                .arg(from)
                .arg(folder.path())
                .status();
            assert!(copied.unwrap().success());
        };
        match (self.example, self.contract) {
            (Some(example), _) => copy(built(example)),
            (None, Contract::Lambda) => copy(built(LAMBDA)),
            (None, Contract::Http) => {}
        }
        if self.example.is_none() {
            for name in ["app.py", "app.cjs"] {
                std::fs::copy(beside.join(name), folder.path().join(name)).unwrap();
            }
        }
        pack(folder.path(), Default::default()).unwrap().bytes
    }
}

/// The servers among the examples that say that they make their randomness fresh.
pub(crate) const EXAMPLES: [Program; 5] = [
    Program::example("http-c", &["./server"]),
    Program::example("http-node-http", &["/usr/bin/node", "app.js"]),
    Program::example("http-node-express", &["/usr/bin/node", "app.js"]),
    Program::example("http-python-flask", &["/usr/bin/python3", "app.py"]),
    Program::example(
        "http-python-uvicorn",
        &[
            "/usr/bin/python3",
            "-m",
            "uvicorn",
            "app:app",
            "--port",
            "$PORT",
        ],
    ),
];

fn built(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let folder = root.join("target/examples").join(name);
    assert!(
        folder.join("function.toml").is_file(),
        "{} is not there; `cargo xtask examples` builds it",
        folder.display()
    );
    folder
}

/// A request without anything but its path.
pub(crate) fn path(path: &str) -> Sample {
    Sample {
        path: Some(path.to_owned()),
        ..Sample::default()
    }
}

/// An engine with folders of its own.
pub(crate) struct Rig {
    engine: ProcessEngine,
    _folder: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let built = test.parent().and_then(Path::parent).unwrap();
        let engine = ProcessEngine::new(ProcessConfig {
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
        });
        Arc::new(Self {
            engine,
            _folder: folder,
        })
    }

    /// Deploys a program, or says why not.
    pub(crate) async fn image(
        self: &Arc<Self>,
        program: Program,
        adapt: impl FnOnce(&mut Settings),
    ) -> Result<Image, String> {
        let mut settings = Settings {
            process: Some(Process {
                contract: program.contract,
                command: program
                    .command
                    .iter()
                    .map(|&word| word.to_owned())
                    .collect(),
                handler: (program.contract == Contract::Lambda).then(|| "app.handler".to_owned()),
                environment: Default::default(),
                reuse: program.reuse,
                areas: Vec::new(),
                snap_start: false,
            }),
            ..Settings::default()
        };
        settings.limits.memory_max_mib = 512;
        adapt(&mut settings);
        let artifact = program.bundle();
        let revision = Arc::new(revision(function("it"), &artifact, settings));
        let (progress, _) = mpsc::channel(1);
        let keeps = revision.settings.isolation.keeps();
        let loaded = self.engine.load(revision, artifact, progress).await;
        Ok(Image {
            image: loaded.map_err(|error| error.to_string())?,
            rig: self.clone(),
            keeps,
        })
    }
}

/// A program made ready.
pub(crate) struct Image {
    rig: Arc<Rig>,
    image: Arc<ProcessImage>,
    keeps: bool,
}

impl Image {
    pub(crate) fn report(&self) -> ImageReport {
        self.rig.engine.report(&self.image)
    }

    pub(crate) async fn seat(&self) -> Seat {
        Seat {
            environment: Some(self.rig.engine.start(&self.image).await.unwrap()),
            keeps: self.keeps,
            notes: Arc::default(),
            served: Vec::new(),
        }
    }
}

/// What the platform says in the logs of requests.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<String>>);

impl GuestOutput for Notes {
    fn write(&self, _: RequestId, _: GuestStream, _: &[u8]) {}

    fn note(&self, _: RequestId, text: &str) {
        self.0.lock().push(text.to_owned());
    }
}

/// An environment, or those that take each other's place.
pub(crate) struct Seat {
    environment: Option<ProcessEnvironment>,
    keeps: bool,
    pub(crate) notes: Arc<Notes>,
    /// How the environment of each request had become clean.
    pub(crate) served: Vec<Renewal>,
}

impl Seat {
    /// Asks for a path, and renews or keeps the program: status and body.
    pub(crate) async fn ask(&mut self, path: &str) -> (u16, String) {
        let environment = self.environment.take().unwrap();
        let run = environment.run(Call {
            request_id: RequestId(rand::random()),
            request: get(&format!("http://it.test{path}")),
            output: self.notes.clone(),
        });
        let run = run.await;
        self.served.push(run.facts.renewal);
        let over = async {
            match run.over {
                Over::Now(used) => used,
                Over::Later(used) => used.await,
            }
        };
        let (head, body) = run.reply.unwrap().into_parts();
        let (used, body) = tokio::join!(over, body.collect());
        let used = used.unwrap_or_else(|ended| panic!("{path}: {ended}"));
        self.environment = Some(match self.keeps {
            true => used.keep().unwrap(),
            false => used.renew(false).await.unwrap().clean,
        });
        let text = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
        (head.status.as_u16(), text.trim().to_owned())
    }
}
