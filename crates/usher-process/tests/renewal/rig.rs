//! Hostile programs in environments of an engine of the test's own, asked one request after the
//! other.
//!
//! ```text
//! Rig ─image→ Image ─seat→ Seat ─ask→ reply; then renewed, or kept, as its image says
//! ```
//!
//! Deliberately absent: what is planted and looked for (`channels`), and the scanner (`scan`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_api::invoke::BoxFuture;
use usher_api::node::Mode;
use usher_core::function::{
    Contract, Isolation, Lint, LintChoice, Process, RenewalChoice, Settings,
};
use usher_core::id::RequestId;
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{
    Call, Engine as _, Environment as _, GuestOutput, GuestStream, LoadError, Over, Used as _,
    UsedFacts,
};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine, ProcessEnvironment, ProcessImage, ProcessUsed};

use crate::scan;

/// The name of the variable by which a program is found among those of the host.
pub(crate) const MARK: &str = "USHER_TEST_MARK";
/// What programs may overwrite in the place where the kernel has laid their variables.
const ROOM: &str = "................................................................";

/// The hostile programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    C,
    Python,
    Node,
}

impl Guest {
    fn example(self) -> Example {
        match self {
            Self::C => server("hostile-c", NATIVE),
            Self::Python => server("hostile-python", PYTHON),
            Self::Node => server("hostile-node", NODE),
        }
    }
}

/// An example that is a program, as its manifest has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) command: &'static [&'static str],
    /// Of a Lambda function; a server has none.
    pub(crate) handler: Option<&'static str>,
}

impl Example {
    /// Whether its manifest says so; the runtimes of the others say what they hold.
    fn holds_no_randomness(self) -> bool {
        self.command == NATIVE || self.command == BOOTSTRAP
    }
}

const fn server(name: &'static str, command: &'static [&'static str]) -> Example {
    Example {
        name,
        command,
        handler: None,
    }
}

const fn lambda(
    name: &'static str,
    command: &'static [&'static str],
    handler: &'static str,
) -> Example {
    Example {
        name,
        command,
        handler: Some(handler),
    }
}

const NATIVE: &[&str] = &["./server"];
const BOOTSTRAP: &[&str] = &["./bootstrap"];
const PYTHON: &[&str] = &["/usr/bin/python3", "app.py"];
const NODE: &[&str] = &["/usr/bin/node", "app.js"];

/// The servers among the examples.
pub(crate) const SERVERS: [Example; 6] = [
    server("http-c", NATIVE),
    server("http-go", NATIVE),
    server("http-node-http", NODE),
    server("http-node-express", NODE),
    server("http-python-flask", PYTHON),
    server(
        "http-python-uvicorn",
        &[
            "/usr/bin/python3",
            "-m",
            "uvicorn",
            "app:app",
            "--host",
            "0.0.0.0",
            "--port",
            "$PORT",
            "--no-access-log",
        ],
    ),
];

/// The Lambda functions.
pub(crate) const LAMBDAS: [Example; 3] = [
    lambda(
        "lambda-python",
        &["/usr/bin/python3", "-m", "awslambdaric", "app.handler"],
        "app.handler",
    ),
    lambda(
        "lambda-node",
        &["/usr/bin/node", "node_modules/aws-lambda-ric/index.mjs"],
        "app.handler",
    ),
    lambda("lambda-rust", BOOTSTRAP, "bootstrap"),
];

/// And the leak probes.
pub(crate) const PROBES: [Example; 3] = [
    server("probe-c", NATIVE),
    server("probe-python", PYTHON),
    server("probe-node", NODE),
];

/// The folder of an example that the chore has built.
pub(crate) fn built(name: &str) -> PathBuf {
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

/// How often a test with a count does its round.
pub(crate) fn count(usual: u64) -> u64 {
    let told = std::env::var("USHER_COUNT").ok();
    told.map_or(usual, |count| count.parse().unwrap())
}

/// An engine with folders of its own.
pub(crate) struct Rig {
    pub(crate) engine: ProcessEngine,
    _folder: Option<TempDir>,
}

/// Where the sandboxes of an engine keep what they need to know.
pub(crate) fn sandboxes(folder: &Path) -> SandboxOptions {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let own = folder.join("sandbox-spawner");
    SandboxOptions {
        program: match own.exists() {
            true => own,
            false => built.join("examples/sandbox-spawner"),
        },
        args: Vec::new(),
        state_folder: folder.join("sandboxes"),
        stock: 2,
        root: Root::Host,
        predictors_apart: true,
    }
}

impl Rig {
    pub(crate) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path());
        Arc::new(Self {
            engine,
            _folder: Some(folder),
        })
    }

    /// In a folder that is somebody else's.
    pub(crate) fn at(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            engine: engine(folder),
            _folder: None,
        })
    }

    /// A hostile program, for which `before` names the channels whose things it is to make ahead of
    /// every run.
    pub(crate) async fn hostile(
        self: &Arc<Self>,
        guest: Guest,
        isolation: Isolation,
        before: &str,
    ) -> Image {
        let environment = [("BEFORE", before), ("ROOM", ROOM)];
        self.image(guest.example(), isolation, &environment).await
    }

    /// Any example.
    pub(crate) async fn image(
        self: &Arc<Self>,
        example: Example,
        isolation: Isolation,
        environment: &[(&str, &str)],
    ) -> Image {
        static IMAGES: AtomicU64 = AtomicU64::new(0);
        let number = IMAGES.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}", std::process::id());
        let marked = [(MARK, mark.as_str())];
        let variables = marked.iter().chain(environment);
        let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
        let settings = Settings {
            isolation: isolation.clone(),
            // A request more than a test has sent is seen by its scanners.
            lint: Lint {
                freshness: LintChoice::Off,
                requests: Vec::new(),
            },
            renewal: crate::renewal(),
            process: Some(Process {
                contract: match example.handler {
                    Some(_) => Contract::Lambda,
                    None => Contract::Http,
                },
                command: example
                    .command
                    .iter()
                    .map(|&word| word.to_owned())
                    .collect(),
                handler: example.handler.map(str::to_owned),
                environment: variables.collect::<BTreeMap<_, _>>(),
                // What makes its randomness fresh says so itself.
                reuse: example.holds_no_randomness(),
                areas: Vec::new(),
                snap_start: false,
            }),
            ..Settings::default()
        };
        let artifact = pack(&built(example.name), Default::default())
            .unwrap()
            .bytes;
        let mut image = self.load(&artifact, &settings).await;
        // What cannot be put back at all is not deployed where one way is demanded.
        if image.is_err() && settings.renewal != RenewalChoice::Auto {
            let renewal = RenewalChoice::Auto;
            let settings = Settings {
                renewal,
                ..settings
            };
            image = self.load(&artifact, &settings).await;
            let report = self.engine.report(image.as_ref().unwrap());
            assert_eq!(report.mode, Mode::Replaced);
        }
        Image {
            rig: self.clone(),
            image: image.unwrap(),
            keeps: isolation == Isolation::None,
            mark,
        }
    }
}

impl Rig {
    async fn load(
        &self,
        artifact: &Bytes,
        settings: &Settings,
    ) -> Result<Arc<ProcessImage>, LoadError> {
        let revision = revision(function("hostile"), artifact, settings.clone());
        let (progress, _) = mpsc::channel(1);
        let loading = self
            .engine
            .load(Arc::new(revision), artifact.clone(), progress);
        loading.await
    }
}

fn engine(folder: &Path) -> ProcessEngine {
    ProcessEngine::new(ProcessConfig {
        bundles_folder: folder.join("bundles"),
        sandboxes: sandboxes(folder),
        areas: Default::default(),
    })
}

/// A program made ready.
#[derive(Clone)]
pub(crate) struct Image {
    rig: Arc<Rig>,
    image: Arc<ProcessImage>,
    keeps: bool,
    mark: String,
}

impl Image {
    pub(crate) async fn seat(&self) -> Seat {
        Seat {
            environment: Some(self.start().await),
            image: self.clone(),
            output: Arc::default(),
            late: false,
            left: None,
            requests: 0,
            served: Vec::new(),
            latest: None,
            replaced_because: None,
            reasons: Vec::new(),
        }
    }

    /// What the platform says of how its programs become clean.
    pub(crate) fn mode(&self) -> Mode {
        self.rig.engine.report(&self.image).mode
    }

    pub(crate) async fn start(&self) -> ProcessEnvironment {
        self.rig.engine.start(&self.image).await.unwrap()
    }
}

/// An environment, or those that take each other's place.
pub(crate) struct Seat {
    image: Image,
    environment: Option<ProcessEnvironment>,
    /// Whether programs run on until they rest, and are renewed only when they are needed again.
    pub(crate) late: bool,
    /// What is to be renewed then.
    left: Option<ProcessUsed>,
    /// What programs wrote, by request.
    pub(crate) output: Arc<Written>,
    requests: u128,
    /// How the environment of each request had become clean.
    pub(crate) served: Vec<Renewal>,
    /// What the engine read of the environment of the latest one.
    pub(crate) latest: Option<UsedFacts>,
    /// Why the program was replaced after a request, if the latest renewal was no put-back.
    pub(crate) replaced_because: Option<String>,
    /// And after all of them.
    pub(crate) reasons: Vec<String>,
}

/// A run whose reply's head is there.
pub(crate) struct Begun {
    pub(crate) reply: Body,
    pub(crate) rest: BoxFuture<'static, Option<ProcessUsed>>,
}

/// Drives what is left of a run; none if that ended its environment.
async fn ended(over: Over<ProcessUsed>) -> Option<ProcessUsed> {
    match over {
        Over::Now(left) => left.ok(),
        Over::Later(rest) => rest.await.ok(),
    }
}

/// What a hostile program says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its number, as it sees it.
    pub(crate) pid: u32,
    /// Requests that it has seen.
    pub(crate) calls: u64,
    pub(crate) told: String,
}

impl Told {
    pub(crate) fn is_clean(&self) -> bool {
        self.told == "clean"
    }
}

impl Seat {
    /// Asks the program, and then renews or keeps it. None: the run failed, and ended it; the next
    /// one gets a new program.
    pub(crate) async fn try_ask(&mut self, request: http::Request<Body>) -> Option<Bytes> {
        let answered = self.answer(request).await?;
        Some(answered.into_body())
    }

    /// Asks for a path, and does something between the run and the renewal.
    pub(crate) async fn ask_and<T>(
        &mut self,
        path: &str,
        then: impl FnOnce(&Self, &Told) -> T,
    ) -> T {
        let (reply, over) = self.run(get(&format!("http://hostile.test{path}"))).await;
        let body = reply.unwrap().into_body().collect();
        let (used, body) = tokio::join!(ended(over), body);
        let told: Told = serde_json::from_slice(&body.unwrap().to_bytes()).unwrap();
        let done = then(self, &told);
        self.renew(used).await;
        done
    }

    /// The same with the reply's head.
    pub(crate) async fn answer(
        &mut self,
        request: http::Request<Body>,
    ) -> Option<http::Response<Bytes>> {
        let (reply, over) = self.run(request).await;
        let body = async {
            let (head, body) = reply?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(http::Response::from_parts(head, body))
        };
        let (used, reply) = tokio::join!(ended(over), body);
        match self.late {
            true => self.left = used,
            false => self.renew(used).await,
        }
        reply
    }

    /// Renews what was left to be renewed late, when the program has come to rest.
    pub(crate) async fn renewed(&mut self) {
        if let Some(used) = self.left.take() {
            scan::until_nobody_runs(&self.programs());
            self.renew(Some(used)).await;
        }
    }

    /// Asks for a path, and leaves the reply's body to whoever wants it.
    pub(crate) async fn begin(&mut self, path: &str) -> Begun {
        let (reply, over) = self.run(get(&format!("http://hostile.test{path}"))).await;
        Begun {
            reply: reply.unwrap().into_body(),
            rest: Box::pin(ended(over)),
        }
    }

    /// Drives such a run to its end, and then renews or keeps the program.
    pub(crate) async fn finish(&mut self, rest: BoxFuture<'static, Option<ProcessUsed>>) {
        let used = rest.await;
        assert!(used.is_some(), "the run ended its program");
        self.renew(used).await;
    }

    async fn run(
        &mut self,
        request: http::Request<Body>,
    ) -> (Option<http::Response<Body>>, Over<ProcessUsed>) {
        self.renewed().await;
        let environment = match self.environment.take() {
            Some(environment) => environment,
            None => self.image.start().await,
        };
        self.requests += 1;
        let run = environment
            .run(Call {
                request_id: RequestId(self.requests),
                request,
                output: self.output.clone(),
            })
            .await;
        self.served.push(run.facts.renewal);
        self.latest = Some(run.facts);
        (run.reply.ok(), run.over)
    }

    async fn renew(&mut self, used: Option<ProcessUsed>) {
        let counters = self.image.rig.engine.counters();
        let before = counters.not_put_back.load(Ordering::Relaxed);
        self.environment = match used {
            Some(used) if self.image.keeps => used.keep().ok(),
            // As a node does it: an environment that cannot be renewed is gone.
            Some(used) => used.renew(false).await.ok().map(|renewed| {
                if let Some(behind) = renewed.behind {
                    behind.scrub();
                }
                renewed.clean
            }),
            None => None,
        };
        // Seats take turns, so that what is counted meanwhile is this one's.
        let counted = counters.not_put_back.load(Ordering::Relaxed) > before;
        self.replaced_because = counted
            .then(|| counters.latest_not_put_back.lock().clone())
            .flatten();
        self.reasons.extend(self.replaced_because.clone());
    }

    /// How many of the requests were answered by a program that had been put back.
    pub(crate) fn put_back(&self) -> usize {
        let back = |it: &&Renewal| matches!(it, Renewal::InPlace | Renewal::Swap);
        self.served.iter().filter(back).count()
    }

    /// Asks for a path; fails if there is no reply.
    pub(crate) async fn ask(&mut self, path: &str) -> Told {
        let reply = self
            .try_ask(get(&format!("http://hostile.test{path}")))
            .await;
        let reply = reply.unwrap_or_else(|| panic!("{path} was not answered"));
        serde_json::from_slice(&reply).unwrap_or_else(|error| panic!("{path}: {error}: {reply:?}"))
    }

    /// Has the program keep a secret, by its digits, in the way of that name.
    pub(crate) async fn plant(&mut self, channel: &str, secret: &str) -> Option<Told> {
        let uri = format!("http://hostile.test/plant/{channel}?secret={secret}");
        let mut request = get(&uri);
        match channel {
            // More than sockets hold, so that what is not read stays.
            "half-read" => {
                *request.method_mut() = http::Method::POST;
                *request.body_mut() = Bytes::from(secret.repeat(1 << 16)).into();
            }
            "smuggled" => {
                *request.method_mut() = http::Method::POST;
                let inner = format!("GET /smuggled?{secret} HTTP/1.1\r\nhost: x\r\n\r\n");
                *request.body_mut() = inner.into();
            }
            _ => {}
        }
        let reply = self.try_ask(request).await?;
        Some(serde_json::from_slice(&reply).unwrap())
    }

    pub(crate) async fn look(&mut self, channel: &str) -> Option<Told> {
        let uri = format!("http://hostile.test/look/{channel}");
        let reply = self.try_ask(get(&uri)).await?;
        serde_json::from_slice(&reply).ok()
    }

    fn mark(&self) -> String {
        format!("{MARK}={}\0", self.image.mark)
    }

    /// All processes of its image, and their children.
    fn programs(&self) -> Vec<u32> {
        let mark = self.mark();
        let all = scan::processes().into_iter();
        all.filter(|pid| scan::has_variable(*pid, &mark)).collect()
    }

    /// The number that the host gives the program: of those of its image the one whose parent is
    /// none of them. Waits until those have gone that were before it.
    pub(crate) fn pid(&self) -> Option<u32> {
        let mark = self.mark();
        let marked = |pid: &u32| scan::has_variable(*pid, &mark);
        loop {
            let programs = self.programs().into_iter();
            let programs = programs.filter(|&pid| !scan::parent(pid).is_some_and(|it| marked(&it)));
            let programs: Vec<u32> = programs.collect();
            if let [] | [_] = programs[..] {
                return programs.first().copied();
            }
            scan::until_one_ends(&programs);
        }
    }
}

/// What programs write, by request.
#[derive(Default)]
pub(crate) struct Written(Mutex<BTreeMap<u128, Vec<u8>>>);

impl Written {
    /// What was written into a request's log, the first one being 1.
    pub(crate) fn of(&self, request: u128) -> String {
        let written = self.0.lock();
        let bytes = written.get(&request).map(Vec::as_slice);
        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
    }
}

impl GuestOutput for Written {
    fn write(&self, request: RequestId, _: GuestStream, bytes: &[u8]) {
        let mut written = self.0.lock();
        written.entry(request.0).or_default().extend(bytes);
    }

    fn note(&self, _: RequestId, _: &str) {}
}
