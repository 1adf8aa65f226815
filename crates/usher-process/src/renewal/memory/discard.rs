//! What a program is owed that drops pages of its own memory: zeros, where its memory lies on an
//! image and the kernel would show the image again.
//!
//! ```text
//!  madvise(DONTNEED), held by the filter ─► nothing of the image there    ─► the kernel does it
//!                                        ├► image and memory without file ─► zeros are written
//!                                        └► other files as well           ─► "invalid"
//! ```
//!
//! To write zeros frees no memory, and makes pages the program's own that were not; they are put
//! back like others. The caller waits meanwhile. A program with several threads can change mappings
//! under it, and loses nothing but its own bytes by that.
//!
//! Deliberately absent: the listener.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::process::Pid;
use usher_core::renewal::runs::Span;

use super::means;
use crate::sys::image::IMAGE_NAME;
use crate::sys::pages::{Found, Mappings, PageMap, Way, page_bytes};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// What the listener answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Discard {
    /// Let the kernel do what was asked.
    Continue,
    /// It is done: answer 0.
    Done,
    /// Answer `EINVAL`.
    Refuse,
}

/// Whether this call of `madvise` is one that is answered here.
pub(crate) fn is_meant(advice: u64) -> bool {
    const LOW: u64 = 0xffff_ffff;
    let kernels = [libc::MADV_DONTNEED, libc::MADV_DONTNEED_LOCKED];
    let low = advice & LOW;
    let drops = kernels.iter().any(|one| u64::try_from(*one) == Ok(low));
    drops && advice & !LOW != super::MARK
}

/// Does what a call of `madvise` that drops pages owes to its caller, the task `pid`. Takes about a
/// microsecond for each page that lies on the image.
///
/// # Errors
///
/// Those of the kernel, when the task is gone or its memory cannot be written. The caller was then
/// not served, and must not go on.
pub(crate) fn discard(pid: Pid, address: u64, bytes: u64) -> io::Result<Discard> {
    let page = page_bytes();
    let end = bytes
        .checked_next_multiple_of(page)
        .and_then(|bytes| address.checked_add(bytes));
    let Some(end) = end.filter(|_| address % page == 0) else {
        // The kernel will find fault with it.
        return Ok(Discard::Continue);
    };
    let asked = Span::new(address, end);
    let found = Mappings::open(pid, false)?.named()?;
    let there = |one: &&Found| !one.mapping.span.common(asked).is_empty();
    let found: Vec<_> = found.iter().filter(there).collect();
    if !found.iter().any(|one| of_image(one)) {
        return Ok(Discard::Continue);
    }
    let covered: u64 = found
        .iter()
        .map(|one| one.mapping.span.common(asked).len())
        .sum();
    let zeros = |one: &&Found| of_image(one) || one.mapping.backing.is_anonymous();
    if covered < asked.len() || !found.iter().all(zeros) {
        return Ok(Discard::Refuse);
    }
    let path = format!("/proc/{}/mem", pid.as_raw_nonzero());
    let memory = OpenOptions::new().write(true).open(path)?;
    let mut pages = PageMap::open(pid, means().pages.unwrap_or(Way::Words))?;
    for one in found {
        let span = one.mapping.span.common(asked);
        if of_image(one) {
            zero(&memory, span)?;
            continue;
        }
        let mut own = Vec::new();
        pages.own(span, &mut own)?;
        for own in own {
            zero(&memory, own.span)?;
        }
    }
    Ok(Discard::Done)
}

fn of_image(one: &Found) -> bool {
    one.name
        .strip_prefix("/memfd:")
        .is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(name) == IMAGE_NAME)
}

fn zero(memory: &std::fs::File, span: Span) -> io::Result<()> {
    let zeros = vec![0; PIECE_BYTES.min(usize::try_from(span.len()).unwrap_or(PIECE_BYTES))];
    let mut at = span.start;
    while at < span.end {
        let left = usize::try_from(span.end - at).unwrap_or(PIECE_BYTES);
        let piece = zeros.get(..left.min(zeros.len())).unwrap_or_default();
        memory.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
