//! The pages of ours in the program: what they hold and where they are.
//!
//! ```text
//!  start   no access │ text, r-x │ data, rw-                                  │ no access
//!                    │ 1 page    │ bytes of a batch │ answers │ table of calls │
//! ```
//!
//! The pages without access keep the kernel from merging the others with mappings of the program,
//! so that a look at a mapping tells whether it is still ours. Nothing here is trusted: text and
//! mappings are checked before each use, and wiped after it.

use std::ops::Range;

use super::frame::SYSCALL;

const PAGE_BYTES: u64 = 4096;
/// Pages of data.
const DATA_PAGES: u64 = 16;
/// The data area, in bytes.
pub(super) const DATA_BYTES: usize = (DATA_PAGES * PAGE_BYTES) as usize;
/// The whole of it, in bytes.
pub(super) const WHOLE_BYTES: u64 = (DATA_PAGES + 3) * PAGE_BYTES;
/// Rights of the text and of the data, as in `/proc/PID/maps`.
pub(super) const TEXT_RIGHTS: &[u8; 4] = b"r-xp";
pub(super) const DATA_RIGHTS: &[u8; 4] = b"rw-p";

/// Makes `r12` calls from the table at `rbx`, and writes the answers to `rbp`. It uses no stack.
pub(super) const TEXT: [u8; 47] = [
    0x48, 0x8b, 0x03, //       again: mov rax, [rbx]
    0x48, 0x8b, 0x7b, 0x08, //        mov rdi, [rbx + 8]
    0x48, 0x8b, 0x73, 0x10, //        mov rsi, [rbx + 16]
    0x48, 0x8b, 0x53, 0x18, //        mov rdx, [rbx + 24]
    0x4c, 0x8b, 0x53, 0x20, //        mov r10, [rbx + 32]
    0x4c, 0x8b, 0x43, 0x28, //        mov r8, [rbx + 40]
    0x4c, 0x8b, 0x4b, 0x30, //        mov r9, [rbx + 48]
    SYSCALL[0], SYSCALL[1], //        syscall
    0x48, 0x89, 0x45, 0x00, //        mov [rbp], rax
    0x48, 0x83, 0xc3, 0x38, //        add rbx, 56
    0x48, 0x83, 0xc5, 0x08, //        add rbp, 8
    0x49, 0xff, 0xcc, //              dec r12
    0x75, 0xd2, //                    jnz again
    0xcc, //                          int3
];
/// Where in the text the call is made.
const SYSCALL_AT: u64 = 27;
/// What fills the rest of the page: `int3`.
const FILL: u8 = 0xcc;

/// The pages of ours in the program that make injected calls: text, which the program may not
/// write, and data. The program is hostile, so they are checked and written anew before each use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Agent {
    start: u64,
}

impl Agent {
    /// The one whose pages begin at `start`.
    pub(super) fn at(start: u64) -> Self {
        Self { start }
    }

    /// The addresses of its text.
    pub(crate) fn text(&self) -> Range<u64> {
        let start = self.start + PAGE_BYTES;
        start..start + PAGE_BYTES
    }

    /// The addresses of its data.
    pub(crate) fn data(&self) -> Range<u64> {
        let start = self.text().end;
        start..start + DATA_PAGES * PAGE_BYTES
    }

    /// All addresses that are the agent's, for those who must leave them out: its text and data
    /// with the unused pages before and after them, which the kernel may have merged with others
    /// that nobody can access. Text and data are populated from the installation on, so they add
    /// 17 pages to what is counted as the program's anonymous memory.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.start + WHOLE_BYTES
    }

    /// The address of the instruction that makes a call.
    pub(super) fn syscall(&self) -> u64 {
        self.text().start + SYSCALL_AT
    }

    /// Where the text has come to when all its calls are made.
    pub(super) fn done(&self) -> u64 {
        self.text().start + TEXT.len() as u64
    }

    /// Text and data as they are while the program runs.
    pub(super) fn blank(&self) -> Vec<u8> {
        let mut pages = vec![0; PAGE_BYTES as usize + DATA_BYTES];
        let (text, _) = pages.split_at_mut(PAGE_BYTES as usize);
        text.fill(FILL);
        text[..TEXT.len()].copy_from_slice(&TEXT);
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_where_it_is_said_to_be() {
        let at = SYSCALL_AT as usize;
        assert_eq!(TEXT[at..at + SYSCALL.len()], SYSCALL);
        let (jump, back) = (
            TEXT.len() - 1,
            i64::from(TEXT[TEXT.len() - 2].cast_signed()),
        );
        assert_eq!(
            jump as i64 + back,
            0,
            "the loop begins at the first instruction"
        );
    }

    #[test]
    fn the_parts_follow_each_other() {
        let agent = Agent::at(0x7000_0000);
        assert_eq!(agent.text().start - agent.range().start, PAGE_BYTES);
        assert_eq!(agent.data().start, agent.text().end);
        assert_eq!(agent.range().end - agent.data().end, PAGE_BYTES);
        assert_eq!(
            agent.blank().len() as u64,
            agent.data().end - agent.text().start
        );
    }
}
