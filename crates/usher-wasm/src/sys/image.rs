//! The clean image of one memory: a sealed file in memory, and a read-only view of it.
//!
//! One image serves all areas of all environments of a revision: they map it privately, so a page
//! costs memory of its own only once it was written. Sealing makes it certain that it never
//! changes.
//!
//! Deliberately absent: which area is clean.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;

use rustix::fs::{self, MemfdFlags, SealFlags};

use super::mapping::{Mapping, PAGE_BYTES, page_align};

/// The bytes of one memory at the instant when its environment was ready.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    file: OwnedFd,
    view: Mapping,
    len: usize,
}

const ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

impl MemoryImage {
    /// Writes the pieces, each at its page-aligned offset, into a new image of `len` bytes and
    /// seals it. What no piece covers is zero. Pages of zeros take no room.
    ///
    /// Fails where no file in memory can be made or the machine has no memory left.
    pub(crate) fn of(pieces: &[(usize, &[u8])], len: usize) -> io::Result<Self> {
        let len = page_align(len).max(PAGE_BYTES);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = fs::memfd_create("usher-image", flags)?;
        fs::ftruncate(&file, len as u64)?;
        for &(at, bytes) in pieces {
            for (page, chunk) in bytes.chunks(PAGE_BYTES).enumerate() {
                if chunk != &ZERO_PAGE[..chunk.len()] {
                    write_all_at(&file, chunk, at + page * PAGE_BYTES)?;
                }
            }
        }
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fs::fcntl_add_seals(&file, seals)?;
        let view = Mapping::reserve(len)?;
        view.lay(0, len, file.as_fd())?;
        Ok(Self { file, view, len })
    }

    /// The image of `len` bytes that stand at `offset` of an area.
    ///
    /// Nobody may be writing there: the callers take images of environments that do not run.
    pub(crate) fn take(
        area: &Mapping,
        offset: usize,
        len: usize,
        image_len: usize,
    ) -> io::Result<Self> {
        let bytes = ptr::slice_from_raw_parts(area.at(offset, len).cast::<u8>(), len);
        // SAFETY: the range is open, lies in the mapping (checked by `at`), and is not written to
        // meanwhile.
        let bytes = unsafe { &*bytes };
        Self::of(&[(0, bytes)], image_len)
    }

    /// Bytes of the image, whole pages.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Maps the first `len` bytes privately at `offset` of an area that nobody uses.
    pub(crate) fn lay_over(&self, area: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        assert!(len <= self.len);
        area.lay(offset, len, self.file.as_fd())
    }

    /// Copies the bytes from `from` to `to` of the image over the same bytes of the area that
    /// begins at `offset`.
    ///
    /// Nobody may be using that area, and the range must be open.
    pub(crate) fn put_back(&self, area: &Mapping, offset: usize, from: usize, to: usize) {
        assert!(from <= to && to <= self.len);
        let source = self.view.at(from, to - from).cast::<u8>();
        let target = area.at(offset + from, to - from).cast::<u8>();
        // SAFETY: both ranges lie in their mappings (checked by `at`), are open and distinct; the
        // image is read-only for everybody and nobody uses the target, by this function's contract.
        unsafe { ptr::copy_nonoverlapping(source, target, to - from) };
    }

    /// Whether the bytes from `from` to `to` of the image equal those of the area that begins at
    /// `offset`.
    ///
    /// Nobody may be writing to that area, and the range must be open.
    pub(crate) fn equals(&self, area: &Mapping, offset: usize, from: usize, to: usize) -> bool {
        assert!(from <= to && to <= self.len);
        let len = to - from;
        let source = ptr::slice_from_raw_parts(self.view.at(from, len).cast::<u8>(), len);
        let target = ptr::slice_from_raw_parts(area.at(offset + from, len).cast::<u8>(), len);
        // SAFETY: the range lies in the view (checked by `at`), which is open and never written.
        let source = unsafe { &*source };
        // SAFETY: the range lies in the area (checked by `at`), is open, and is not written
        // meanwhile.
        let target = unsafe { &*target };
        source == target
    }
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut at: usize) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::pwrite(file, bytes, at as u64)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        at += written;
    }
    Ok(())
}
