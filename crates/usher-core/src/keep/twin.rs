//! Whether one more environment is worth being kept, so that one serves while the other is renewed.
//!
//! ```text
//! alone   run │ renew ─────│ run │ renew ─────│ run …      the next request waits for the renewal
//! twins   run │ renew ─────│ run │ renew ─────│
//!               run │ renew ─────│ run │ renew …            it does not
//! ```
//!
//! A twin pays where requests spend more than [`WAIT_SHARE_MIN_PERCENT`] of their time on waiting
//! for renewals, and where a processor is free to renew while another one serves: the work is the
//! same, so that on busy processors both would only compete for them. There is at most one beside
//! each request that was under way at once lately.
//!
//! A twin is an environment like any other. Nothing takes it away but what ends any other one: the
//! one used last is taken first, so that a twin which is not needed grows old and is ended
//! ([`super::plan`]), down to none. That is the hysteresis: it is started for waits that last, and
//! stays until it was unused for `idle_max_s`.
//!
//! Deliberately absent: the clock, measuring, and starting anything.

use std::fmt;

use crate::environment::Policy;
use crate::function::Twins;
use crate::start::Counts;
use crate::start::pace::Figures;

/// Share of its time that a request has to spend on waiting for renewals, in per cent, of the time
/// from its arrival until its run is over.
pub const WAIT_SHARE_MIN_PERCENT: u64 = 10;
/// What it has to wait at least, in microseconds: less is not worth an environment.
pub const WAIT_MIN_US: u64 = 100;
/// Requests that have to have waited before a verdict.
pub const WAITS_MIN: u64 = 8;
/// Share of the processors that has to stay free beside the work that a twin takes over, in per
/// cent: for what serves requests outside of environments, which has more to do then.
pub const PROCESSORS_FREE_MIN_PERCENT: u64 = 5;
/// Share of the memory that has to stay free when a twin has taken all that it may, in per cent.
pub const MEMORY_FREE_MIN_PERCENT: u64 = 10;
/// How long no twin is started after a start that failed, in milliseconds.
pub const RETRY_AFTER_MS: u64 = 60_000;

/// What the machine has, and what of it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Processors that may be used, in thousandths of one.
    pub processors_millis: u64,
    /// What was free of them lately; none: that is not known.
    pub idle_millis: Option<u64>,
    /// Memory, in MiB; 0: that is not known, and nothing is held against a twin.
    pub memory_mib: u64,
    /// What is free of it.
    pub memory_free_mib: u64,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What is done with an environment after a run.
    pub policy: Policy,
    /// What the manifest says.
    pub twins: Twins,
    /// The environments that there are.
    pub counts: Counts,
    /// The most that there may be.
    pub environments_max: usize,
    /// What requests take.
    pub figures: Figures,
    /// What another environment costs at most, in MiB.
    pub memory_max_mib: u64,
    /// Whether a start has failed within [`RETRY_AFTER_MS`].
    pub start_failed: bool,
    /// The machine.
    pub host: Host,
}

/// Why a twin is started, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Start one: requests wait so much of their time for renewals.
    Waits {
        /// In per cent.
        share_percent: u64,
        /// What one waits, in microseconds.
        wait_us: u64,
    },
    /// Start one: a request has waited, and the manifest asks for no more than that.
    Asked,
    /// The manifest forbids them.
    Off,
    /// Nothing is renewed between two requests.
    NotRenewed,
    /// Requests do not wait for renewals, or too little.
    NoWaits,
    /// A start is under way.
    Starting,
    /// There is one beside each request that was under way at once.
    Enough,
    /// The function has all environments that it may have.
    NoRoom,
    /// The machine has too little memory left.
    NoMemory,
    /// The processors are busy: both would compete for them.
    ProcessorsBusy,
    /// The last start failed.
    StartFailed,
}

impl Why {
    /// Whether one more environment is to be started.
    pub const fn starts(self) -> bool {
        matches!(self, Self::Waits { .. } | Self::Asked)
    }

    /// Why there are as many as there are, where `self` was found before and `now` after that:
    /// what a twin was started for, as long as nothing speaks against it.
    pub fn then(self, now: Self, kept: usize) -> Self {
        match now {
            Self::NoWaits | Self::Starting if kept > 0 && self.starts() => self,
            now => now,
        }
    }

    /// Whether the waits were looked at, so that they are counted anew from now on.
    pub const fn judged(self) -> bool {
        !matches!(self, Self::NoWaits | Self::Starting)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waits {
                share_percent,
                wait_us,
            } => {
                return write!(
                    f,
                    "requests waited {wait_us} µs for renewals, {share_percent} % of their time"
                );
            }
            Self::Asked => "requests waited for renewals, and the manifest says \"always\"",
            Self::Off => "the manifest says \"off\"",
            Self::NotRenewed => "nothing is renewed between two requests",
            Self::NoWaits => "requests wait for renewals too little",
            Self::Starting => "an environment is being started",
            Self::Enough => "each busy environment has one",
            Self::NoRoom => "the function has concurrency_max environments",
            Self::NoMemory => "the machine has too little memory left",
            Self::ProcessorsBusy => "the processors are busy, and would only be shared",
            Self::StartFailed => "a start has failed lately",
        })
    }
}

/// Whether one more environment is to be started ahead, and why or why not.
pub fn judge(facts: &Facts) -> Why {
    let Facts {
        counts, figures, ..
    } = facts;
    if facts.policy != Policy::AfterRun {
        return Why::NotRenewed;
    }
    let starts = match facts.twins {
        Twins::Off => return Why::Off,
        Twins::Always if figures.waits > 0 => Why::Asked,
        Twins::Auto if figures.waits >= WAITS_MIN && figures.wait_us >= WAIT_MIN_US => {
            let share_percent = share_percent(figures);
            if share_percent < WAIT_SHARE_MIN_PERCENT {
                return Why::NoWaits;
            }
            Why::Waits {
                share_percent,
                wait_us: figures.wait_us,
            }
        }
        Twins::Auto | Twins::Always => return Why::NoWaits,
    };
    if counts.starting > 0 {
        Why::Starting
    } else if facts.start_failed {
        Why::StartFailed
    } else if counts.environments() >= 2 * figures.at_once as usize {
        Why::Enough
    } else if counts.environments() >= facts.environments_max {
        Why::NoRoom
    } else if !has_memory(facts) {
        Why::NoMemory
    } else if facts.twins == Twins::Auto && !has_processors(figures, &facts.host) {
        Why::ProcessorsBusy
    } else {
        starts
    }
}

/// How many environments stand beside those that requests needed at once lately, at most one for
/// each of them.
pub fn kept(counts: Counts, at_once: u32) -> usize {
    let at_once = at_once as usize;
    counts.environments().saturating_sub(at_once).min(at_once)
}

const fn share_percent(figures: &Figures) -> u64 {
    let whole_us = figures.wait_us.saturating_add(figures.run_us);
    match figures.wait_us.saturating_mul(100).checked_div(whole_us) {
        Some(share_percent) => share_percent,
        None => 0,
    }
}

fn has_memory(facts: &Facts) -> bool {
    let Host {
        memory_mib,
        memory_free_mib,
        ..
    } = facts.host;
    let stays_mib = memory_mib * MEMORY_FREE_MIN_PERCENT / 100;
    memory_mib == 0 || memory_free_mib >= stays_mib.saturating_add(facts.memory_max_mib)
}

/// Whether there are processors for what a twin takes over: as many requests as wait on the
/// average (Little's law), at most one, would run instead.
fn has_processors(figures: &Figures, host: &Host) -> bool {
    let on_average_millis = |each_us: u64| each_us.saturating_mul(1_000) / figures.gap_us.max(1);
    let more_millis = on_average_millis(figures.wait_us).min(1_000);
    let idle_millis = host.idle_millis.unwrap_or_else(|| {
        let own_millis = on_average_millis(figures.run_us.saturating_add(figures.renew_us));
        host.processors_millis.saturating_sub(own_millis)
    });
    let stays_millis = host.processors_millis * PROCESSORS_FREE_MIN_PERCENT / 100;
    idle_millis >= more_millis.saturating_add(stays_millis)
}
