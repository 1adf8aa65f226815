//! Where the time of a put-back goes.

use std::time::Instant;

/// What time is spent on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// All threads are stopped, and new ones ended.
    Stop,
    /// What differs in the kernel is found, and looked at again in the end.
    Kernel,
    /// What differs in memory is found and copied, and looked at again in the end.
    Memory,
    /// Calls are made inside the program.
    Batch,
    /// Pages are exchanged.
    Swap,
    /// Registers are put back.
    Registers,
    /// The program goes on.
    Resume,
}

/// Nanoseconds spent so far, by part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    since: Instant,
    nanos: [u64; 7],
}

impl Spent {
    /// What was spent on this part so far.
    pub(crate) fn of_ns(&self, part: Part) -> u64 {
        self.nanos.get(part as usize).copied().unwrap_or(0)
    }

    /// From now on.
    pub(crate) fn begin() -> Self {
        Self {
            since: Instant::now(),
            nanos: [0; 7],
        }
    }

    /// What has passed since the last call was spent on this part.
    pub(crate) fn on(&mut self, part: Part) {
        let passed = self.since.elapsed().as_nanos();
        if let Some(nanos) = self.nanos.get_mut(part as usize) {
            *nanos += u64::try_from(passed).unwrap_or(u64::MAX);
        }
        self.since = Instant::now();
    }

    /// All of it so far.
    pub(crate) fn total_ns(&self) -> u64 {
        self.nanos.iter().sum()
    }

    /// What has passed since the last call counts for nothing.
    pub(crate) fn leave_out(&mut self) {
        self.since = Instant::now();
    }
}
