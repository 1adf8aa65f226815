//! The whole memory of a program against what was recorded, by another way than it is put back.
//!
//! Mappings come from the text with all notes of the kernel, own pages from the words of the page
//! map, bytes through procfs, clean bytes from the image's file: none of the four is what putting
//! back rests on.
//!
//! Deliberately absent: the agent's text and data, which are wiped when the program goes on.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;

use rustix::process::Pid;
use usher_core::renewal::layout::{Mapping, repairs};
use usher_core::renewal::runs::{Span, cut};

use super::errors::Difference;
use super::parts::{Part, overlapping};
use super::repair::place;
use super::survey::{self, Told};
use super::{Kept, Memory};
use crate::renewal::stopped::Stopped;
use crate::sys::pages::{PageMap, Way};

/// Bytes that are compared at once.
const PIECE_BYTES: u64 = 1 << 20;
/// The note on soft-dirty pages, which comes and goes by itself.
const SOFT_DIRTY: &str = "sd";

pub(super) fn compare(memory: &Memory, stopped: &Stopped) -> Result<(), Difference> {
    let pid = stopped.pid();
    let told = survey::told(pid).map_err(Difference::at("read the mappings"))?;
    mappings(memory, &told)?;
    let open = Difference::at("open the page map");
    let mut pages = PageMap::open(pid, Way::Words).map_err(open)?;
    for told in told.iter().filter(|told| told.populated) {
        let mut own = Vec::new();
        let found = pages.own(told.span(), &mut own);
        found.map_err(Difference::at("search the memory"))?;
        let own: Vec<_> = own.iter().map(|own| own.span).collect();
        let clean = Clean::of(memory, pid, told);
        for span in own {
            let mut from = span.start;
            while from < span.end {
                let piece = Span::new(from, span.end.min(from + PIECE_BYTES));
                clean.compare(stopped, piece)?;
                from = piece.end;
            }
        }
    }
    Ok(())
}

fn mappings(memory: &Memory, told: &[Told]) -> Result<(), Difference> {
    let now: Vec<Mapping> = told.iter().map(|told| told.found.mapping).collect();
    if let Some(step) = repairs(&memory.recorded, &now).first() {
        return Err(Difference::Mapping(place(step)));
    }
    let recorded: Vec<_> = memory.flags.iter().map(|(span, _)| *span).collect();
    for told in told {
        let now = relevant(told.flags.iter().map(String::as_str));
        for span in overlapping(&recorded, told.span()) {
            let flags = memory.flags.iter().find(|(one, _)| one == span);
            let flags = flags.map_or("", |(_, flags)| flags);
            let recorded = relevant(flags.split_whitespace());
            if now != recorded {
                let span = told.span();
                return Err(Difference::Flags {
                    span,
                    now,
                    recorded,
                });
            }
        }
    }
    Ok(())
}

/// Whether the kernel itself writes this byte of a thread's area for restartable sequences: the
/// processor (8 bytes), and node and number within the process (8 more) after what is the thread's.
fn is_kernels(area: Span, address: u64) -> bool {
    let within = address.wrapping_sub(area.start);
    address < area.end && (within < 8 || (20..28).contains(&within))
}

fn relevant<'a>(flags: impl Iterator<Item = &'a str>) -> String {
    let flags: Vec<_> = flags.filter(|flag| *flag != SOFT_DIRTY).collect();
    flags.join(" ")
}

/// What a mapping's own pages must hold.
struct Clean<'a> {
    memory: &'a Memory,
    mapping: Mapping,
    /// The file behind it; none where there is none, or it cannot be opened.
    file: Option<File>,
}

impl<'a> Clean<'a> {
    fn of(memory: &'a Memory, pid: Pid, told: &Told) -> Self {
        let mapping = told.found.mapping;
        let file = match mapping.backing.is_anonymous() {
            true => None,
            false => File::open(survey::mapped_file(pid, mapping.span)).ok(),
        };
        Self {
            memory,
            mapping,
            file,
        }
    }

    fn compare(&self, stopped: &Stopped, piece: Span) -> Result<(), Difference> {
        let agent = &self.memory.agent;
        if Span::new(agent.text().start, agent.data().end).holds(piece) {
            return Ok(());
        }
        let len = usize::try_from(piece.len()).unwrap_or(0);
        let mut now = vec![0; len];
        let read = stopped.read(piece.start, &mut now);
        read.map_err(Difference::at("read a page"))?;
        let clean = self.clean(piece, len);
        let clean = clean.map_err(Difference::at("read the clean bytes of a page"))?;
        let mut pairs = (piece.start..).zip(now.iter().zip(&clean));
        let differs = |(at, (now, clean)): &(u64, (&u8, &u8))| {
            now != clean
                && !self
                    .memory
                    .written
                    .iter()
                    .any(|area| is_kernels(*area, *at))
        };
        match pairs.find(differs) {
            None => Ok(()),
            Some((address, (now, recorded))) => Err(Difference::Byte {
                address,
                now: *now,
                recorded: *recorded,
            }),
        }
    }

    fn clean(&self, piece: Span, len: usize) -> io::Result<Vec<u8>> {
        let mut clean = vec![0; len];
        let mut done = Ok(());
        let parts: Vec<_> = self.memory.parts.iter().map(|part| part.span).collect();
        cut(&[piece], &parts, |span, number| {
            let from = usize::try_from(span.start - piece.start).unwrap_or(len);
            let to = usize::try_from(span.end - piece.start).unwrap_or(len);
            let Some(bytes) = clean.get_mut(from..to) else {
                return;
            };
            let part = number.and_then(|number| self.memory.parts.get(number));
            let read = match part {
                Some(part) => of_image(self.memory.image.file(), part, span, bytes),
                None => self.beside(span, bytes),
            };
            if done.is_ok() {
                done = read;
            }
        });
        done.map(|()| clean)
    }

    /// Clean bytes that are not in the image; `bytes` are zero.
    fn beside(&self, span: Span, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            let before = span.start - self.mapping.span.start;
            read_to_end(file, bytes, self.mapping.backing.advanced(before).offset)?;
        }
        let kept = self.memory.kept.iter();
        for kept in kept.filter(|kept| kept.span.holds(span)) {
            saved(kept, span, bytes);
        }
        Ok(())
    }
}

fn of_image(
    image: BorrowedFd<'_>,
    part: &Part,
    span: Span,
    mut bytes: &mut [u8],
) -> io::Result<()> {
    let mut at = part.offset_of(span.start);
    while !bytes.is_empty() {
        let read = rustix::io::pread(image, &mut *bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += read as u64;
        bytes = bytes.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

/// Reads what the file has; behind its end there are zeros.
fn read_to_end(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = file.read_at(bytes, at)?;
        if read == 0 {
            return Ok(());
        }
        at += read as u64;
        bytes = bytes.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

fn saved(kept: &Kept, span: Span, bytes: &mut [u8]) {
    for (place, saved) in &kept.saved {
        let common = place.common(span);
        let offset = |from: u64| usize::try_from(common.start - from).ok();
        let len = usize::try_from(common.len()).ok();
        let Some(((into, from), len)) = offset(span.start).zip(offset(place.start)).zip(len) else {
            continue;
        };
        if let Some((into, from)) = bytes
            .get_mut(into..into + len)
            .zip(saved.get(from..from + len))
        {
            into.copy_from_slice(from);
        }
    }
}
