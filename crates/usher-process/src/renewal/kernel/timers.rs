//! Timers that send signals: the three interval timers, and those of POSIX.
//!
//! ```text
//! interval timers: set to what they were, each time: asking costs as much as setting
//! POSIX timers:    none at the snapshot; those of a run are deleted, and looked for again
//! ```
//!
//! Deliberately absent: timers that are descriptors.

use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};

use super::errors::{About as _, Difference, Leftover, TakeError, same};
use super::proc::{Proc, Text};

/// Real, virtual and profiling.
const INTERVALS: [i32; 3] = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];
/// Bytes of a period and what is left of it.
const INTERVAL_BYTES: usize = 32;
/// The first half of these bytes is the period, the other what is left.
const LEFT: std::ops::Range<usize> = 16..32;

/// The timers at the snapshot.
#[derive(Debug)]
pub(super) struct Timers {
    intervals: [[u8; INTERVAL_BYTES]; 3],
    posix: Text,
    /// Timers were found, whose end is to be seen.
    deleted: bool,
}

impl Timers {
    pub(super) fn take(
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<Self, TakeError> {
        let posix = proc.file("timers").taking("the POSIX timers")?;
        if !ids(&posix.read().taking("the POSIX timers")?).is_empty() {
            return Err(TakeError::State("has POSIX timers".to_owned()));
        }
        Ok(Self {
            intervals: intervals(stopped, agent)?,
            posix,
            deleted: false,
        })
    }

    /// Whether none of the interval timers runs.
    pub(super) fn are_idle(&self) -> bool {
        self.intervals.as_flattened().iter().all(|byte| *byte == 0)
    }

    pub(super) fn plan(&mut self, batch: &mut Batch) -> Result<(), Leftover> {
        let listed = self.posix.read().putting("the POSIX timers")?;
        self.deleted = false;
        for id in ids(&listed) {
            batch.call(
                Call::new(libc::SYS_timer_delete, [id.into()]),
                Expect::Value(0),
            );
            self.deleted = true;
        }
        for (which, value) in INTERVALS.iter().zip(&self.intervals) {
            let value = batch.bytes(value)?;
            let set = [(*which).into(), value.into(), 0_u64.into()];
            batch.call(Call::new(libc::SYS_setitimer, set), Expect::Value(0));
        }
        Ok(())
    }

    pub(super) fn done(&self) -> Result<(), Leftover> {
        if self.deleted && !ids(&self.posix.read().putting("the POSIX timers")?).is_empty() {
            return Err(Leftover::State("a POSIX timer could not be deleted"));
        }
        Ok(())
    }

    pub(super) fn compare(
        &self,
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<(), Difference> {
        let listed = proc.text("timers").comparing("POSIX timers")?;
        same("POSIX timers", &String::new(), &listed)?;
        let now = match intervals(stopped, agent) {
            Ok(now) => now,
            Err(TakeError::Inject(error)) => return Err(error.into()),
            Err(other) => {
                let what = other.to_string();
                return Err(Difference::Found {
                    piece: "interval timers",
                    what,
                });
            }
        };
        // What is left runs down; whether anything is left does not.
        let periods = |all: &[[u8; INTERVAL_BYTES]; 3]| {
            all.map(|one| {
                (
                    one[..LEFT.start].to_vec(),
                    one[LEFT].iter().any(|it| *it != 0),
                )
            })
        };
        same("interval timers", &periods(&self.intervals), &periods(&now))
    }
}

fn intervals(stopped: &mut Stopped, agent: &Agent) -> Result<[[u8; INTERVAL_BYTES]; 3], TakeError> {
    let mut batch = Batch::new();
    let mut places = Vec::new();
    for which in INTERVALS {
        let place = batch.space(INTERVAL_BYTES)?;
        let ask = [which.into(), place.into()];
        batch.call(Call::new(libc::SYS_getitimer, ask), Expect::Value(0));
        places.push(place);
    }
    let answers = stopped.run(agent, &batch)?;
    let mut found = [[0; INTERVAL_BYTES]; 3];
    for (to, place) in found.iter_mut().zip(places) {
        *to = (answers.bytes(place).try_into()).unwrap_or([0; INTERVAL_BYTES]);
    }
    Ok(found)
}

/// The ids in a list of POSIX timers.
fn ids(listed: &str) -> Vec<u64> {
    let ids = listed.lines().filter_map(|line| line.strip_prefix("ID: "));
    ids.filter_map(|id| id.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::ids;

    #[test]
    fn ids_are_read_from_the_list_of_timers() {
        let listed = "ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\n\
                      ID: 12\nsignal: 60/0\nnotify: none/tid.1\nClockID: 1\n";
        assert_eq!(ids(listed), [1, 12]);
        assert!(ids("").is_empty());
    }
}
