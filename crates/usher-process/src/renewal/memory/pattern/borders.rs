//! Where the kernel was told to find what of a program's memory: heap, stack, arguments, and what
//! it has told the program itself at its start.
//!
//! Deliberately absent: the call that tells another process's kernel the same.

use std::fs;
use std::io;

use rustix::process::Pid;

/// In the place of a descriptor: the executed file stays.
const SAME_FILE: u32 = u32::MAX;
/// Bytes of `struct prctl_mm_map`.
pub(super) const BORDERS_BYTES: usize = 104;

/// Where the kernel was told to find code, data, heap, stack, arguments and variables, and what it
/// has told the program at its start.
#[derive(Debug)]
pub(super) struct Borders {
    /// Code and data, two words each.
    program: [u64; 4],
    heap: u64,
    pub(super) stack: u64,
    /// Arguments and variables, two words each.
    words: [u64; 4],
    pub(super) told: Vec<u8>,
}

impl Borders {
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let pid = pid.as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let told = fs::read(format!("/proc/{pid}/auxv"))?;
        // The name before it is the program's choice, brackets and all; the state is the third.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let fields: Vec<_> = fields.unwrap_or_default().split_whitespace().collect();
        let word = |number: usize| {
            let field = fields.get(number - 3).and_then(|field| field.parse().ok());
            field.ok_or_else(|| io::Error::other("the borders of its memory are not told"))
        };
        Ok(Self {
            program: [word(26)?, word(27)?, word(45)?, word(46)?],
            heap: word(47)?,
            stack: word(28)?,
            words: [word(48)?, word(49)?, word(50)?, word(51)?],
            told,
        })
    }

    /// The kernel's structure. What it has told the program is at `told`.
    pub(super) fn map(&self, heap_end: u64, told: u64) -> Vec<u8> {
        let middle = [self.heap, heap_end, self.stack];
        let words = self.program.iter().chain(&middle).chain(&self.words);
        let words = words.chain([&told]).copied();
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        let len = u32::try_from(self.told.len()).unwrap_or(u32::MAX);
        bytes.extend([len, SAME_FILE].into_iter().flat_map(u32::to_ne_bytes));
        bytes
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn borders_are_the_kernels_own_of_this_process() {
        let borders = Borders::of(rustix::process::getpid()).unwrap();
        assert!(borders.stack > 0 && borders.program[0] < borders.program[1]);
        assert!(borders.words[0] < borders.words[1] && borders.words[2] < borders.words[3]);
        assert_eq!(borders.map(borders.heap, 0).len(), BORDERS_BYTES);
    }
}
