//! `usher bench`: one mechanism, measured by itself in this process.
//!
//! Deliberately absent: whole requests and peers, which `cargo xtask bench` measures.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::engines::{measure_swap, measure_throughput};
use crate::output;

/// Threads that are measured at once, at most.
const THREADS_MAX: usize = 256;

/// Measures changing an environment's area, for each size of state.
pub(crate) async fn swap(state_bytes: &[usize], json: bool) -> anyhow::Result<()> {
    let figures = measure_swap(state_bytes).await;
    for figure in figures.map_err(|reason| anyhow!(reason))? {
        if json {
            output::json(&figure)?;
        } else {
            output::line(format!(
                "{} KiB of state: {:.2} us (from {:.2} to {:.2})",
                figure.state_bytes >> 10,
                figure.swap_us,
                figure.swap_us_min,
                figure.swap_us_max
            ))?;
        }
    }
    Ok(())
}

/// Measures requests per second of the engine alone.
pub(crate) async fn engine(
    component: &Path,
    threads: &[usize],
    rounds: usize,
    round_ms: u64,
    json: bool,
) -> anyhow::Result<()> {
    if threads
        .iter()
        .any(|count| !(1..=THREADS_MAX).contains(count))
    {
        return Err(anyhow!("--threads takes numbers from 1 to {THREADS_MAX}"));
    }
    let read = tokio::fs::read(component).await;
    let bytes = read.with_context(|| format!("{} could not be read", component.display()))?;
    let length = Duration::from_millis(round_ms);
    let figures = measure_throughput(bytes.into(), threads, rounds, length).await;
    for figure in figures.map_err(|reason| anyhow!(reason))? {
        if json {
            output::json(&figure)?;
        } else {
            let rates = figure
                .requests_per_s
                .iter()
                .map(|rate| format!("{rate:.0}"));
            let rates = rates.collect::<Vec<_>>().join(", ");
            output::line(format!("{} threads: {rates} requests/s", figure.threads))?;
        }
    }
    Ok(())
}
