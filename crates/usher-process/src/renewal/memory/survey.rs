//! What a program's mappings are, and what is done with each when the image is taken.
//!
//! ```text
//!  shared, huge, watched, keyed, growing …            the program is not renewable
//!  [vdso] [vvar], droppable, files without changes    left alone
//!  [stack], locked, wiped on fork                     kept aside: copied back each time
//!  everything else that was written                   becomes part of the image
//! ```
//!
//! A file that the program could write is not left alone: what the mapping shows would change with
//! it. So all of it that is mapped becomes part of the image.
//!
//! Deliberately absent: pages, see `parts`.

use std::fs::{self, File};
use std::io::{self, Read as _};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::Pid;
use usher_core::renewal::runs::Span;

use super::errors::Unfit;
use crate::sys::pages::{Found, TOP};

/// Bytes of mapped files that the program could write, all together.
const WRITABLE_FILES_MAX_BYTES: u64 = 256 << 20;

/// A mapping and everything that the kernel tells of it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) found: Found,
    /// Two letters each, as in `/proc/PID/smaps`.
    pub(super) flags: Vec<String>,
    /// Whether any page is present, or swapped out.
    pub(super) populated: bool,
    /// The number of its protection key.
    key: u64,
}

impl Told {
    /// Whether the kernel notes this flag.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }

    pub(super) fn span(&self) -> Span {
        self.found.mapping.span
    }

    /// How it is mapped.
    pub(super) fn manner(&self) -> Manner {
        let advised = ADVISED.iter().filter(|(flag, _)| self.has(flag));
        Manner {
            unreserved: self.has("nr"),
            was_written: self.has("ac") && !self.found.mapping.access.write,
            advice: advised.map(|(_, advice)| *advice).collect(),
        }
    }

    fn unfit(&self, what: &'static str) -> Unfit {
        Unfit {
            what,
            span: self.span(),
            name: self.found.name.clone(),
        }
    }
}

/// What is done with a mapping.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Treatment {
    /// Nothing. Pages that become the program's own are dropped.
    Leave,
    /// Its pages are saved, and copied back each time.
    Keep,
    /// What was written becomes part of the image.
    Image(Manner),
    /// All of it that the file has becomes part of the image.
    Whole(Manner),
}

/// How a part of the image is mapped, besides its protection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Manner {
    /// Without a claim to memory.
    pub(super) unreserved: bool,
    /// The program may not write there, and once could, which the kernel remembers.
    pub(super) was_written: bool,
    /// What the kernel is told about it, values of `madvise`.
    pub(super) advice: Vec<libc::c_int>,
}

/// Flags with which a mapping cannot be put back, and what they mean.
const REFUSED: [(&str, &str); 9] = [
    ("ht", "huge pages of a pool"),
    ("um", "memory whose faults another process serves"),
    ("uw", "memory whose writes another process watches"),
    ("ui", "memory whose faults another process serves"),
    ("ss", "a shadow stack"),
    ("mg", "memory that may be merged with that of others"),
    ("pf", "memory of a device"),
    ("io", "memory of a device"),
    ("mm", "memory of a device"),
];

/// Flags that a part of the image gets again, and the advice that does it.
const ADVISED: [(&str, libc::c_int); 6] = [
    ("sr", libc::MADV_SEQUENTIAL),
    ("rr", libc::MADV_RANDOM),
    ("dc", libc::MADV_DONTFORK),
    ("dd", libc::MADV_DONTDUMP),
    ("hg", libc::MADV_HUGEPAGE),
    ("nh", libc::MADV_NOHUGEPAGE),
];

/// Reads what the kernel tells of all mappings of `pid`, which should not run meanwhile.
pub(super) fn told(pid: Pid) -> io::Result<Vec<Told>> {
    let path = format!("/proc/{}/smaps", pid.as_raw_nonzero());
    let mut text = Vec::new();
    File::open(path)?.read_to_end(&mut text)?;
    let mut all: Vec<Told> = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some(found) = Found::parsed(line) {
            all.push(Told {
                found,
                flags: Vec::new(),
                populated: false,
                key: 0,
            });
            continue;
        }
        let Some((told, (field, value))) = all.last_mut().zip(line.split_once(':')) else {
            return Err(io::Error::other("a mapping's text cannot be read"));
        };
        match field {
            "VmFlags" => told.flags = value.split_whitespace().map(str::to_owned).collect(),
            "ProtectionKey" => told.key = value.trim().parse().map_err(io::Error::other)?,
            "Rss" | "Swap" => told.populated |= value.trim() != "0 kB",
            _ => {}
        }
    }
    all.retain(|told| told.found.name != "[vsyscall]");
    if all.is_empty() || all.iter().any(|told| told.flags.is_empty()) {
        return Err(io::Error::other("the kernel tells no flags of mappings"));
    }
    Ok(all)
}

/// Decides about every mapping. `own`: whether the program has pages of its own there.
pub(super) fn treatments(
    pid: Pid,
    told: &[Told],
    own: impl Fn(Span) -> bool,
) -> Result<Vec<Treatment>, Unfit> {
    let mut writable_bytes = 0;
    let mut treatments = Vec::with_capacity(told.len());
    for one in told {
        let treatment = treatment(pid, one, own(one.span()))?;
        if let Treatment::Whole(_) = treatment {
            writable_bytes += one.span().len();
            if writable_bytes > WRITABLE_FILES_MAX_BYTES {
                return Err(one.unfit("too many bytes of files that it could write"));
            }
        }
        treatments.push(treatment);
    }
    Ok(treatments)
}

fn treatment(pid: Pid, told: &Told, own: bool) -> Result<Treatment, Unfit> {
    let mapping = &told.found.mapping;
    match told.found.name.as_str() {
        "[vdso]" => return Ok(Treatment::Leave),
        name if name.starts_with("[vvar") => return Ok(Treatment::Leave),
        "[stack]" => return Ok(Treatment::Keep),
        _ => {}
    }
    if let Some((_, what)) = REFUSED.iter().find(|(flag, _)| told.has(flag)) {
        return Err(told.unfit(what));
    }
    if mapping.span.end > TOP {
        return Err(told.unfit("memory above the usual addresses"));
    }
    let anonymous = mapping.backing.is_anonymous();
    let fixed = anonymous || is_fixed(pid, told.span());
    if mapping.backing.shared {
        return match fixed && !anonymous && !told.has("mw") {
            true => Ok(Treatment::Leave),
            false => Err(told.unfit("shared memory")),
        };
    }
    if told.has("gd") {
        return Err(told.unfit("memory that grows by itself"));
    }
    if told.key != 0 {
        return Err(told.unfit("memory with a protection key"));
    }
    if told.has("sl") && (own || !fixed) {
        return Err(told.unfit("changed memory that is sealed"));
    }
    // Its contract is that it may vanish at any moment.
    if told.has("dp") {
        return Ok(Treatment::Leave);
    }
    if told.has("wf") || told.has("lo") {
        return Ok(Treatment::Keep);
    }
    if !fixed && !is_regular(pid, told.span()) {
        return Err(told.unfit("memory of a device"));
    }
    let manner = told.manner();
    Ok(match (fixed, own) {
        (false, _) => Treatment::Whole(manner),
        (true, true) => Treatment::Image(manner),
        (true, false) => Treatment::Leave,
    })
}

/// Whether the file that is mapped there is on a mount that nobody can write through. Another way
/// to the file is the platform's alone.
fn is_fixed(pid: Pid, span: Span) -> bool {
    let path = mapped_file(pid, span);
    statvfs(path).is_ok_and(|told| told.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether it is the bytes of a file that are mapped there.
fn is_regular(pid: Pid, span: Span) -> bool {
    fs::metadata(mapped_file(pid, span)).is_ok_and(|file| file.is_file())
}

/// Bytes of the file that is mapped there; an error where there is none.
pub(super) fn file_bytes(pid: Pid, span: Span) -> io::Result<u64> {
    Ok(fs::metadata(mapped_file(pid, span))?.len())
}

/// Where the kernel shows the file that is mapped at exactly this place.
pub(super) fn mapped_file(pid: Pid, span: Span) -> String {
    let pid = pid.as_raw_nonzero();
    format!("/proc/{pid}/map_files/{:x}-{:x}", span.start, span.end)
}
