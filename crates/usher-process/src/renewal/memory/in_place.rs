//! In place: what a run has changed is written over, or dropped so that the image shows.
//!
//! ```text
//!  usual ones copied, and what is kept aside ─► as many own pages as the kernel counts?
//!      ├─ yes ─► those are all                  ─┬► hot: copied, but for the usual ones
//!      └─ no ──► searched (`super`)             ─┴► others: dropped in the batch
//! ```
//!
//! Deliberately absent: which pages are hot (`dirty`), and which are usual (`usual`).

use usher_core::renewal::runs::Span;

use super::errors::Failed;
use super::{Memory, PutBack, calls, count, dirty};
use crate::renewal::stopped::{Agent, Batch, Stopped, Transfer};
use crate::sys::pages::{self, Own};

impl Memory {
    /// Copies what is hot and adds to `batch` what is dropped. So many pages of the `usual` ones
    /// and of those kept aside were copied already; none: it is still to be done.
    pub(super) fn plan_in_place(
        &mut self,
        stopped: &Stopped,
        agent: &Agent,
        batch: &mut Batch,
        usual: Option<u64>,
        put_back: &mut PutBack,
    ) -> Result<(), Failed> {
        let sorted = dirty::sort(
            &self.own,
            &self.regions,
            &self.parts,
            &self.kept,
            agent,
            &mut self.hot,
        );
        put_back.copied_pages = match usual {
            Some(written) => written + self.copy(stopped, self.usual.beyond(&sorted.copies))?,
            None => self.copy(stopped, sorted.copies.clone())? + self.copy_kept(stopped)?,
        };
        self.write_zeros(stopped, &sorted.zeros)?;
        self.usual.learn(&sorted);
        let copies = sorted.copies.iter().map(|(_, span)| *span);
        self.hottest.copied(copies);
        for span in &sorted.drops {
            calls::drop_pages(batch, *span);
        }
        put_back.dropped_pages = count(sorted.drops.iter().copied());
        Ok(())
    }

    /// Copies what runs usually change, and what is kept aside, before anything is looked for;
    /// returns how many pages.
    pub(super) fn copy_usual(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<u64, Failed> {
        let (inside, outside) = self.divided_copies();
        let mut copied = 0;
        if !inside.is_empty() {
            let done = stopped.copy(agent, &inside);
            done.map_err(Failed::by_program(
                "copy clean pages over those that it has changed",
            ))?;
            copied += inside.iter().map(|one| one.bytes).sum::<u64>() / pages::page_bytes();
        }
        copied += self.copy(stopped, outside)?;
        Ok(copied + self.copy_kept(stopped)?)
    }

    /// The usual copies: those that the program makes itself, and the others.
    fn divided_copies(&self) -> (Vec<Transfer>, Vec<(usize, Span)>) {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        let copies = self.usual.copies();
        for (number, span) in copies {
            let part = self.parts.get(*number);
            let from = part.and_then(|part| self.windows.see(*number, part, *span));
            match from {
                Some(from) => inside.push(Transfer {
                    to: span.start,
                    from,
                    bytes: span.len(),
                }),
                None => outside.push((*number, *span)),
            }
        }
        let bytes: u64 = inside.iter().map(|one| one.bytes).sum();
        if !self.windows.pay_for(bytes / pages::page_bytes()) {
            return (Vec::new(), copies.to_vec());
        }
        (inside, outside)
    }

    /// Whether the program has no own pages but those that are usual, all of which are told then.
    /// So many pages were `written` in its memory: what was copied, and what is kept aside.
    pub(super) fn is_as_usual(&mut self, written: u64) -> Result<bool, Failed> {
        if !self.counted {
            return Ok(false);
        }
        self.own.clear();
        let agent = self.agent.range();
        let agent = Span::new(agent.start, agent.end);
        let saved = self.kept.iter().flat_map(|kept| &kept.saved);
        let saved: Vec<_> = saved.map(|(span, _)| *span).collect();
        let places = self.usual.places(saved.iter().copied().chain([agent]));
        for span in places.into_iter().chain([agent]) {
            let found = self.pages.own(span, &mut self.own);
            found.map_err(Failed::at("search the memory"))?;
        }
        let found = count(self.own.iter().map(|own| own.span));
        if self.counter.own_pages()? != found + written {
            return Ok(false);
        }
        let copied = self.usual.copies().iter().map(|(_, span)| *span);
        let written = copied.chain(saved);
        let written = written.map(|span| Own { span, away: false });
        self.own.extend(written);
        self.own.sort_unstable_by_key(|own| own.span);
        Ok(true)
    }

    /// Copies pieces of parts from the image; returns how many pages.
    fn copy(&mut self, stopped: &Stopped, copies: Vec<(usize, Span)>) -> Result<u64, Failed> {
        for (number, _) in &copies {
            self.view(*number)?;
        }
        let pieces = copies.iter().filter_map(|(number, span)| {
            let part = self.parts.get(*number)?;
            let from = usize::try_from(span.start - part.span.start).ok()?;
            let to = usize::try_from(span.end - part.span.start).ok()?;
            Some((part.view.as_ref()?.bytes().get(from..to)?, span.start))
        });
        let pieces: Vec<_> = pieces.collect();
        let written = pages::write_pieces(stopped.pid(), &pieces);
        written.map_err(Failed::at("write the memory back"))?;
        match pieces.len() == copies.len() {
            true => Ok(count(copies.iter().map(|(_, span)| *span))),
            false => Err(Failed::Step {
                step: "write the memory back",
                source: std::io::Error::other("a page is in no part of the image"),
            }),
        }
    }

    /// Copies what is kept aside; returns how many pages.
    fn copy_kept(&self, stopped: &Stopped) -> Result<u64, Failed> {
        let step = "write the memory back";
        let written = self.kept.iter().filter(|kept| kept.written);
        let written = written.flat_map(|kept| &kept.saved);
        let pieces: Vec<_> = written
            .map(|(span, bytes)| (bytes.as_slice(), span.start))
            .collect();
        pages::write_pieces(stopped.pid(), &pieces).map_err(Failed::at(step))?;
        for kept in self.kept.iter().filter(|kept| !kept.written) {
            for (span, bytes) in &kept.saved {
                stopped.write(span.start, bytes).map_err(Failed::at(step))?;
            }
        }
        let saved = self.kept.iter().flat_map(|kept| &kept.saved);
        Ok(count(saved.map(|(span, _)| *span)))
    }
}
