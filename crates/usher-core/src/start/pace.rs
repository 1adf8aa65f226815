//! What runs, renewals and waits of a revision take lately, and how close upon each other its
//! requests come.
//!
//! Times are smoothed: each new one counts an eighth. What a request waits for a renewal is
//! measured and not guessed: from when it came, or from when the environment that it then got began
//! to be renewed, whichever was later, until it got it.
//!
//! Deliberately absent: the clock, and what follows from these figures (`keep::twin`).

use crate::keep::HighWater;

/// Most that one figure counts for, in microseconds: one that is out of all proportion would
/// outweigh the others for long.
pub const FIGURE_MAX_US: u64 = 60_000_000;
/// Most that a pause between two requests counts for, in microseconds: for what is asked more
/// rarely, nothing is a matter of pace.
pub const GAP_MAX_US: u64 = 1_000_000;
/// How far back it is looked for how many requests there were at once, in milliseconds.
pub const AT_ONCE_WINDOW_MS: u64 = 60_000;

/// What a revision's requests take, smoothed, in microseconds; 0: nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// From the claim of an environment until the run is over.
    pub run_us: u64,
    /// From then until the environment may be claimed again.
    pub renew_us: u64,
    /// What requests wait for renewals, those that do not wait included.
    pub wait_us: u64,
    /// Between two requests' arrivals.
    pub gap_us: u64,
    /// Requests that waited for a renewal since the figures were last judged.
    pub waits: u64,
    /// The most requests that were under way at once within [`AT_ONCE_WINDOW_MS`], those that
    /// waited included.
    pub at_once: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    run: Smoothed,
    renew: Smoothed,
    wait: Smoothed,
    gap: Smoothed,
    arrived_us: Option<u64>,
    waits: u64,
    at_once: HighWater,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            run: Smoothed::default(),
            renew: Smoothed::default(),
            wait: Smoothed::default(),
            gap: Smoothed::default(),
            arrived_us: None,
            waits: 0,
            at_once: HighWater::new(AT_ONCE_WINDOW_MS),
        }
    }
}

impl Pace {
    /// A request came.
    pub fn arrived(&mut self, now_us: u64) {
        if let Some(before_us) = self.arrived_us.replace(now_us) {
            let gap_us = now_us.saturating_sub(before_us);
            self.gap.note(gap_us.min(GAP_MAX_US));
        }
    }

    /// A request got an environment, for whose renewal it waited so long.
    pub fn seated(&mut self, wait_us: u64) {
        self.wait.note(wait_us);
        self.waits += u64::from(wait_us > 0);
    }

    /// A run is over.
    pub fn ran(&mut self, run_us: u64) {
        self.run.note(run_us);
    }

    /// An environment is clean again.
    pub fn renewed(&mut self, renew_us: u64) {
        self.renew.note(renew_us);
    }

    /// From now on so many requests are under way.
    pub fn under_way(&mut self, requests: usize, now_us: u64) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.at_once.note(requests, now_us / 1_000);
    }

    /// The figures as they stand.
    pub fn figures(&mut self, now_us: u64) -> Figures {
        Figures {
            run_us: self.run.get(),
            renew_us: self.renew.get(),
            wait_us: self.wait.get(),
            gap_us: self.gap.get(),
            waits: self.waits,
            at_once: self.at_once.highest(now_us / 1_000),
        }
    }

    /// The figures were judged: waits are counted anew.
    pub fn judged(&mut self) {
        self.waits = 0;
    }
}

/// Eight times a mean in which each new figure counts an eighth; none before the first one.
#[derive(Clone, Copy, Debug, Default)]
struct Smoothed(Option<u64>);

impl Smoothed {
    fn note(&mut self, figure_us: u64) {
        let figure_us = figure_us.min(FIGURE_MAX_US);
        self.0 = Some(match self.0 {
            None => figure_us * 8,
            Some(eightfold) => eightfold - eightfold / 8 + figure_us,
        });
    }

    fn get(self) -> u64 {
        self.0.unwrap_or_default() / 8
    }
}
