//! Measures the swap of the area: how long it takes, and how that grows with the state.
//!
//! ```text
//! one round, for each size in turn: run, which dirties pages ─→ renew (timed) ─→ scrub
//! ```
//!
//! The sizes take turns within a round, so that what else the machine does falls on all of them
//! alike. Deliberately absent: the scrub's time, which is spent behind the next request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_core::function::{Limits, RenewalChoice, Revision, Settings};
use usher_core::id::{Digest, FunctionKey, RequestId, RevisionId};
use usher_engine::{Call, Engine, Environment, GuestOutput, GuestStream, Over, Run, Used};

use crate::compile::Compiler;
use crate::engine::{WasmConfig, WasmEngine};
use crate::environment::{WasmEnvironment, WasmUsed};
use crate::settings::FreshPool;

/// Rounds before the first that counts.
const WARM_ROUNDS: usize = 200;
/// Rounds that count.
const ROUNDS: usize = 2_000;
/// What one page of a guest's memory holds, in bytes.
const WASM_PAGE_BYTES: usize = 64 << 10;
/// Places in the memory that a run writes to.
const DIRTY_PLACES: usize = 16;
/// Memory that environments are allowed beside their state, in MiB.
const SPARE_MIB: usize = 1;
/// The largest state, in bytes: all but the last page of what 32 bits can address.
const STATE_MAX_BYTES: usize = (1 << 32) - WASM_PAGE_BYTES;

/// The component around what is measured.
const SHELL: &str = include_str!("swap_bench/shell.wat");

/// The swap with one size of state.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SwapFigure {
    /// The memory's size, in bytes: what was asked for, in whole pages of 64 KiB.
    pub state_bytes: usize,
    /// Median of the swaps, in microseconds.
    pub swap_us: f64,
    /// The fastest, in microseconds.
    pub swap_us_min: f64,
    /// The slowest of the better nine tenths, in microseconds.
    pub swap_us_max: f64,
}

/// Measures the renewal of a live environment, without the scrub, for each size of state.
///
/// Of every size an environment exists at once. Compiled code goes to a folder among the system's
/// temporary ones that only this user can read, and is gone at the end. The error says what failed.
pub async fn measure_swap(state_bytes: &[usize]) -> Result<Vec<SwapFigure>, String> {
    let folder = Folder::new();
    let engine = WasmEngine::new(WasmConfig {
        cache_folder: folder.0.clone(),
        compiler: Compiler::InProcess,
        pool: FreshPool::default(),
    });
    let engine = engine.map_err(|error| error.to_string())?;
    let mut subjects = Vec::new();
    for bytes in state_bytes {
        subjects.push(Subject::start(&engine, *bytes).await?);
    }
    for round in 0..WARM_ROUNDS + ROUNDS {
        for subject in &mut subjects {
            let took_ns = subject.swap(false).await?;
            if round >= WARM_ROUNDS {
                subject.took_ns.push(took_ns);
            }
        }
    }
    for subject in &mut subjects {
        // A swap that did not put the state back would be no figure at all.
        subject.swap(true).await?;
    }
    Ok(subjects.into_iter().map(Subject::figure).collect())
}

/// An environment under measurement.
struct Subject {
    state_bytes: usize,
    /// None only while it is out on a run, or was lost there.
    environment: Option<WasmEnvironment>,
    took_ns: Vec<u64>,
}

impl Subject {
    async fn start(engine: &WasmEngine, bytes: usize) -> Result<Self, String> {
        if bytes > STATE_MAX_BYTES {
            return Err(format!(
                "a state of {bytes} bytes is over {STATE_MAX_BYTES}"
            ));
        }
        let pages = bytes.div_ceil(WASM_PAGE_BYTES).max(1);
        let state_bytes = pages * WASM_PAGE_BYTES;
        let artifact = Bytes::from(guest(pages)?);
        let revision = Arc::new(revision(&artifact, state_bytes)?);
        let (progress, _unheard) = mpsc::channel(1);
        let image = engine.load(revision, artifact, progress).await;
        let image = image.map_err(|error| error.to_string())?;
        let environment = engine.start(&image).await;
        let environment = environment.map_err(|error| format!("{error}: {}", error.cause))?;
        Ok(Self {
            state_bytes,
            environment: Some(environment),
            took_ns: Vec::with_capacity(ROUNDS),
        })
    }

    /// Runs a request, swaps the area, scrubs the one left behind. Answers what the swap took, in
    /// nanoseconds; an audit counts into that.
    async fn swap(&mut self, audit: bool) -> Result<u64, String> {
        let environment = self.environment.take().ok_or("the environment is lost")?;
        let used = dirty(environment).await?;
        let begun = Instant::now();
        let renewed = used.renew(audit).await;
        let took = begun.elapsed();
        let renewed = renewed.map_err(|error| error.to_string())?;
        let behind = renewed.behind.ok_or("the environment was not live")?;
        behind.scrub();
        self.environment = Some(renewed.clean);
        u64::try_from(took.as_nanos()).map_err(|error| error.to_string())
    }

    fn figure(mut self) -> SwapFigure {
        self.took_ns.sort_unstable();
        let us = |tenths: usize| {
            let at = (self.took_ns.len() * tenths / 10).min(self.took_ns.len() - 1);
            self.took_ns[at] as f64 / 1_000.0
        };
        SwapFigure {
            state_bytes: self.state_bytes,
            swap_us: us(5),
            swap_us_min: us(0),
            swap_us_max: us(9),
        }
    }
}

/// One request to its end, the renewal and the scrub: the environment again.
pub(crate) async fn run_once(environment: WasmEnvironment) -> Result<WasmEnvironment, String> {
    let used = dirty(environment).await?;
    let renewed = used.renew(false).await.map_err(|error| error.to_string())?;
    renewed
        .behind
        .ok_or("the environment was not live")?
        .scrub();
    Ok(renewed.clean)
}

/// One request, which leaves pages of the area dirty.
async fn dirty(environment: WasmEnvironment) -> Result<WasmUsed, String> {
    let request = http::Request::get("http://localhost/").body(Body::Empty);
    let call = Call {
        request_id: RequestId(1),
        request: request.map_err(|error| error.to_string())?,
        output: Arc::new(Unheard),
    };
    // The swap's own guest answers with an error: the cheapest answer that there is. Of another
    // one somebody has to read the body.
    let Run { reply, over, .. } = environment.run(call).await;
    let read = async {
        if let Ok(response) = reply {
            // A body that breaks off ends the run too, which tells of it.
            let _read = response.into_body().collect().await;
        }
    };
    let used = match over {
        Over::Now(used) => {
            read.await;
            used
        }
        Over::Later(rest) => tokio::join!(rest, read).0,
    };
    used.map_err(|ended| ended.to_string())
}

/// A component with a memory of so many pages, each of which holds something in its image, and of
/// which every run writes to some.
fn guest(pages: usize) -> Result<Vec<u8>, String> {
    let stride = pages * WASM_PAGE_BYTES / DIRTY_PLACES;
    let state = format!(
        r#"(core module $memory (memory (export "memory") {pages} {pages}))
  (core instance $state (instantiate $memory))"#
    );
    let main = format!(
        r#"(core module $run
    (import "state" "memory" (memory {pages} {pages}))
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (func $fill (local $page i32)
      (loop $next
        (i32.store (i32.mul (local.get $page) (i32.const {WASM_PAGE_BYTES})) (i32.const 1))
        (local.set $page (i32.add (local.get $page) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $page) (i32.const {pages})))))
    (start $fill)
    (func (export "handle") (param $request i32) (param $outparam i32) (local $place i32)
      (loop $next
        (i32.store (i32.mul (local.get $place) (i32.const {stride})) (i32.const 2))
        (local.set $place (i32.add (local.get $place) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $place) (i32.const {DIRTY_PLACES}))))
      (call $drop-request (local.get $request))
      (call $set (local.get $outparam) (i32.const 1) (i32.const 38) (i32.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $main (instantiate $run
    (with "state" (instance $state)) (with "host" (instance $host))))"#
    );
    let text = SHELL.replace("@STATE@", &state).replace("@MAIN@", &main);
    wat::parse_str(text).map_err(|error| error.to_string())
}

/// The revision that a component with so much state is measured as.
pub(crate) fn revision(artifact: &[u8], state_bytes: usize) -> Result<Revision, String> {
    let memory_mib = state_bytes.div_ceil(1 << 20) + SPARE_MIB;
    let settings = Settings {
        renewal: RenewalChoice::Live,
        limits: Limits {
            memory_max_mib: u32::try_from(memory_mib).map_err(|error| error.to_string())?,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let name = "swap".parse().map_err(|error| format!("{error}"))?;
    let owner = "bench".parse().map_err(|error| format!("{error}"))?;
    let function = FunctionKey { owner, name };
    let artifact = Digest(Sha256::digest(artifact).into());
    let identity = Revision::identity(&function, &artifact, &settings);
    Ok(Revision {
        id: RevisionId(Digest(Sha256::digest(identity).into())),
        function,
        number: 1,
        artifact,
        settings,
    })
}

/// Nobody listens to the guest, which says nothing.
struct Unheard;

impl GuestOutput for Unheard {
    fn write(&self, _: RequestId, _: GuestStream, _: &[u8]) {}

    fn note(&self, _: RequestId, _: &str) {}
}

/// A folder of this measurement alone, gone when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("usher-swap-{:016x}", rand::random::<u64>());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on the folder any more, and the system empties it in the end.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}
