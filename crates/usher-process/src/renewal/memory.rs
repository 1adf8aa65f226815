//! A program's memory: recorded once, and put back after each request.
//!
//! ```text
//!  take   survey ─► own pages ─► image: written by the program, sealed, laid under its addresses
//!  plan   mappings repaired ─┬► in place: what is usual copied ─► own pages found ─► sorted
//!                            │  (by the program, see windows)  └─► copied now │ drops in the batch
//!                            └► swap: own pages found ─► sorted ─► a pipe in the batch
//!  swap                                                  used frames into it, and new ones
//!  done   what was dropped is gone, and the kernel's count agrees
//!  compare   every page against image, zeros or file, found another way
//! ```
//!
//! All memory that the program had written lies on one sealed image, as private mappings. So a page
//! that a run changes becomes the program's own, and nothing else does: to find what is not clean
//! is to find own pages, and to drop one is to show the image again. Who maps something else at the
//! same place shows another file there. Memory that was never written stays as it was, costs
//! nothing and is dropped to zeros; reservations without access are not even looked at.
//!
//! That a program's own pages are all found does not rest on knowing where to look: the kernel's
//! count must agree with what was found, or all addresses are searched ([`counters`]). So nothing
//! is searched where the count agrees with what was just copied ([`usual`]).
//!
//! # What a program sees that is different
//!
//! The image is a file, and the kernel treats private pages of a file a little differently:
//!
//! - **A program's own `madvise(MADV_DONTNEED)`** shows the image there, where it would have shown
//!   zeros. Allocators count on zeros (jemalloc and V8's collector among them), and to refuse the
//!   call is no way out: V8 ends the process if it fails. So the filter hands such calls to the
//!   platform, but for those that carry [`MARK`], and [`discard`] writes the zeros that the caller
//!   is owed. Without a listener for the filter a program whose memory lies on an image must not
//!   run.
//! - `MADV_FREE` fails with `EINVAL`, as with kernels that lack it; callers go on with the other
//!   one.
//! - **`mremap` to more bytes** shows the bytes of the image that follow, which may belong to
//!   another piece of memory. It is handed over likewise, and [`discard::grow`] finds that there is
//!   no room; C libraries copy then. Behind the end of a part there is always zero.
//! - `/proc/self/maps` names the image where it said `[heap]` or nothing, and shows [`windows`].
//!
//! # What is not put back here
//!
//! The notes that the kernel keeps about a whole mapping (advice, locks, policies, a name) cannot
//! be seen without great cost, except by [`Memory::compare`]; a filter that tells of such calls
//! closes that. Programs with memory that is shared, locked in large amounts, of huge pages or
//! protected by keys are not renewable. Transparent huge pages are found and dropped like others;
//! guard pages are found as pages that are away, cannot be dropped, and so lead to a replacement.
//!
//! Deliberately absent: threads, which must be stopped, with the new ones ended, before any of
//! this.

mod aside;
mod audit;
mod calls;
mod canary;
mod counters;
mod device;
mod dirty;
pub(crate) mod discard;
mod errors;
pub(super) mod handover;
mod in_place;
mod kept;
mod lay;
mod parts;
mod pattern;
mod repair;
mod room;
mod sample;
mod spare;
mod survey;
mod swap;
mod take;
#[cfg(test)]
mod tests;
mod usual;
mod windows;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustix::process::Pid;
use usher_core::renewal::choice::Way;
use usher_core::renewal::hot::Hot;
use usher_core::renewal::layout::Mapping;
use usher_core::renewal::runs::{Span, cut, merged};
use usher_core::renewal::warm::Warm;

pub(crate) use self::aside::Aside;
pub(crate) use self::calls::MARK;
pub(crate) use self::errors::{Difference, Failed, TakeError};
pub(crate) use self::pattern::{NoPattern, Pattern};
pub(crate) use self::room::Room;
pub(crate) use self::sample::Undetermined;

use self::canary::Canary;
use self::counters::Counter;
use self::device::Areas;
use self::dirty::Regions;
use self::kept::Kept;
use self::parts::Part;
use self::pattern::Hottest;
use self::repair::Zeros;
use self::sample::Sample;
use self::swap::Swap;
use self::usual::Usual;
use self::windows::{Bounds, Windows};
use super::stopped::{Agent, Alone, Answers, Batch, Stopped};
use crate::sys::image::Image;
use crate::sys::pages::{self, Mappings, Means, Own, PageMap};

/// Pages that are copied back each time; further ones are dropped.
const HOT_MAX_PAGES: usize = 16_384;
/// Pages that are exchanged by one swap; where there are more, memory is put back in place.
const SWAP_MAX_PAGES: u64 = 16_384;
/// Bytes that a program must be able to take besides those that it has twice in a swap.
const SWAP_ROOM_BYTES: u64 = 1 << 20;
/// A search goes on over gaps between the places where own pages are expected, up to this.
const SEARCH_GAP_MAX_BYTES: u64 = 1 << 20;

/// What this machine gives, found out once.
pub(crate) fn means() -> Means {
    static MEANS: OnceLock<Means> = OnceLock::new();
    *MEANS.get_or_init(pages::probe)
}

/// A program's memory as it was recorded.
#[derive(Debug)]
pub(crate) struct Memory {
    image: Arc<Image>,
    /// Device and number of the image, as mappings tell them.
    identity: (u64, u64),
    /// All mappings once the image was laid.
    recorded: Vec<Mapping>,
    /// The kernel's notes on each of them, for the comparison.
    flags: Vec<(Span, String)>,
    parts: Vec<Part>,
    kept: Vec<Kept>,
    zeros: Zeros,
    /// Where the kernel writes by itself, for each thread.
    written: Vec<Span>,
    regions: Regions,
    /// The end of the heap, to the byte.
    heap_end: u64,
    /// Where own pages are expected.
    expected: Vec<Span>,
    /// What is put back before any are searched.
    usual: Usual,
    /// Through which the program copies some of that itself.
    windows: Windows,
    /// Whether the kernel's count of own pages can be relied on.
    counted: bool,
    counter: Counter,
    pages: PageMap,
    mappings: Mappings,
    hot: Hot,
    warm: Warm,
    /// Where pages were before the last swap.
    sample: Option<Sample>,
    /// Frames of pages that were as clean as the image; none of them is a page's in the next run.
    given_up: Aside,
    /// What its control group would still give it.
    room: Option<Room>,
    canary: Canary,
    agent: Agent,
    /// Where it is from run to run; none: always on the image.
    areas: Option<Areas>,
    hottest: Arc<Hottest>,
    /// Own pages that were found last; kept so that it need not be made anew.
    own: Vec<Own>,
}

/// What was done to put memory back, and what is still to be seen to.
#[derive(Debug)]
#[must_use = "memory is back only when the batch was run and `done` has looked"]
pub(crate) struct Planned {
    put_back: PutBack,
    /// Own pages that must be left, the agent's not counted.
    left: u64,
    /// Places that were not in memory, and must be gone.
    away: Vec<Span>,
    /// Pages that are not the program's own, and may be again: the kernel writes into them by
    /// itself whenever a thread of the program goes on, also to make our calls.
    fleeting: Vec<Span>,
    /// What is exchanged, if memory is swapped.
    swap: Option<Swap>,
    /// Whether that is only told.
    skipped: bool,
    began: Instant,
}

/// The way in which memory is to be put back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    /// This one.
    Way(Way),
    /// By a swap that does not happen: memory is put back where it is. For tests.
    Skipped,
}

impl Planned {
    /// The way that is gone, as far as is told.
    pub(crate) fn way(&self) -> Way {
        match self.swap.is_some() || self.skipped {
            true => Way::Swap,
            false => Way::InPlace,
        }
    }
}

/// What it took to put memory back once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PutBack {
    /// Own pages that were found.
    pub(crate) found_pages: u64,
    /// Pages that were copied from the image, or from what was saved.
    pub(crate) copied_pages: u64,
    /// Pages that were dropped.
    pub(crate) dropped_pages: u64,
    /// Pages that were exchanged.
    pub(crate) swapped_pages: u64,
    /// Steps that made the mappings equal again.
    pub(crate) repairs: usize,
    /// Whether all addresses were searched.
    pub(crate) searched_all: bool,
    /// Looking at the mappings, and repairing them.
    pub(crate) layout_us: u64,
    /// Finding own pages.
    pub(crate) search_us: u64,
    /// Sorting and copying them.
    pub(crate) copy_us: u64,
    /// Exchanging them.
    pub(crate) swap_us: u64,
    /// From sorting until `done` has looked; the batches are in it.
    pub(crate) rest_us: u64,
}

impl Memory {
    /// Records the memory of a stopped program and lays the image under it. What the program sees
    /// at its addresses does not change. Done once for a program; the agent must be the one of
    /// later stops too.
    ///
    /// # Errors
    ///
    /// After [`TakeError::Unfit`] and [`TakeError::Blind`] the program is untouched and can go on;
    /// after any other one it must be ended.
    pub(crate) fn take(stopped: &mut Stopped, agent: &Agent) -> Result<Self, TakeError> {
        take::take(stopped, agent, means(), Bounds::default())
    }

    /// From now on the program's memory takes turns between two areas: files in these folders, or
    /// the image where there is none. The first of them is shown by [`Memory::show_next`].
    pub(crate) fn divide(&mut self, folders: [Option<&Path>; 2]) -> Result<(), Failed> {
        self.areas = Some(Areas::make(folders, &self.image, &self.parts)?);
        Ok(())
    }

    /// Whether its areas take turns.
    pub(crate) fn is_divided(&self) -> bool {
        self.areas.is_some()
    }

    /// Shows the program its next area, when it was put back and compared; returns the one that it
    /// had before, to be scrubbed.
    pub(crate) fn show_next(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<Option<Aside>, Failed> {
        let Some(areas) = &mut self.areas else {
            return Ok(None);
        };
        let left = areas.show_next(stopped, agent, &self.parts, &mut self.mappings)?;
        Ok(left.map(Aside::of))
    }

    /// From now on a swap is made only where this has room for it.
    pub(crate) fn bound(&mut self, room: Option<Room>) {
        self.room = room;
    }

    /// Puts back what can be put back from outside, and adds to `batch` what the program must do
    /// itself. New threads must have been ended. Repairs of mappings take batches of their own. A
    /// swap is not made where there is too much to exchange.
    pub(crate) fn plan(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        batch: &mut Batch,
        wanted: Wanted,
    ) -> Result<Planned, Failed> {
        let mut put_back = PutBack::default();
        let began = Instant::now();
        if let Some(areas) = &mut self.areas {
            areas.leave(stopped, agent, &self.image, &self.parts)?;
        }
        put_back.repairs = repair::repair(self, stopped, agent)?;
        let repaired = Instant::now();
        let swapped = wanted == Wanted::Way(Way::Swap);
        self.canary.spoil(stopped, swapped)?;
        let usual = match swapped {
            true => None,
            false => Some(self.copy_usual(stopped, agent)?),
        };
        let copied = Instant::now();
        let as_usual = match usual {
            Some(written) => self.is_as_usual(written)?,
            None => false,
        };
        if !as_usual {
            put_back.searched_all = self.search()?;
        }
        spare::tidy(&self.own, stopped, agent)?;
        let searched = Instant::now();
        if wanted == Wanted::Skipped {
            self.note_places()?;
        }
        calls::set_break(batch, self.heap_end);
        let swap = match swapped {
            true => self.plan_swap(stopped, agent, batch, &mut put_back)?,
            false => None,
        };
        if swap.is_none() {
            self.plan_in_place(stopped, agent, batch, usual, &mut put_back)?;
        }
        let agent = self.agent.range();
        let agent = Span::new(agent.start, agent.end);
        put_back.found_pages = count(self.own.iter().map(|own| own.span));
        let of_agent = count(self.own.iter().map(|own| own.span.common(agent)));
        let others = put_back.found_pages - of_agent + self.refilled();
        let left = others.saturating_sub(put_back.dropped_pages);
        let away = self.own.iter().filter(|own| own.away).map(|own| own.span);
        let away = away.collect();
        let fleeting = self.fleeting();
        put_back.layout_us = micros(began, repaired);
        put_back.search_us = micros(copied, searched);
        put_back.copy_us = micros(repaired, copied) + micros(searched, Instant::now());
        Ok(Planned {
            put_back,
            left,
            away,
            fleeting,
            swap,
            skipped: wanted == Wanted::Skipped,
            began: Instant::now(),
        })
    }

    /// Adds to `batch` what a swap needs; none: there is too much to exchange.
    fn plan_swap(
        &mut self,
        stopped: &Stopped,
        agent: &Agent,
        batch: &mut Batch,
        put_back: &mut PutBack,
    ) -> Result<Option<Swap>, Failed> {
        let Some(mut swap) = self.sort_for_swap(stopped, agent)? else {
            return Ok(None);
        };
        swap.pipe = Some(calls::make_pipe(batch)?);
        put_back.swapped_pages = count(swap.runs.iter().copied());
        let dropped = swap.drops.iter().chain(&swap.clean);
        put_back.dropped_pages = count(dropped.copied());
        Ok(Some(swap))
    }

    /// Notes where pages are, as a swap does before it exchanges them.
    fn note_places(&mut self) -> Result<(), Failed> {
        let own: Vec<_> = self.own.iter().map(|own| own.span).collect();
        let sample = Sample::of(self.canary.address(), &own, &self.pages);
        self.sample = Some(sample.map_err(Failed::at("read where pages are"))?);
        Ok(())
    }

    /// Exchanges what is to be exchanged, when the batch was run, which has had `answers`. What is
    /// returned is the area that was used.
    pub(crate) fn swap(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        planned: &mut Planned,
        answers: &Answers,
        alone: &Alone,
    ) -> Result<Option<Aside>, Failed> {
        let Some(swap) = &planned.swap else {
            return Ok(None);
        };
        let began = Instant::now();
        let aside = self.exchange(stopped, agent, swap, answers, alone)?;
        planned.put_back.swap_us = micros(began, Instant::now());
        Ok(Some(aside))
    }

    /// The determination: reads whether the program's pages are in other frames than before the
    /// last swap, or on another device. The program may run meanwhile.
    pub(crate) fn determine(&self, program: Pid) -> Result<(), Undetermined> {
        if let Some(areas) = &self.areas {
            let mappings = Mappings::open(program, means().mappings_asked)?.all()?;
            return areas.determine(self.identity, self.canary.address(), &mappings);
        }
        let sample = self.sample.as_ref().ok_or(Undetermined::Nothing)?;
        sample.determine(program, &self.pages)
    }

    /// Leaves a wrong byte in memory that was put back. For tests.
    pub(crate) fn spoil(&self, stopped: &Stopped) -> Result<(), Failed> {
        self.canary.spoil_unseen(stopped)
    }

    /// Sees that the batch did what it was to do; nothing may be injected after that but by who
    /// wipes the agent's data.
    pub(crate) fn done(&mut self, stopped: &Stopped, planned: Planned) -> Result<PutBack, Failed> {
        let Planned {
            mut put_back,
            left,
            away,
            fleeting,
            swap,
            began,
            ..
        } = planned;
        let step = "search the memory";
        for span in away {
            self.own.clear();
            self.pages
                .own(span, &mut self.own)
                .map_err(Failed::at(step))?;
            if let Some(own) = self.own.iter().find(|own| own.away) {
                return Err(Failed::Undropped(own.span));
            }
        }
        if self.counted {
            let agent = self.agent.range();
            let agent = Span::new(agent.start, agent.end);
            self.own.clear();
            for span in fleeting.iter().chain([&agent]) {
                self.pages
                    .own(*span, &mut self.own)
                    .map_err(Failed::at(step))?;
            }
            let found = left + count(self.own.iter().map(|own| own.span));
            let counted = self.counter.own_pages()?;
            if counted != found {
                return Err(Failed::Hidden { counted, found });
            }
        }
        self.canary.check(stopped)?;
        if swap.is_some() {
            self.determine(stopped.pid())?;
        }
        put_back.rest_us = micros(began, Instant::now());
        Ok(put_back)
    }

    /// The audit: compares every page and every mapping with what was recorded. It finds pages
    /// another way than `plan`, and takes as long as it takes to read the program's own memory
    /// twice.
    pub(crate) fn compare(&self, stopped: &Stopped) -> Result<(), Difference> {
        audit::compare(self, stopped)
    }

    /// Finds the program's own pages; true if all addresses had to be searched for that.
    fn search(&mut self) -> Result<bool, Failed> {
        let step = "search the memory";
        self.own.clear();
        let mut counted = 0;
        if self.counted {
            for span in &self.expected {
                self.pages
                    .own(*span, &mut self.own)
                    .map_err(Failed::at(step))?;
            }
            counted = self.counter.own_pages()?;
            if counted == count(self.own.iter().map(|own| own.span)) {
                return Ok(false);
            }
            self.own.clear();
        }
        let mappings = self.recorded.iter().map(|one| one.span);
        let found = self.pages.own_anywhere(mappings, &mut self.own);
        found.map_err(Failed::at(step))?;
        let found = count(self.own.iter().map(|own| own.span));
        match self.counted && counted != found {
            true => Err(Failed::Hidden { counted, found }),
            false => Ok(true),
        }
    }

    /// Pages that the kernel writes by itself and that are not the program's own now.
    fn fleeting(&self) -> Vec<Span> {
        let own: Vec<_> = self.own.iter().map(|own| own.span).collect();
        let page = pages::page_bytes();
        let pages = self.written.iter().map(|area| {
            let start = area.start / page * page;
            Span::new(start, area.end.next_multiple_of(page))
        });
        let mut pages: Vec<_> = pages.collect();
        pages.sort_unstable();
        let pages = merged(pages, 0);
        let mut fleeting = Vec::new();
        cut(&pages, &own, |span, own| {
            if own.is_none() {
                fleeting.push(span);
            }
        });
        fleeting
    }

    fn write_zeros(&self, stopped: &Stopped, spans: &[Span]) -> Result<(), Failed> {
        for span in spans {
            let zeros = vec![0; usize::try_from(span.len()).unwrap_or(usize::MAX)];
            let written = stopped.write(span.start, &zeros);
            written.map_err(Failed::at("write the memory back"))?;
        }
        Ok(())
    }

    /// Maps the clean bytes of a part, if they were not.
    fn view(&mut self, number: usize) -> Result<(), Failed> {
        if let Some(part) = self.parts.get_mut(number)
            && part.view.is_none()
        {
            let len = usize::try_from(part.span.len()).unwrap_or(usize::MAX);
            let view = self.image.view(part.slot, len);
            part.view = Some(view.map_err(Failed::at("look at the image of the memory"))?);
        }
        Ok(())
    }

    /// Saved pages that were not the program's own any more, and are again.
    fn refilled(&self) -> u64 {
        let own: Vec<_> = self.own.iter().map(|own| own.span).collect();
        let saved = self.kept.iter().flat_map(|kept| &kept.saved);
        let missing = saved.map(|(span, _)| {
            let there = parts::overlapping(&own, *span).iter();
            count([*span]) - count(there.map(|own| own.common(*span)))
        });
        missing.sum()
    }
}

/// How many pages.
fn count(spans: impl IntoIterator<Item = Span>) -> u64 {
    let bytes: u64 = spans.into_iter().map(|span| span.len()).sum();
    bytes / pages::page_bytes()
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}
