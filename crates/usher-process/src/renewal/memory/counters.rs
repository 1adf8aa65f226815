//! The kernel's count of a program's own pages, by which a search is known to be complete.
//!
//! A search looks only where a program's own pages are expected. A program can have some elsewhere:
//! it may write its own text through procfs. The count tells that something was missed, if it is
//! exact; kernels have lazy counts as well, so it is tried on the program itself.
//!
//! Deliberately absent: the search.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::process::Pid;
use rustix::system::sysinfo;

use super::errors::Failed;
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::pages::page_bytes;

/// Bytes of the texts in which the kernel counts.
const TEXT_MAX_BYTES: usize = 4_096;
/// Bytes of randomness that make a page the program's own.
const TOUCH_BYTES: u64 = 8;

/// The kernel's count for one program, open for as long as this lives.
#[derive(Debug)]
pub(super) struct Counter {
    pages: File,
    status: File,
}

impl Counter {
    pub(super) fn open(pid: Pid) -> io::Result<Self> {
        let pid = pid.as_raw_nonzero();
        Ok(Self {
            pages: File::open(format!("/proc/{pid}/statm"))?,
            status: File::open(format!("/proc/{pid}/status"))?,
        })
    }

    /// How many pages are the program's own, present or swapped out.
    pub(super) fn own_pages(&self) -> Result<u64, Failed> {
        // The short text, which the kernel writes much faster, does not tell what was swapped out.
        let own = match sysinfo().totalswap {
            0 => present(&self.pages),
            _ => present_or_swapped(&self.status),
        };
        own.map_err(Failed::at("read the count of pages"))
    }
}

fn present(pages: &File) -> io::Result<u64> {
    let text = text(pages)?;
    let mut fields = text.split_whitespace().map(str::parse::<u64>);
    let all = fields.nth(1).and_then(Result::ok);
    let files = fields.next().and_then(Result::ok);
    let own = all.zip(files).map(|(all, files)| all.saturating_sub(files));
    own.ok_or_else(|| io::Error::other("no count of pages"))
}

fn present_or_swapped(status: &File) -> io::Result<u64> {
    let text = text(status)?;
    let bytes = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes = line.trim().strip_suffix(" kB")?.trim();
        kibibytes.parse::<u64>().ok()?.checked_mul(1_024)
    };
    let own = bytes("RssAnon:").zip(bytes("VmSwap:"));
    let own = own.map(|(present, swapped)| (present + swapped) / page_bytes());
    own.ok_or_else(|| io::Error::other("no count of pages"))
}

fn text(file: &File) -> io::Result<String> {
    let mut bytes = [0; TEXT_MAX_BYTES];
    let len = file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned())
}

/// Whether the count follows a single page at once, when the program touches it and when it is
/// gone.
pub(super) fn are_exact(
    counter: &Counter,
    stopped: &mut Stopped,
    agent: &Agent,
) -> Result<bool, Failed> {
    const STEP: &str = "map a page to try the kernel's counters";
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let bytes = page_bytes();
    let arguments = [
        0_u64.into(),
        bytes.into(),
        rights.into(),
        flags.into(),
        (-1).into(),
    ];
    let map = Call::new(libc::SYS_mmap, arguments);
    let page = one(stopped, agent, map, Expect::Ok).map_err(Failed::by_program(STEP))?;
    let page = page.cast_unsigned();
    let before = counter.own_pages()?;
    let touch = Call::new(libc::SYS_getrandom, [page.into(), TOUCH_BYTES.into()]);
    let touched = Expect::Value(TOUCH_BYTES.cast_signed());
    one(stopped, agent, touch, touched).map_err(Failed::by_program(STEP))?;
    let with = counter.own_pages()?;
    let unmap = Call::new(libc::SYS_munmap, [page.into(), bytes.into()]);
    one(stopped, agent, unmap, Expect::Value(0)).map_err(Failed::by_program(STEP))?;
    Ok(with == before + 1 && counter.own_pages()? == before)
}

fn one(
    stopped: &mut Stopped,
    agent: &Agent,
    call: Call,
    expect: Expect,
) -> Result<i64, crate::renewal::stopped::InjectError> {
    let mut batch = Batch::new();
    let place = batch.call(call, expect);
    let answers = stopped.run(agent, &batch)?;
    Ok(answers.value(place).unwrap_or(-1))
}
