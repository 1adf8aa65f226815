//! No generator of a runtime says the same in two clones, unless nobody tells it to begin anew.

use std::collections::HashSet;

use usher_core::function::Isolation;

use crate::equal::{cloned, why_not};
use crate::rig::{Guest, Rig, count};

/// Clones that are asked.
const CLONES: u64 = 4;
/// What answers the same to every run of a program, by intent: the control.
const SEEDED: &str = "seeded";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_repeats_in_clones_of_python() {
    let rig = Rig::new();
    let image = rig.hostile(Guest::Python, Isolation::Request, "").await;
    let mut first = image.seat().await;
    let sources = first.ask("/sources").await.told;
    let mut made = 0;
    for source in sources.split(' ') {
        let mut values = Vec::new();
        for _ in 0..count(CLONES) {
            let mut seat = image.seat().await;
            let told = seat.ask(&format!("/random/{source}")).await;
            assert_eq!(told.calls, 1, "{source}: not a clean program");
            values.push(told.told);
            made += 1;
        }
        assert_eq!(cloned(&rig), made, "{:?}", why_not(&rig));
        let different: HashSet<_> = values.iter().collect();
        match source {
            SEEDED => assert_eq!(different.len(), 1, "the control does not repeat"),
            _ => assert_eq!(different.len(), values.len(), "{source}: {values:?}"),
        }
    }
}
