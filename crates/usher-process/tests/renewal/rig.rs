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
use usher_core::function::{Contract, Isolation, Process, Settings};
use usher_core::id::RequestId;
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{Call, Engine as _, Environment as _, GuestOutput, GuestStream, Over, Used as _};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine, ProcessEnvironment, ProcessImage, ProcessUsed};

use crate::scan;

/// The name of the variable by which a program is found among those of the host.
const MARK: &str = "USHER_TEST_MARK";
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
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::C => &["./server"],
            Self::Python => &["/usr/bin/python3", "app.py"],
            Self::Node => &["/usr/bin/node", "app.js"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::C => "hostile-c",
            Self::Python => "hostile-python",
            Self::Node => "hostile-node",
        }
    }
}

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
            },
        });
        Arc::new(Self {
            engine,
            _folder: folder,
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
        self.image(guest.name(), guest.command(), isolation, &environment)
            .await
    }

    /// Any example, run by a command.
    pub(crate) async fn image(
        self: &Arc<Self>,
        example: &str,
        command: &[&str],
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
            isolation,
            process: Some(Process {
                contract: Contract::Http,
                command: command.iter().map(|&word| word.to_owned()).collect(),
                handler: None,
                environment: variables.collect::<BTreeMap<_, _>>(),
            }),
            ..Settings::default()
        };
        let artifact = pack(&built(example), Default::default()).unwrap().bytes;
        let revision = Arc::new(revision(function("hostile"), &artifact, settings));
        let (progress, _) = mpsc::channel(1);
        let image = self.engine.load(revision, artifact, progress).await;
        Image {
            rig: self.clone(),
            image: image.unwrap(),
            keeps: isolation == Isolation::None,
            mark,
        }
    }
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
            requests: 0,
            served: Vec::new(),
        }
    }

    async fn start(&self) -> ProcessEnvironment {
        self.rig.engine.start(&self.image).await.unwrap()
    }
}

/// An environment, or those that take each other's place.
pub(crate) struct Seat {
    image: Image,
    environment: Option<ProcessEnvironment>,
    /// What programs wrote, by request.
    pub(crate) output: Arc<Written>,
    requests: u128,
    /// How the environment of each request had become clean.
    pub(crate) served: Vec<Renewal>,
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
        let (used, bytes) = self.run(request).await;
        match used {
            Some(used) if self.image.keeps => self.environment = used.keep().ok(),
            Some(used) => {
                // As a node does it: an environment that cannot be renewed is gone.
                let renewed = used.renew(false).await;
                self.environment = renewed.ok().map(|renewed| {
                    if let Some(behind) = renewed.behind {
                        behind.scrub();
                    }
                    renewed.clean
                });
            }
            None => {}
        }
        bytes
    }

    /// Asks the program, and reads the reply to its end.
    pub(crate) async fn run(
        &mut self,
        request: http::Request<Body>,
    ) -> (Option<ProcessUsed>, Option<Bytes>) {
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
        let end = async {
            match run.over {
                Over::Now(left) => left,
                Over::Later(rest) => rest.await,
            }
        };
        let body = async {
            let body = run.reply.ok()?.into_body().collect().await.ok()?;
            Some(body.to_bytes())
        };
        let (left, body) = tokio::join!(end, body);
        (left.ok(), body)
    }

    pub(crate) fn put_back(&mut self, environment: ProcessEnvironment) {
        self.environment = Some(environment);
    }

    /// Asks for a path; fails if there is no reply.
    pub(crate) async fn ask(&mut self, path: &str) -> Told {
        let reply = self.try_ask(get(&format!("http://hostile.test{path}"))).await;
        let reply = reply.unwrap_or_else(|| panic!("{path} was not answered"));
        serde_json::from_slice(&reply).unwrap_or_else(|error| panic!("{path}: {error}: {reply:?}"))
    }

    pub(crate) async fn plant(&mut self, channel: &str, secret: &Secret) -> Option<Told> {
        let uri = format!("http://hostile.test/plant/{channel}?secret={}", secret.hex());
        let mut request = get(&uri);
        match channel {
            // More than sockets hold, so that what is not read stays.
            "half-read" => {
                *request.method_mut() = http::Method::POST;
                *request.body_mut() = Bytes::from(secret.hex().repeat(1 << 16)).into();
            }
            "smuggled" => {
                *request.method_mut() = http::Method::POST;
                let inner = format!("GET /smuggled?{} HTTP/1.1\r\nhost: x\r\n\r\n", secret.hex());
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

    /// The number that the host gives the program, which calls itself `inner`.
    pub(crate) fn host_pid(&self, inner: u32) -> Option<u32> {
        let mark = format!("{MARK}={}\0", self.image.mark);
        scan::processes()
            .into_iter()
            .find(|&pid| scan::inner_pid(pid) == Some(inner) && scan::has_variable(pid, &mark))
    }
}

/// 16 bytes that no other run of any test has planted.
#[derive(Clone, Debug)]
pub(crate) struct Secret([u8; 16]);

impl Secret {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut bytes = [0; 16];
        // No byte of it is zero, and each pair differs: part of it is found as well.
        for byte in &mut bytes {
            *byte = u8::try_from(chance.below(255)).unwrap() + 1;
        }
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A sequence of chances that `USHER_SEED` repeats.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        let told = std::env::var("USHER_SEED").ok();
        let seed = told.map(|seed| seed.parse().unwrap()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            since.as_nanos() as u64
        });
        println!("USHER_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`, by splitmix64.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn of<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        let at = self.below(these.len() as u64);
        &these[usize::try_from(at).unwrap()]
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
