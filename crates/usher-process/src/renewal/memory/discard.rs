//! What a program is owed that drops pages of its memory, or makes a mapping grow: zeros, where its
//! memory lies on an image and the kernel would show the image.
//!
//! ```text
//!  madvise(DONTNEED), held by the filter ─► nothing of the image there    ─► the kernel does it
//!                                        ├► image and memory without file ─► zeros are written
//!                                        └► other files as well           ─► "invalid"
//! mremap to more bytes ─► anything of the image there ─► "no memory", and the caller copies
//! ```
//!
//! A window to the image (`windows`) is nobody's memory: nothing is owed there.
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

use super::device::AREA_NAME;
use super::means;
use crate::sys::image::IMAGE_NAME;
use crate::sys::pages::{Found, Mappings, PageMap, Way, page_bytes};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// What the listener answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Owed {
    /// Let the kernel do what was asked.
    Continue,
    /// It is done: answer 0.
    Done,
    /// Answer with this error.
    Refuse(i32),
}

/// Whether a call of `madvise` with this advice is one that [`discard`] is for.
pub(crate) fn is_discard(advice: u64) -> bool {
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
pub(crate) fn discard(pid: Pid, address: u64, bytes: u64) -> io::Result<Owed> {
    let Some(asked) = whole_pages(address, bytes) else {
        // The kernel will find fault with it.
        return Ok(Owed::Continue);
    };
    let found = mapped(pid, asked)?;
    if !found.iter().any(|one| of_image(one) && !is_window(one)) {
        return Ok(Owed::Continue);
    }
    let there = |one: &Found| one.mapping.span.common(asked);
    let covered: u64 = found.iter().map(|one| there(one).len()).sum();
    let zeros = |one: &Found| of_image(one) || one.mapping.backing.is_anonymous();
    if covered < asked.len() || !found.iter().all(zeros) {
        return Ok(Owed::Refuse(libc::EINVAL));
    }
    let path = format!("/proc/{}/mem", pid.as_raw_nonzero());
    let memory = OpenOptions::new().write(true).open(path)?;
    let mut pages = PageMap::open(pid, means().pages.unwrap_or(Way::Words))?;
    for one in found.iter().filter(|one| !is_window(one)) {
        if of_image(one) {
            zero(&memory, there(one))?;
            continue;
        }
        let mut own = Vec::new();
        pages.own(there(one), &mut own)?;
        for own in own {
            zero(&memory, own.span)?;
        }
    }
    Ok(Owed::Done)
}

/// What a call of `mremap` gets that would make a mapping grow: what is behind a piece of the image
/// is the next piece, where the caller is owed zeros. So it has no room, and copies instead.
pub(crate) fn grow(pid: Pid, address: u64, from_bytes: u64, to_bytes: u64) -> io::Result<Owed> {
    // Of a shared mapping, no bytes at all mean another one from there on.
    let asked = whole_pages(address, from_bytes.max(1));
    let Some(asked) = asked.filter(|_| to_bytes > from_bytes) else {
        return Ok(Owed::Continue);
    };
    Ok(match mapped(pid, asked)?.iter().any(of_image) {
        true => Owed::Refuse(libc::ENOMEM),
        false => Owed::Continue,
    })
}

/// The pages that a call means; `None` where the kernel refuses it.
fn whole_pages(address: u64, bytes: u64) -> Option<Span> {
    let page = page_bytes();
    let end = address.checked_add(bytes.checked_next_multiple_of(page)?)?;
    address
        .is_multiple_of(page)
        .then_some(Span::new(address, end))
}

/// What is mapped there.
fn mapped(pid: Pid, asked: Span) -> io::Result<Vec<Found>> {
    let mut found = Mappings::open(pid, false)?.named()?;
    found.retain(|one| !one.mapping.span.common(asked).is_empty());
    Ok(found)
}

/// Whether it is a piece of the image, or of an area on a device, which stands for one.
fn of_image(one: &Found) -> bool {
    let of_area = || {
        let file = name(one).rsplit('/').next().unwrap_or_default();
        one.mapping.backing.shared && file.starts_with(AREA_NAME)
    };
    is_image(one) || of_area()
}

/// Whether it shows the image's own pages, which nobody can write.
fn is_window(one: &Found) -> bool {
    one.mapping.backing.shared && is_image(one)
}

fn is_image(one: &Found) -> bool {
    name(one).strip_prefix("/memfd:") == Some(IMAGE_NAME)
}

/// The name of the file that is mapped.
fn name(one: &Found) -> &str {
    one.name.strip_suffix(" (deleted)").unwrap_or(&one.name)
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
