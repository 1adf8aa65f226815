//! Windows: mappings through which a program itself sees its clean image, so that it can be made to
//! copy what it has changed, at half the price at which the kernel writes it from outside.
//!
//! ```text
//!  recorded:  a window of each large part that may be written ─► recorded like all mappings
//!  put back:  layout as recorded ─► enough is to be copied ─► the agent copies out of the windows
//! ```
//!
//! # Why what is copied is clean, whatever the program has done
//!
//! - A window is *shared* and the image is sealed against writing, so it shows the image's very
//!   pages, and nobody can make it writable or have a page of his own in it: not by `mprotect`, not
//!   through procfs, not by a write of the kernel's.
//! - Whatever else is at its addresses is found by the look at the mappings, which comes before
//!   anything is copied, and which tells a shared mapping of the image from a private one, as the
//!   parts are.
//! - The bytes of a window are no secret: they are what the program's own addresses showed when it
//!   was recorded.
//!
//! Which parts have windows is decided when the program is recorded and never again. What runs
//! write must not decide it: the list of mappings would tell the next run of it.
//!
//! A window that is gone or changed is mapped again like other memory (`repair`). A program that
//! may not map so much has none; where the kernel lets nobody share a sealed file, there are none.
//!
//! Deliberately absent: what is to be copied (`usual`), and the copying (`in_place`).

use usher_core::renewal::layout::{Access, Backing, Mapping};
use usher_core::renewal::runs::Span;

use super::errors::Failed;
use super::parts::Part;
use super::{calls, count, handover};
use crate::renewal::stopped::{Agent, Batch, Stopped};
use crate::sys::image::Image;

/// Windows of one program: each makes every look at the mappings dearer.
const WINDOWS_MAX: usize = 16;
/// Pages of a part that have bytes, so that a window of it may pay.
const PART_MIN_PAGES: u64 = 16;
/// Pages that are copied together, so that a round of the agent pays.
const COPIES_MIN_PAGES: u64 = 96;

/// The windows of one program.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Parts' numbers, and where their bytes are seen from their first one on; sorted.
    open: Vec<(usize, Span)>,
    bounds: Bounds,
}

/// From when on it is worth while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    part_min_pages: u64,
    copies_min_pages: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            part_min_pages: PART_MIN_PAGES,
            copies_min_pages: COPIES_MIN_PAGES,
        }
    }
}

impl Bounds {
    /// Every single page is copied by the program itself, as far as it has windows. For tests.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            part_min_pages: 1,
            copies_min_pages: 1,
        }
    }

    /// The parts that windows may pay for, sorted.
    fn worthy(self, parts: &[Part]) -> Vec<usize> {
        let used = |part: &Part| count(part.used.iter().copied());
        let parts = parts.iter().enumerate();
        let parts = parts.filter(|(_, part)| part.access.write);
        let mut parts: Vec<_> = parts
            .map(|(number, part)| (used(part), number))
            .filter(|(pages, _)| *pages >= self.part_min_pages)
            .collect();
        parts.sort_unstable_by(|one, other| other.cmp(one));
        parts.truncate(WINDOWS_MAX);
        let pages: u64 = parts.iter().map(|(pages, _)| pages).sum();
        if pages < self.copies_min_pages {
            return Vec::new();
        }
        let mut parts: Vec<_> = parts.into_iter().map(|(_, number)| number).collect();
        parts.sort_unstable();
        parts
    }
}

impl Windows {
    /// Has the program map windows to its image, which lies under `parts` and is sealed; no windows
    /// if any cannot be mapped.
    pub(super) fn open(
        bounds: Bounds,
        stopped: &mut Stopped,
        agent: &Agent,
        image: &Image,
        parts: &[Part],
    ) -> Result<Self, Failed> {
        let worthy = bounds.worthy(parts);
        let open = match worthy.is_empty() {
            true => Vec::new(),
            false => map(&worthy, stopped, agent, image, parts)?,
        };
        Ok(Self { open, bounds })
    }

    /// What the kernel must tell of them.
    pub(super) fn mappings(&self, identity: (u64, u64), parts: &[Part]) -> Vec<Mapping> {
        let open = self.open.iter();
        let open = open.filter_map(|(number, span)| Some((parts.get(*number)?, *span)));
        open.map(|(part, span)| mapping(identity, part, span))
            .collect()
    }

    /// Where the program sees the clean bytes of `span`, which is in the part of this number.
    pub(super) fn see(&self, number: usize, part: &Part, span: Span) -> Option<u64> {
        let at = self.open.binary_search_by_key(&number, |(part, _)| *part);
        let (_, window) = self.open.get(at.ok()?)?;
        let from = span.start.checked_sub(part.span.start)?;
        (part.span.holds(span)).then_some(window.start + from)
    }

    /// Whether so many pages are better copied by the program itself.
    pub(super) fn pay_for(&self, pages: u64) -> bool {
        pages >= self.bounds.copies_min_pages
    }
}

/// Maps windows of the parts of these numbers; of none if any cannot be mapped.
fn map(
    numbers: &[usize],
    stopped: &mut Stopped,
    agent: &Agent,
    image: &Image,
    parts: &[Part],
) -> Result<Vec<(usize, Span)>, Failed> {
    let file = handover::give(stopped, agent, image.file())?;
    let mut batch = Batch::new();
    let parts = numbers
        .iter()
        .filter_map(|number| Some((*number, parts.get(*number)?)));
    let places: Vec<_> = parts
        .map(|(number, part)| (number, part, calls::map_window(&mut batch, part, file)))
        .collect();
    calls::close(&mut batch, file);
    let answers = stopped.run(agent, &batch);
    let answers = answers.map_err(Failed::by_program("map windows to its image"))?;
    let open = places.iter().filter_map(|(number, part, place)| {
        let start = u64::try_from(answers.value(*place)?).ok()?;
        Some((*number, Span::new(start, start + part.span.len())))
    });
    let open: Vec<_> = open.collect();
    if open.len() == places.len() {
        return Ok(open);
    }
    let mut batch = Batch::new();
    for (_, span) in open {
        calls::unmap(&mut batch, span);
    }
    let done = stopped.run(agent, &batch);
    done.map_err(Failed::by_program("unmap windows to its image"))?;
    Ok(Vec::new())
}

fn mapping((device, inode): (u64, u64), part: &Part, span: Span) -> Mapping {
    let access = Access {
        read: true,
        ..Access::default()
    };
    let backing = Backing {
        device,
        inode,
        offset: part.slot.offset(),
        shared: true,
    };
    Mapping {
        span,
        access,
        backing,
    }
}
