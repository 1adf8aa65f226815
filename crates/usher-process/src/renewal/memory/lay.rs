//! The image is written by the program itself, and laid under its addresses.
//!
//! The program writes, so that the memory is counted as its own. It goes piece by piece: what was
//! written is mapped at once, which frees the former pages, so that hardly more than one piece is
//! there twice. What is at the addresses does not change by it.
//!
//! Deliberately absent: what becomes part of the image, see `survey` and `parts`.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use usher_core::renewal::layout::Access;
use usher_core::renewal::runs::Span;

use super::calls;
use super::errors::Failed;
use super::handover;
use super::parts::Part;
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::image::Image;

/// Bytes that are written and mapped at once, and are in memory twice for that long.
const PIECE_MAX_BYTES: u64 = 16 << 20;

/// Makes an image of `parts` and lays it under them.
pub(super) fn lay(stopped: &mut Stopped, agent: &Agent, parts: &[Part]) -> Result<Image, Failed> {
    let mut image = Image::new().map_err(Failed::at("make an image of the memory"))?;
    let grown = image.grow(parts.len() + 1);
    grown.map_err(Failed::at("make room for an image of the memory"))?;
    let number = handover::give(stopped, agent, image.file())?;
    let mut batch = Batch::new();
    for part in parts {
        let mut from = part.span.start;
        while from < part.span.end {
            let piece = Span::new(from, part.span.end.min(from + PIECE_MAX_BYTES));
            write(&mut batch, part, piece, number);
            calls::map_part(&mut batch, part, piece, number);
            from = piece.end;
        }
    }
    batch.call(
        Call::new(libc::SYS_close, [number.into()]),
        Expect::Value(0),
    );
    let limit = Unlimited::lift(stopped.pid())
        .map_err(Failed::at("lift for a moment the limit of file sizes"))?;
    let done = stopped.run(agent, &batch);
    limit
        .restore()
        .map_err(Failed::at("restore the limit of file sizes"))?;
    done.map_err(Failed::by_program(
        "write its memory to an image and map that",
    ))?;
    image
        .seal()
        .map_err(Failed::at("seal the image of the memory"))?;
    Ok(image)
}

/// Lets the program write `piece` to the image, what was never used of it as well: a hole would be
/// filled for good by the first run that reads it, and tell later ones that it was.
fn write(batch: &mut Batch, part: &Part, piece: Span, image: i32) {
    if !part.access.read {
        let access = Access {
            read: true,
            ..part.access
        };
        calls::protect(batch, piece, access);
    }
    let arguments = [
        image.into(),
        piece.start.into(),
        piece.len().into(),
        part.offset_of(piece.start).into(),
    ];
    let all = Expect::Value(piece.len().cast_signed());
    batch.call(Call::new(libc::SYS_pwrite64, arguments), all);
}

/// The program's limit of file sizes, lifted until it is restored: an image has its parts far
/// apart.
struct Unlimited {
    pid: Pid,
    former: Rlimit,
}

impl Unlimited {
    fn lift(pid: Pid) -> std::io::Result<Self> {
        let none = Rlimit {
            current: None,
            maximum: None,
        };
        let former = prlimit(Some(pid), Resource::Fsize, none)?;
        Ok(Self { pid, former })
    }

    fn restore(self) -> std::io::Result<()> {
        prlimit(Some(self.pid), Resource::Fsize, self.former)?;
        Ok(())
    }
}
