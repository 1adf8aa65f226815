//! The calls by which memory is put back, as the program is made to make them.
//!
//! Deliberately absent: when which is made.

use usher_core::renewal::layout::{Access, Mapping};
use usher_core::renewal::runs::Span;

use super::parts::Part;
use super::survey::Manner;
use crate::renewal::stopped::{Batch, Call, Expect};

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
