//! The parts of a program's memory that are in its image, as data.
//!
//! Deliberately absent: how they get there, see `lay`.

use usher_core::renewal::layout::{Access, Backing, Mapping};
use usher_core::renewal::runs::{Span, covered};

use super::survey::{Manner, Told, Treatment};
use crate::sys::image::{Slot, View};
use crate::sys::pages::page_bytes;

/// Pages that a part takes in although they were never used, so that there are fewer parts.
const GAP_MAX_PAGES: u64 = 16;

/// One range of addresses whose clean bytes are in the image.
#[derive(Debug)]
pub(super) struct Part {
    /// Where it is in the program.
    pub(super) span: Span,
    /// Where its bytes are in the image.
    pub(super) slot: Slot,
    pub(super) access: Access,
    pub(super) manner: Manner,
    /// What of it the program had used; the rest is zero.
    pub(super) used: Vec<Span>,
    /// The number of its first page among those of all parts.
    pub(super) first_page: usize,
    /// Its clean bytes, mapped when they are first needed.
    pub(super) view: Option<View>,
}

impl Part {
    /// The same part in another program that has the image.
    pub(super) fn again(&self) -> Self {
        Self {
            manner: self.manner.clone(),
            used: self.used.clone(),
            view: None,
            ..*self
        }
    }

    /// What the kernel must tell of it once it is mapped from the image.
    pub(super) fn mapping(&self, (device, inode): (u64, u64)) -> Mapping {
        Mapping {
            span: self.span,
            access: self.access,
            backing: Backing {
                device,
                inode,
                offset: self.slot.offset(),
                shared: false,
            },
        }
    }

    /// Where the byte of this address is in the image.
    pub(super) fn offset_of(&self, address: u64) -> u64 {
        self.slot.offset() + (address - self.span.start)
    }
}

/// The parts of all mappings that become part of the image, sorted; `None` if they are too many.
/// `own` are the program's own pages, sorted; `ends` gives where the file of a mapping ends.
pub(super) fn parts(
    told: &[Told],
    treatments: &[Treatment],
    own: &[Span],
    ends: impl Fn(&Told) -> u64,
) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut first_page = 0;
    for (told, treatment) in told.iter().zip(treatments) {
        let span = told.span();
        // Between the own pages of a file's mapping are the file's, and not zeros.
        let of_file = !told.found.mapping.backing.is_anonymous();
        let (manner, spans, whole) = match treatment {
            Treatment::Image(manner) => {
                let here = overlapping(own, span);
                (
                    manner,
                    covered(span, here, GAP_MAX_PAGES * page_bytes()),
                    false,
                )
            }
            Treatment::Whole(manner) => (manner, vec![Span::new(span.start, ends(told))], true),
            Treatment::Leave | Treatment::Keep => continue,
        };
        for span in spans.into_iter().filter(|span| !span.is_empty()) {
            let here = overlapping(own, span).iter().map(|one| one.common(span));
            parts.push(Part {
                span,
                slot: Slot(u16::try_from(parts.len()).ok()?),
                access: told.found.mapping.access,
                manner: manner.clone(),
                used: if whole || of_file {
                    vec![span]
                } else {
                    here.collect()
                },
                first_page,
                view: None,
            });
            first_page += pages(span);
        }
    }
    (parts.len() <= crate::sys::image::SLOTS_MAX).then_some(parts)
}

/// How many pages.
pub(super) fn pages(span: Span) -> usize {
    usize::try_from(span.len() / page_bytes()).unwrap_or(usize::MAX)
}

/// Those of sorted spans that have an address in `within`.
pub(super) fn overlapping(spans: &[Span], within: Span) -> &[Span] {
    let from = spans.partition_point(|one| one.end <= within.start);
    let to = spans.partition_point(|one| one.start < within.end);
    spans.get(from..to).unwrap_or_default()
}
