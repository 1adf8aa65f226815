//! The area that a run has used, set aside: its frames, which nothing but this holds any more.
//!
//! ```text
//!  pages of the program ─vmsplice→ pipes, whose reading ends are ours ─dropped→ frames free
//! ```
//!
//! While they are held none of them can come to be in a program's area. They are in no address
//! space, so that no program can read them or write to them; and they count as memory of the
//! program that used them until they are given back, which is when this is dropped.
//!
//! An area on another device is set aside by name only: it is in no address space either, and is
//! compared with the image and written anew.
//!
//! Deliberately absent: when that is.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::device::Scrub;
use crate::sys::pages::page_bytes;

/// Pages that a pipe holds: what the kernel lets anybody ask for (`fs.pipe-max-size`), with pages
/// of 4 KiB.
pub(super) const PIPE_MAX_PAGES: u64 = 256;

/// Frames that were used.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The ends at which they could be read.
    pipes: Vec<OwnedFd>,
    /// An area on another device.
    device: Option<Scrub>,
}

impl Aside {
    /// An area on another device.
    pub(super) fn of(device: Scrub) -> Self {
        Self {
            pipes: Vec::new(),
            device: Some(device),
        }
    }

    /// Gives frames back; makes an area on another device what the image is, and returns how many
    /// bytes of it that took.
    ///
    /// # Errors
    ///
    /// The device failed, or is full.
    pub(crate) fn scrub(self) -> io::Result<u64> {
        self.device.map_or(Ok(0), Scrub::run)
    }

    /// Takes the end `number` of a pipe of the stopped program, and makes room in it for `pages`.
    pub(super) fn take(&mut self, program: Pid, number: i32, pages: u64) -> io::Result<()> {
        let program = pidfd_open(program, PidfdFlags::empty())?;
        let pipe = pidfd_getfd(&program, number, PidfdGetfdFlags::empty())?;
        let bytes = usize::try_from(pages * page_bytes()).map_err(io::Error::other)?;
        if fcntl_getpipe_size(&pipe)? < bytes {
            fcntl_setpipe_size(&pipe, bytes)?;
        }
        self.pipes.push(pipe);
        Ok(())
    }

    /// Everything in it, which is then in it no longer.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut piece = vec![0; 1 << 16];
        for pipe in &self.pipes {
            loop {
                match rustix::io::read(pipe, &mut piece)? {
                    0 => break,
                    read => all.extend(&piece[..read]),
                }
            }
        }
        Ok(all)
    }
}
