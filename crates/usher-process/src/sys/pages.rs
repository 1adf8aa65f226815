//! The memory of another process, as the kernel shows it: which of its pages are its own, and what
//! it has mapped where.
//!
//! A page is a process's own when it is present or swapped out and is neither the page of a file
//! nor the page of zeros: exactly what a write makes of it. `PAGEMAP_SCAN` (Linux 6.7) answers in
//! ranges; where there is none, the page map is read word by word.
//!
//! Deliberately absent: what is done about a page, or a mapping.

mod frames;
mod mappings;
mod probe;
mod transfer;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::process::Pid;
use usher_core::renewal::runs::Span;

pub(crate) use self::mappings::{Found, Mappings};
pub(crate) use self::probe::{Means, probe};
pub(crate) use self::transfer::write_pieces;

/// Ranges that one call of the kernel may answer; the scan goes on where it stopped. As many as the
/// kernel gathers at once: of more it tells a wrong place to go on from, and tells some twice.
const REGIONS_PER_CALL: usize = 512;
/// Words that are read at once where there is no scan, one for each page.
const WORDS_PER_READ: usize = 16_384;
/// Programs have no memory from here on, unless they ask for it on purpose.
pub(crate) const TOP: u64 = (1 << 47) - (1 << 12);

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// Bits of a word of the page map.
const WORD_PRESENT: u64 = 1 << 63;
const WORD_SWAPPED: u64 = 1 << 62;
const WORD_FILE: u64 = 1 << 61;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;

/// One range of pages, as the kernel fills it in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
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

/// Pages side by side that are a process's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Own {
    /// Where they are.
    pub(crate) span: Span,
    /// Whether they are not in memory: swapped out, or marked so that no access is let through.
    pub(crate) away: bool,
}

/// How the page map is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// The kernel searches.
    Scan,
    /// Every page's word is read. It does not tell the page of zeros from others.
    Words,
}

/// The page map of a process, open for as long as this lives. It is that of the program which the
/// process executed when it was opened.
#[derive(Debug)]
pub(crate) struct PageMap {
    file: File,
    way: Way,
    /// What the kernel's answers go into.
    regions: Vec<Region>,
}

impl PageMap {
    /// Opens the page map of `pid`.
    pub(crate) fn open(pid: Pid, way: Way) -> io::Result<Self> {
        let path = format!("/proc/{}/pagemap", pid.as_raw_nonzero());
        Ok(Self {
            file: File::open(path)?,
            way,
            regions: vec![Region::default(); REGIONS_PER_CALL],
        })
    }

    /// How it is asked.
    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// Appends the process's own pages within `span` to `found`, in ascending order; always all of
    /// them. The process should not run meanwhile.
    pub(crate) fn own(&mut self, span: Span, found: &mut Vec<Own>) -> io::Result<()> {
        match self.way {
            Way::Scan => self.scan(span, found),
            Way::Words => self.words(span, found),
        }
    }

    /// The same for all addresses below [`TOP`], given all mappings there.
    pub(crate) fn own_anywhere(
        &mut self,
        mappings: impl IntoIterator<Item = Span>,
        found: &mut Vec<Own>,
    ) -> io::Result<()> {
        match self.way {
            Way::Scan => self.scan(Span::new(0, TOP), found),
            Way::Words => mappings
                .into_iter()
                .try_for_each(|span| self.words(span, found)),
        }
    }

    fn scan(&mut self, span: Span, found: &mut Vec<Own>) -> io::Result<()> {
        // The kernel makes room for as many answers as are asked for.
        let most = usize::try_from(span.len() / page_bytes()).unwrap_or(REGIONS_PER_CALL);
        let room = most.clamp(1, self.regions.len());
        let mut from = span.start;
        while from < span.end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                start: from,
                end: span.end,
                vec: self.regions.as_mut_ptr().addr() as u64,
                vec_len: room as u64,
                category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                ..ScanArg::default()
            };
            let pointer: *mut ScanArg = &raw mut arg;
            // SAFETY: `arg` has the layout and the size that the kernel expects, and `vec` names
            // `vec_len` regions that live as long as the call and are borrowed by nobody else.
            let filled = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, pointer) };
            let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
            for region in self.regions.get(..filled).unwrap_or_default() {
                let span = Span::new(region.start, region.end);
                let away = region.categories & PAGE_IS_SWAPPED != 0;
                push(found, Own { span, away });
            }
            if arg.walk_end <= from {
                return Err(io::Error::other("the page scan made no progress"));
            }
            from = arg.walk_end;
        }
        Ok(())
    }

    fn words(&self, span: Span, found: &mut Vec<Own>) -> io::Result<()> {
        let page = page_bytes();
        let mut bytes = vec![0; WORDS_PER_READ * size_of::<u64>()];
        let mut at = span.start;
        while at < span.end {
            let pages = usize::try_from((span.end - at) / page).unwrap_or(usize::MAX);
            let len = pages.min(WORDS_PER_READ) * size_of::<u64>();
            let word = at / page * size_of::<u64>() as u64;
            self.file.read_exact_at(&mut bytes[..len], word)?;
            for word in bytes[..len].chunks_exact(size_of::<u64>()) {
                let word = word
                    .iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte));
                let there = word & (WORD_PRESENT | WORD_SWAPPED);
                if there != 0 && word & WORD_FILE == 0 {
                    let span = Span::new(at, at + page);
                    let away = there & WORD_PRESENT == 0;
                    push(found, Own { span, away });
                }
                at += page;
            }
        }
        Ok(())
    }
}

fn push(found: &mut Vec<Own>, own: Own) {
    match found.last_mut() {
        Some(last) if last.span.end == own.span.start && last.away == own.away => {
            last.span.end = own.span.end;
        }
        _ => found.push(own),
    }
}

/// Bytes of one page of this machine.
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}
