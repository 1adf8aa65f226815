//! Keeping environments against naive twins.

use proptest::prelude::*;
use usher_core::function::Keep;
use usher_core::keep::{HighWater, Plan, STOCK_MAX, Supply, plan, stock_target};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_oldest_idle_are_ended_down_to_those_that_stay(
        ready_min in 0..6_u32,
        idle_max_s in 0..5_u64,
        mut idle in prop::collection::vec(0..10_000_u64, 0..8),
        others in 0..4_usize,
        environments_max in 1..12_usize,
        now_ms in 0..15_000_u64,
    ) {
        idle.sort_unstable();
        let keep = Keep { ready_min, idle_max_s, ..Keep::default() };
        let supply = Supply { environments: idle.len() + others, environments_max };
        let plan = plan(&keep, supply, idle.iter().copied(), now_ms);

        // The twin ends one at a time, as long as it may.
        let stay = (ready_min as usize).min(environments_max);
        let mut left = supply.environments;
        let mut ended = 0;
        for since_ms in &idle {
            if left > stay && since_ms + idle_max_s * 1_000 <= now_ms {
                left -= 1;
                ended += 1;
            }
        }
        prop_assert_eq!(plan.stop, ended);
        prop_assert_eq!(plan.start, stay.saturating_sub(supply.environments));
        prop_assert!(plan.stop == 0 || plan.start == 0);
        let next = idle.get(ended).map(|since_ms| since_ms + idle_max_s * 1_000);
        prop_assert_eq!(plan.again_ms, next.filter(|_| left > stay));
    }

    #[test]
    fn the_high_water_mark_is_that_of_the_window(
        steps in prop::collection::vec((0..60_u64, 0..20_u32), 1..60),
        later in 0..300_u64,
    ) {
        const PART_MS: u64 = 10;
        const WINDOW_MS: u64 = 8 * PART_MS;
        let mut water = HighWater::new(WINDOW_MS);
        let mut history: Vec<(u64, u32)> = vec![(0, 0)];
        let mut now_ms = 0;
        for (wait_ms, level) in steps {
            now_ms += wait_ms;
            water.note(level, now_ms);
            history.push((now_ms, level));
        }
        now_ms += later;
        // The window begins with the part that holds its first moment.
        let begin_ms = (now_ms / PART_MS + 1).saturating_sub(8) * PART_MS;
        let highest = history
            .iter()
            .enumerate()
            .filter(|(at, _)| {
                // A level holds from its moment up to that of the next one.
                let until_ms = history.get(at + 1).map_or(u64::MAX, |next| next.0);
                until_ms >= begin_ms
            })
            .map(|(_, (_, level))| *level)
            .max();
        prop_assert_eq!(Some(water.highest(now_ms)), highest);
    }

    #[test]
    fn the_stock_is_bounded(ready_min: u32, high_water: u32, concurrency_max: u32) {
        let keep = Keep { ready_min, idle_max_s: 0, ..Keep::default() };
        let target = stock_target(&keep, high_water, concurrency_max);
        prop_assert!(target <= STOCK_MAX && target <= concurrency_max);
        prop_assert!(target >= ready_min.min(STOCK_MAX).min(concurrency_max));
    }
}

#[test]
fn a_function_without_requests_scales_to_zero() {
    let keep = Keep {
        ready_min: 0,
        idle_max_s: 300,
        ..Keep::default()
    };
    let supply = Supply {
        environments: 2,
        environments_max: 8,
    };
    let at = |now_ms| plan(&keep, supply, [1_000, 2_000], now_ms);
    assert_eq!(
        at(300_999),
        Plan {
            stop: 0,
            start: 0,
            again_ms: Some(301_000)
        }
    );
    assert_eq!(
        at(301_000),
        Plan {
            stop: 1,
            start: 0,
            again_ms: Some(302_000)
        }
    );
    assert_eq!(
        at(302_000),
        Plan {
            stop: 2,
            start: 0,
            again_ms: None
        }
    );
    // The negative control: with environments that stay, it does not.
    let stay = Keep {
        ready_min: 2,
        ..keep
    };
    assert_eq!(
        plan(&stay, supply, [1_000, 2_000], 302_000),
        Plan::default()
    );
    assert_eq!(stock_target(&Keep::default(), 0, 64), 0);
    assert_eq!(stock_target(&Keep::default(), 16, 64), 21);
}
