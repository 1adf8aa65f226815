//! Which pages of an area were written since its image was laid, asked of the kernel at little
//! cost.
//!
//! Every page of the area is write-protected for a userfaultfd in asynchronous mode (Linux 6.7):
//! the first write to a page takes the protection away by itself, nobody is told, and a scan for
//! pages without protection is a walk over the page tables and nothing more. Pages that were
//! written once stay unprotected, and are put back each time, so that steady state has no faults.
//!
//! Where the kernel gives no userfaultfd, [`Written::probe`] says so, and the scan for private
//! pages (`pagemap`) takes its place.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::mm::{UserfaultfdFlags, userfaultfd};

use super::mapping::{Mapping, PAGE_BYTES};
use super::pagemap::{Pagemap, Wanted};

/// `UFFD_USER_MODE_ONLY`: faults of the kernel itself are not served, and none are needed.
const USER_MODE_ONLY: u32 = 1;

const API: u64 = 0xAA;
const FEATURE_WP_SHMEM: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_WP: u64 = 1 << 1;
const PROTECT: u64 = 1 << 0;

/// `_IOWR(0xAA, 0x3F, struct uffdio_api)`.
const UFFDIO_API: libc::c_ulong = 0xC018_AA3F;
/// `_IOWR(0xAA, 0x00, struct uffdio_register)`.
const UFFDIO_REGISTER: libc::c_ulong = 0xC020_AA00;
/// `_IOWR(0xAA, 0x06, struct uffdio_writeprotect)`.
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xC018_AA06;

/// The process's userfaultfd, which notes writes to the areas it was told of.
#[derive(Debug)]
pub(crate) struct Written(OwnedFd);

impl Written {
    /// Opens one and shows by behaviour that it can be relied upon: a page that was written is
    /// found; one that was only read, and one that was never touched, are not. `None` where that
    /// fails.
    pub(crate) fn probe(pagemap: &Pagemap) -> Option<Self> {
        let written = Self::open().ok()?;
        let works = written.finds_what_it_should(pagemap).unwrap_or(false);
        works.then_some(written)
    }

    fn open() -> io::Result<Self> {
        let flags = UserfaultfdFlags::from_bits_retain(USER_MODE_ONLY) | UserfaultfdFlags::CLOEXEC;
        // SAFETY: nothing is registered yet, so no access of anybody waits for an answer of ours;
        // in asynchronous mode none ever will.
        let fd = unsafe { userfaultfd(flags) }?;
        let mut api = [
            API,
            FEATURE_WP_SHMEM | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC,
            0,
        ];
        control(&fd, UFFDIO_API, &mut api)?;
        Ok(Self(fd))
    }

    fn finds_what_it_should(&self, pagemap: &Pagemap) -> io::Result<bool> {
        const LEN: usize = 4 * PAGE_BYTES;
        let image = super::image::MemoryImage::of(&[(0, &[7; LEN])], LEN)?;
        let area = Mapping::reserve(LEN)?;
        image.lay_over(&area, 0, LEN)?;
        self.watch(&area, 0, LEN)?;
        let first = area.base().as_ptr();
        // SAFETY: the page was just laid, readable and writable, and nobody else knows of it.
        unsafe { first.read_volatile() };
        let second = first.wrapping_add(PAGE_BYTES);
        // SAFETY: as above, one page further.
        unsafe { second.write_volatile(1) };
        let found = || {
            let mut found = Vec::new();
            pagemap.scan(&area, 0, LEN, Wanted::Written, |from, to| {
                found.push((from, to))
            })?;
            io::Result::Ok(found)
        };
        let once = found()? == [(PAGE_BYTES, 2 * PAGE_BYTES)];
        area.drop_pages(PAGE_BYTES, PAGE_BYTES)?;
        self.protect(&area, PAGE_BYTES, PAGE_BYTES)?;
        Ok(once && found()?.is_empty())
    }

    /// Begins to note writes to a range that an image was just laid over.
    pub(crate) fn watch(&self, mapping: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        let start = mapping.at(offset, len).addr() as u64;
        let mut register = [start, len as u64, REGISTER_WP, 0];
        control(&self.0, UFFDIO_REGISTER, &mut register)?;
        self.protect(mapping, offset, len)
    }

    /// Notes the next write to pages anew, whose private copies were dropped.
    pub(crate) fn protect(&self, mapping: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        let start = mapping.at(offset, len).addr() as u64;
        control(
            &self.0,
            UFFDIO_WRITEPROTECT,
            &mut [start, len as u64, PROTECT],
        )
    }
}

/// One control call with an argument of 64-bit fields.
fn control<const N: usize>(
    fd: &OwnedFd,
    request: libc::c_ulong,
    argument: &mut [u64; N],
) -> io::Result<()> {
    let argument: *mut [u64; N] = argument;
    // SAFETY: the argument has the layout that the request names (all of its fields are 64 bits
    // wide), lives as long as the call, and the ranges in it were checked by `Mapping::at`.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
