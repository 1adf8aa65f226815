//! What the tests of this engine share: an engine over one cache, the example components, a visit.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "each test uses a part of it; by itself it is a test target without tests"
)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_api::node::PrepareFault;
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, Name, RequestId, RevisionId};
use usher_engine::{
    Call, Engine, Environment, GuestOutput, GuestStream, Over, Run, Used, UsedFacts,
};
use usher_wasm::{Compiler, FreshPool, WasmConfig, WasmEngine, WasmEnvironment, WasmImage};

/// The folder that a test binary and what it needs was built in.
pub fn target() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap().join("target")
}

/// The bytes of an example that `cargo xtask examples` built.
pub fn example(name: &str) -> Bytes {
    let path = target().join("examples").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path);
    bytes.map(Bytes::from).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask examples` builds it",
            path.display()
        )
    })
}

/// Everything that guests wrote.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<(RequestId, String)>>);

impl GuestOutput for Heard {
    fn write(&self, request: RequestId, _: GuestStream, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.lock().push((request, text));
    }

    fn note(&self, request: RequestId, text: &str) {
        self.0.lock().push((request, text.to_owned()));
    }
}

/// An engine under test.
pub struct Bench {
    pub engine: WasmEngine,
    pub heard: Arc<Heard>,
}

impl Bench {
    /// An engine whose compiled code outlives the test, so that big components compile once.
    pub fn new() -> Self {
        Self::with_cache(target().join("test-cache"))
    }

    pub fn with_cache(cache_folder: PathBuf) -> Self {
        let config = WasmConfig {
            cache_folder,
            compiler: Compiler::InProcess,
            pool: FreshPool::default(),
        };
        Self {
            engine: WasmEngine::new(config).unwrap(),
            heard: Arc::default(),
        }
    }

    pub async fn load(&self, example_name: &str, settings: Settings) -> Arc<WasmImage> {
        self.try_load(example(example_name), settings)
            .await
            .unwrap()
    }

    pub async fn try_load(
        &self,
        artifact: Bytes,
        settings: Settings,
    ) -> Result<Arc<WasmImage>, PrepareFault> {
        let revision = revision("default", &artifact, settings);
        let (progress, _unheard) = mpsc::channel(8);
        let loaded = self
            .engine
            .load(Arc::new(revision), artifact, progress)
            .await;
        loaded.map_err(|error| error.0)
    }

    pub async fn start(&self, image: &Arc<WasmImage>) -> WasmEnvironment {
        self.engine.start(image).await.unwrap()
    }

    pub fn call(&self, target: &str) -> Call {
        let request = http::Request::get(format!("http://localhost{target}"));
        Call {
            request_id: RequestId(7),
            request: request.body(Body::Empty).unwrap(),
            output: self.heard.clone(),
        }
    }

    /// One request to its end: the answer's body, how it was served, and the used environment.
    pub async fn run(
        &self,
        environment: WasmEnvironment,
        target: &str,
    ) -> (String, UsedFacts, usher_wasm::WasmUsed) {
        let Run { reply, facts, over } = environment.run(self.call(target)).await;
        let body = reply.unwrap().into_body();
        let (body, used) = match over {
            Over::Now(used) => (body.collect().await, used),
            Over::Later(rest) => {
                let rest = tokio::spawn(rest);
                (body.collect().await, rest.await.unwrap())
            }
        };
        let body = body.unwrap().to_bytes();
        (
            String::from_utf8_lossy(&body).into_owned(),
            facts,
            used.unwrap(),
        )
    }

    /// A request, then the renewal and the scrub.
    pub async fn visit(
        &self,
        environment: WasmEnvironment,
        target: &str,
    ) -> (String, UsedFacts, WasmEnvironment) {
        let (body, facts, used) = self.run(environment, target).await;
        let renewed = used.renew(false).await.unwrap();
        if let Some(behind) = renewed.behind {
            behind.scrub();
        }
        (body, facts, renewed.clean)
    }

    /// A request whose state is kept.
    pub async fn visit_and_keep(
        &self,
        environment: WasmEnvironment,
        target: &str,
    ) -> (String, UsedFacts, WasmEnvironment) {
        let (body, facts, used) = self.run(environment, target).await;
        (body, facts, used.keep().unwrap())
    }
}

/// The revision of these bytes that an owner deployed as `f`.
pub fn revision(owner: &str, artifact: &[u8], settings: Settings) -> Revision {
    let function = FunctionKey {
        owner: owner.parse::<Name>().unwrap(),
        name: "f".parse().unwrap(),
    };
    let artifact = Digest(Sha256::digest(artifact).into());
    let identity = Revision::identity(&function, &artifact, &settings);
    Revision {
        id: RevisionId(Digest(Sha256::digest(identity).into())),
        function,
        number: 1,
        artifact,
        settings,
    }
}

/// The first number in an answer.
pub fn counter_of(reply: &str) -> u64 {
    let digits = reply.split(|c: char| !c.is_ascii_digit());
    digits
        .into_iter()
        .find_map(|text| text.parse().ok())
        .unwrap()
}

/// A component around core modules that takes requests: `state` defines the core instance `$state`
/// and `main` the core instance `$main`, as the shell says.
pub fn shell(state: &str, main: &str) -> Vec<u8> {
    let shell = include_str!("../src/swap_bench/shell.wat");
    let text = shell.replace("@STATE@", state).replace("@MAIN@", main);
    wat::parse_str(text).unwrap()
}

/// A component that never answers, of one core module which holds `items` too.
pub fn silent(items: &str) -> Vec<u8> {
    shell(
        r#"(core module $memory (memory (export "memory") 1))
        (core instance $state (instantiate $memory))"#,
        &format!(
            r#"(core module $run {items} (func (export "handle") (param i32 i32)))
            (core instance $main (instantiate $run))"#
        ),
    )
}
