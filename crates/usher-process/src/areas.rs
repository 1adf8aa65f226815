//! The areas of one environment: the ledger of both, and what the run before has left in one.
//!
//! ```text
//!  swapped ─► the ledger names the other area; the one that was used is held ─scrub→ freed
//!  put back in place ─► the same area once more
//! ```
//!
//! An area is what frames of memory hold a run's state, found through the page tables of the
//! program. The ledger decides (`usher_core::area`); frames are exchanged by `renewal`. Frames that
//! are held can be given back on another thread while the program serves its next request: they are
//! in no address space.
//!
//! Deliberately absent: the determination, which reads the program itself.

use parking_lot::Mutex;
use usher_core::area::{AreaState, AreaUse, Owner, Pair, Side};
use usher_core::id::{EnvironmentId, RevisionId};
use usher_engine::number::area_ids;

use crate::renewal::Aside;

/// Both areas of an environment.
#[derive(Debug)]
pub(crate) struct Areas(Mutex<Held>);

#[derive(Debug)]
struct Held {
    ledger: Pair,
    /// The frames of the area that was used, until it is scrubbed.
    aside: Option<Aside>,
}

impl Areas {
    /// Those of a new environment, which nothing has used.
    pub(crate) fn of(environment: EnvironmentId, revision: RevisionId) -> Self {
        let owner = Owner {
            environment,
            revision,
        };
        Self(Mutex::new(Held {
            ledger: Pair::new(owner, area_ids()),
            aside: None,
        }))
    }

    /// Which use of which area the ledger names.
    pub(crate) fn current(&self) -> AreaUse {
        self.0.lock().ledger.current()
    }

    /// The same area is used once more.
    pub(crate) fn again(&self) {
        self.0.lock().ledger.again();
    }

    /// The other area is used from now on; `aside` is what was left in this one, which is named
    /// for its scrub. What is left of an earlier scrub is done first.
    pub(crate) fn turn(&self, aside: Option<Aside>) -> Result<Side, String> {
        let mut held = self.0.lock();
        let left = held.ledger.side();
        held.scrub(left.other())?;
        held.ledger.swap().map_err(|error| error.to_string())?;
        held.aside = aside;
        Ok(left)
    }

    /// Gives back the frames of an area that was used. Does nothing where that was done already.
    pub(crate) fn scrub(&self, side: Side) -> Result<(), String> {
        self.0.lock().scrub(side)
    }
}

impl Held {
    fn scrub(&mut self, side: Side) -> Result<(), String> {
        if self.ledger.state(side) != AreaState::Used {
            return Ok(());
        }
        let wrong = |error: usher_core::area::NotScrubbable| error.to_string();
        self.ledger.scrub(side).map_err(wrong)?;
        let aside = self.aside.take();
        let scrubbed = aside.map_or(Ok(0), Aside::scrub);
        scrubbed.map_err(|error| error.to_string())?;
        self.ledger.scrubbed(side).map_err(wrong)
    }
}
