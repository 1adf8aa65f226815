//! The mappings of a program: how they differ from those that were recorded, and what repairs that.
//!
//! Two mappings side by side are one if they say the same of every address: where the kernel draws
//! the border between them depends on their history, and nothing that a program can read there
//! does. Only the list of mappings tells of it, and so a program could leave itself a message in
//! it: [`redrawn`] finds that. Deliberately absent: mappings that grow by themselves, and the heap
//! that `brk` moves; who carries the repairs out knows them.

use super::runs::Span;

/// What a program may do with a mapping.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Access {
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// It may be executed.
    pub execute: bool,
}

/// What a mapping shows where it was not written.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Backing {
    /// The device of the file, as one number; 0 without a file.
    pub device: u64,
    /// The file's number on its device; 0 without a file.
    pub inode: u64,
    /// Where in the file the mapping begins, in bytes; 0 without a file.
    pub offset: u64,
    /// Whether writes go to the file, or to all who share the memory.
    pub shared: bool,
}

impl Backing {
    /// Whether there is no file: memory that is zero at first.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.device == 0 && self.inode == 0
    }

    /// The same, `bytes` further on.
    #[must_use]
    pub fn advanced(mut self, bytes: u64) -> Self {
        if !self.is_anonymous() {
            self.offset = self.offset.wrapping_add(bytes);
        }
        self
    }
}

/// A range of addresses of which the same can be said.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Mapping {
    /// Where it is.
    pub span: Span,
    /// What may be done there.
    pub access: Access,
    /// What is there.
    pub backing: Backing,
}

impl Mapping {
    /// The part of it that is in `span`.
    #[must_use]
    pub fn part(&self, span: Span) -> Self {
        let span = self.span.common(span);
        Self {
            span,
            access: self.access,
            backing: self.backing.advanced(span.start - self.span.start),
        }
    }

    /// Whether `next` goes on where this one ends, as if it were one mapping.
    #[must_use]
    pub fn continues_as(&self, next: &Self) -> bool {
        self.span.end == next.span.start
            && self.access == next.access
            && self.backing.advanced(self.span.len()) == next.backing
    }
}

/// One step that makes the mappings equal again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repair {
    /// Take away what is there.
    Unmap(Span),
    /// Map this, where nothing is.
    Map(Mapping),
    /// Let it be used as this says; what is there is right.
    Protect(Span, Access),
}

/// What turns the mappings that are there `now` into those that were `recorded`, in the order in
/// which it is to be done: first all that is taken away, then all that is mapped, then what is
/// protected. Both are sorted by address. Nothing is done to addresses at which both say the same.
#[must_use]
pub fn repairs(recorded: &[Mapping], now: &[Mapping]) -> Vec<Repair> {
    let (mut unmaps, mut maps, mut protects) = (Vec::new(), Vec::new(), Vec::new());
    let at = 0;
    for (span, recorded, now) in (Sweep { recorded, now, at }) {
        match (recorded, now) {
            (Some(recorded), Some(now)) if recorded.backing == now.backing => {
                if recorded.access != now.access {
                    protect(&mut protects, span, recorded.access);
                }
            }
            (recorded, now) => {
                if now.is_some() {
                    unmap(&mut unmaps, span);
                }
                if let Some(mapping) = recorded {
                    map(&mut maps, mapping);
                }
            }
        }
    }
    let unmaps = unmaps.into_iter().map(Repair::Unmap);
    let protects = protects.into_iter().map(|(at, to)| Repair::Protect(at, to));
    let maps = maps.into_iter().map(Repair::Map);
    unmaps.chain(maps).chain(protects).collect()
}

/// The recorded mappings whose borders the kernel draws elsewhere `now`, where [`repairs`] finds
/// nothing to do. To map them anew brings the borders back, but for those between two mappings that
/// it takes for one by then.
pub fn redrawn<'a>(
    recorded: &'a [Mapping],
    now: &'a [Mapping],
) -> impl Iterator<Item = Mapping> + 'a {
    let is_there = |one: &&Mapping| {
        let at = now.partition_point(|it| it.span.start < one.span.start);
        now.get(at).is_some_and(|it| it.span == one.span)
    };
    recorded.iter().filter(move |one| !is_there(one)).copied()
}

/// Whether some border of `now` is none of `recorded`.
#[must_use]
pub fn has_more_borders(recorded: &[Mapping], now: &[Mapping]) -> bool {
    let starts = |span: Span| recorded.binary_search_by_key(&span.start, |one| one.span.start);
    now.iter().any(|one| starts(one.span).is_err())
}

fn unmap(unmaps: &mut Vec<Span>, span: Span) {
    match unmaps.last_mut() {
        Some(last) if last.end == span.start => last.end = span.end,
        _ => unmaps.push(span),
    }
}

fn map(maps: &mut Vec<Mapping>, mapping: Mapping) {
    match maps.last_mut() {
        Some(last) if last.continues_as(&mapping) => last.span.end = mapping.span.end,
        _ => maps.push(mapping),
    }
}

fn protect(protects: &mut Vec<(Span, Access)>, span: Span, access: Access) {
    match protects.last_mut() {
        Some((last, before)) if last.end == span.start && *before == access => {
            last.end = span.end;
        }
        _ => protects.push((span, access)),
    }
}

/// Both lists at once, from border to border.
struct Sweep<'a> {
    recorded: &'a [Mapping],
    now: &'a [Mapping],
    /// Everything below was told.
    at: u64,
}

impl Iterator for Sweep<'_> {
    /// A range in which neither list has a border, and what each says of it; one of them at least
    /// says something.
    type Item = (Span, Option<Mapping>, Option<Mapping>);

    fn next(&mut self) -> Option<Self::Item> {
        let recorded = head(&mut self.recorded, self.at);
        let now = head(&mut self.now, self.at);
        let heads = [recorded, now].into_iter().flatten();
        let start = heads.clone().map(|head| head.span.start).min()?;
        let borders = heads.map(|head| match head.span.start > start {
            true => head.span.start,
            false => head.span.end,
        });
        let span = Span::new(start, borders.min()?);
        self.at = span.end;
        let here = |head: Option<Mapping>| {
            let part = head?.part(span);
            (!part.span.is_empty()).then_some(part)
        };
        Some((span, here(recorded), here(now)))
    }
}

/// What is left from `at` on of the first mapping that ends behind it.
fn head(list: &mut &[Mapping], at: u64) -> Option<Mapping> {
    while let Some((first, rest)) = list.split_first() {
        if first.span.end > at {
            return Some(first.part(Span::new(at, first.span.end)));
        }
        *list = rest;
    }
    None
}
