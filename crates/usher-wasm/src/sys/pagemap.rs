//! Which pages of a private mapping have become private copies, asked of the kernel.
//!
//! `PAGEMAP_SCAN` (Linux 6.7) answers in ranges. A page counts when it is present or swapped out
//! and is neither the file's own page nor the zero page: exactly the pages that a write has copied.
//! Where the kernel has no such call, or answers wrongly, [`Pagemap::probe`] says so, and areas are
//! dropped whole instead.
//!
//! Deliberately absent: what is done about a page.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::mapping::{Mapping, PAGE_BYTES};

/// Ranges that one call of the kernel may answer; the scan goes on where it stopped. The kernel
/// makes room for as many in each call, which is cheap within a page.
const REGIONS_PER_CALL: usize = PAGE_BYTES / size_of::<Region>();

const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// One range of pages, as the kernel fills it in.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;

/// Which pages a scan looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// Private copies: present or swapped out, and neither the file's page nor the zero page.
    Private,
    /// Pages that a userfaultfd noted a write to, in a range that it watches ([`super::written`]).
    Written,
}

impl Wanted {
    fn set(self, arg: &mut ScanArg) {
        match self {
            Self::Private => {
                arg.category_inverted = PAGE_IS_FILE | PAGE_IS_PFNZERO;
                arg.category_mask = PAGE_IS_FILE | PAGE_IS_PFNZERO;
                arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
                arg.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
            }
            // With nothing else in the masks the kernel reads page tables only.
            Self::Written => {
                arg.category_mask = PAGE_IS_WRITTEN;
                arg.return_mask = PAGE_IS_WRITTEN;
            }
        }
    }
}

/// The process's page map, open for scanning.
#[derive(Debug)]
pub(crate) struct Pagemap(File);

impl Pagemap {
    /// Opens the page map and shows by behaviour that it can be relied upon: a page that was
    /// written is found, and one that was only read is not. `None` where that fails.
    pub(crate) fn probe() -> Option<Self> {
        let pagemap = Self(File::open("/proc/self/pagemap").ok()?);
        let works = pagemap.finds_what_it_should().unwrap_or(false);
        works.then_some(pagemap)
    }

    fn finds_what_it_should(&self) -> io::Result<bool> {
        let image = super::image::MemoryImage::of(&[(0, &[7; 3 * PAGE_BYTES])], 3 * PAGE_BYTES)?;
        let area = Mapping::reserve(3 * PAGE_BYTES)?;
        image.lay_over(&area, 0, 3 * PAGE_BYTES)?;
        let first = area.base().as_ptr();
        // SAFETY: the page was just laid, readable and writable, and nobody else knows of it.
        unsafe { first.read_volatile() };
        let second = first.wrapping_add(PAGE_BYTES);
        // SAFETY: as above, one page further.
        unsafe { second.write_volatile(1) };
        let mut found = Vec::new();
        self.scan(&area, 0, 3 * PAGE_BYTES, Wanted::Private, |from, to| {
            found.push((from, to))
        })?;
        Ok(found == [(PAGE_BYTES, 2 * PAGE_BYTES)])
    }

    /// Calls `each(from, to)` for every range of wanted pages within `len` bytes at `offset`, in
    /// ascending order, as byte offsets into the mapping. The scan always reaches the end of the
    /// range.
    pub(crate) fn scan(
        &self,
        mapping: &Mapping,
        offset: usize,
        len: usize,
        wanted: Wanted,
        mut each: impl FnMut(usize, usize),
    ) -> io::Result<()> {
        let base = mapping.base().as_ptr().addr();
        let start = mapping.at(offset, len).addr();
        let end = (start + len) as u64;
        let mut from = start as u64;
        // Taken and not borrowed, so that a scan within `each` would find nothing wrong with it.
        let mut regions = REGIONS.take();
        regions.resize(REGIONS_PER_CALL, Region::default());
        while from < end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                start: from,
                end,
                vec: regions.as_mut_ptr().addr() as u64,
                vec_len: REGIONS_PER_CALL as u64,
                ..ScanArg::default()
            };
            wanted.set(&mut arg);
            let pointer: *mut ScanArg = &raw mut arg;
            // SAFETY: `arg` has the layout and the size that the kernel expects, and `vec` names
            // `vec_len` regions that live as long as the call and are borrowed by nobody else.
            let filled = unsafe { libc::ioctl(self.0.as_raw_fd(), PAGEMAP_SCAN, pointer) };
            let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
            for region in &regions[..filled] {
                let range = usize::try_from(region.start).and_then(|s| {
                    let e = usize::try_from(region.end)?;
                    Ok((s - base, e - base))
                });
                let (from, to) = range.map_err(io::Error::other)?;
                each(from, to);
            }
            if arg.walk_end <= from {
                return Err(io::Error::other("the page scan made no progress"));
            }
            from = arg.walk_end;
        }
        REGIONS.set(regions);
        Ok(())
    }
}

thread_local! {
    /// What the kernel's answers go into: made once, since to fill so much with zeros would cost
    /// more than a scan of a small area.
    static REGIONS: Cell<Vec<Region>> = const { Cell::new(Vec::new()) };
}
