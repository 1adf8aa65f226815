//! Reserved address space, and what may be done with it.
//!
//! A [`Mapping`] is one reservation that nothing else uses. Its pages are inaccessible until they
//! are opened or an image is laid over them. It is left out of core dumps and of child processes,
//! because it holds the state of requests. Deliberately absent: who owns which part of it.

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

/// Bytes of one page. The only page size of x86-64 that mappings are counted in.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Rounds up to whole pages.
pub(crate) const fn page_align(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

/// A range of reserved address space, given back when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is memory of the process, not of a thread; whoever holds the `Mapping` may use
// it from anywhere.
unsafe impl Send for Mapping {}
// SAFETY: every method that changes bytes or protections is told by its caller, in its contract,
// that nobody else uses the range at the same time; the others only read the two fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes, a multiple of the page size, all inaccessible.
    ///
    /// Fails where the process has no address space or no mappings left (`vm.max_map_count`).
    pub(crate) fn reserve(len: usize) -> io::Result<Self> {
        assert!(len.is_multiple_of(PAGE_BYTES) && len > 0);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: asks for fresh address space without naming an address, so nothing that exists is
        // touched.
        let base = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags) }?;
        let mapping = Self {
            base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            len,
        };
        mapping.advise(0, len, Advice::LinuxDontDump)?;
        mapping.advise(0, len, Advice::LinuxDontFork)?;
        Ok(mapping)
    }

    /// Address of the first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Makes `len` bytes from `offset` on readable and writable. Fresh ones read as zero.
    pub(crate) fn open(&self, offset: usize, len: usize) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in this reservation (checked by `at`), and opening takes no access
        // away.
        unsafe { mm::mprotect(self.at(offset, len), len, flags) }?;
        Ok(())
    }

    /// Gives the pages back and makes the range inaccessible, as if it had never been opened.
    ///
    /// Nobody may be using the range: the callers close only what lies behind a memory's size, or a
    /// whole area that is not current.
    pub(crate) fn close(&self, offset: usize, len: usize) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        let at = self.at(offset, len);
        // SAFETY: replaces pages of this very reservation (checked by `at`); the caller sees to it
        // that none of them is in use.
        unsafe { mm::mmap_anonymous(at, len, ProtFlags::empty(), flags) }?;
        self.advise(offset, len, Advice::LinuxDontDump)?;
        self.advise(offset, len, Advice::LinuxDontFork)
    }

    /// Lays the first `len` bytes of `file` privately over the range, readable and writable:
    /// reading shows the file's bytes, writing makes a copy of the page.
    ///
    /// Nobody may be using the range.
    pub(crate) fn lay(&self, offset: usize, len: usize, file: BorrowedFd<'_>) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let at = self.at(offset, len);
        // SAFETY: replaces pages of this very reservation (checked by `at`); the caller sees to it
        // that none of them is in use. The file is a sealed memfd, so it can neither shrink nor
        // change under the mapping.
        unsafe { mm::mmap(at, len, prot, flags, file, 0) }?;
        self.advise(offset, len, Advice::LinuxDontDump)?;
        self.advise(offset, len, Advice::LinuxDontFork)
    }

    /// Drops the private copies of pages, so that the next access shows the image again.
    ///
    /// Nobody may be using the range.
    pub(crate) fn drop_pages(&self, offset: usize, len: usize) -> io::Result<()> {
        self.advise(offset, len, Advice::LinuxDontNeed)
    }

    /// Reads a range in, which shows the image where nothing was written, so that later reads find
    /// every page. Old kernels (before Linux 5.14) refuse; reads then fault pages in one by one.
    pub(crate) fn read_in(&self, offset: usize, len: usize) -> io::Result<()> {
        self.advise(offset, len, Advice::LinuxPopulateRead)
    }

    fn advise(&self, offset: usize, len: usize, advice: Advice) -> io::Result<()> {
        // SAFETY: the range lies in this reservation. The one advice that changes bytes,
        // `DONTNEED`, is given by `drop_pages`, whose caller sees to it that nobody uses them.
        unsafe { mm::madvise(self.at(offset, len), len, advice) }?;
        Ok(())
    }

    /// The address of `offset`, once it is certain that `len` bytes from there lie inside.
    pub(crate) fn at(&self, offset: usize, len: usize) -> *mut c_void {
        assert!(
            offset.is_multiple_of(PAGE_BYTES)
                && offset.checked_add(len).is_some_and(|end| end <= self.len),
            "a range of {len} bytes at {offset} reaches out of a mapping of {} bytes",
            self.len
        );
        self.base.as_ptr().wrapping_add(offset).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the reservation is ours alone and whoever could reach into it has borrowed
        // `self`, which ends here.
        let gone = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
        if let Err(error) = gone {
            tracing::error!(%error, "address space could not be given back");
        }
    }
}
