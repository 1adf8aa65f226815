//! When a certificate is made anew: ahead of its end, and later each time that it fails.
//!
//! ```text
//!   none, or the last third of its time has begun ─► now
//!   else ──────────────────────────────────────────► when that third begins
//!   failed ─► back off, twice as long each time, up to a bound
//! ```
//!
//! Deliberately absent: clocks, and how a certificate is made.

/// After the first failure, in seconds; twice as long after each further one.
pub const BACK_OFF_FIRST_S: u64 = 60;

/// The longest that is waited after a failure, in seconds.
pub const BACK_OFF_MAX_S: u64 = 12 * 3_600;

/// The longest that nobody looks at a certificate, in seconds: clocks may be set meanwhile.
pub const LOOK_MAX_S: u64 = 12 * 3_600;

/// From when to when a certificate is valid, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from_s: u64,
    /// The last second.
    pub to_s: u64,
}

impl Validity {
    /// Whether it is valid at a time.
    pub const fn holds(&self, now_s: u64) -> bool {
        self.from_s <= now_s && now_s <= self.to_s
    }

    /// When its last third begins, in seconds of Unix time.
    pub const fn renewal_s(&self) -> u64 {
        self.to_s - self.to_s.saturating_sub(self.from_s) / 3
    }
}

/// What is to be done about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make one now.
    Make,
    /// Look again after so many seconds, at least one.
    Wait {
        /// How many.
        seconds: u64,
    },
}

/// What is to be done about the certificate that there is, if any, after so many failures in a row,
/// of which the last one was so many seconds ago.
pub fn next(now_s: u64, there: Option<Validity>, failures: u32, failed_ago_s: u64) -> Next {
    let due_in_s = match there {
        Some(validity) if validity.from_s <= now_s => validity.renewal_s().saturating_sub(now_s),
        _ => 0,
    };
    let back_off_s = back_off_s(failures).saturating_sub(failed_ago_s);
    match due_in_s.max(back_off_s) {
        0 => Next::Make,
        seconds => Next::Wait {
            seconds: seconds.min(LOOK_MAX_S),
        },
    }
}

fn back_off_s(failures: u32) -> u64 {
    let Some(doublings) = failures.checked_sub(1) else {
        return 0;
    };
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    BACK_OFF_FIRST_S.saturating_mul(factor).min(BACK_OFF_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;
    const THERE: Validity = Validity {
        from_s: 1_000 * DAY_S,
        to_s: 1_090 * DAY_S,
    };

    #[test]
    fn a_certificate_is_made_where_there_is_none_and_in_its_last_third() {
        assert_eq!(next(0, None, 0, 0), Next::Make);
        for (day, then) in [
            (
                1_000,
                Next::Wait {
                    seconds: LOOK_MAX_S,
                },
            ),
            (
                1_059,
                Next::Wait {
                    seconds: LOOK_MAX_S,
                },
            ),
            (1_060, Next::Make),
            (1_090, Next::Make),
            (2_000, Next::Make),
        ] {
            assert_eq!(next(day * DAY_S, Some(THERE), 0, 0), then, "{day}");
        }
        let just_before = 1_060 * DAY_S - 5;
        let soon = Next::Wait { seconds: 5 };
        assert_eq!(next(just_before, Some(THERE), 0, 0), soon);
    }

    #[test]
    fn one_that_is_not_valid_yet_is_no_reason_to_wait() {
        assert_eq!(next(0, Some(THERE), 0, 0), Next::Make);
        assert!(!THERE.holds(0) && THERE.holds(1_050 * DAY_S) && !THERE.holds(1_091 * DAY_S));
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_bound() {
        let wait = |failures, ago| next(0, None, failures, ago);
        assert_eq!(wait(1, 0), Next::Wait { seconds: 60 });
        assert_eq!(wait(2, 0), Next::Wait { seconds: 120 });
        assert_eq!(wait(2, 119), Next::Wait { seconds: 1 });
        assert_eq!(wait(2, 120), Next::Make);
        for failures in [20, 63, 64, 65, u32::MAX] {
            let seconds = BACK_OFF_MAX_S;
            assert_eq!(wait(failures, 0), Next::Wait { seconds });
        }
    }

    #[test]
    fn a_validity_that_ends_before_it_begins_is_no_trouble() {
        let odd = Validity {
            from_s: 10,
            to_s: 5,
        };
        assert_eq!(next(20, Some(odd), 0, 0), Next::Make);
        assert!(!odd.holds(7));
    }
}
