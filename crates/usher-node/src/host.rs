//! What the machine has, and what of it is free: read from procfs, once a round.
//!
//! Deliberately absent: what follows from that (`usher_core::keep::twin`), and whose work keeps the
//! processors busy.

use std::fs;
use std::num::NonZeroUsize;

use parking_lot::Mutex;
use usher_core::keep::twin::Host;

/// Where what is free is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostSource {
    /// From the machine.
    #[default]
    Measured,
    /// It is always this.
    Given(Host),
}

/// See the module.
pub(crate) struct Watch {
    source: HostSource,
    processors_millis: u64,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    ticks: Option<Ticks>,
    /// Of the round before, in thousandths of a processor.
    idle_millis: Option<u64>,
}

/// Processor time since the machine started, of all processors together, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Watch {
    pub(crate) fn new(source: HostSource) -> Self {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            source,
            processors_millis: processors.get() as u64 * 1_000,
            last: Mutex::default(),
        }
    }

    /// What is free. Of the processors this is what was free since the last look or since the one
    /// before, whichever is less: one quiet moment is no room.
    pub(crate) fn look(&self) -> Host {
        if let HostSource::Given(host) = self.source {
            return host;
        }
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = mib(&memory, "MemAvailable:");
        let ticks = fs::read_to_string("/proc/stat").ok();
        let ticks = ticks.as_deref().and_then(ticks_of);
        let now = ticks.and_then(|ticks| self.idle_since_last(ticks));
        let before = std::mem::replace(&mut self.last.lock().idle_millis, now);
        Host {
            processors_millis: self.processors_millis,
            idle_millis: now.zip(before).map(|(now, before)| now.min(before)),
            // Where one of the two is not told, nothing is known.
            memory_mib: free.and_then(|_| mib(&memory, "MemTotal:")).unwrap_or(0),
            memory_free_mib: free.unwrap_or(0),
        }
    }

    fn idle_since_last(&self, ticks: Ticks) -> Option<u64> {
        let before = self.last.lock().ticks.replace(ticks)?;
        let all = ticks.all.checked_sub(before.all)?;
        let idle = ticks.idle.saturating_sub(before.idle);
        // A machine may have more processors than may be used here.
        idle.saturating_mul(self.processors_millis).checked_div(all)
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for devices, and others; what
/// guests use at its end is counted in `user` already.
fn ticks_of(stat: &str) -> Option<Ticks> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers = fields.split_whitespace().take(8).map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
    Some(Ticks {
        idle: numbers.get(3)?.saturating_add(*numbers.get(4)?),
        all: numbers.iter().sum(),
    })
}

fn mib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let stat = "cpu  10 20 30 40 5 6 7 8 900 900\ncpu0 1 2 3 4 5 6 7 8 9 9\n";
        assert_eq!(ticks_of(stat), Some(Ticks { idle: 45, all: 126 }));
        let meminfo = "MemTotal:       24684084 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(mib(meminfo, "MemAvailable:"), Some(2));
        for broken in ["", "cpu  1 2", "cpu  a b c d e", "intr 1"] {
            assert_eq!(ticks_of(broken), None, "{broken}");
        }
        assert_eq!(mib("MemTotal: many\n", "MemTotal:"), None);
    }

    #[test]
    fn what_is_free_is_a_share_of_what_may_be_used() {
        let mut watch = Watch::new(HostSource::Measured);
        watch.processors_millis = 2_000;
        let at = |idle, all| watch.idle_since_last(Ticks { idle, all });
        assert_eq!(at(0, 0), None);
        assert_eq!(at(50, 200), Some(500));
        assert_eq!(at(50, 200), None, "no time has passed");
        assert_eq!(at(450, 600), Some(2_000));
    }

    #[test]
    fn this_machine_tells() {
        let watch = Watch::new(HostSource::Measured);
        let host = watch.look();
        assert!(host.memory_mib >= host.memory_free_mib && host.memory_free_mib > 0);
        assert_eq!(host.idle_millis, None, "nothing was seen before");
    }
}
