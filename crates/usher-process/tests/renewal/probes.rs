//! The leak probes, which are ordinary functions: they find nothing where state is not kept, and
//! all that they have left where it is.

use serde::Deserialize;
use usher_core::function::Isolation;
use usher_engine::contract::get;

use crate::chance::Chance;
use crate::rig::{PROBES, Rig, Seat, count};
use crate::scan::{Needles, hits};
use crate::secret::Secret;

/// Each byte of what is planted is one of the marker's XORed by this.
const MASK: u8 = 0xa5;
/// Pairs of requests where nothing is told.
const PAIRS: u64 = 3;

/// What a probe answers: those in C count, the others tell places.
#[derive(Debug, Deserialize)]
struct Found {
    planted: bool,
    #[serde(default)]
    hits: u64,
    #[serde(default)]
    survived: Vec<String>,
    counter: u64,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.hits == 0 && self.survived.is_empty() && self.counter == 1
    }
}

async fn ask(seat: &mut Seat, verb: &str, marker: &Secret) -> Found {
    let uri = format!("http://probe.test/?{verb}={}", marker.hex());
    let reply = seat.try_ask(get(&uri)).await.unwrap();
    serde_json::from_slice(&reply).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_find_nothing() {
    let rig = Rig::new();
    let mut chance = Chance::new();
    for probe in PROBES {
        let example = probe.name;
        let image = rig.image(probe, Isolation::Request, &[]).await;
        let mut seat = image.seat().await;
        for pair in 0..count(PAIRS) {
            let marker = Secret::new(&mut chance);
            let planted = ask(&mut seat, "plant", &marker).await;
            assert!(
                planted.planted && planted.counter == 1,
                "{example}: {planted:?}"
            );
            if pair == 0 {
                let pid = seat.pid().unwrap();
                let form = marker.bytes().map(|byte| byte ^ MASK);
                assert_eq!(
                    hits(pid, &Needles::of(&form)),
                    Vec::<String>::new(),
                    "{example}"
                );
            }
            let found = ask(&mut seat, "seek", &marker).await;
            assert!(found.is_nothing(), "{example}: {found:?}");
        }
        let runs = seat.served.len();
        assert_eq!(seat.put_back(), runs - 1, "{example}: {:?}", seat.reasons);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_find_what_was_left_where_state_is_kept() {
    let rig = Rig::new();
    let mut chance = Chance::new();
    for probe in PROBES {
        let example = probe.name;
        let image = rig.image(probe, Isolation::None, &[]).await;
        let mut seat = image.seat().await;
        let marker = Secret::new(&mut chance);
        let before = ask(&mut seat, "seek", &marker).await;
        assert!(before.is_nothing(), "{example}: {before:?}");
        ask(&mut seat, "plant", &marker).await;
        let found = ask(&mut seat, "seek", &marker).await;
        assert!(!found.planted && found.counter == 3, "{example}: {found:?}");
        // Static, held, stack, mapping, two files, pipe, environment, name and register, at least.
        assert!(
            found.hits >= 10 || found.survived.len() >= 14,
            "{example}: {found:?}"
        );
    }
}
