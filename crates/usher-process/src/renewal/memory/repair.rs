//! Mappings that a run changed are made what they were.
//!
//! ```text
//!  heap's end ─► what is new is taken away ─► heap's end ─► what is missing is mapped ─► protected
//! ```
//!
//! Memory whose borders the kernel draws elsewhere is mapped anew. The heap's end comes twice: what
//! it takes away itself must still be there for that, and what is in its way must not. Deliberately
//! absent: mappings of files that are gone, the main stack, and locked memory; a program that took
//! them away is replaced.

use usher_core::renewal::layout::{Mapping, Repair, has_more_borders, redrawn, repairs};
use usher_core::renewal::runs::{Span, cut};

use super::Memory;
use super::calls;
use super::errors::Failed;
use super::handover;
use super::parts::Part;
use super::survey::Manner;
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};

/// Memory without a file, as the program had mapped it.
#[derive(Clone, Debug)]
pub(super) struct Zeros {
    pub(super) spans: Vec<Span>,
    /// How each of them is mapped.
    pub(super) manners: Vec<Manner>,
}

/// Makes the mappings those that were recorded; returns how many steps it took.
pub(super) fn repair(
    memory: &mut Memory,
    stopped: &mut Stopped,
    agent: &Agent,
) -> Result<usize, Failed> {
    let same = memory.mappings.are(&memory.recorded);
    if same.map_err(Failed::at("read the mappings"))? {
        return Ok(0);
    }
    let mut now = mappings(memory)?;
    let mut taken = 0;
    let steps = repairs(&memory.recorded, &now);
    if !steps.is_empty() {
        taken += steps.len();
        memory.carry_out(&steps, stopped, agent)?;
        now = mappings(memory)?;
    }
    let steps: Vec<_> = redrawn(&memory.recorded, &now).map(Repair::Map).collect();
    if !steps.is_empty() {
        taken += steps.len();
        memory.carry_out(&steps, stopped, agent)?;
        now = mappings(memory)?;
    }
    if taken == 0 {
        return Ok(0);
    }
    if let Some(step) = repairs(&memory.recorded, &now).first() {
        return Err(Failed::Unrepaired(place(step)));
    }
    if has_more_borders(&memory.recorded, &now) {
        let other = redrawn(&memory.recorded, &now).next();
        let span = other.map_or(Span::default(), |other| other.span);
        return Err(Failed::Unrepaired(span));
    }
    // Two that were mapped anew, and are one to the kernel, are so from now on.
    memory.recorded = now;
    Ok(taken)
}

fn mappings(memory: &mut Memory) -> Result<Vec<Mapping>, Failed> {
    memory
        .mappings
        .all()
        .map_err(Failed::at("read the mappings"))
}

/// Where a repair is made.
pub(super) fn place(step: &Repair) -> Span {
    match step {
        Repair::Unmap(span) | Repair::Protect(span, _) => *span,
        Repair::Map(mapping) => mapping.span,
    }
}

impl Memory {
    fn carry_out(
        &self,
        steps: &[Repair],
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<(), Failed> {
        let image = match steps.iter().any(|step| self.is_of_image(step)) {
            true => Some(handover::give(stopped, agent, self.image.file())?),
            false => None,
        };
        let batch = self.batch(steps, image)?;
        let done = stopped.run(agent, &batch);
        done.map_err(Failed::by_program("repair its mappings"))?;
        Ok(())
    }

    fn is_of_image(&self, step: &Repair) -> bool {
        let Repair::Map(mapping) = step else {
            return false;
        };
        (mapping.backing.device, mapping.backing.inode) == self.identity
    }

    fn batch(&self, steps: &[Repair], image: Option<i32>) -> Result<Batch, Failed> {
        let mut batch = Batch::new();
        let mut with_break = false;
        let first = Call::new(libc::SYS_brk, [self.heap_end.into()]);
        batch.call(first, Expect::Any);
        for step in steps {
            let taken_away = matches!(step, Repair::Unmap(_));
            if !taken_away && !with_break {
                calls::set_break(&mut batch, self.heap_end);
                with_break = true;
            }
            match step {
                Repair::Unmap(span) => calls::unmap(&mut batch, *span),
                Repair::Protect(span, access) => calls::protect(&mut batch, *span, *access),
                Repair::Map(mapping) => self.map(&mut batch, mapping, image)?,
            }
        }
        if !with_break {
            calls::set_break(&mut batch, self.heap_end);
        }
        if let Some(image) = image {
            batch.call(Call::new(libc::SYS_close, [image.into()]), Expect::Value(0));
        }
        Ok(batch)
    }

    fn map(&self, batch: &mut Batch, mapping: &Mapping, image: Option<i32>) -> Result<(), Failed> {
        let irreparable = || Failed::Irreparable(mapping.span);
        if (mapping.backing.device, mapping.backing.inode) == self.identity {
            // Only windows are shared.
            if mapping.backing.shared {
                calls::map_window_again(batch, mapping, image.ok_or_else(irreparable)?);
                return Ok(());
            }
            let part = self.part_at(mapping.span).ok_or_else(irreparable)?;
            calls::map_part(batch, part, mapping.span, image.ok_or_else(irreparable)?);
            return Ok(());
        }
        if !mapping.backing.is_anonymous() {
            return Err(irreparable());
        }
        let mut known = true;
        cut(
            &[mapping.span],
            &self.zeros.spans,
            |span, number| match number.and_then(|number| self.zeros.manners.get(number)) {
                Some(manner) => calls::map_zeros(batch, &mapping.part(span), manner),
                None => known = false,
            },
        );
        known.then_some(()).ok_or_else(irreparable)
    }

    /// The part that all of `span` is in.
    fn part_at(&self, span: Span) -> Option<&Part> {
        let behind = self
            .parts
            .partition_point(|part| part.span.end <= span.start);
        self.parts.get(behind).filter(|part| part.span.holds(span))
    }
}
