//! What a request asks a program to do, and the requests that warm it up.
//!
//! Work is a number of steps, the same for every arm, that takes so many milliseconds in the bare
//! program: what an arm makes slower is seen.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::client::{Http, runtime};
use super::super::server::Server;
use super::platform::WARM_UPS_MAX;
use super::program::Program;

/// Steps by which it is found out how many a millisecond takes, and how often they are taken: often
/// enough for a compiler to have done its work.
const TRIAL_STEPS: u32 = 20_000;
const TRIALS: u32 = 40;
/// Warm-up requests with work, in milliseconds, and with changed memory, in KiB: one for each kind
/// that is measured, the rest is without either.
const WARM_UP_WORK_MS: [u32; 6] = [5, 1, 5, 1, 5, 1];
const WARM_UP_DIRTY_KIB: [u32; 2] = [1 << 10, 1 << 10];

/// Work as one program does it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    steps_per_ms: f64,
}

impl Work {
    /// None is ever asked for.
    pub(super) const NONE: Self = Self { steps_per_ms: 0.0 };

    /// Finds out how many steps the bare program does in a millisecond.
    pub(super) fn of(bare: &Server) -> Result<Self> {
        let http = Http::new();
        let runtime = runtime()?;
        let fastest = |path: &str| -> Result<Duration> {
            let mut fastest = Duration::MAX;
            for _ in 0..TRIALS {
                let answer = runtime.block_on(http.get(&bare.url(path)))?;
                fastest = fastest.min(answer.first_byte);
            }
            Ok(fastest)
        };
        let nothing = fastest("/")?;
        // Long enough to be told apart from a request without work, in any language.
        let mut steps = TRIAL_STEPS;
        loop {
            let took = fastest(&format!("/?work={steps}"))?.saturating_sub(nothing);
            if took >= Duration::from_millis(1) {
                let steps_per_ms = f64::from(steps) / (took.as_secs_f64() * 1e3);
                return Ok(Self { steps_per_ms });
            }
            steps = steps.checked_mul(4).context("work takes no time")?;
        }
    }

    /// The path that asks for so many milliseconds of it, or else for a change of so much memory.
    pub(super) fn path(self, work_ms: u32, dirty_kib: u32) -> String {
        match (work_ms, dirty_kib) {
            (0, 0) => "/".to_owned(),
            (0, kib) => format!("/?dirty={}", u64::from(kib) << 10),
            (ms, _) => format!("/?work={:.0}", self.steps_per_ms * f64::from(ms)),
        }
    }

    /// The paths that warm up for all that is measured, as many as a manifest may name.
    pub(super) fn warm_up(self, program: Program) -> Vec<String> {
        let working = match program {
            // Nothing but requests without work is measured of it.
            Program::PythonBig => Vec::new(),
            _ => {
                let work = WARM_UP_WORK_MS.map(|ms| self.path(ms, 0));
                let dirty = WARM_UP_DIRTY_KIB.map(|kib| self.path(0, kib));
                [work.to_vec(), dirty.to_vec()].concat()
            }
        };
        let plain = vec![self.path(0, 0); WARM_UPS_MAX - working.len()];
        [working, plain].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_name_all_that_warms_up() {
        let work = Work {
            steps_per_ms: 1_000.0,
        };
        for program in Program::ALL {
            assert_eq!(work.warm_up(program).len(), WARM_UPS_MAX);
        }
        let paths = work.warm_up(Program::Node);
        for path in ["/", "/?work=5000", "/?work=1000", "/?dirty=1048576"] {
            assert!(paths.iter().any(|one| one == path), "{path}");
        }
        assert!(
            Work::NONE
                .warm_up(Program::PythonBig)
                .iter()
                .all(|path| path == "/")
        );
    }
}
