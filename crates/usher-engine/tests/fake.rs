//! The fake engine passes the suite that every engine has to pass.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use usher_core::function::{RenewalChoice, Settings};
use usher_core::proof::Renewal;
use usher_engine::contract::ContractHarness;
use usher_engine::fake::FakeEngine;

struct Harness {
    engine: FakeEngine,
    choice: RenewalChoice,
}

impl Harness {
    fn new(choice: RenewalChoice) -> Self {
        let engine = FakeEngine::new();
        Self { engine, choice }
    }
}

impl ContractHarness for Harness {
    type Engine = FakeEngine;

    fn engine(&self) -> &FakeEngine {
        &self.engine
    }

    fn artifact(&self, guest: &str) -> Bytes {
        FakeEngine::artifact(guest)
    }

    fn settings(&self) -> Settings {
        Settings {
            renewal: self.choice,
            ..Settings::default()
        }
    }

    fn renewal(&self) -> Renewal {
        match self.choice {
            RenewalChoice::Fresh => Renewal::Fresh,
            _ => Renewal::Swap,
        }
    }

    fn compiled(&self) -> u64 {
        self.engine.counts().compiled.load(SeqCst)
    }

    fn loaded(&self) -> u64 {
        self.engine.counts().loaded.load(SeqCst)
    }

    fn alive(&self) -> u64 {
        self.engine.counts().alive.load(SeqCst)
    }

    fn buffered_max_bytes(&self) -> u64 {
        // One frame in the channel, one in the writer's hand, one in the reader's.
        3 * (16 << 10)
    }

    fn skip_swap(&self, on: bool) -> bool {
        self.engine.trouble().skip_swap.store(on, SeqCst);
        self.renewal() == Renewal::Swap
    }

    fn spoil_renewal(&self, on: bool) -> bool {
        self.engine.trouble().spoil_renewal.store(on, SeqCst);
        self.renewal() == Renewal::Swap
    }
}

mod live {
    use super::{Harness, RenewalChoice};
    usher_engine::contract_suite!(Harness::new(RenewalChoice::Live));
}

mod fresh {
    use super::{Harness, RenewalChoice};
    usher_engine::contract_suite!(Harness::new(RenewalChoice::Fresh));
}
