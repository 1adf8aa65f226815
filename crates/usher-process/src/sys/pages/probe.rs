//! What the kernel's answers about memory are worth, found out by behaviour on memory of our own.
//!
//! Deliberately absent: what is done without them.

use std::io;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use rustix::process::getpid;
use usher_core::renewal::runs::Span;

use super::super::image::{Image, Slot};
use super::{Mappings, PageMap, Way, page_bytes};

/// What this machine gives for finding changed memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Means {
    /// How pages that were written are found; `None`: no way tells them rightly.
    pub(crate) pages: Option<Way>,
    /// Whether mappings can be asked for one by one.
    pub(crate) mappings_asked: bool,
}

/// Finds it out. Takes a few calls of the kernel.
pub(crate) fn probe() -> Means {
    let mut ways = [Way::Scan, Way::Words].into_iter();
    Means {
        pages: ways.find(|way| finds_what_it_should(*way).unwrap_or(false)),
        mappings_asked: asks_rightly().unwrap_or(false),
    }
}

/// Three pages of an image: one is only read, one is written, one is written and dropped. Only the
/// second one must be found, and the image must show again where a page was dropped.
fn finds_what_it_should(way: Way) -> io::Result<bool> {
    let page = rustix::param::page_size();
    let mut image = Image::new()?;
    image.grow(1)?;
    rustix::io::pwrite(image.file(), &vec![7; 3 * page], Slot(0).offset())?;
    image.seal()?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where nothing is.
    let base = unsafe {
        mmap(
            ptr::null_mut(),
            3 * page,
            access,
            MapFlags::PRIVATE,
            image.file(),
            Slot(0).offset(),
        )
    }?;
    let scratch = Scratch {
        base,
        len: 3 * page,
    };
    let byte = |number: usize| scratch.base.cast::<u8>().wrapping_add(number * page);
    // SAFETY: the byte is in the mapping, which is readable, and nobody else knows of it.
    unsafe { byte(0).read_volatile() };
    // SAFETY: as above, and it is writable.
    unsafe { byte(1).write_volatile(1) };
    // SAFETY: as above.
    unsafe { byte(2).write_volatile(1) };
    let start = scratch.base.addr() as u64;
    let span = Span::new(start, start + 3 * page_bytes());
    let mut map = PageMap::open(getpid(), way)?;
    let mut before = Vec::new();
    map.own(span, &mut before)?;
    // SAFETY: the page is in the mapping, and no reference leads there.
    unsafe { madvise(byte(2).cast(), page, Advice::LinuxDontNeed) }?;
    let mut after = Vec::new();
    map.own(span, &mut after)?;
    // SAFETY: the byte is in the mapping, which is readable.
    let shown = unsafe { byte(2).read_volatile() };
    let spans = |found: &[super::Own]| found.iter().map(|own| own.span).collect::<Vec<_>>();
    let written = Span::new(start + page_bytes(), span.end);
    let left = Span::new(written.start, written.start + page_bytes());
    Ok(shown == 7 && spans(&before) == [written] && spans(&after) == [left])
}

/// A mapping of two pages, half of which is made read-only, must be told as just that.
fn asks_rightly() -> io::Result<bool> {
    let page = rustix::param::page_size();
    // SAFETY: a new mapping, where nothing is.
    let base = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            2 * page,
            ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }?;
    let scratch = Scratch {
        base,
        len: 2 * page,
    };
    let second = scratch.base.cast::<u8>().wrapping_add(page).cast();
    // SAFETY: the page is in the mapping, and no reference leads there.
    unsafe { rustix::mm::mprotect(second, page, rustix::mm::MprotectFlags::READ) }?;
    let start = scratch.base.addr() as u64;
    let half = start + page_bytes();
    let all = Mappings::open(getpid(), true)?.all()?;
    let at = |address: u64| {
        all.iter()
            .find(|one| one.span.start <= address && address < one.span.end)
    };
    let (Some(first), Some(second)) = (at(start), at(half)) else {
        return Ok(false);
    };
    let told = first.span.end == half && first.access.write && !first.access.execute;
    Ok(told && second.span.start == half && second.access.read && !second.access.write)
}

/// A mapping that goes away.
struct Scratch {
    base: *mut libc::c_void,
    len: usize,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and no reference leads there.
        // Nothing can be done about a failure, and there is none for a mapping that is whole.
        let _ = unsafe { munmap(self.base, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than the kernel gathers at once.
    const PLACES: usize = 1_500;

    #[test]
    fn many_places_are_told_in_order_and_once_each() {
        let page = usize::try_from(page_bytes()).expect("it is small");
        let mut bytes = vec![0_u8; 2 * PLACES * page];
        bytes.chunks_mut(2 * page).for_each(|two| two[0] = 1);
        let start = bytes.as_ptr().addr() as u64;
        let span = Span::new(
            start - start % page_bytes(),
            (start + bytes.len() as u64).next_multiple_of(page_bytes()),
        );
        for way in [Way::Scan, Way::Words] {
            let mut found = Vec::new();
            let pages = PageMap::open(rustix::process::getpid(), way);
            let told = pages.and_then(|mut pages| pages.own(span, &mut found));
            told.expect("this process may be asked");
            let in_order = found.is_sorted_by(|one, next| one.span.end < next.span.start);
            assert!(
                in_order && found.len() >= PLACES,
                "{way:?}: {}",
                found.len()
            );
        }
    }

    #[test]
    fn this_machine_has_a_way_and_the_fallback_works_too() {
        let means = probe();
        assert!(means.pages.is_some());
        assert!(finds_what_it_should(Way::Words).is_ok_and(|works| works));
    }
}
