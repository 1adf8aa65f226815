//! What a process has mapped where: asked mapping by mapping (`PROCMAP_QUERY`, Linux 6.11), or read
//! as the text that every kernel writes.
//!
//! Deliberately absent: names and flags of mappings, which only the text tells.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;

use rustix::process::Pid;
use usher_core::renewal::layout::{Access, Backing, Mapping};
use usher_core::renewal::runs::Span;

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::c_ulong = 0xC068_6611;
/// The mapping at the address, or the next one behind it.
const COVERING_OR_NEXT: u64 = 0x10;

const READABLE: u64 = 1;
const WRITABLE: u64 = 2;
const EXECUTABLE: u64 = 4;
const SHARED: u64 = 8;

/// `struct procmap_query` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

/// A mapping with its name, out of the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// The mapping.
    pub(crate) mapping: Mapping,
    /// The path of its file, or what the kernel calls it, in brackets; empty without either.
    pub(crate) name: String,
}

/// The mappings of a process, open for as long as this lives. They are those of the program which
/// the process executed when it was opened.
#[derive(Debug)]
pub(crate) struct Mappings {
    file: File,
    asked: bool,
}

impl Mappings {
    /// Opens those of `pid`; to be asked for one by one if `asked`, else read as text.
    pub(crate) fn open(pid: Pid, asked: bool) -> io::Result<Self> {
        let path = format!("/proc/{}/maps", pid.as_raw_nonzero());
        let file = File::open(path)?;
        Ok(Self { file, asked })
    }

    /// All of them, in ascending order. The process should not run meanwhile.
    pub(crate) fn all(&mut self) -> io::Result<Vec<Mapping>> {
        if self.asked {
            return self.ask();
        }
        Ok(self.named()?.into_iter().map(|one| one.mapping).collect())
    }

    /// Whether they are exactly `these`, which are in ascending order. The process should not run
    /// meanwhile.
    pub(crate) fn are(&mut self, these: &[Mapping]) -> io::Result<bool> {
        if !self.asked {
            return Ok(self.all()? == these);
        }
        let mut from = 0;
        for one in these {
            match self.next(from)? {
                Some(found) if found == *one => from = found.span.end,
                _ => return Ok(false),
            }
        }
        Ok(self.next(from)?.is_none())
    }

    fn ask(&self) -> io::Result<Vec<Mapping>> {
        let mut all = Vec::new();
        let mut from = 0;
        while let Some(mapping) = self.next(from)? {
            from = mapping.span.end;
            all.push(mapping);
        }
        if all.is_empty() {
            return Err(gone());
        }
        Ok(all)
    }

    /// The mapping at `address`, or the next one behind it.
    fn next(&self, address: u64) -> io::Result<Option<Mapping>> {
        let mut query = Query {
            size: size_of::<Query>() as u64,
            query_flags: COVERING_OR_NEXT,
            query_addr: address,
            ..Query::default()
        };
        let pointer: *mut Query = &raw mut query;
        // SAFETY: the kernel reads and fills a structure of this very layout and size, which lives
        // until it returns; no other memory is named in it.
        let done = unsafe { libc::ioctl(self.file.as_raw_fd(), PROCMAP_QUERY, pointer) };
        if done < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(None),
                _ => Err(error),
            };
        }
        let has = |flag| query.vma_flags & flag != 0;
        Ok(Some(mapping(
            Span::new(query.vma_start, query.vma_end),
            [has(READABLE), has(WRITABLE), has(EXECUTABLE), has(SHARED)],
            (query.dev_major, query.dev_minor),
            query.inode,
            query.vma_offset,
        )))
    }

    /// All of them with their names, read as text whatever was chosen.
    pub(crate) fn named(&mut self) -> io::Result<Vec<Found>> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let all: Option<Vec<_>> = text.lines().map(Found::parsed).collect();
        let mut all = all.ok_or_else(|| io::Error::other("a mapping's text cannot be read"))?;
        // A page of the kernel's that every process has, and that only the text tells of.
        all.retain(|one| one.name != "[vsyscall]");
        if all.is_empty() {
            return Err(gone());
        }
        Ok(all)
    }
}

impl Found {
    /// Reads one line as the kernel writes it.
    pub(crate) fn parsed(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let access = fields.next()?.as_bytes();
        let offset = hexadecimal(fields.next()?)?;
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = [major, minor].map(|part| u32::from_str_radix(part, 16).ok());
        let inode = fields.next()?.parse().ok()?;
        let name = fields.next().unwrap_or_default().trim_start().to_owned();
        let access = match *access {
            [read, write, execute, shared] => {
                [read == b'r', write == b'w', execute == b'x', shared == b's']
            }
            _ => return None,
        };
        let span = Span::new(hexadecimal(start)?, hexadecimal(end)?);
        let mapping = mapping(span, access, (device[0]?, device[1]?), inode, offset);
        Some(Self { mapping, name })
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn mapping(
    span: Span,
    [read, write, execute, shared]: [bool; 4],
    (major, minor): (u32, u32),
    inode: u64,
    offset: u64,
) -> Mapping {
    let device = u64::from(major) << 32 | u64::from(minor);
    let file = device != 0 || inode != 0;
    let access = Access {
        read,
        write,
        execute,
    };
    let backing = Backing {
        device,
        inode,
        // The kernel keeps a number here for memory without a file, which depends on its history.
        offset: if file { offset } else { 0 },
        shared,
    };
    Mapping {
        span,
        access,
        backing,
    }
}

fn gone() -> io::Error {
    io::Error::other("the program that was mapped is gone")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn both_ways_tell_the_same_of_a_process_that_does_not_run() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        // Asleep in its one call, it changes nothing.
        let state = || std::fs::read_to_string(format!("/proc/{}/wchan", pid.as_raw_nonzero()));
        while state().unwrap() != "hrtimer_nanosleep" {
            std::thread::yield_now();
        }
        let mut asked = Mappings::open(pid, true).unwrap();
        let mut read = Mappings::open(pid, false).unwrap();
        let (asked, read) = (asked.all(), read.all());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(asked.unwrap(), read.unwrap());
    }

    #[test]
    fn a_line_is_read_with_its_name() {
        let line = "7f00-8f00 rw-s 00001000 fe:0a 325843                     /a b (deleted)";
        let found = Found::parsed(line).unwrap();
        assert_eq!(found.name, "/a b (deleted)");
        assert_eq!(found.mapping.span, Span::new(0x7f00, 0x8f00));
        assert_eq!(found.mapping.backing.offset, 0x1000);
        assert_eq!(found.mapping.backing.device, 0xfe_0000_000a);
        assert!(found.mapping.backing.shared && !found.mapping.access.execute);
        for wrong in [
            "",
            "7f00 rw-p 0 0:0 0",
            "7f00-8f00 rw-p x 0:0 0",
            "a-b rwp 0 0:0 0",
        ] {
            assert_eq!(Found::parsed(wrong), None);
        }
    }

    #[test]
    fn a_process_that_is_gone_has_an_error_and_no_mappings() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let open = |asked| Mappings::open(Pid::from_child(&child), asked).unwrap();
        let all = [open(true), open(false)];
        child.kill().unwrap();
        child.wait().unwrap();
        for mut mappings in all {
            assert!(mappings.all().is_err());
        }
        assert!(Mappings::open(getpid(), false).unwrap().all().is_ok());
    }
}
