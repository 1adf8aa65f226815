//! No generator of a runtime answers the same to two runs, whatever it was seeded with before any
//! of them.
//!
//! `USHER_COUNT` says how many runs each source has.

use std::collections::HashSet;

use usher_core::function::Isolation;

use crate::rig::{Guest, Rig, count};

/// Runs of each source where nothing is told.
const RUNS: u64 = 4;
/// What answers the same to every run of a program, by intent: the control of this test.
const SEEDED: &str = "seeded";

/// The values that each source gave, one for each run.
async fn values(guest: Guest) -> Vec<(String, Vec<String>)> {
    let rig = Rig::new();
    let image = rig.hostile(guest, Isolation::Request, "").await;
    let mut seat = image.seat().await;
    let sources = seat.ask("/sources").await.told;
    let mut all = Vec::new();
    for source in sources.split(' ') {
        let mut values = Vec::new();
        for _ in 0..count(RUNS) {
            let told = seat.ask(&format!("/random/{source}")).await;
            assert_eq!(told.calls, 1, "{source}: not a clean program");
            values.push(told.told);
        }
        all.push((source.to_owned(), values));
    }
    // It is the same program each time: nothing repeats where each one is new.
    assert_eq!(seat.put_back(), seat.served.len() - 1, "{:?}", seat.reasons);
    all
}

/// Those that stand in a list more than once.
fn repeated(values: &[String]) -> Vec<&String> {
    let mut seen = HashSet::new();
    values.iter().filter(|value| !seen.insert(*value)).collect()
}

async fn nothing_repeats(guest: Guest) {
    for (source, values) in values(guest).await {
        let repeated = repeated(&values);
        match source.as_str() {
            SEEDED => assert_eq!(
                repeated.len(),
                values.len() - 1,
                "the control does not repeat"
            ),
            _ => assert!(
                repeated.is_empty(),
                "{source} repeats {:?}",
                repeated.first()
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_repeats_in_python() {
    nothing_repeats(Guest::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_repeats_in_node() {
    nothing_repeats(Guest::Node).await;
}
