//! Whether programs of a revision are put back after a request.
//!
//! ```text
//! untried ─first program→ put back ─too many failures in a row, a failed audit→ replaced
//!            └ says nothing of its randomness, cannot be put back → replaced
//! ```
//!
//! Deliberately absent: the programs themselves (`restorable`).

use parking_lot::Mutex;

/// Programs of a revision that could not be put back, one after the other, before no other is
/// tried.
const FAILURES_MAX: u32 = 16;

/// See the module; shared by all environments of an image.
#[derive(Debug)]
pub(crate) struct Renewable(Mutex<Known>);

#[derive(Debug)]
enum Known {
    Untried,
    PutBack { failures: u32 },
    Replaced(Vec<String>),
}

impl Renewable {
    /// Nothing is known yet.
    pub(crate) fn untried() -> Self {
        Self(Mutex::new(Known::Untried))
    }

    /// Every request gets a new process, for this reason.
    pub(crate) fn never(reason: String) -> Self {
        Self(Mutex::new(Known::Replaced(vec![reason])))
    }

    /// Whether a program is worth a snapshot.
    pub(crate) fn is_worth_it(&self) -> bool {
        !matches!(&*self.0.lock(), Known::Replaced(_))
    }

    /// Why programs are not put back; none: they are.
    pub(crate) fn reasons(&self) -> Option<Vec<String>> {
        match &*self.0.lock() {
            Known::Untried => Some(Vec::new()),
            Known::PutBack { .. } => None,
            Known::Replaced(reasons) => Some(reasons.clone()),
        }
    }

    /// A program could not be made one that is put back. The first one decides for all.
    pub(crate) fn not_taken(&self, why: String) {
        let untried = matches!(*self.0.lock(), Known::Untried);
        match untried {
            true => self.give_up(why),
            false => self.failed(&why),
        }
    }

    /// No program is put back from now on.
    pub(crate) fn give_up(&self, reason: String) {
        let mut known = self.0.lock();
        match &mut *known {
            Known::Replaced(reasons) if !reasons.is_empty() => {}
            other => *other = Known::Replaced(vec![reason]),
        }
    }

    /// The first snapshot decides for all; that one was taken says nothing about a put-back.
    pub(crate) fn taken(&self) {
        let mut known = self.0.lock();
        if let Known::Untried = *known {
            *known = Known::PutBack { failures: 0 };
        }
    }

    /// One could be put back.
    pub(crate) fn succeeded(&self) {
        let mut known = self.0.lock();
        if let Known::Untried | Known::PutBack { .. } = *known {
            *known = Known::PutBack { failures: 0 };
        }
    }

    /// One could not.
    pub(crate) fn failed(&self, why: &str) {
        let mut known = self.0.lock();
        if let Known::PutBack { failures } = &mut *known {
            *failures += 1;
            if *failures >= FAILURES_MAX {
                let text = format!(
                    "{FAILURES_MAX} programs in a row could not be put back, the last because {why}"
                );
                *known = Known::Replaced(vec![text]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_given_up_after_failures_in_a_row_only() {
        let renewable = Renewable::untried();
        renewable.failed("it was never put back");
        renewable.taken();
        for _ in 0..3 {
            for _ in 1..FAILURES_MAX {
                renewable.failed("x");
            }
            assert_eq!(renewable.reasons(), None);
            renewable.succeeded();
        }
        for _ in 0..FAILURES_MAX {
            assert!(renewable.is_worth_it());
            renewable.failed("of a child");
            renewable.taken();
        }
        assert!(!renewable.is_worth_it());
        renewable.succeeded();
        let reasons = renewable.reasons().unwrap_or_default();
        assert!(reasons[0].contains("because of a child"), "{reasons:?}");
    }

    #[test]
    fn the_first_reason_to_give_up_stays() {
        let renewable = Renewable::untried();
        renewable.give_up("one".to_owned());
        renewable.give_up("two".to_owned());
        assert_eq!(renewable.reasons(), Some(vec!["one".to_owned()]));
    }
}
