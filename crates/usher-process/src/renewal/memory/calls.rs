//! The calls by which memory is put back, as the program is made to make them.
//!
//! Deliberately absent: when which is made.

use usher_core::renewal::layout::{Access, Mapping};
use usher_core::renewal::runs::Span;

use super::parts::Part;
use super::survey::Manner;
use crate::renewal::stopped::{Batch, Call, Expect, Full, Pointer};

/// The upper half of the advice in our calls to `madvise`. The kernel looks at the lower half only,
/// and a filter can tell our calls from those of the program by it. A program that marks its own
/// calls so drops its own pages, to its own confusion.
pub(crate) const MARK: u64 = 0x7573_6872 << 32;
/// The advice to drop pages, as the kernel sees it.
const DROP: u64 = 4;

/// Drops the pages there: what is behind them shows again.
pub(super) fn drop_pages(batch: &mut Batch, span: Span) {
    let arguments = [span.start.into(), span.len().into(), (MARK | DROP).into()];
    batch.call(Call::new(libc::SYS_madvise, arguments), Expect::Value(0));
}

/// Spans that one of the calls for many takes, `UIO_MAXIOV`.
pub(super) const SPANS_MAX: usize = 1_024;
/// The process itself, where a descriptor of one is asked for.
const SELF: i32 = -10_001;
/// The same for locked pages as well, as the kernel sees it.
const DROP_LOCKED: u64 = 24;
/// The advice to give pages frames of their own, as if they had been written.
const POPULATE: u64 = 23;
/// Do not wait for room in a pipe.
const WITHOUT_WAITING: u64 = 2;

/// Makes a pipe; its numbers are put there, the reading end first.
pub(super) fn make_pipe(batch: &mut Batch) -> Result<Pointer, Full> {
    let ends = batch.space(2 * size_of::<i32>())?;
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let call = Call::new(libc::SYS_pipe2, [ends.into(), flags.into()]);
    batch.call(call, Expect::Value(0));
    Ok(ends)
}

/// Closes a descriptor.
pub(super) fn close(batch: &mut Batch, number: i32) {
    let call = Call::new(libc::SYS_close, [number.into()]);
    batch.call(call, Expect::Value(0));
}

/// Puts the frames of these pages into the pipe `into`, so that what is behind the pages shows;
/// with `others` they get other frames that hold that.
pub(super) fn exchange(
    batch: &mut Batch,
    runs: &[Span],
    into: i32,
    others: bool,
) -> Result<(), Full> {
    let (spans, bytes) = spans(batch, runs)?;
    let flags = WITHOUT_WAITING;
    let arguments = [into.into(), spans.into(), runs.len().into(), flags.into()];
    batch.call(Call::new(libc::SYS_vmsplice, arguments), bytes);
    advise_all(batch, spans, runs.len(), DROP_LOCKED, bytes);
    if others {
        advise_all(batch, spans, runs.len(), POPULATE, bytes);
    }
    Ok(())
}

/// Drops the pages in all of these places.
pub(super) fn drop_all(batch: &mut Batch, drops: &[Span]) -> Result<(), Full> {
    let (spans, bytes) = spans(batch, drops)?;
    advise_all(batch, spans, drops.len(), DROP, bytes);
    Ok(())
}

fn advise_all(batch: &mut Batch, spans: Pointer, count: usize, advice: u64, bytes: Expect) {
    let arguments = [
        SELF.into(),
        spans.into(),
        count.into(),
        advice.into(),
        0_u64.into(),
    ];
    batch.call(Call::new(libc::SYS_process_madvise, arguments), bytes);
}

/// Spans as the kernel reads them, and what a call answers that has done all of them.
fn spans(batch: &mut Batch, all: &[Span]) -> Result<(Pointer, Expect), Full> {
    let words = all.iter().flat_map(|span| [span.start, span.len()]);
    let words: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    let bytes: u64 = all.iter().map(Span::len).sum();
    Ok((batch.bytes(&words)?, Expect::Value(bytes.cast_signed())))
}

/// Takes away what is mapped there.
pub(super) fn unmap(batch: &mut Batch, span: Span) {
    let arguments = [span.start.into(), span.len().into()];
    batch.call(Call::new(libc::SYS_munmap, arguments), Expect::Value(0));
}

/// Lets what is mapped there be used as `access` says.
pub(super) fn protect(batch: &mut Batch, span: Span, access: Access) {
    let arguments = [span.start.into(), span.len().into(), rights(access).into()];
    batch.call(Call::new(libc::SYS_mprotect, arguments), Expect::Value(0));
}

/// Puts the end of the heap there.
pub(super) fn set_break(batch: &mut Batch, end: u64) {
    let call = Call::new(libc::SYS_brk, [end.into()]);
    batch.call(call, Expect::Value(end.cast_signed()));
}

/// Maps the piece of a part that is in `span`, from the image that is the program's descriptor
/// `image`, over whatever is there.
pub(super) fn map_part(batch: &mut Batch, part: &Part, span: Span, image: i32) {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | reserve(&part.manner);
    let offset = part.offset_of(span.start);
    map(batch, span, part.access, flags, image, offset);
    advise(batch, span, &part.manner);
}

/// Maps a part from the program's descriptor `file`, where it begins at `offset`, so that what is
/// written goes there; over whatever is there.
pub(super) fn map_shared(batch: &mut Batch, part: &Part, file: i32, offset: u64) {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    map(batch, part.span, part.access, flags, file, offset);
    advise(batch, part.span, &part.manner);
}

/// Maps a window to a part, from the program's descriptor `image`, wherever there is room; returns
/// the place of the answer, which may be an error.
pub(super) fn map_window(batch: &mut Batch, part: &Part, image: i32) -> usize {
    let arguments = [
        0_u64.into(),
        part.span.len().into(),
        libc::PROT_READ.into(),
        libc::MAP_SHARED.into(),
        image.into(),
        part.slot.offset().into(),
    ];
    batch.call(Call::new(libc::SYS_mmap, arguments), Expect::Any)
}

/// Maps a window again, or a piece of one, over whatever is there.
pub(super) fn map_window_again(batch: &mut Batch, window: &Mapping, image: i32) {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    map(
        batch,
        window.span,
        window.access,
        flags,
        image,
        window.backing.offset,
    );
}

/// Maps memory that is zero, over whatever is there.
pub(super) fn map_zeros(batch: &mut Batch, mapping: &Mapping, manner: &Manner) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | reserve(manner);
    let mut access = mapping.access;
    access.write |= manner.was_written;
    map(batch, mapping.span, access, flags, -1, 0);
    if access != mapping.access {
        protect(batch, mapping.span, mapping.access);
    }
    advise(batch, mapping.span, manner);
}

/// What of a manner is said when memory is mapped. Stacks of threads are without huge pages because
/// they are mapped as stacks: the advice to that end is a hint, with which a filter does nothing.
fn reserve(manner: &Manner) -> i32 {
    let bit = |has: bool, bit| if has { bit } else { 0 };
    let stack = manner.advice.contains(&libc::MADV_NOHUGEPAGE);
    bit(manner.unreserved, libc::MAP_NORESERVE) | bit(stack, libc::MAP_STACK)
}

fn advise(batch: &mut Batch, span: Span, manner: &Manner) {
    for advice in &manner.advice {
        let arguments = [span.start.into(), span.len().into(), (*advice).into()];
        batch.call(Call::new(libc::SYS_madvise, arguments), Expect::Value(0));
    }
}

/// Maps a file, or nothing, at exactly this place.
pub(super) fn map(
    batch: &mut Batch,
    span: Span,
    access: Access,
    flags: i32,
    file: i32,
    offset: u64,
) {
    let arguments = [
        span.start.into(),
        span.len().into(),
        rights(access).into(),
        flags.into(),
        file.into(),
        offset.into(),
    ];
    let there = Expect::Value(span.start.cast_signed());
    batch.call(Call::new(libc::SYS_mmap, arguments), there);
}

fn rights(access: Access) -> libc::c_int {
    let bit = |has: bool, bit| if has { bit } else { 0 };
    bit(access.read, libc::PROT_READ)
        | bit(access.write, libc::PROT_WRITE)
        | bit(access.execute, libc::PROT_EXEC)
}
