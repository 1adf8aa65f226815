//! Which frames of memory hold what a run has written, from run to run: others each time where the
//! pointer to the area is swapped, the same where state is kept.

use usher_core::function::Isolation;
use usher_core::proof::Renewal;

use crate::rig::{Guest, Rig};
use crate::scan::frames;

/// How much each run writes, in KiB.
const WRITTEN_KIB: [u64; 3] = [64, 1024, 16 * 1024];
/// Runs in a row: enough for two areas to come twice each.
const RUNS: usize = 4;
const PAGE_KIB: u64 = 4;

/// The program, and the frames of all pages that a run has written.
type Written = (u32, Vec<Option<u64>>);

/// What each of some runs has written, and how the next one became clean.
async fn runs(isolation: Isolation, kib: u64) -> Vec<(Written, Option<Renewal>)> {
    let rig = Rig::new();
    let image = rig.hostile(Guest::C, isolation, "").await;
    let mut seat = image.seat().await;
    let mut all = Vec::new();
    for _ in 0..RUNS {
        let path = format!("/write?kib={kib}");
        let written = seat.ask_and(&path, |seat, told| {
            let start = told.told.strip_prefix("at ").unwrap();
            let start = u64::from_str_radix(start, 16).unwrap();
            let pid = seat.pid().unwrap();
            (pid, frames(pid, start, kib / PAGE_KIB))
        });
        all.push(written.await);
    }
    let next = seat.served.into_iter().skip(1).map(Some).chain([None]);
    all.into_iter().zip(next).collect()
}

/// Pages that lie in the same frame after two runs.
fn same(one: &[Option<u64>], other: &[Option<u64>]) -> usize {
    one.iter()
        .zip(other)
        .filter(|(one, other)| one == other)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_consecutive_runs_differ() {
    for kib in WRITTEN_KIB {
        let runs = runs(Isolation::Request, kib).await;
        for pair in runs.windows(2) {
            let (((pid, one), renewal), ((next_pid, other), _)) = (&pair[0], &pair[1]);
            assert!(
                one.iter().all(Option::is_some),
                "what was written is in memory"
            );
            match renewal.unwrap() {
                Renewal::Swap => {
                    assert_eq!((pid, same(one, other)), (next_pid, 0), "{kib} KiB");
                }
                // Put back where it was: the frames of hot pages stay.
                Renewal::InPlace => assert_eq!(pid, next_pid),
                Renewal::Replaced | Renewal::Fresh => assert_ne!(pid, next_pid),
                Renewal::Kept => panic!("nobody asked for that"),
            }
        }
    }
}

/// The control: where nothing is swapped, frames stay, but for the few that the kernel moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_kept_runs_stay() {
    for kib in WRITTEN_KIB {
        let runs = runs(Isolation::None, kib).await;
        for pair in runs.windows(2) {
            let (((pid, one), _), ((next_pid, other), _)) = (&pair[0], &pair[1]);
            assert_eq!(pid, next_pid);
            assert!(
                same(one, other) * 2 > one.len(),
                "{kib} KiB: {} stay",
                same(one, other)
            );
        }
    }
}
