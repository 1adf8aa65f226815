//! What the kernel tells about processes: who started whom, processor time, page faults.
//!
//! Deliberately absent: signals; see `child`.

use std::path::PathBuf;

/// One process, told apart from a later one of the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) id: u32,
    started_ticks: u64,
}

/// What a process and all that it started have used so far, those that ended and were waited for
/// among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time in user and kernel mode, all threads, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Page faults that needed no reading from a disk.
    pub(crate) minor_faults: u64,
}

/// Memory of one process, or of several together, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its own pages, and its share of those that it shares.
    pub(crate) proportional_kib: u64,
    /// The pages that nobody else has.
    pub(crate) private_kib: u64,
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    usage: Usage,
    children_ticks: u64,
    started_ticks: u64,
}

impl Process {
    /// The process of this number, if there is one.
    pub(crate) fn find(id: u32) -> Option<Self> {
        read(id).map(|stat| Self {
            id,
            started_ticks: stat.started_ticks,
        })
    }

    /// The memory that it holds, if it still runs and may be looked at.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let path = format!("/proc/{}/smaps_rollup", self.id);
        memory_in(&std::fs::read_to_string(path).ok()?)
    }

    /// The namespace of process numbers that it lives in.
    pub(crate) fn number_space(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/ns/pid", self.id)).ok()
    }

    /// What it was started with; empty if it has ended.
    pub(crate) fn command(&self) -> Vec<String> {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        let parts = bytes.split(|byte| *byte == 0);
        parts
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    }

    /// Whether it still runs; one that has ended and waits to be taken away does not.
    pub(crate) fn is_alive(&self) -> bool {
        read(self.id)
            .is_some_and(|stat| stat.started_ticks == self.started_ticks && stat.state != 'Z')
    }
}

/// The process `id` and all below it, parents first.
pub(crate) fn tree(id: u32) -> Vec<Process> {
    let all: Vec<(u32, Stat)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, read(id)?)))
        .collect();
    let mut found: Vec<Process> = Process::find(id).into_iter().collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|process| process.id) {
        let below = all.iter().filter(|(_, stat)| stat.parent == parent);
        found.extend(below.map(|(id, stat)| Process {
            id: *id,
            started_ticks: stat.started_ticks,
        }));
        at += 1;
    }
    found
}

/// What `id` and all below it have used.
pub(crate) fn usage(id: u32) -> Usage {
    let each = tree(id).into_iter().filter_map(|process| read(process.id));
    each.fold(Usage::default(), |sum, stat| Usage {
        cpu_ticks: sum.cpu_ticks + stat.usage.cpu_ticks,
        minor_faults: sum.minor_faults + stat.usage.minor_faults,
    })
}

/// The processor time of children of this process that ended and were waited for, in clock ticks.
pub(crate) fn ended_children() -> u64 {
    let own = read(std::process::id());
    own.map_or(0, |stat| stat.children_ticks)
}

/// What the whole machine has used so far, in clock ticks of all processors together.
pub(crate) fn machine() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    busy(&text).unwrap_or(0)
}

/// Clock ticks in microseconds.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn ticks_us(ticks: u64) -> f64 {
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    ticks as f64 * 1e6 / f64::from(per_second)
}

fn read(id: u32) -> Option<Stat> {
    let path = PathBuf::from(format!("/proc/{id}/stat"));
    parse(&std::fs::read_to_string(path).ok()?)
}

/// Reads one line of `/proc/PID/stat`; the name in it may hold blanks and brackets.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // proc(5) counts from 1, and the state, here at 0, is its field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let children_ticks = number(16)? + number(17)?;
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        usage: Usage {
            cpu_ticks: number(14)? + number(15)? + children_ticks,
            minor_faults: number(10)? + number(11)?,
        },
        children_ticks,
        started_ticks: number(22)?,
    })
}

/// Reads `/proc/PID/smaps_rollup`.
fn memory_in(text: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some(Memory {
        proportional_kib: kib("Pss:")?,
        private_kib: kib("Private_Clean:")? + kib("Private_Dirty:")?,
    })
}

/// The first line of `/proc/stat`: what is neither idle, nor waiting for a disk, nor a guest's,
/// which is counted as a user's already, nor taken by the host.
fn busy(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|it| it.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, hard, soft, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + hard + soft)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a) b) S 3 7 7 0 -1 4194304 11 5 0 0 13 17 2 1 20 0 1 0 99 1 1";
        let expected = Stat {
            state: 'S',
            parent: 3,
            usage: Usage {
                cpu_ticks: 33,
                minor_faults: 16,
            },
            children_ticks: 3,
            started_ticks: 99,
        };
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("7 (cut"), None);
    }

    #[test]
    fn idle_time_of_the_machine_is_not_counted() {
        let text = "cpu  1 2 4 1000 1000 8 16 1000 0 0\ncpu0 9 9 9 9 9 9 9\n";
        assert_eq!(busy(text), Some(31));
        assert_eq!(busy("cpu  1 2"), None);
        assert!(machine() > 0);
    }

    #[test]
    fn memory_is_read_and_this_process_has_some() {
        let text = "5-7 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss:      7 kB\nPss_Dirty: 1 kB\n\
            Private_Clean:    2 kB\nPrivate_Dirty:   3 kB\n";
        let expected = Memory {
            proportional_kib: 7,
            private_kib: 5,
        };
        assert_eq!(memory_in(text), Some(expected));
        assert_eq!(memory_in("Pss: 7 kB\n"), None);
        let own = Process::find(std::process::id()).unwrap();
        assert!(own.memory().unwrap().private_kib > 0);
        assert!(own.number_space().is_some() && !own.command().is_empty());
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        let own = std::process::id();
        assert_eq!(tree(own).first().unwrap().id, own);
        assert!(usage(own).minor_faults > 0);
    }
}
