//! The token bucket against a naive twin: the list of all that was ever taken.

use proptest::prelude::*;
use usher_core::rate::{Bucket, Rate};

/// One more may be taken if no stretch of time until now has more than its share: the burst, and
/// what comes in the stretch.
fn fits(taken: &[u64], rate: Rate, now_us: u64) -> bool {
    let held = u128::from(rate.burst.max(1)) * 1_000_000;
    taken.iter().enumerate().all(|(first, since_us)| {
        let in_stretch = (taken.len() - first + 1) as u128 * 1_000_000;
        let came = u128::from(now_us - since_us) * u128::from(rate.per_s);
        in_stretch <= held + came
    })
}

proptest! {
    /// What is taken and what is refused is what the twin says, and a refusal names the very
    /// microsecond from which on it would not be one.
    #[test]
    fn the_bucket_says_what_the_list_says(
        per_s in 0..50_u32,
        burst in 0..6_u32,
        pauses in prop::collection::vec(0..400_000_u64, 1..80),
    ) {
        let rate = Rate { per_s, burst };
        let mut bucket = Bucket::default();
        let (mut taken, mut now_us) = (Vec::new(), 7);
        for pause_us in pauses {
            now_us += pause_us;
            let expected = fits(&taken, rate, now_us);
            match bucket.take(rate, now_us) {
                Ok(()) => {
                    prop_assert!(expected, "taken at {now_us} beyond the rate");
                    taken.push(now_us);
                }
                Err(u64::MAX) => prop_assert!(!expected && per_s == 0),
                Err(wait_us) => {
                    prop_assert!(!expected, "refused at {now_us} within the rate");
                    prop_assert!(wait_us > 0 && !fits(&taken, rate, now_us + wait_us - 1));
                    prop_assert!(fits(&taken, rate, now_us + wait_us));
                }
            }
        }
    }
}

#[test]
fn a_smaller_rate_holds_at_once_and_a_clock_that_goes_back_gives_nothing() {
    let mut bucket = Bucket::default();
    let wide = Rate {
        per_s: 1,
        burst: 10,
    };
    for _ in 0..10 {
        assert_eq!(bucket.take(wide, 1_000), Ok(()));
    }
    assert_eq!(bucket.take(wide, 0), Err(1_000_000));
    let narrow = Rate { per_s: 2, burst: 1 };
    assert_eq!(bucket.take(narrow, 1_000), Err(500_000));
    assert_eq!(bucket.take(narrow, 501_000), Ok(()));
    assert!(bucket.take(narrow, 501_000).is_err());
    // The control: a rate that is high enough refuses none of them.
    let mut bucket = Bucket::default();
    let high = Rate {
        per_s: 1,
        burst: 100,
    };
    assert!((0..100).all(|_| bucket.take(high, 0).is_ok()));
}
