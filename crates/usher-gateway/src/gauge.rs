//! Reading a gateway's figures while it serves, with a bound on how many functions are told apart.
//!
//! ```text
//!   first called, and there is room ─► figures of its own   ┐
//!   first called, and there is none ─► one of the others    ┴─ until it is deleted
//! ```
//!
//! A function stays what it was taken for, and what the others had counted before they were deleted
//! is kept, so that no sum ever falls: whoever reads them would take that for a restart.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use usher_core::id::FunctionKey;

use crate::meter::{Brief, Figures, FunctionFigures, GatewayFigures, Meter};
use crate::server::Shared;
use crate::table::Entry;

/// Reads a gateway's figures while it serves.
#[derive(Clone)]
pub struct Gauge {
    shared: Arc<Shared>,
    rows: Arc<Mutex<Rows>>,
}

/// Which functions are told apart.
#[derive(Default)]
struct Rows {
    own: HashMap<FunctionKey, Arc<Meter>>,
    others: HashMap<FunctionKey, Arc<Meter>>,
    /// Of others that were deleted.
    gone: Figures,
}

impl Gauge {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let rows = Arc::default();
        Self { shared, rows }
    }

    /// The figures as they stand, with every function told apart.
    pub fn snapshot(&self) -> GatewayFigures {
        self.figures(usize::MAX)
    }

    /// The figures as they stand, with at most so many functions told apart.
    pub fn figures(&self, functions_max: usize) -> GatewayFigures {
        let shared = &self.shared;
        let mut rows = self.rows.lock();
        let all = shared.routes.entries();
        let known = all.iter().map(|entry| entry.revision.function.clone());
        let known = known.collect();
        let entries = touched(&all);
        rows.forget(&entries);
        let mut functions = Vec::new();
        let mut others = rows.gone.clone();
        let mut any_other = others.begun > 0;
        for entry in &entries {
            let mut figures = Figures::default();
            entry.meter.read(&mut figures);
            let load = shared.door.load_of(entry.slot);
            (figures.running, figures.waiting) = (load.running, load.waiting);
            let key = &entry.revision.function;
            if rows.is_own(key, &entry.meter, functions_max) {
                let function = Some(key.clone());
                functions.push(FunctionFigures { function, figures });
            } else {
                any_other = true;
                others.merge(&figures);
            }
        }
        drop(rows);
        if any_other {
            functions.push(FunctionFigures {
                function: None,
                figures: others,
            });
        }
        let mut unrouted = Figures::default();
        shared.unrouted.read(&mut unrouted);
        let load = shared.door.load();
        GatewayFigures {
            functions,
            known,
            unrouted,
            connections: shared.open.load(Relaxed),
            accepted: shared.accepted.load(Relaxed),
            running: load.running,
            waiting: load.waiting,
        }
    }

    /// The little of every function that was ever called.
    pub fn briefs(&self) -> HashMap<FunctionKey, Brief> {
        let entries = touched(&self.shared.routes.entries());
        let brief = |entry: &Arc<Entry>| (entry.revision.function.clone(), entry.meter.brief());
        entries.iter().map(brief).collect()
    }
}

/// One entry of each function that was ever called.
fn touched(entries: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let touched = entries.iter().filter(|entry| entry.meter.is_touched());
    let mut touched: Vec<_> = touched.cloned().collect();
    // They come in the order of owner and name; several revisions of one function share its meter.
    touched.dedup_by(|a, b| Arc::ptr_eq(&a.meter, &b.meter));
    touched
}

impl Rows {
    /// Gives up what is not in the table any more, or is another function of the same name.
    fn forget(&mut self, entries: &[Arc<Entry>]) {
        let there: HashMap<&FunctionKey, &Arc<Meter>> = entries
            .iter()
            .map(|entry| (&entry.revision.function, &entry.meter))
            .collect();
        let is_there = |key: &FunctionKey, meter: &Arc<Meter>| {
            there
                .get(key)
                .is_some_and(|known| Arc::ptr_eq(known, meter))
        };
        self.own.retain(|key, meter| is_there(key, meter));
        let gone = &mut self.gone;
        self.others.retain(|key, meter| {
            let stays = is_there(key, meter);
            if !stays {
                meter.read(gone);
                // What it had under way ends uncounted, and is not under way for ever.
                gone.active = 0;
            }
            stays
        });
    }

    fn is_own(&mut self, key: &FunctionKey, meter: &Arc<Meter>, functions_max: usize) -> bool {
        if self.own.contains_key(key) {
            return true;
        }
        let room = self.own.len() < functions_max;
        match self.others.entry(key.clone()) {
            Place::Occupied(_) => false,
            Place::Vacant(_) if room => {
                self.own.insert(key.clone(), Arc::clone(meter));
                true
            }
            Place::Vacant(place) => {
                place.insert(Arc::clone(meter));
                false
            }
        }
    }
}
