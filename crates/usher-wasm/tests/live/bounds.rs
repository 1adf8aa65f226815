//! An access behind a memory's size traps, wherever it leads: open headroom, guard pages, the
//! spare area. It ends one environment, and its cause is told.

use usher_core::fault::Fault;
use usher_core::function::Settings;
use usher_engine::Environment;

use crate::guests::Bench;
use crate::{by_hand, fails, serves};

const PAGE_BYTES: u64 = 64 << 10;
/// Far enough that the memory no longer fits in what is open of it from the start.
const GROWN_PAGES: u64 = 40;

fn out_of_bounds((fault, cause): &(Fault, String), what: &str) {
    assert_eq!(*fault, Fault::Trap, "{what}: {cause}");
    assert!(cause.contains("out of bounds"), "{what}: {cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_growth_and_renewal_an_access_behind_the_size_traps() {
    let bench = Bench::new();
    let image = bench.load("rust-hog", Settings::default()).await;
    let bystander = bench.start(&image).await;
    let memory_max_bytes = 256 << 20;
    for nth in [
        1,
        4096,
        PAGE_BYTES,
        (1 << 20) - 1,
        (1 << 20) + 1,
        GROWN_PAGES * PAGE_BYTES,
        // Where the other area begins, and within it.
        memory_max_bytes - (2 << 20),
        memory_max_bytes,
        memory_max_bytes + PAGE_BYTES,
        2 * memory_max_bytes,
    ] {
        let mut environment = bench.start(&image).await;
        let mut sizes = Vec::new();
        // Twice, so that both areas have been grown.
        for _ in 0..2 {
            let target = format!("/?grow={GROWN_PAGES}");
            let (reply, _, clean) = bench.visit(environment, &target).await;
            sizes.push(reply);
            clean.audit().unwrap();
            environment = clean;
        }
        assert!(sizes[0].contains("pages, now"), "{sizes:?}");
        assert_eq!(sizes[0], sizes[1], "the memory did not go back to its size");
        let id = environment.id();
        let ended = fails(&bench, environment, &format!("/?oob={nth}")).await;
        out_of_bounds(&ended, &format!("byte {nth} behind the memory of {id:?}"));
    }
    let (reply, _, _) = bench.visit(bystander, "/?grow=1").await;
    assert!(reply.contains("pages, now"), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growth_within_the_limit_serves_on_and_beyond_it_is_refused() {
    let bench = Bench::new();
    let image = bench.load("rust-hog", Settings::default()).await;
    let mut environment = bench.start(&image).await;
    let before = bench.visit(environment, "/?grow=0").await;
    environment = before.2;
    for pages in (1..200).step_by(13).chain([3_000]) {
        let (reply, _, clean) = bench.visit(environment, &format!("/?grow={pages}")).await;
        assert!(reply.contains("pages, now"), "{reply}");
        let (reply, _, clean) = bench.visit(clean, "/?grow=100000").await;
        assert!(reply.contains("refused"), "{reply}");
        let (reply, _, clean) = bench.visit(clean, "/?grow=0").await;
        assert_eq!(reply, before.0, "growth stayed");
        clean.audit().unwrap();
        environment = clean;
    }
}

/// With guard pages there is no check of most addresses: the pages trap, those between the areas
/// too, and what reaches as far as the spare area is checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_guard_pages_every_distance_traps() {
    let bench = Bench::new();
    const GUARD_BYTES: u32 = 32 << 20;
    for (index, offset) in [
        (65_536, 0),
        (65_535, 1),
        (u32::MAX, 0),
        (u32::MAX, GUARD_BYTES - 1),
        // The spare area's first bytes, if it lies behind a reservation of 4 GiB and a guard.
        (u32::MAX, GUARD_BYTES + 1),
        (u32::MAX, GUARD_BYTES + 4097),
        (GUARD_BYTES, u32::MAX),
        (u32::MAX, GUARD_BYTES + 65_536),
        (u32::MAX, u32::MAX),
    ] {
        let artifact = by_hand::read(index, offset);
        let image = bench.try_load(artifact, Settings::default()).await.unwrap();
        let environment = bench.start(&image).await;
        assert_eq!(environment.count_marker(b"usher"), Some((0, 0)), "is live");
        let ended = fails(&bench, environment, "/").await;
        out_of_bounds(&ended, &format!("{index} + {offset}"));
    }
    // The negative control: the last byte of the memory can be read, and the environment stays.
    let artifact = by_hand::read(65_000, 535);
    let image = bench.try_load(artifact, Settings::default()).await.unwrap();
    let environment = bench.start(&image).await;
    serves(&bench, environment).await;
}
