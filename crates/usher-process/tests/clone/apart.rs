//! Clones that are made at once share nothing that a request could change.

use futures_util::future::join_all;
use usher_core::function::Isolation;

use crate::chance::Chance;
use crate::equal::{cloned, image, said, why_not};
use crate::rig::{Guest, Rig, SERVERS, count};
use crate::secret::Secret;

/// Clones that are made at once.
const CLONES: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_that_are_made_at_once_count_from_one_each() {
    let rig = Rig::new();
    let image = image(&rig, SERVERS[0], "at-once").await;
    let _first = image.seat().await;
    let clones = count(CLONES);
    let asked = (0..clones).map(|_| async {
        let mut seat = image.seat().await;
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(said(&mut seat, "/counter").await);
        }
        (told, seat)
    });
    // All of them are there until the last one has answered.
    for (told, _) in join_all(asked).await {
        assert_eq!(told, ["1", "1", "1"]);
    }
    assert_eq!(cloned(&rig), clones, "{:?}", why_not(&rig));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clone_sees_what_was_left_in_another_one() {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let image = rig.hostile(Guest::C, Isolation::Request, "").await;
    let _first = image.seat().await;
    let (mut one, mut other) = (image.seat().await, image.seat().await);
    assert_eq!(cloned(&rig), 2, "{:?}", why_not(&rig));
    for channel in ["heap", "stack", "static", "mmap"] {
        let secret = Secret::new(&mut chance);
        let plant = format!("/plant/{channel}?secret={}", secret.hex());
        // It is not put back before the other one has looked.
        let planted = one.begin(&plant).await;
        let looked = other.look(channel).await.unwrap();
        assert!(looked.is_clean(), "{channel}: {looked:?}");
        assert_eq!(looked.calls, 1, "{channel}");
        one.finish(planted.rest).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_is_denied_what_a_started_program_is() {
    let rig = Rig::new();
    let secret = Secret::new(&mut Chance::new());
    let image = rig.hostile(Guest::C, Isolation::Request, "").await;
    let mut first = image.seat().await;
    let mut clone = image.seat().await;
    assert_eq!(cloned(&rig), 1, "{:?}", why_not(&rig));
    for (channel, denied) in [("mlockall", "denied EPERM"), ("guard", "denied ENOSYS")] {
        for seat in [&mut first, &mut clone] {
            let told = seat.plant(channel, &secret.hex()).await.unwrap().told;
            assert_eq!(told, denied, "{channel}");
        }
    }
}
