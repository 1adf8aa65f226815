//! The verdict and the figures it is made of, beside naive ones.

use proptest::prelude::*;
use usher_core::environment::Policy;
use usher_core::function::Twins;
use usher_core::keep::twin::{
    Facts, Host, MEMORY_FREE_MIN_PERCENT, PROCESSORS_FREE_MIN_PERCENT, WAIT_MIN_US,
    WAIT_SHARE_MIN_PERCENT, WAITS_MIN, Why, judge, kept,
};
use usher_core::start::Counts;
use usher_core::start::pace::{Figures, Pace};

/// One client that calls in sequence: a run of 1 ms, a renewal of 2 ms, of which it waits 1.5.
fn pays() -> Facts {
    Facts {
        policy: Policy::AfterRun,
        twins: Twins::Auto,
        counts: Counts {
            renewing: 1,
            ..Counts::default()
        },
        environments_max: 8,
        figures: Figures {
            run_us: 1_000,
            renew_us: 2_000,
            wait_us: 1_500,
            gap_us: 3_000,
            waits: WAITS_MIN,
            at_once: 1,
        },
        memory_max_mib: 256,
        start_failed: false,
        host: Host {
            processors_millis: 2_000,
            idle_millis: Some(1_000),
            memory_mib: 4_000,
            memory_free_mib: 2_000,
        },
    }
}

#[test]
fn each_reason_against_a_twin_is_enough() {
    let waits = Why::Waits {
        share_percent: 60,
        wait_us: 1_500,
    };
    let with = |change: fn(&mut Facts)| {
        let mut facts = pays();
        change(&mut facts);
        judge(&facts)
    };
    assert_eq!(with(|_| {}), waits);
    type Change = fn(&mut Facts);
    let cases: [(Change, Why); 16] = [
        (|it| it.policy = Policy::Keep, Why::NotRenewed),
        (|it| it.policy = Policy::BeforeRun, Why::NotRenewed),
        (|it| it.twins = Twins::Off, Why::Off),
        (|it| it.figures.waits = WAITS_MIN - 1, Why::NoWaits),
        (|it| it.figures.wait_us = WAIT_MIN_US - 1, Why::NoWaits),
        (|it| it.figures.run_us = 100_000, Why::NoWaits),
        (|it| it.counts.starting = 1, Why::Starting),
        (|it| it.start_failed = true, Why::StartFailed),
        (|it| it.counts.idle = 1, Why::Enough),
        (|it| it.figures.at_once = 0, Why::Enough),
        (|it| it.environments_max = 1, Why::NoRoom),
        (|it| it.host.memory_free_mib = 655, Why::NoMemory),
        (|it| it.host.idle_millis = Some(599), Why::ProcessorsBusy),
        (|it| it.host.idle_millis = Some(600), waits),
        // Where it is not known what is free, what its own runs and renewals take is.
        (|it| it.host.idle_millis = None, waits),
        (
            |it| {
                it.host.idle_millis = None;
                it.figures.gap_us = 1_500;
            },
            Why::ProcessorsBusy,
        ),
    ];
    for (at, (change, why)) in cases.into_iter().enumerate() {
        assert_eq!(with(change), why, "case {at}");
    }
}

#[test]
fn always_asks_for_a_wait_only_and_keeps_to_the_bounds() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = pays();
        facts.twins = Twins::Always;
        (facts.figures.waits, facts.figures.wait_us) = (1, 1);
        facts.host.idle_millis = Some(0);
        change(&mut facts);
        judge(&facts)
    };
    assert_eq!(with(|_| {}), Why::Asked);
    assert_eq!(with(|it| it.figures.waits = 0), Why::NoWaits);
    assert_eq!(with(|it| it.environments_max = 1), Why::NoRoom);
    assert_eq!(with(|it| it.counts.idle = 1), Why::Enough);
    assert_eq!(with(|it| it.host.memory_free_mib = 0), Why::NoMemory);
    assert_eq!(with(|it| it.policy = Policy::Keep), Why::NotRenewed);
}

#[test]
fn what_a_twin_was_started_for_is_told_as_long_as_it_is_there() {
    assert_eq!(Why::Asked.then(Why::NoWaits, 1), Why::Asked);
    assert_eq!(Why::Asked.then(Why::Starting, 1), Why::Asked);
    assert_eq!(Why::Asked.then(Why::NoWaits, 0), Why::NoWaits);
    assert_eq!(Why::Asked.then(Why::NoMemory, 1), Why::NoMemory);
    assert_eq!(Why::NoMemory.then(Why::NoWaits, 1), Why::NoWaits);
}

fn facts() -> impl Strategy<Value = Facts> {
    let policy = prop_oneof![
        4 => Just(Policy::AfterRun),
        1 => Just(Policy::BeforeRun),
        1 => Just(Policy::Keep),
    ];
    let twins = prop_oneof![
        4 => Just(Twins::Auto),
        2 => Just(Twins::Always),
        1 => Just(Twins::Off),
    ];
    let counts = (0..3_usize, 0..3_usize, 0..3_usize, 0..5_usize, 0..4_usize).prop_map(
        |(idle, busy, renewing, starting, waiting)| Counts {
            idle,
            busy,
            renewing,
            starting: starting / 4,
            waiting,
        },
    );
    let figures = (
        0..5_000_u64,
        0..5_000_u64,
        0..3_000_u64,
        0..20_000_u64,
        0..20_u64,
        0..6_u32,
    );
    let figures = figures.prop_map(
        |(run_us, renew_us, wait_us, gap_us, waits, at_once)| Figures {
            run_us,
            renew_us,
            wait_us,
            gap_us,
            waits,
            at_once,
        },
    );
    let host = (
        1_000..9_000_u64,
        prop::option::of(0..4_000_u64),
        0..3_000_u64,
        0..3_000_u64,
    );
    let host = host.prop_map(
        |(processors_millis, idle_millis, memory_mib, memory_free_mib)| Host {
            processors_millis,
            idle_millis,
            memory_mib,
            memory_free_mib,
        },
    );
    let bounds = (1..9_usize, 1..600_u64, prop::bool::weighted(0.1));
    (policy, twins, counts, figures, host, bounds).prop_map(
        |(policy, twins, counts, figures, host, (environments_max, memory_max_mib, failed))| {
            Facts {
                policy,
                twins,
                counts,
                environments_max,
                figures,
                memory_max_mib,
                start_failed: failed,
                host,
            }
        },
    )
}

/// The twin: all that has to hold, in one breath and in fractions.
fn naive(facts: &Facts) -> bool {
    let figures = &facts.figures;
    let of = |value: u64| i128::from(value);
    let bounds = facts.policy == Policy::AfterRun
        && facts.counts.starting == 0
        && !facts.start_failed
        && facts.counts.environments() < facts.environments_max
        && facts.counts.environments() < 2 * figures.at_once as usize;
    let memory = facts.host.memory_mib == 0
        || of(facts.host.memory_free_mib) - of(facts.memory_max_mib)
            >= of(facts.host.memory_mib * MEMORY_FREE_MIN_PERCENT / 100);
    let waits = of(figures.wait_us) * 100
        >= of(WAIT_SHARE_MIN_PERCENT) * of(figures.wait_us + figures.run_us)
        && figures.wait_us >= WAIT_MIN_US
        && figures.waits >= WAITS_MIN;
    let gap = of(figures.gap_us.max(1));
    let more = (of(figures.wait_us) * 1_000 / gap).min(1_000);
    let idle = match facts.host.idle_millis {
        Some(idle) => of(idle),
        None => {
            let own = of(figures.run_us + figures.renew_us) * 1_000 / gap;
            (of(facts.host.processors_millis) - own).max(0)
        }
    };
    let stays = of(facts.host.processors_millis * PROCESSORS_FREE_MIN_PERCENT / 100);
    bounds
        && memory
        && match facts.twins {
            Twins::Off => false,
            Twins::Always => figures.waits > 0,
            Twins::Auto => waits && idle - more >= stays,
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_verdict_is_the_naive_one(facts in facts()) {
        prop_assert_eq!(judge(&facts).starts(), naive(&facts));
    }

    /// What is kept by verdicts alone never grows beyond a twin for each request, or the bound.
    #[test]
    fn twins_stay_within_their_bounds(mut facts in facts(), rounds in 1..20_usize) {
        let before = facts.counts.environments();
        for _ in 0..rounds {
            facts.counts.idle += usize::from(judge(&facts).starts());
        }
        let now = facts.counts.environments();
        let at_once = facts.figures.at_once as usize;
        prop_assert!(now == before || now <= facts.environments_max.min(2 * at_once));
        prop_assert!(kept(facts.counts, facts.figures.at_once) <= at_once);
    }

    #[test]
    fn figures_follow_what_is_noted(
        steps in prop::collection::vec((1..50_000_u64, 0..9_000_u64, 0..9_000_u64), 1..60),
    ) {
        let mut pace = Pace::default();
        let mut now_us = 7;
        // The twin has fractions, in millionths.
        let mut twin: [Option<i128>; 3] = [None; 3];
        let mut smooth = |at: usize, value: u64| {
            let value = i128::from(value) * 1_000_000;
            let before = twin[at].unwrap_or(value);
            let smoothed = before + (value - before) / 8;
            twin[at] = Some(smoothed);
            smoothed / 1_000_000
        };
        pace.arrived(now_us);
        let mut waits = 0;
        for (gap_us, run_us, wait_us) in steps {
            now_us += gap_us;
            pace.arrived(now_us);
            pace.ran(run_us);
            pace.seated(wait_us);
            waits += u64::from(wait_us > 0);
            let figures = pace.figures(now_us);
            for (at, (noted, figure)) in [
                (gap_us, figures.gap_us),
                (run_us, figures.run_us),
                (wait_us, figures.wait_us),
            ].into_iter().enumerate() {
                let apart = (smooth(at, noted) - i128::from(figure)).abs();
                prop_assert!(apart <= 1, "figure {}: {} apart", at, apart);
            }
            prop_assert_eq!(figures.waits, waits);
        }
        pace.judged();
        prop_assert_eq!(pace.figures(now_us).waits, 0);
    }
}
