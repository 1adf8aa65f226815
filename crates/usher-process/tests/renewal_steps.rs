//! Each step of a snapshot and of a put-back is made to fail: the request is answered right, the
//! program is replaced, and nothing is left behind. It is counted, in a process that runs no other
//! test.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/rig.rs"]
mod rig;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/scan.rs"]
#[expect(unused_imports, reason = "shared with other tests")]
mod scan;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use usher_api::node::Mode;
use usher_core::function::{Isolation, RenewalChoice};
use usher_core::proof::Renewal;
use usher_engine::contract::get;
use usher_process::{Injection, Step};

use crate::rig::{Image, Rig, SERVERS, Seat};

/// Whether memory is always swapped, and not put back in place at first.
static SWAPPED: AtomicBool = AtomicBool::new(false);

/// By which way programs are put back.
fn renewal() -> RenewalChoice {
    match SWAPPED.load(Ordering::Relaxed) {
        true => RenewalChoice::Swap,
        false => RenewalChoice::Auto,
    }
}

fn is_of_snapshot(step: Step) -> bool {
    format!("{step:?}").starts_with("Take")
}

/// What there is of each kind, as far as it is this process's. Threads are not counted: the runtime
/// keeps those that have blocked for a while.
fn census() -> BTreeMap<&'static str, usize> {
    let own = Some(std::process::id());
    let children = scan::processes().into_iter();
    let children = children.filter(|&pid| scan::parent(pid) == own);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    [
        (
            "descriptors",
            fs::read_dir("/proc/self/fd").unwrap().count(),
        ),
        ("children", children.count()),
        ("mounts", mounts.lines().count()),
    ]
    .into()
}

/// What the program says, which is new or was put back each time.
async fn counter(seat: &mut Seat) -> (String, Renewal) {
    let reply = seat
        .answer(get("http://server.test/counter"))
        .await
        .unwrap();
    let said = String::from_utf8(reply.into_body().to_vec()).unwrap();
    (said.trim().to_owned(), *seat.served.last().unwrap())
}

/// Serves three requests, the first two with a step that fails; says why it was replaced.
async fn serve(image: &Image, rig: &Rig, fails: Option<Step>) -> (Vec<Renewal>, Option<String>) {
    let mut seat = image.seat().await;
    rig.engine.inject(fails.map(|step| (step, Injection::Fail)));
    let mut renewals = Vec::new();
    let mut because = None;
    for request in 0..3 {
        if request == 2 {
            // What is after the second request is made with nothing that fails.
            rig.engine.inject(None);
        }
        let (said, renewal) = counter(&mut seat).await;
        assert_eq!(said, "1", "{fails:?}");
        renewals.push(renewal);
        because = because.or(seat.replaced_because.take());
    }
    (renewals, because)
}

/// One engine, from its start to its end.
async fn tried(fails: Option<Step>) {
    use Renewal::{Fresh, InPlace, Replaced, Swap};
    let rig = Rig::new();
    rig.engine.inject(fails.map(|step| (step, Injection::Fail)));
    let image = rig.image(SERVERS[0], Isolation::Request, &[]).await;
    let (renewals, because) = serve(&image, &rig, fails).await;
    match (fails, image.mode()) {
        (None, Mode::Live) => {
            let swapped = SWAPPED.load(Ordering::Relaxed);
            let first = if swapped { Swap } else { InPlace };
            assert_eq!(renewals, [Fresh, first, Swap]);
        }
        // Without a snapshot there is nothing to put back.
        (Some(step), Mode::Replaced) => {
            assert!(is_of_snapshot(step), "{step:?}");
            assert_eq!((renewals, because), (vec![Fresh, Replaced, Replaced], None));
        }
        (Some(step), Mode::Live) => {
            assert_eq!(renewals, [Fresh, Replaced, Replaced], "{step:?}");
            let because = because.unwrap();
            assert!(because.contains("made to fail"), "{step:?}: {because}");
        }
        (fails, mode) => panic!("{fails:?}: {mode:?}"),
    }
    drop(image);
    rig.engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_renewal_fails_in_any_step_is_replaced_and_leaves_nothing() {
    // What is made once is there from now on.
    tried(None).await;
    let before = census();
    for swapped in [false, true] {
        SWAPPED.store(swapped, Ordering::Relaxed);
        tried(None).await;
        // Where a swap is demanded, nothing is deployed without a snapshot.
        let is_tried = |step: &Step| !swapped || !is_of_snapshot(*step);
        for step in Step::ALL.into_iter().filter(is_tried) {
            tried(Some(step)).await;
            assert_eq!(census(), before, "{step:?}, swapped: {swapped}");
        }
    }
}
