//! Windows: mappings through which a program itself sees its clean image, so that it can be made to
//! copy what it has changed, at a third of the price at which the kernel writes it from outside.
//!
//! ```text
//!  some put-backs ─► parts with many usual pages ─► a window of each ─► part of what is recorded
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
//! A window that is gone or changed is mapped again like other memory (`repair`). A program whose
//! memory takes turns between devices has none, nor has one that may not map so much more; where
//! the kernel lets nobody share a sealed file, there are none at all.
//!
//! Deliberately absent: what is to be copied (`usual`), and the copying (`in_place`).

use usher_core::renewal::layout::{Access, Backing, Mapping, redrawn, repairs};
use usher_core::renewal::runs::Span;

use super::errors::Failed;
use super::parts::Part;
use super::repair::place;
use super::{Memory, calls, count, handover, survey};
use crate::renewal::stopped::{Agent, Batch, Stopped};

/// Put-backs after which windows are mapped: by then it is known what runs usually change.
const ROUNDS: u32 = 12;
/// Windows of one program: each makes every look at the mappings dearer.
const WINDOWS_MAX: usize = 16;
/// Pages of a part that are usually copied, so that a window of it pays.
const PART_MIN_PAGES: u64 = 8;
/// Pages that are copied together, so that a round of the agent pays.
const COPIES_MIN_PAGES: u64 = 96;

/// The windows of one program.
#[derive(Debug)]
pub(super) struct Windows {
    /// Parts' numbers, and where their bytes are seen from their first one on; sorted.
    open: Vec<(usize, Span)>,
    /// Whether they were mapped, or it was tried.
    tried: bool,
    bounds: Bounds,
}

/// From when on it is worth while.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    rounds: u32,
    part_min_pages: u64,
    copies_min_pages: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            tried: false,
            bounds: Bounds {
                rounds: ROUNDS,
                part_min_pages: PART_MIN_PAGES,
                copies_min_pages: COPIES_MIN_PAGES,
            },
        }
    }
}

impl Windows {
    /// Windows of all parts, used for every single page. For tests.
    #[cfg(test)]
    pub(super) fn for_every_page() -> Self {
        let bounds = Bounds {
            rounds: 3,
            part_min_pages: 1,
            copies_min_pages: 1,
        };
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Where they are.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.open.iter().map(|(_, span)| *span)
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

    /// The parts that windows would pay for, sorted, if it is time to map any.
    fn due(&self, rounds: u32, copies: &[(usize, Span)]) -> Vec<usize> {
        if self.tried || rounds < self.bounds.rounds {
            return Vec::new();
        }
        let of_one = copies.chunk_by(|(one, _), (other, _)| one == other);
        let mut parts: Vec<_> = of_one
            .filter_map(|copies| {
                let pages = count(copies.iter().map(|(_, span)| *span));
                copies.first().map(|(number, _)| (pages, *number))
            })
            .filter(|(pages, _)| *pages >= self.bounds.part_min_pages)
            .collect();
        parts.sort_unstable_by(|one, other| other.cmp(one));
        parts.truncate(WINDOWS_MAX);
        let pages = parts.iter().map(|(pages, _)| pages).sum();
        if !self.pay_for(pages) {
            return Vec::new();
        }
        let mut parts: Vec<_> = parts.into_iter().map(|(_, number)| number).collect();
        parts.sort_unstable();
        parts
    }
}

impl Memory {
    /// Maps windows, when it is known of what and they pay. The mappings are as recorded, and are
    /// again afterwards.
    pub(super) fn open_windows(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<(), Failed> {
        if self.is_divided() {
            return Ok(());
        }
        let due = self.windows.due(self.usual.rounds(), self.usual.copies());
        if due.is_empty() {
            return Ok(());
        }
        self.windows.tried = true;
        let open = self.map_windows(&due, stopped, agent)?;
        if open.is_empty() {
            return Ok(());
        }
        let new = open.iter().filter_map(|(number, span)| {
            let part = self.parts.get(*number)?;
            Some(window(self.identity, part, *span))
        });
        let mut wanted: Vec<_> = self.recorded.iter().copied().chain(new).collect();
        wanted.sort_unstable_by_key(|one| one.span);
        let now = self.mappings.all();
        let now = now.map_err(Failed::at("read the mappings"))?;
        if let Some(step) = repairs(&wanted, &now).first() {
            return Err(Failed::Unrepaired(place(step)));
        }
        if let Some(other) = redrawn(&wanted, &now).next() {
            return Err(Failed::Unrepaired(other.span));
        }
        let told = survey::told(stopped.pid()).map_err(Failed::at("read the mappings"))?;
        let is_window = |span| open.iter().any(|(_, window)| *window == span);
        let told = told.iter().filter(|told| is_window(told.span()));
        let flags = told.map(|told| (told.span(), told.flags.join(" ")));
        self.flags.extend(flags);
        self.flags.sort_unstable();
        self.recorded = now;
        self.windows.open = open;
        Ok(())
    }

    /// Has the program map windows of these parts; of none if any cannot be mapped.
    fn map_windows(
        &self,
        parts: &[usize],
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<Vec<(usize, Span)>, Failed> {
        let image = handover::give(stopped, agent, self.image.file())?;
        let mut batch = Batch::new();
        let parts = parts.iter().filter_map(|number| {
            let part = self.parts.get(*number)?;
            Some((*number, part))
        });
        let places: Vec<_> = parts
            .map(|(number, part)| (number, part, calls::map_window(&mut batch, part, image)))
            .collect();
        calls::close(&mut batch, image);
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
}

/// What the kernel must tell of a window.
fn window((device, inode): (u64, u64), part: &Part, span: Span) -> Mapping {
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
