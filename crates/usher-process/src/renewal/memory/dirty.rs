//! What is not as it was, sorted into what is copied and what is dropped.
//!
//! ```text
//!  own pages ─► in a part of the image: hot, and may be written ─► copied
//!            │                          else                    ─► dropped
//!            ├► kept aside: saved pages are copied, others are dropped, or zeroed where locked
//!            ├► the agent's: wiped by itself, so only its pages without access are zeroed
//!            └► anywhere else ─────────────────────────────────► dropped
//! ```
//!
//! Deliberately absent: searching for the pages, and the calls.

use usher_core::renewal::hot::{Hot, Then};
use usher_core::renewal::runs::{Span, cut, merged};

use super::kept::Kept;
use super::parts::Part;
use crate::renewal::stopped::Agent;
use crate::sys::pages::{Own, page_bytes};

/// What a range of addresses belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Region {
    /// The part of this number.
    Part(usize),
    /// What is kept aside, by number.
    Kept(usize),
    /// The agent.
    Agent,
}

/// All regions, sorted by address.
#[derive(Debug, Default)]
pub(super) struct Regions {
    spans: Vec<Span>,
    what: Vec<Region>,
}

impl Regions {
    pub(super) fn of(parts: &[Part], kept: &[Kept], agent: &Agent) -> Self {
        let parts = parts.iter().enumerate();
        let parts = parts.map(|(number, part)| (part.span, Region::Part(number)));
        let kept = kept.iter().enumerate();
        let kept = kept.map(|(number, kept)| (kept.span, Region::Kept(number)));
        let mut all: Vec<_> = parts.chain(kept).collect();
        let agent = agent.range();
        all.push((Span::new(agent.start, agent.end), Region::Agent));
        all.sort_unstable_by_key(|(span, _)| *span);
        let (spans, what) = all.into_iter().unzip();
        Self { spans, what }
    }

    /// The first piece of sorted runs that belongs to nothing.
    pub(super) fn beside(&self, runs: impl Iterator<Item = Span>) -> Option<Span> {
        let runs: Vec<_> = runs.collect();
        let mut beside = None;
        self.cut(&runs, |span, region| {
            if region.is_none() && beside.is_none() {
                beside = Some(span);
            }
        });
        beside
    }

    /// The pieces of sorted runs, each with what it belongs to.
    pub(super) fn cut(&self, runs: &[Span], mut each: impl FnMut(Span, Option<Region>)) {
        cut(runs, &self.spans, |span, number| {
            each(
                span,
                number.and_then(|number| self.what.get(number)).copied(),
            );
        });
    }
}

/// What is to be done about pages.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Pieces of parts, by the part's number, sorted.
    pub(super) copies: Vec<(usize, Span)>,
    /// Zeros are written there, whatever the protection.
    pub(super) zeros: Vec<Span>,
    /// Sorted, and apart from each other.
    pub(super) drops: Vec<Span>,
}

/// Sorts the program's own pages.
pub(super) fn sort(
    own: &[Own],
    regions: &Regions,
    parts: &[Part],
    kept: &[Kept],
    agent: &Agent,
    hot: &mut Hot,
) -> Sorted {
    let mut sorted = Sorted::default();
    hot.begin();
    let (away, here): (Vec<Own>, Vec<Own>) = own.iter().partition(|own| own.away);
    // What is not in memory is dropped, whatever it is: nothing is copied over it.
    let away: Vec<_> = away.iter().map(|own| own.span).collect();
    let here: Vec<_> = here.iter().map(|own| own.span).collect();
    let (zeros, drops) = (&mut sorted.zeros, &mut sorted.drops);
    regions.cut(&away, |span, region| match region {
        Some(Region::Kept(number)) => beside(zeros, drops, span, kept.get(number)),
        Some(Region::Agent) => zero_unused(zeros, span, agent),
        _ => drops.push(span),
    });
    regions.cut(&here, |span, region| match region {
        Some(Region::Part(number)) => {
            if let Some(part) = parts.get(number) {
                in_part(&mut sorted, span, number, part, hot);
            }
        }
        Some(Region::Kept(number)) => {
            beside(&mut sorted.zeros, &mut sorted.drops, span, kept.get(number));
        }
        Some(Region::Agent) => zero_unused(&mut sorted.zeros, span, agent),
        None => sorted.drops.push(span),
    });
    sorted.drops.sort_unstable();
    sorted.drops = merged(std::mem::take(&mut sorted.drops), 0);
    sorted
}

fn in_part(sorted: &mut Sorted, span: Span, number: usize, part: &Part, hot: &mut Hot) {
    if !part.access.write {
        sorted.drops.push(span);
        return;
    }
    let page_bytes = page_bytes();
    let before = super::parts::pages(Span::new(part.span.start, span.start));
    let mut page = part.first_page + before;
    let mut at = span.start;
    while at < span.end {
        let one = Span::new(at, at + page_bytes);
        match hot.changed(page) {
            Then::Copy => match sorted.copies.last_mut() {
                Some((last, copied)) if *last == number && copied.end == at => copied.end = one.end,
                _ => sorted.copies.push((number, one)),
            },
            Then::Drop => match sorted.drops.last_mut() {
                Some(dropped) if dropped.end == at => dropped.end = one.end,
                _ => sorted.drops.push(one),
            },
        }
        at = one.end;
        page += 1;
    }
}

/// Pages beside the saved ones, which are copied back in any case.
pub(super) fn beside(
    zeros: &mut Vec<Span>,
    drops: &mut Vec<Span>,
    span: Span,
    kept: Option<&Kept>,
) {
    let Some(kept) = kept else { return };
    cut(&[span], &kept.saved_spans(), |span, saved| {
        if saved.is_none() {
            match kept.locked {
                true => zeros.push(span),
                false => drops.push(span),
            }
        }
    });
}

/// Those of the agent's pages that it does not use itself.
pub(super) fn zero_unused(zeros: &mut Vec<Span>, span: Span, agent: &Agent) {
    let used = Span::new(agent.text().start, agent.data().end);
    cut(&[span], &[used], |span, used| {
        if used.is_none() {
            zeros.push(span);
        }
    });
}
