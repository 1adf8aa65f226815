//! A random component runs, is renewed, runs again: answers and memory are those of an environment
//! that never ran.
//!
//! ```text
//!  random module ← driver: tells its globals and memories, calls its functions, tells them again
//! ```
//!
//! `USHER_FUZZ_CASES` says how many components are tried. Deliberately absent: what components of
//! the tool chains do (`tool_chains`).
#![expect(clippy::unwrap_used, reason = "tests")]

mod guests;
#[path = "fuzz_reset/random.rs"]
mod random;

use bytes::Bytes;
use guests::Bench;
use tempfile::TempDir;
use usher_api::node::Mode;
use usher_core::function::{Isolation, Settings};
use usher_engine::{Engine, Environment, Over, Run, Used};
use usher_wasm::{WasmEnvironment, WasmUsed};

/// Components that are tried where nothing else is said.
const CASES: u64 = 100;
/// Runs of one environment.
const RUNS: usize = 5;

fn cases() -> u64 {
    let said = std::env::var("USHER_FUZZ_CASES").ok();
    said.map_or(CASES, |said| said.parse().unwrap())
}

/// A run's answer, which tells what all functions returned, and the used environment.
async fn run(bench: &Bench, environment: WasmEnvironment) -> (String, WasmUsed) {
    let Run { reply, over, .. } = environment.run(bench.call("/")).await;
    let (_, told) = reply.expect_err("it answers with an error of its own");
    let Over::Now(used) = over else {
        panic!("it returns when it has answered")
    };
    (told, used.unwrap())
}

/// Renews and scrubs. Tells whether the current area is the image's, byte for byte.
async fn renew(used: WasmUsed) -> (Result<(), String>, WasmEnvironment) {
    let renewed = used.renew(false).await.unwrap();
    renewed.behind.expect("is live").scrub();
    (renewed.clean.audit(), renewed.clean)
}

struct Tried {
    bench: Bench,
    _folder: TempDir,
}

impl Tried {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            bench: Bench::with_cache(folder.path().join("code")),
            _folder: folder,
        }
    }

    /// Two environments of a random component, where there is one that is served live.
    async fn two(&self, seed: u64, isolation: Isolation) -> Option<[WasmEnvironment; 2]> {
        let settings = Settings {
            isolation,
            ..Settings::default()
        };
        let bench = &self.bench;
        let artifact = Bytes::from(random::component(seed)?);
        let image = bench.try_load(artifact, settings).await.unwrap();
        if bench.engine.report(&image).mode == Mode::Fresh {
            return None;
        }
        Some([bench.start(&image).await, bench.start(&image).await])
    }
}

#[tokio::test]
async fn every_run_is_a_first_run() {
    let tried = Tried::new();
    let mut live = 0;
    for seed in 0..cases() {
        let Some([mut one, other]) = tried.two(seed, Isolation::Request).await else {
            continue;
        };
        live += 1;
        let (first, _) = run(&tried.bench, other).await;
        for turn in 0..RUNS {
            let (told, used) = run(&tried.bench, one).await;
            assert_eq!(told, first, "seed {seed}, run {turn}");
            let (audit, clean) = renew(used).await;
            assert_eq!(audit, Ok(()), "seed {seed}, run {turn}");
            one = clean;
        }
    }
    println!("{live} components were renewed");
    assert!(live > 0, "none of the components was live");
}

/// Without renewal runs differ, so the comparison sees what is left of a run.
#[tokio::test]
async fn kept_state_is_seen() {
    let tried = Tried::new();
    let (mut kept, mut differ) = (0, 0);
    for seed in 0..cases() {
        let Some([mut one, other]) = tried.two(seed, Isolation::None).await else {
            continue;
        };
        kept += 1;
        let (first, _) = run(&tried.bench, other).await;
        for _ in 0..RUNS {
            let Run { reply, over, .. } = one.run(tried.bench.call("/")).await;
            // A run may end the environment now: the fuel of the module is state too.
            let told = reply.expect_err("it never answers well").1;
            let Over::Now(Ok(used)) = over else {
                differ += 1;
                break;
            };
            if told != first {
                differ += 1;
                break;
            }
            one = used.keep().unwrap();
        }
    }
    println!("of {kept} components that kept their state, {differ} told of it");
    assert!(differ > 0, "none of the components told of its state");
}

/// A scrub that leaves one wrong byte is found in every component.
#[tokio::test]
async fn a_wrong_byte_is_seen() {
    let tried = Tried::new();
    tried.bench.engine.inject_spoiled_scrubs(true);
    let mut spoiled = 0;
    for seed in 0..cases() {
        let Some([one, _]) = tried.two(seed, Isolation::Request).await else {
            continue;
        };
        // The area that is spoiled is back in use two renewals later.
        let (_, used) = run(&tried.bench, one).await;
        let (audit, one) = renew(used).await;
        assert_eq!(audit, Ok(()), "seed {seed}: the second area was never used");
        let (_, used) = run(&tried.bench, one).await;
        let (audit, _) = renew(used).await;
        assert!(audit.is_err(), "seed {seed}: the audit is blind");
        spoiled += 1;
    }
    assert!(spoiled > 0);
}
