//! The kernel's count of a program's own pages, by which a search is known to be complete.
//!
//! A search looks only where a program's own pages are expected. A program can have some elsewhere:
//! it may write its own text through procfs. The count tells that something was missed, if it is
//! exact; kernels have lazy counts as well, so it is tried on the program itself.
//!
//! Deliberately absent: the search.

use std::fs;
use std::io;

use rustix::process::Pid;

use super::errors::Failed;
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::pages::page_bytes;

/// Bytes of randomness that make a page the program's own.
const TOUCH_BYTES: u64 = 8;

/// How many pages are the program's own, present or swapped out, by the kernel's count.
pub(super) fn own_pages(pid: Pid) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes = line.trim().strip_suffix(" kB")?.trim();
        kibibytes.parse::<u64>().ok()?.checked_mul(1_024)
    };
    let present = bytes("RssAnon:").ok_or_else(|| io::Error::other("no count of pages"))?;
    // Kernels that cannot swap do not tell.
    let swapped = bytes("VmSwap:").unwrap_or(0);
    Ok((present + swapped) / page_bytes())
}

/// Whether the count follows a single page at once, when the program touches it and when it is
/// gone.
pub(super) fn are_exact(stopped: &mut Stopped, agent: &Agent) -> Result<bool, Failed> {
    const STEP: &str = "map a page to try the kernel's counters";
    let count =
        |stopped: &Stopped| own_pages(stopped.pid()).map_err(Failed::at("read the count of pages"));
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
    let before = count(stopped)?;
    let touch = Call::new(libc::SYS_getrandom, [page.into(), TOUCH_BYTES.into()]);
    let touched = Expect::Value(TOUCH_BYTES.cast_signed());
    one(stopped, agent, touch, touched).map_err(Failed::by_program(STEP))?;
    let with = count(stopped)?;
    let unmap = Call::new(libc::SYS_munmap, [page.into(), bytes.into()]);
    one(stopped, agent, unmap, Expect::Value(0)).map_err(Failed::by_program(STEP))?;
    Ok(with == before + 1 && count(stopped)? == before)
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
