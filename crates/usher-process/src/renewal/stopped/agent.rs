//! The pages of ours in the program: what they hold and where they are.
//!
//! ```text
//!  start   no access │ text, r-x │ data, rw-                                  │ no access
//!                    │ 1 page    │ bytes of a batch │ answers │ table of calls │
//! ```
//!
//! The pages without access keep the kernel from merging the others with mappings of the program,
//! so that a look at a mapping tells whether it is still ours. Nothing here is trusted: text and
//! mappings are checked before each use, and the data is wiped after it. The text has two routines:
//! one makes calls, the other copies.

use std::ops::Range;

use super::frame::SYSCALL;

pub(super) const PAGE_BYTES: usize = 4096;
/// The data area: 16 pages.
pub(super) const DATA_BYTES: usize = 16 * PAGE_BYTES;
/// The whole of it.
pub(super) const WHOLE_BYTES: u64 = (DATA_BYTES + 3 * PAGE_BYTES) as u64;
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
const SYSCALL_AT: usize = 27;
/// Copies what the `r12` entries of the table at `rbx` say. It uses no stack, and calls nobody.
pub(super) const COPY: [u8; 23] = [
    0x48, 0x8b, 0x3b, //       again: mov rdi, [rbx]
    0x48, 0x8b, 0x73, 0x08, //        mov rsi, [rbx + 8]
    0x48, 0x8b, 0x4b, 0x10, //        mov rcx, [rbx + 16]
    0xf3, 0xa4, //                    rep movsb
    0x48, 0x83, 0xc3, 0x18, //        add rbx, 24
    0x49, 0xff, 0xcc, //              dec r12
    0x75, 0xea, //                    jnz again
    0xcc, //                          int3
];
/// Where in the page of text it begins.
const COPY_AT: usize = 64;
/// What fills the rest of the page: `int3`.
const FILL: u8 = 0xcc;
/// The page of text.
pub(super) static BLANK: [u8; PAGE_BYTES] = blank();
/// The data as it is while the program runs.
pub(super) static ZEROS: [u8; DATA_BYTES] = [0; DATA_BYTES];

const fn blank() -> [u8; PAGE_BYTES] {
    let mut page = [FILL; PAGE_BYTES];
    let (text, _) = page.split_at_mut(TEXT.len());
    text.copy_from_slice(&TEXT);
    let (_, copy) = page.split_at_mut(COPY_AT);
    let (copy, _) = copy.split_at_mut(COPY.len());
    copy.copy_from_slice(&COPY);
    page
}

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
        let start = self.start + PAGE_BYTES as u64;
        start..start + PAGE_BYTES as u64
    }

    /// The addresses of its data.
    pub(crate) fn data(&self) -> Range<u64> {
        let start = self.text().end;
        start..start + DATA_BYTES as u64
    }

    /// All addresses that are the agent's, for those who must leave them out: its text and data
    /// with the unused pages before and after them, which the kernel may have merged with others
    /// that nobody can access. Pages that were used are counted as the program's own.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.start + WHOLE_BYTES
    }

    /// The address of the instruction that makes a call.
    pub(super) fn syscall(&self) -> u64 {
        self.text().start + SYSCALL_AT as u64
    }

    /// Where the text has come to when all its calls are made.
    pub(super) fn done(&self) -> u64 {
        self.text().start + TEXT.len() as u64
    }

    /// Where the text begins that copies.
    pub(super) fn copy(&self) -> u64 {
        self.text().start + COPY_AT as u64
    }

    /// Where it has come to when all is copied.
    pub(super) fn copied(&self) -> u64 {
        self.copy() + COPY.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_where_it_is_said_to_be() {
        let at = SYSCALL_AT;
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
    fn both_texts_are_in_the_page_and_nothing_else_is() {
        let jump = COPY.len() - 1;
        let back = i64::from(COPY[COPY.len() - 2].cast_signed());
        assert_eq!(
            jump as i64 + back,
            0,
            "the loop begins at the first instruction"
        );
        let others = TEXT.len()..COPY_AT;
        let behind = COPY_AT + COPY.len()..PAGE_BYTES;
        assert_eq!(BLANK[..TEXT.len()], TEXT);
        assert_eq!(BLANK[COPY_AT..][..COPY.len()], COPY);
        assert!(others.chain(behind).all(|at| BLANK[at] == FILL));
    }

    #[test]
    fn the_parts_follow_each_other() {
        let agent = Agent::at(0x7000_0000);
        assert_eq!(agent.text().start - agent.range().start, PAGE_BYTES as u64);
        assert_eq!(agent.data().start, agent.text().end);
        assert_eq!(agent.range().end - agent.data().end, PAGE_BYTES as u64);
        assert_eq!(ZEROS.len() as u64, agent.data().end - agent.data().start);
    }
}
