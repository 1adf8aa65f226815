//! A program's memory: how it is mapped, what stands in it, and where a secret stands.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{digest, text};

const PAGE: usize = 4096;
const PAGE_BYTES: u64 = 4096;
/// Bytes that are read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Bits of an entry in a page map: in memory, or swapped out.
const PRESENT: u64 = IN_MEMORY | 1 << 62;
const IN_MEMORY: u64 = 1 << 63;
/// And the number of its frame.
const FRAME: u64 = (1 << 55) - 1;
/// What two readings of one mapping's flags may differ in: it is noted that it was written.
const FLAGS_LEFT_OUT: [&str; 1] = ["sd"];

/// The forms in which a secret is looked for.
pub(crate) struct Needles(Vec<Vec<u8>>);

impl Needles {
    /// As it is, in hexadecimal digits as bytes and as characters of two bytes, and its first half,
    /// as numbers of eight bytes are kept.
    pub(crate) fn of(secret: &[u8; 16]) -> Self {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let wide = hex.bytes().flat_map(|byte| [byte, 0]).collect();
        Self(vec![
            secret.to_vec(),
            hex.into_bytes(),
            wide,
            secret[..8].to_vec(),
        ])
    }

    /// Only as it is: requests have it in digits.
    pub(crate) fn planted(secret: &[u8; 16]) -> Self {
        Self(vec![secret.to_vec(), secret[..8].to_vec()])
    }

    fn longest(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// Where the first of them begins.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let heads: Vec<u32> = self.0.iter().map(|needle| head(needle)).collect();
        (0..bytes.len().saturating_sub(3)).find(|&at| {
            let here = head(&bytes[at..]);
            let mut these = heads.iter().zip(&self.0);
            these.any(|(&head, needle)| head == here && bytes[at..].starts_with(needle))
        })
    }
}

fn head(bytes: &[u8]) -> u32 {
    let four: [u8; 4] = bytes[..4].try_into().unwrap();
    u32::from_le_bytes(four)
}

struct Mapping {
    start: u64,
    end: u64,
    rest: String,
}

impl Mapping {
    fn is(&self, at: usize, mark: u8) -> bool {
        self.rest.as_bytes().get(at) == Some(&mark)
    }

    /// Nothing but this process's own pages: what is not there reads as zeros.
    fn is_anonymous(&self) -> bool {
        self.rest.split_whitespace().nth(3) == Some("0")
    }

    /// The kernel's own pages, which cannot be read so, or have no state.
    fn is_kernels(&self) -> bool {
        ["[vvar", "[vsyscall", "[vdso"]
            .iter()
            .any(|name| self.rest.contains(name))
    }
}

fn mappings(pid: u32) -> Vec<Mapping> {
    let parsed = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            rest: rest.to_owned(),
        })
    };
    text(pid, "maps").lines().filter_map(parsed).collect()
}

/// Notes every mapping, and its flags.
pub(super) fn layout(pid: u32, all: &mut BTreeMap<String, String>) {
    for mapping in mappings(pid) {
        // The stack grows down where it is used.
        let start = if mapping.rest.ends_with("[stack]") {
            0
        } else {
            mapping.start
        };
        let rest = mapping
            .rest
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        all.insert(
            format!("mapping {start:x}"),
            format!("{:x} {rest}", mapping.end),
        );
    }
    let mut start = String::new();
    for line in text(pid, "smaps").lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let flags = flags
                .split_whitespace()
                .filter(|flag| !FLAGS_LEFT_OUT.contains(flag));
            all.insert(
                format!("flags {start}"),
                flags.collect::<Vec<_>>().join(" "),
            );
        } else if let Some((range, _)) = line.split_once(' ')
            && range.contains('-')
        {
            let stack = line.ends_with("[stack]");
            start = if stack {
                "stack"
            } else {
                range.split('-').next().unwrap()
            }
            .to_owned();
        }
    }
}

/// Reads a mapping piece by piece, with `overlap` bytes of each piece before the next one. Pages
/// that are not there are left out.
fn pieces(pid: u32, mapping: &Mapping, overlap: usize, mut take: impl FnMut(u64, &[u8])) {
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
        return;
    };
    let map = File::open(format!("/proc/{pid}/pagemap")).ok();
    let there = |at: u64| {
        let mut entry = [0; 8];
        let place = at / PAGE_BYTES * 8;
        let read = map
            .as_ref()
            .is_some_and(|map| map.read_exact_at(&mut entry, place).is_ok());
        !read || u64::from_le_bytes(entry) & PRESENT != 0
    };
    let mut bytes = Vec::new();
    let mut at = mapping.start;
    while at < mapping.end {
        let end = (at + PIECE_BYTES).min(mapping.end);
        let mut page = at;
        while page < end {
            // A run of pages that are there, or a whole piece where it makes no difference.
            let from = page;
            while page < end && (!mapping.is_anonymous() || there(page)) {
                page += PAGE_BYTES;
            }
            if page > from {
                let length = usize::try_from(page - from).unwrap();
                let kept = bytes.len().min(overlap);
                bytes.drain(..bytes.len() - kept);
                bytes.resize(kept + length, 0);
                match memory.read_exact_at(&mut bytes[kept..], from) {
                    Ok(()) => take(from - kept as u64, &bytes),
                    Err(_) => bytes.clear(),
                }
            } else {
                bytes.clear();
                page += PAGE_BYTES;
            }
        }
        at = end;
    }
}

/// Which frame of the machine's memory holds each page from `start` on, for as many pages; none
/// where there is none.
pub(crate) fn frames(pid: u32, start: u64, pages: u64) -> Vec<Option<u64>> {
    let map = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let frame = |page: u64| {
        let mut entry = [0; 8];
        map.read_exact_at(&mut entry, (start / PAGE_BYTES + page) * 8)
            .unwrap();
        let entry = u64::from_le_bytes(entry);
        (entry & IN_MEMORY != 0).then_some(entry & FRAME)
    };
    (0..pages).map(frame).collect()
}

/// Mappings in which a needle stands.
pub(super) fn hits(pid: u32, needles: &Needles) -> Vec<String> {
    let mut found = Vec::new();
    for mapping in mappings(pid).iter().filter(|mapping| !mapping.is_kernels()) {
        let mut first = None;
        pieces(pid, mapping, needles.longest() - 1, |at, bytes| {
            if first.is_none() {
                first = needles.find(bytes).map(|offset| at + offset as u64);
            }
        });
        if let Some(at) = first {
            found.push(format!("memory at {at:x}, in {}", mapping.rest));
        }
    }
    found
}

/// Notes what stands in each private writable mapping, page by page.
pub(super) fn contents(pid: u32, all: &mut BTreeMap<String, String>) {
    let zeros = digest(&[0; PAGE]);
    for mapping in mappings(pid) {
        if mapping.is_kernels() || !mapping.is(1, b'w') || !mapping.is(3, b'p') {
            continue;
        }
        pieces(pid, &mapping, 0, |at, bytes| {
            for (page, content) in (0..).zip(bytes.chunks(PAGE)) {
                let sum = digest(content);
                // What was never written, and what is full of zeros, is the same to a program.
                if sum != zeros {
                    all.insert(
                        format!("page {:x}", at + page * PAGE_BYTES),
                        format!("{sum:x}"),
                    );
                }
            }
        });
    }
}
