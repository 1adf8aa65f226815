//! Two engines as one pass the suite that every engine has to pass, on either side.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use usher_core::function::{Contract, Process, Settings};
use usher_core::proof::Renewal;
use usher_engine::Engine;
use usher_engine::contract::{ContractHarness, function, revision};
use usher_engine::fake::{Counts, FakeEngine};
use usher_engine::pair::Pair;

/// Which of the two a harness uses.
#[derive(Clone, Copy)]
enum Side {
    First,
    Second,
}

struct Harness {
    engine: Pair<FakeEngine, FakeEngine>,
    side: Side,
}

impl Harness {
    fn new(side: Side) -> Self {
        let engine = Pair {
            first: FakeEngine::new(),
            second: FakeEngine::new(),
        };
        Self { engine, side }
    }

    fn used(&self) -> &FakeEngine {
        match self.side {
            Side::First => &self.engine.first,
            Side::Second => &self.engine.second,
        }
    }

    /// Counts of the engine that is used; the other one has none.
    fn count(&self, of: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        let [first, second] = [&self.engine.first, &self.engine.second]
            .map(|engine| of(engine.counts()).load(SeqCst));
        match self.side {
            Side::First => {
                assert_eq!(second, 0);
                first
            }
            Side::Second => {
                assert_eq!(first, 0);
                second
            }
        }
    }
}

impl ContractHarness for Harness {
    type Engine = Pair<FakeEngine, FakeEngine>;

    fn engine(&self) -> &Self::Engine {
        &self.engine
    }

    fn artifact(&self, guest: &str) -> Bytes {
        FakeEngine::artifact(guest)
    }

    fn settings(&self) -> Settings {
        let process = Process {
            contract: Contract::Http,
            command: vec!["./program".to_owned()],
            handler: None,
            environment: Default::default(),
            reuse: false,
            areas: Vec::new(),
            snap_start: false,
        };
        Settings {
            process: matches!(self.side, Side::Second).then_some(process),
            ..Settings::default()
        }
    }

    fn renewal(&self) -> Renewal {
        Renewal::Swap
    }

    fn compiled(&self) -> u64 {
        self.count(|counts| &counts.compiled)
    }

    fn loaded(&self) -> u64 {
        self.count(|counts| &counts.loaded)
    }

    fn alive(&self) -> u64 {
        self.count(|counts| &counts.alive)
    }

    fn buffered_max_bytes(&self) -> u64 {
        // One frame in the channel, one in the writer's hand, one in the reader's.
        3 * (16 << 10)
    }

    fn skip_swap(&self, on: bool) -> bool {
        self.used().trouble().skip_swap.store(on, SeqCst);
        true
    }

    fn spoil_renewal(&self, on: bool) -> bool {
        self.used().trouble().spoil_renewal.store(on, SeqCst);
        true
    }
}

mod first {
    use super::{Harness, Side};
    usher_engine::contract_suite!(Harness::new(Side::First));
}

mod second {
    use super::{Harness, Side};
    usher_engine::contract_suite!(Harness::new(Side::Second));
}

#[test]
fn a_revision_depends_on_the_engine_that_runs_it() {
    let harness = Harness::new(Side::Second);
    let program = revision(function("f"), b"", harness.settings());
    let component = revision(function("f"), b"", Settings::default());
    let Pair { first, second } = &harness.engine;
    let abi = |revision| std::ptr::from_ref(harness.engine.abi(revision));
    assert_eq!(abi(&program), std::ptr::from_ref(second.abi(&program)));
    assert_eq!(abi(&component), std::ptr::from_ref(first.abi(&component)));
}
