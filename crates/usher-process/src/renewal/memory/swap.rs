//! The swap: what a run has used is set aside whole, and its addresses show other frames with the
//! clean bytes.
//!
//! ```text
//!  sort   own pages ─┬ written, as far as is known ──────► runs: exchanged
//!                    ├ looked at, and as clean as it was ─► dropped, its frame held for one run
//!                    └ of mappings that nobody may write ─► dropped
//!  batch 1 (with kernel state)   a pipe ─► one end becomes the platform's
//!  batch 2 (past the filter)     runs into the pipe ─► runs dropped: the image shows ─► runs
//!                                populated: new frames ─► pipe closed ─► other drops
//!          and so on, a pipe for every 256 pages
//!  after   what is saved beside the image is written; the pipe is the used area
//! ```
//!
//! Each run's frames are held until the new ones are there, so that no page can get a frame of the
//! area that was used. Neither a spare nor a used area is ever mapped while the program runs: it
//! could read what the other holds, or prepare it. What is proportional is so to the pages that
//! were written, and nothing to the size of the state.
//!
//! Not exchanged are the agent's pages, which are the platform's; pages of mappings that may not be
//! written when a run begins, and what a run has mapped itself: both are taken away, and the next
//! run may get their frames again from the kernel, which clears them.
//!
//! Deliberately absent: which way a put-back goes.

use usher_core::renewal::runs::{Span, cut, merged};

use super::aside::{Aside, PIPE_MAX_PAGES};
use super::dirty::{Region, beside, zero_unused};
use super::errors::Failed;
use super::sample::Sample;
use super::{Memory, SWAP_MAX_PAGES, SWAP_ROOM_BYTES, calls, count};
use crate::renewal::stopped::{Agent, Alone, Answers, Batch, Pointer, Stopped};
use crate::sys::pages::{page_bytes, write_pieces};

/// Bytes that are looked at, at once.
const LOOK_BYTES: u64 = 1 << 20;

/// What is exchanged, and what is done beside it.
#[derive(Debug, Default)]
pub(super) struct Swap {
    /// Pages that get other frames; sorted and apart from each other, as are the others.
    pub(super) runs: Vec<Span>,
    /// Pages that are as clean as they were, and are given up: their frames are held until the next
    /// swap, since the run may have written what was there.
    pub(super) clean: Vec<Span>,
    /// Pages that are dropped.
    pub(super) drops: Vec<Span>,
    /// Zeros are written there.
    pub(super) zeros: Vec<Span>,
    /// Where the program notes the numbers of the pipe.
    pub(super) pipe: Option<Pointer>,
}

/// What a page holds when it is clean.
#[derive(Clone, Copy, Debug)]
enum Clean {
    /// Bytes of the part of this number.
    Part(usize),
    /// Bytes that are saved.
    Saved,
    Zeros,
    /// Zeros, where memory is locked, so that a clean page is left where it is.
    Locked,
    /// Those of a file that nobody can write.
    File,
}

impl Memory {
    /// Sorts the program's own pages for a swap; none: they are too many.
    pub(super) fn sort_for_swap(
        &mut self,
        stopped: &Stopped,
        agent: &Agent,
    ) -> Result<Option<Swap>, Failed> {
        let (mut swap, pieces) = self.pieces(agent);
        self.warm.begin();
        for (span, clean) in pieces {
            self.sort_piece(stopped, span, clean, &mut swap)?;
        }
        swap.drops.sort_unstable();
        swap.drops = merged(std::mem::take(&mut swap.drops), 0);
        let pages = count(swap.runs.iter().copied());
        let fits = match &self.room {
            None => true,
            Some(room) => {
                let left = room.left_bytes();
                let left = left.map_err(Failed::at("ask how much memory is left"))?;
                pages * page_bytes() + SWAP_ROOM_BYTES <= left
            }
        };
        Ok((fits && pages <= SWAP_MAX_PAGES).then_some(swap))
    }

    /// The program's own pages that may be exchanged, with what they hold when they are clean.
    fn pieces(&self, agent: &Agent) -> (Swap, Vec<(Span, Clean)>) {
        let mut swap = Swap::default();
        let mut pieces = Vec::new();
        let spans = |away| {
            let own = self.own.iter().filter(move |own| own.away == away);
            own.map(|own| own.span).collect::<Vec<_>>()
        };
        let (away, here) = (spans(true), spans(false));
        let zeros = &mut swap.zeros;
        let drops = &mut swap.drops;
        self.regions.cut(&away, |span, region| match region {
            Some(Region::Kept(number)) => beside(zeros, drops, span, self.kept.get(number)),
            Some(Region::Agent) => zero_unused(zeros, span, agent),
            _ => drops.push(span),
        });
        self.regions.cut(&here, |span, region| match region {
            Some(Region::Part(number)) => {
                let access = self.parts.get(number).map(|part| part.access);
                match access.is_some_and(|access| access.read && access.write) {
                    true => pieces.push((span, Clean::Part(number))),
                    false => drops.push(span),
                }
            }
            Some(Region::Kept(number)) => match self.kept.get(number) {
                Some(kept) if kept.written => {
                    cut(&[span], &kept.saved_spans(), |span, saved| {
                        let clean = match saved {
                            Some(_) => Clean::Saved,
                            None if kept.locked => Clean::Locked,
                            None => Clean::Zeros,
                        };
                        pieces.push((span, clean));
                    });
                }
                kept => beside(zeros, drops, span, kept),
            },
            Some(Region::Agent) => zero_unused(zeros, span, agent),
            None => self.outside(span, &mut pieces, drops),
        });
        (swap, pieces)
    }

    /// Pages that are neither of the image nor saved: of memory that was never written before.
    fn outside(&self, span: Span, pieces: &mut Vec<(Span, Clean)>, drops: &mut Vec<Span>) {
        let from = self
            .recorded
            .partition_point(|it| it.span.end <= span.start);
        let mut at = span.start;
        for mapping in self.recorded.get(from..).unwrap_or_default() {
            let here = mapping.span.common(span);
            if here.is_empty() {
                break;
            }
            let access = mapping.access;
            match access.read && access.write && !mapping.backing.shared {
                true if mapping.backing.is_anonymous() => pieces.push((here, Clean::Zeros)),
                true => pieces.push((here, Clean::File)),
                false => drops.push(here),
            }
            at = here.end;
        }
        if at < span.end {
            drops.push(Span::new(at, span.end));
        }
    }

    fn sort_piece(
        &mut self,
        stopped: &Stopped,
        span: Span,
        clean: Clean,
        swap: &mut Swap,
    ) -> Result<(), Failed> {
        let page = page_bytes();
        let mut at = span.start;
        while at < span.end {
            let looked_at = self.is_looked_at(at, clean);
            let mut end = at + page;
            while end < span.end
                && end - at < LOOK_BYTES
                && self.is_looked_at(end, clean) == looked_at
            {
                end += page;
            }
            let same = Span::new(at, end);
            match looked_at {
                true => self.look(stopped, same, clean, swap)?,
                false => self.renew(same, swap),
            }
            at = end;
        }
        Ok(())
    }

    fn is_looked_at(&self, at: u64, clean: Clean) -> bool {
        match clean {
            // What was written there may be what is saved, as calls do that are always the same.
            Clean::Saved | Clean::File => false,
            Clean::Part(_) | Clean::Zeros | Clean::Locked => {
                self.warm.is_due(at / page_bytes()) && !self.is_always_written(at)
            }
        }
    }

    /// Whether the platform or the kernel writes to the page by itself, at any time.
    fn is_always_written(&self, at: u64) -> bool {
        let page = Span::new(at, at + page_bytes());
        let mut areas = self.written.iter();
        at == self.canary.address() || areas.any(|area| !area.common(page).is_empty())
    }

    /// All pages of `span` get other frames.
    fn renew(&mut self, span: Span, swap: &mut Swap) {
        let page = page_bytes();
        for number in span.start / page..span.end / page {
            self.warm.renewed(number);
        }
        push(&mut swap.runs, span);
    }

    /// Those pages of `span` get other frames that are not clean; the others are given up.
    fn look(
        &mut self,
        stopped: &Stopped,
        span: Span,
        clean: Clean,
        swap: &mut Swap,
    ) -> Result<(), Failed> {
        let page = page_bytes();
        let step = "look at its pages";
        let len = usize::try_from(page).unwrap_or(usize::MAX);
        let mut now = vec![0; usize::try_from(span.len()).unwrap_or(usize::MAX)];
        stopped
            .read(span.start, &mut now)
            .map_err(Failed::at(step))?;
        if let Clean::Part(number) = clean {
            self.view(number)?;
        }
        let pages = (0..).map(|number| span.start + number * page);
        for (at, now) in pages.zip(now.chunks(len)) {
            let here = Span::new(at, at + page);
            if !self.is_clean(here, clean, now) {
                self.renew(here, swap);
                continue;
            }
            match clean {
                Clean::Locked => self.warm.left(at / page),
                _ => {
                    self.warm.left(at / page);
                    push(&mut swap.clean, here);
                }
            }
        }
        Ok(())
    }

    fn is_clean(&self, page: Span, clean: Clean, now: &[u8]) -> bool {
        let within = |from: Span, bytes: &[u8]| {
            let from = usize::try_from(page.start - from.start).ok();
            from.and_then(|from| bytes.get(from..from + now.len())) == Some(now)
        };
        match clean {
            Clean::Part(number) => self.parts.get(number).is_some_and(|part| {
                let view = part.view.as_ref();
                view.is_some_and(|view| within(part.span, view.bytes()))
            }),
            Clean::Zeros | Clean::Locked => now.iter().all(|byte| *byte == 0),
            Clean::Saved | Clean::File => false,
        }
    }

    /// Sets the used frames aside, and has the pages shown in others. `answers` are those of the
    /// batch that has made the first pipe.
    pub(super) fn exchange(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        swap: &Swap,
        answers: &Answers,
        alone: &Alone,
    ) -> Result<Aside, Failed> {
        let sample = Sample::of(self.canary.address(), &swap.runs, &self.pages);
        self.sample = Some(sample.map_err(Failed::at("read where pages are"))?);
        let (mut aside, mut clean) = (Aside::default(), Aside::default());
        let mut ends = ends_of(swap.pipe.map_or(&[], |pipe| answers.bytes(pipe)));
        let used = groups(&swap.runs).into_iter().map(|runs| (runs, true));
        let given_up = groups(&swap.clean).into_iter().map(|runs| (runs, false));
        let mut groups = used.chain(given_up).peekable();
        while let Some((runs, is_used)) = groups.next() {
            let pages = count(runs.iter().copied());
            let into = if is_used { &mut aside } else { &mut clean };
            let taken = into.take(stopped.pid(), ends[0], pages);
            taken.map_err(Failed::at("take the pipe for used pages"))?;
            let mut batch = Batch::new();
            calls::exchange(&mut batch, &runs, ends[1], is_used)?;
            for end in ends {
                calls::close(&mut batch, end);
            }
            // Whatever gives frames back comes when all new ones are there.
            let next = match groups.peek() {
                Some(_) => Some(calls::make_pipe(&mut batch)?),
                None => {
                    let now = swap.drops.len().min(calls::SPANS_MAX);
                    calls::drop_all(&mut batch, swap.drops.get(..now).unwrap_or_default())?;
                    None
                }
            };
            let done = stopped.run_unfiltered(agent, &batch, alone);
            let answers = done.map_err(Failed::by_program("exchange its pages"))?;
            ends = ends_of(next.map_or(&[], |pipe| answers.bytes(pipe)));
        }
        for drops in swap.drops.chunks(calls::SPANS_MAX).skip(1) {
            let mut batch = Batch::new();
            calls::drop_all(&mut batch, drops)?;
            let done = stopped.run_unfiltered(agent, &batch, alone);
            done.map_err(Failed::by_program("drop its pages"))?;
        }
        self.refill(stopped, swap)?;
        self.given_up = clean;
        Ok(aside)
    }

    /// Writes what is saved beside the image.
    fn refill(&self, stopped: &Stopped, swap: &Swap) -> Result<(), Failed> {
        let step = "write the memory back";
        let mut pieces = Vec::new();
        for kept in &self.kept {
            for (span, bytes) in &kept.saved {
                if !kept.written {
                    stopped.write(span.start, bytes).map_err(Failed::at(step))?;
                    continue;
                }
                pieces.push((bytes.as_slice(), span.start));
            }
        }
        write_pieces(stopped.pid(), &pieces).map_err(Failed::at(step))?;
        self.write_zeros(stopped, &swap.zeros)
    }
}

/// Runs of pages in groups, each of which a pipe can hold.
fn groups(runs: &[Span]) -> Vec<Vec<Span>> {
    let most = PIPE_MAX_PAGES * page_bytes();
    let mut groups = Vec::new();
    let mut room = 0;
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            if room == 0 {
                groups.push(Vec::new());
                room = most;
            }
            let piece = Span::new(at, run.end.min(at + room));
            if let Some(last) = groups.last_mut() {
                Vec::push(last, piece);
            }
            room -= piece.len();
            at = piece.end;
        }
    }
    groups
}

/// The numbers of a pipe, as the kernel writes them: where it is read, and where it is written.
fn ends_of(bytes: &[u8]) -> [i32; 2] {
    let mut numbers = bytes.chunks_exact(size_of::<i32>());
    let mut number = || {
        let bytes = numbers.next().and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(-1, i32::from_ne_bytes)
    };
    [number(), number()]
}

fn push(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.end == span.start => last.end = span.end,
        _ => spans.push(span),
    }
}
