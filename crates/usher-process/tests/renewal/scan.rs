//! Looks at a program from outside, as root, and with no code of those who put it back: what stands
//! in its memory and registers, and what the kernel holds for it.
//!
//! ```text
//!  hits         places in which a secret stands: memory, registers, files, names
//!  Fingerprint  all else that can differ, as names and texts; two of them are compared
//! ```
//!
//! Not seen from here: interval timers, alternate stacks, addresses that the kernel keeps (robust
//! list, rseq, set_tid_address), what lies in sockets of a message that passes descriptors, most
//! settings of `prctl`, POSIX message queues. Those are for the program's own looks.

#[path = "scan/kernel.rs"]
mod kernel;
#[path = "scan/memory.rs"]
mod memory;
#[path = "scan/registers.rs"]
mod registers;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub(crate) use memory::{Needles, frames};

/// How often a program is looked at until it rests.
const SETTLES_MAX: usize = 50;

/// What there is of a program but for a secret: each thing by a name that stays.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(BTreeMap<String, String>);

/// How much of a program is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// What the kernel holds, without the connections that the platform may keep open.
    Kernel,
    /// That with those connections.
    Connections,
    /// All of it, with registers and the content of every writable page.
    Whole,
}

impl Fingerprint {
    /// That of a program which waits for a request.
    pub(crate) fn of(pid: u32, depth: Depth) -> Self {
        let mut all = BTreeMap::new();
        memory::layout(pid, &mut all);
        kernel::process(pid, &mut all);
        kernel::threads(pid, &mut all);
        kernel::shared(pid, &mut all);
        kernel::files(pid, &mut all);
        kernel::network(pid, &mut all);
        kernel::descriptors(pid, depth != Depth::Kernel, &mut all);
        if depth == Depth::Whole {
            registers::kept(pid, &mut all);
            memory::contents(pid, &mut all);
        }
        Self(all)
    }

    /// That of a program that has come to rest: two in a row are the same, or it never rests.
    pub(crate) fn settled(pid: u32, depth: Depth) -> Self {
        let mut last = Self::of(pid, depth);
        for _ in 0..SETTLES_MAX {
            let next = Self::of(pid, depth);
            if last.0 == next.0 {
                break;
            }
            last = next;
        }
        last
    }

    /// What differs, as sentences; `self` is what ought to be.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let mut told = Vec::new();
        for (name, before) in &self.0 {
            match now.0.get(name) {
                Some(after) if after == before => {}
                Some(after) => told.push(format!("{name}: {before} became {after}")),
                None => told.push(format!("{name}: {before} is gone")),
            }
        }
        let new = now.0.iter().filter(|(name, _)| !self.0.contains_key(*name));
        told.extend(new.map(|(name, after)| format!("{name}: {after} is new")));
        told
    }
}

/// Where one of the needles stands in a program's memory, registers, files or names.
pub(crate) fn hits(pid: u32, needles: &Needles) -> Vec<String> {
    let mut found = memory::hits(pid, needles);
    found.extend(registers::hits(pid, needles));
    found.extend(kernel::hits(pid, needles));
    found
}

/// The numbers of all processes.
pub(crate) fn processes() -> Vec<u32> {
    numbers(Path::new("/proc"))
}

/// The numbers among the names in a folder, sorted; none if it is not there.
fn numbers(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// A file of a process, or nothing where there is none.
fn text(pid: u32, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The number that a process has in the innermost of its namespaces, if it is in one.
fn inner_pid(pid: u32) -> Option<u32> {
    let status = text(pid, "status");
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().skip(1).last()?.parse().ok()
}

/// Who started it.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = text(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Returns when no thread of these processes runs, or when one of them never rests.
pub(crate) fn until_nobody_runs(these: &[u32]) {
    let runs = |pid: u32, thread: u32| {
        let stat = text(pid, &format!("task/{thread}/stat"));
        stat.rsplit_once(") ")
            .is_some_and(|(_, after)| after.starts_with('R'))
    };
    let one_runs = |&pid: &u32| {
        let threads = numbers(Path::new(&format!("/proc/{pid}/task")));
        threads.into_iter().any(|thread| runs(pid, thread))
    };
    for _ in 0..SETTLES_MAX {
        if !these.iter().any(one_runs) {
            return;
        }
        std::thread::yield_now();
    }
}

/// Returns when one of several processes has ended.
pub(crate) fn until_one_ends(these: &[u32]) {
    let opened = these.iter().filter_map(|&pid| {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap())?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    });
    let opened: Vec<_> = opened.collect();
    if opened.len() == these.len() {
        let mut ends: Vec<_> = opened
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        rustix::io::retry_on_intr(|| poll(&mut ends, None)).unwrap();
    }
}

/// Whether the process was started with a variable, given as `NAME=VALUE\0`, or as its beginning.
pub(crate) fn has_variable(pid: u32, variable: &str) -> bool {
    text(pid, "environ").contains(variable)
}

/// Whether the process runs a program in a folder.
pub(crate) fn runs_from(pid: u32, folder: &Path) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    program.is_ok_and(|program| program.starts_with(folder))
}

/// A digest of bytes (FNV-1a, eight at a time).
fn digest(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in bytes.chunks(8) {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(eight)).wrapping_mul(0x100_0000_01b3);
        sum ^= sum >> 29;
    }
    sum
}
