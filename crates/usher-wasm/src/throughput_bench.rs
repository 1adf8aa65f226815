//! Measures how many requests the engine serves in a second, each in a clean area, by one thread
//! and by several at once: what of the work they hold each other up in.
//!
//! ```text
//! one round, for each number of threads in turn: each thread, with an environment of its own,
//!     run ─→ renew ─→ scrub ─→ run …      until the time is over
//! ```
//!
//! Deliberately absent: HTTP, pools, logs, all of which a request on the platform has too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use usher_engine::Engine;

use crate::compile::Compiler;
use crate::engine::{WasmConfig, WasmEngine};
use crate::environment::WasmEnvironment;
use crate::image::WasmImage;
use crate::settings::FreshPool;
use crate::swap_bench::{Folder, revision, run_once};

/// Memory that the measured component is allowed, in MiB.
const MEMORY_MIB: usize = 64;
/// Requests of an environment before the first that counts.
const WARM_RUNS: usize = 200;

/// The engine's throughput with so many threads.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughputFigure {
    /// Threads at once, each with an environment.
    pub threads: usize,
    /// Requests per second of all of them together, round by round.
    pub requests_per_s: Vec<f64>,
}

/// Measures a component that answers `GET /`, with each number of threads in turn, for so many
/// rounds of this length. The error says what failed.
pub async fn measure_throughput(
    component: Bytes,
    threads: &[usize],
    rounds: usize,
    length: Duration,
) -> Result<Vec<ThroughputFigure>, String> {
    let folder = Folder::new();
    let engine = WasmEngine::new(WasmConfig {
        cache_folder: folder.0.clone(),
        compiler: Compiler::InProcess,
        pool: FreshPool::default(),
    });
    let engine = engine.map_err(|error| error.to_string())?;
    let revision = Arc::new(revision(&component, MEMORY_MIB << 20)?);
    let (progress, _unheard) = mpsc::channel(1);
    let image = engine.load(revision, component, progress).await;
    let image = image.map_err(|error| error.to_string())?;
    let mut stock = Vec::new();
    for _ in 0..threads.iter().copied().max().unwrap_or(1) {
        stock.push(warm(&engine, &image).await?);
    }
    let mut figures: Vec<_> = threads
        .iter()
        .map(|threads| ThroughputFigure {
            threads: *threads,
            requests_per_s: Vec::new(),
        })
        .collect();
    for _ in 0..rounds {
        for figure in &mut figures {
            let rest = stock.split_off(figure.threads.min(stock.len()));
            let taken = std::mem::replace(&mut stock, rest);
            let (rate, back) = tokio::task::spawn_blocking(move || round(taken, length))
                .await
                .map_err(|error| error.to_string())??;
            figure.requests_per_s.push(rate);
            stock.extend(back);
        }
    }
    Ok(figures)
}

async fn warm(engine: &WasmEngine, image: &Arc<WasmImage>) -> Result<WasmEnvironment, String> {
    let environment = engine.start(image).await;
    let mut environment = environment.map_err(|error| format!("{error}: {}", error.cause))?;
    for _ in 0..WARM_RUNS {
        environment = run_once(environment).await?;
    }
    Ok(environment)
}

/// One round of these environments, a thread each: requests per second, and the environments.
fn round(
    environments: Vec<WasmEnvironment>,
    length: Duration,
) -> Result<(f64, Vec<WasmEnvironment>), String> {
    let over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let threads: Vec<_> = environments
        .into_iter()
        .map(|environment| {
            let over = over.clone();
            std::thread::spawn(move || work(environment, &over))
        })
        .collect();
    std::thread::sleep(length);
    over.store(true, Ordering::Release);
    let mut served = 0;
    let mut back = Vec::new();
    for thread in threads {
        let (count, environment) = thread.join().map_err(|_| "a thread panicked")??;
        served += count;
        back.push(environment);
    }
    Ok((f64::from(served) / begun.elapsed().as_secs_f64(), back))
}

fn work(
    mut environment: WasmEnvironment,
    over: &AtomicBool,
) -> Result<(u32, WasmEnvironment), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut served = 0;
        while !over.load(Ordering::Acquire) {
            environment = run_once(environment).await?;
            served += 1;
        }
        Ok((served, environment))
    })
}
