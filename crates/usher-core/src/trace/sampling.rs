//! Which traces are recorded, by the names that OpenTelemetry gives the ways to choose.
//!
//! Deliberately absent: randomness. The trace's id is random already, and every party that holds
//! the same share decides the same by it.

use std::num::NonZeroU128;

/// How traces are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of traces that are recorded, of those about which nobody has decided before.
    share: f64,
    /// Whether a caller's decision is taken over.
    by_parent: bool,
}

/// Why a choice cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSampling {
    /// No such way.
    #[error(
        "{0:?} is no sampler; write always_on, always_off, traceidratio, or one of them after \
         parentbased_"
    )]
    Name(String),
    /// Not a share.
    #[error("{0:?} is no share of traces; write a number from 0 to 1")]
    Share(String),
}

impl Default for Sampling {
    /// All, unless the caller has decided otherwise.
    fn default() -> Self {
        Self {
            share: 1.0,
            by_parent: true,
        }
    }
}

impl Sampling {
    /// Reads `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. Only a ratio looks at the
    /// argument; without one it is 1.
    ///
    /// # Errors
    /// If the name or the share cannot be read.
    pub fn named(name: &str, argument: Option<&str>) -> Result<Self, BadSampling> {
        let (by_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let share = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument.map_or(Ok(1.0), share)?,
            _ => return Err(BadSampling::Name(name.to_owned())),
        };
        Ok(Self { share, by_parent })
    }

    /// Whether this trace is recorded; `parent` is what the caller has decided, if there was one.
    pub fn takes(&self, trace: NonZeroU128, parent: Option<bool>) -> bool {
        match parent.filter(|_| self.by_parent) {
            Some(decided) => decided,
            None => in_share(trace, self.share),
        }
    }
}

fn share(text: &str) -> Result<f64, BadSampling> {
    let share = text.parse().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| BadSampling::Share(text.to_owned()))
}

/// The last 63 bits of the id against the share of them, as OpenTelemetry's own kits do it.
fn in_share(trace: NonZeroU128, share: f64) -> bool {
    const ALL: f64 = (1_u64 << 63) as f64;
    let last = trace.get() & u128::from(u64::MAX);
    // The highest ids are rounded up to all.
    share >= 1.0 || ((last >> 1) as f64) < share * ALL
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn id(low: u64) -> NonZeroU128 {
        NonZeroU128::new((7 << 64) | u128::from(low)).unwrap()
    }

    #[test]
    fn a_callers_decision_is_taken_over_where_that_is_said() {
        for (name, of_none, of_yes, of_no) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("parentbased_always_on", true, true, false),
            ("parentbased_always_off", false, true, false),
        ] {
            let sampling = Sampling::named(name, Some("ignored")).unwrap();
            let takes = |parent| sampling.takes(id(1 << 63), parent);
            assert_eq!(takes(None), of_none, "{name}");
            assert_eq!(takes(Some(true)), of_yes, "{name}");
            assert_eq!(takes(Some(false)), of_no, "{name}");
        }
        assert_eq!(
            Sampling::default(),
            Sampling::named("parentbased_always_on", None).unwrap()
        );
    }

    #[test]
    fn a_share_takes_so_many_and_always_the_same() {
        let quarter = Sampling::named("traceidratio", Some("0.25")).unwrap();
        // Every 1024th of all ids, from the first to the last.
        let ids = (0..1_024).map(|nth| id((nth << 54) | 1));
        let taken: Vec<_> = ids.filter(|id| quarter.takes(*id, Some(false))).collect();
        assert_eq!(taken.len(), 256);
        assert!(taken.iter().all(|id| quarter.takes(*id, None)));
        let all = Sampling::named("traceidratio", None).unwrap();
        assert!(all.takes(id(u64::MAX), None));
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for name in ["", "on", "parentbased_", "parentbased_jaeger_remote"] {
            let refused = Sampling::named(name, None).unwrap_err();
            assert_eq!(refused, BadSampling::Name(name.to_owned()));
        }
        for share in ["", "-0.1", "1.1", "NaN", "half"] {
            let refused = Sampling::named("traceidratio", Some(share)).unwrap_err();
            assert_eq!(refused, BadSampling::Share(share.to_owned()));
        }
    }
}
