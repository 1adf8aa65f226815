//! The memory of a sandbox that no control group bounds, added up from what the kernel tells of
//! each process.
//!
//! What several processes share counts several times, so that the sum is too large rather than too
//! small. Deliberately absent: what follows from it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags, openat, statvfs};

/// Folders whose files are memory.
const IN_MEMORY: [&str; 2] = ["/tmp", "/dev/shm"];
/// Lines of a process's status that count.
const COUNTED: [&str; 3] = ["RssAnon:", "RssShmem:", "VmSwap:"];

/// Bytes in use by all processes in `processes`, a list as in `/proc`, and by files in memory.
pub(super) fn used_bytes(processes: &OwnedFd) -> io::Result<u64> {
    let mut used: u64 = 0;
    // A mount is no open folder.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(processes, ".", flags, Mode::empty())?)? {
        let name = entry?.file_name().to_owned();
        if !name.to_bytes().iter().all(u8::is_ascii_digit) || name.to_bytes() == b"1" {
            continue;
        }
        // One that has gone since uses nothing.
        used = used.saturating_add(of_process(processes, &name).unwrap_or(0));
    }
    for folder in IN_MEMORY {
        let about = statvfs(folder)?;
        let blocks = about.f_blocks.saturating_sub(about.f_bfree);
        used = used.saturating_add(blocks.saturating_mul(about.f_frsize));
    }
    Ok(used)
}

fn of_process(processes: &OwnedFd, name: &std::ffi::CStr) -> Option<u64> {
    let path = format!("{}/status", name.to_str().ok()?);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(processes, path, flags, Mode::empty()).ok()?;
    let mut status = String::new();
    File::from(file).read_to_string(&mut status).ok()?;
    let lines = status.lines().filter_map(|line| {
        let (name, rest) = line.split_once('\t')?;
        let counted = COUNTED.contains(&name);
        let kib = rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?;
        counted.then(|| kib.saturating_mul(1 << 10))
    });
    Some(lines.sum())
}
