//! How fast a warm function answers through the gateway: shown, not judged.

use std::time::Instant;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::Stage;
use super::finding::Finding;

/// Requests one after the other, for the time of one.
const ONE_BY_ONE: usize = 1_000;
/// Callers at once, for the number per second.
const CALLERS: usize = 8;
/// Requests of each caller.
const REQUESTS_EACH: usize = 500;
/// Requests before anything is measured.
const WARM_UP: usize = 50;

/// The median time of a request, and requests per second.
pub(super) async fn measure(stage: &Stage) -> anyhow::Result<[Finding; 2]> {
    let (caller, gateway) = (&stage.caller, stage.gateway);
    let hello = async || -> anyhow::Result<()> {
        let answer = caller.get(gateway, "hello", "/").await?;
        ensure!(answer.status == 200, "hello answered {}", answer.status);
        Ok(())
    };
    for _ in 0..WARM_UP {
        hello().await?;
    }
    let mut times_us = Vec::with_capacity(ONE_BY_ONE);
    for _ in 0..ONE_BY_ONE {
        let begun = Instant::now();
        hello().await?;
        times_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let caller = caller.clone();
        callers.spawn(async move {
            let mut served = 0_u32;
            for _ in 0..REQUESTS_EACH {
                let answer = caller.get(gateway, "hello", "/").await?;
                ensure!(answer.status == 200, "hello answered {}", answer.status);
                served += 1;
            }
            anyhow::Ok(served)
        });
    }
    let mut served = 0;
    while let Some(caller) = callers.join_next().await {
        served += caller??;
    }
    let per_second = f64::from(served) / begun.elapsed().as_secs_f64();
    Ok([
        Finding::new("warm-request-median", median(times_us), "us", true),
        Finding::new("warm-requests-per-second", per_second.round(), "1/s", true),
    ])
}

/// The middle one of `values`.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_mind_a_straggler() {
        assert!((median(vec![3.0, 1.0, 1_000.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
