//! The contract of all engines, for components that are renewed live and for fresh instances.

#[path = "guests/by_hand.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod by_hand;
mod guests;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use guests::{Bench, example};
use usher_core::function::{RenewalChoice, Settings};
use usher_core::proof::Renewal;
use usher_engine::contract::ContractHarness;
use usher_wasm::WasmEngine;

/// An engine, and the way in which it is to put environments back.
struct Harness {
    bench: Bench,
    choice: RenewalChoice,
}

impl Harness {
    fn new(choice: RenewalChoice) -> Self {
        Self {
            bench: Bench::new(),
            choice,
        }
    }

    fn live(&self) -> bool {
        self.choice != RenewalChoice::Fresh
    }
}

impl ContractHarness for Harness {
    type Engine = WasmEngine;

    fn engine(&self) -> &WasmEngine {
        &self.bench.engine
    }

    fn artifact(&self, guest: &str) -> Bytes {
        match guest {
            "hello" => example("rust-hello"),
            "counter" => example("rust-counter"),
            "echo" => example("rust-echo"),
            "slow" => by_hand::slow(),
            "trap" => by_hand::trap(),
            "spin" => by_hand::spin(),
            "hog" => by_hand::hog(),
            other => panic!("the contract knows no guest {other}"),
        }
    }

    fn renewal(&self) -> Renewal {
        if self.live() {
            Renewal::Swap
        } else {
            Renewal::Fresh
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            renewal: self.choice,
            ..Settings::default()
        }
    }

    fn compiled(&self) -> u64 {
        self.bench.engine.counters().compiled.load(Ordering::SeqCst)
    }

    fn loaded(&self) -> u64 {
        self.bench.engine.counters().loaded.load(Ordering::SeqCst)
    }

    fn alive(&self) -> u64 {
        self.bench.engine.counters().alive.load(Ordering::SeqCst)
    }

    fn skip_swap(&self, on: bool) -> bool {
        self.bench.engine.inject_skipped_swaps(on);
        self.live()
    }

    fn spoil_renewal(&self, on: bool) -> bool {
        self.bench.engine.inject_spoiled_scrubs(on);
        self.live()
    }
}

/// `live`, and not `auto`: every guest of the contract has to be one that can be put back.
mod live {
    use super::{Harness, RenewalChoice};

    usher_engine::contract_suite!(Harness::new(RenewalChoice::Live));
}

mod fresh {
    use super::{Harness, RenewalChoice};

    usher_engine::contract_suite!(Harness::new(RenewalChoice::Fresh));
}
