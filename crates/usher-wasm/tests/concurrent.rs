//! Components for wasi:http 0.3: every tool chain answers, begins anew in each request, streams
//! both ways, and is kept within its limits.
//!
//! The components are built by `cargo xtask examples`; one that is not there fails its test.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "concurrent/faults.rs"]
mod faults;
mod guests;
#[path = "concurrent/outbound.rs"]
mod outbound;
#[path = "concurrent/streams.rs"]
mod streams;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::BodyExt;
use usher_api::node::Mode;
use usher_core::fault::Blame;
use usher_core::function::{Isolation, RenewalChoice, Settings};
use usher_core::proof::Renewal;
use usher_engine::contract::ContractHarness;
use usher_engine::{Ended, Engine, Environment, Over, Run};
use usher_wasm::{WasmEngine, WasmEnvironment, WasmUsed};

use guests::{Bench, counter_of, example};

/// Requests to each component.
const RUNS: usize = 12;

const TOOL_CHAINS: [&str; 3] = ["rust-p3", "js-p3", "py-p3"];

fn alive(bench: &Bench) -> u64 {
    bench.engine.counters().alive.load(Ordering::SeqCst)
}

fn kept() -> Settings {
    Settings {
        isolation: Isolation::None,
        ..Settings::default()
    }
}

/// What is left of a run.
async fn end(over: Over<WasmUsed>) -> Result<WasmUsed, Ended> {
    match over {
        Over::Now(left) => left,
        Over::Later(rest) => rest.await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tool_chain_answers() {
    for chain in TOOL_CHAINS {
        let bench = Bench::new();
        let image = bench
            .load(&format!("{chain}-hello"), Settings::default())
            .await;
        let environment = bench.start(&image).await;
        let (reply, ..) = bench.visit(environment, "/").await;
        assert!(reply.starts_with("Hello from "), "{chain}: {reply}");
        let report = bench.engine.report(&image);
        assert_eq!(report.mode, Mode::Fresh);
        let [reason] = report.reasons.as_slice() else {
            panic!("{chain}: {:?}", report.reasons);
        };
        assert!(reason.contains("is for wasi:http 0.3"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tool_chain_begins_anew() {
    for chain in TOOL_CHAINS {
        let bench = Bench::new();
        let image = bench
            .load(&format!("{chain}-counter"), Settings::default())
            .await;
        let mut environment = bench.start(&image).await;
        let mut seen = Vec::new();
        for run in 0..RUNS {
            let (reply, facts, clean) = bench.visit(environment, "/").await;
            assert_eq!(counter_of(&reply), 1, "{chain}, run {run}: {reply}");
            assert_eq!(facts.renewal, Renewal::Fresh, "{chain}");
            assert!(!seen.contains(&facts.environment), "{chain}");
            seen.push(facts.environment);
            environment = clean;
        }
    }
}

/// The negative control of the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tool_chain_counts_on_where_state_is_kept() {
    for chain in TOOL_CHAINS {
        let bench = Bench::new();
        let image = bench.load(&format!("{chain}-counter"), kept()).await;
        let mut environment = bench.start(&image).await;
        for run in 1..=RUNS as u64 {
            let (reply, _, clean) = bench.visit_and_keep(environment, "/").await;
            assert_eq!(counter_of(&reply), run, "{chain}: {reply}");
            environment = clean;
        }
    }
}

/// A secret as it is sent, and the calls that plant it and look for it.
struct Secret(u128);

impl Secret {
    fn plant(&self) -> String {
        format!("/?plant={:032x}", self.0)
    }

    fn seek(&self) -> String {
        format!("/?seek={:032x}", self.0)
    }
}

fn hits_of(reply: &str) -> u64 {
    let found: serde_json::Value = serde_json::from_str(reply).unwrap();
    found["hits"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_run_finds_what_another_one_left() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-leak-probe", Settings::default()).await;
    let mut environment: WasmEnvironment = bench.start(&image).await;
    for _ in 0..RUNS {
        let secret = Secret(rand::random());
        let (planted, _, clean) = bench.visit(environment, &secret.plant()).await;
        assert!(hits_of(&planted) > 0, "{planted}");
        let (found, _, clean) = bench.visit(clean, &secret.seek()).await;
        assert_eq!(hits_of(&found), 0, "{found}");
        environment = clean;
    }
}

/// The negative control: where state is kept, the probe finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_finds_what_is_kept() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-leak-probe", kept()).await;
    let secret = Secret(rand::random());
    let environment = bench.start(&image).await;
    let (_, _, environment) = bench.visit_and_keep(environment, &secret.plant()).await;
    let (found, ..) = bench.visit_and_keep(environment, &secret.seek()).await;
    assert!(hits_of(&found) > 0, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_renewal_is_refused_with_the_reason() {
    let settings = Settings {
        renewal: RenewalChoice::Live,
        ..Settings::default()
    };
    let bench = Bench::new();
    let refused = bench.try_load(example("rust-p3-hello"), settings).await;
    let fault = refused.err().unwrap();
    assert_eq!(fault.blame, Blame::Function);
    assert!(fault.message.contains("is for wasi:http 0.3"), "{fault}");
}

/// A request without a host is refused before the guest has run, and so is one with a wrong host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guest_is_told_a_host_or_does_not_run() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-hello", Settings::default()).await;
    for (host, status) in [
        (None, None),
        (Some("a b"), None),
        (Some("a.test:80"), Some(200)),
    ] {
        let mut call = bench.call("/");
        *call.request.uri_mut() = "/".parse().unwrap();
        if let Some(host) = host {
            let host = http::HeaderValue::from_static(host);
            call.request.headers_mut().insert(http::header::HOST, host);
        }
        let Run { reply, over, .. } = bench.start(&image).await.run(call).await;
        let answered = reply.as_ref().map(|reply| reply.status().as_u16()).ok();
        assert_eq!(answered, status, "{host:?}");
        if let Ok(reply) = reply {
            let body = reply.into_body().collect();
            let (body, left) = tokio::join!(body, end(over));
            assert_eq!(body.unwrap().to_bytes(), "Hello from Rust\n");
            left.unwrap();
        }
    }
}

/// An engine, for the cases of the contract whose guests there are for wasi:http 0.3.
struct Harness(Bench);

impl Harness {
    fn new() -> Self {
        Self(Bench::new())
    }
}

impl ContractHarness for Harness {
    type Engine = WasmEngine;

    fn engine(&self) -> &WasmEngine {
        &self.0.engine
    }

    fn artifact(&self, guest: &str) -> Bytes {
        example(&format!("rust-p3-{guest}"))
    }

    fn renewal(&self) -> Renewal {
        Renewal::Fresh
    }

    fn compiled(&self) -> u64 {
        self.0.engine.counters().compiled.load(Ordering::SeqCst)
    }

    fn loaded(&self) -> u64 {
        self.0.engine.counters().loaded.load(Ordering::SeqCst)
    }

    fn alive(&self) -> u64 {
        alive(&self.0)
    }

    fn skip_swap(&self, _: bool) -> bool {
        false
    }

    fn spoil_renewal(&self, _: bool) -> bool {
        false
    }
}

mod contract {
    use super::Harness;

    usher_engine::contract_suite!(@cases Harness::new();
        running: answers, streams_both_ways, echo_holds_back_a_writer,
                 an_answer_outlives_its_environment;
        isolation: counter_is_one_each_time, counter_grows_when_state_is_kept,
                   the_area_differs_on_consecutive_runs, owners_share_nothing,
                   state_is_kept_only_on_request;
        failing: a_dropped_rest_destroys_its_environment, a_distrusted_image_is_served_fresh;
        lifecycle: compiled_and_loaded_once, a_damaged_artifact_is_refused,
                   dropping_ends_environments;
    );
}
