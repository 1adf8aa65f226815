//! The clean image of a program's memory: a file in memory that is sealed, so that nobody can ever
//! change it, with views of its parts.
//!
//! Every part has a slot of its own, and between two slots there is more room than any mapping can
//! take up: a program that makes a mapping grow sees zeros behind its part, never the next part.
//! The holes take no memory. Deliberately absent: what is in the parts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// What the kernel calls such a file.
pub(crate) const IMAGE_NAME: &str = "usher-image";
/// Bytes from slot to slot: all the addresses that a process can have.
const SLOT_BYTES: u64 = 1 << 48;
/// Slots of one image.
pub(crate) const SLOTS_MAX: usize = 4_096;

/// The number of a part's place in the image.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Slot(pub(crate) u16);

impl Slot {
    /// Where it begins in the file, in bytes.
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.0) * SLOT_BYTES
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct Image(OwnedFd);

impl Image {
    /// An empty image, not yet sealed.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(Self(memfd_create(IMAGE_NAME, flags)?))
    }

    /// Makes room for `slots` slots.
    pub(crate) fn grow(&mut self, slots: usize) -> io::Result<()> {
        if slots > SLOTS_MAX {
            return Err(io::Error::other(format!(
                "an image cannot have {slots} parts; {SLOTS_MAX} is the most"
            )));
        }
        Ok(ftruncate(&self.0, slots as u64 * SLOT_BYTES)?)
    }

    /// From now on nobody can change it, whoever has a descriptor of it.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        Ok(fcntl_add_seals(&self.0, seals)?)
    }

    /// Device, as mappings tell it, and number of the file.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.0)?;
        let major = rustix::fs::major(stat.st_dev);
        let minor = rustix::fs::minor(stat.st_dev);
        Ok((u64::from(major) << 32 | u64::from(minor), stat.st_ino))
    }

    /// The file itself.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The first `len` bytes, whole pages, of a slot. Only a sealed image has views.
    pub(crate) fn view(&self, slot: Slot, len: usize) -> io::Result<View> {
        let seals = rustix::fs::fcntl_get_seals(&self.0)?;
        if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
            return Err(io::Error::other(
                "an image is viewed only when it is sealed",
            ));
        }
        // SAFETY: a new mapping, where nothing is.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                &self.0,
                slot.offset(),
            )
        }?;
        Ok(View {
            base: base.cast(),
            len,
        })
    }
}

/// Bytes of a sealed image.
#[derive(Debug)]
pub(crate) struct View {
    base: *const u8,
    len: usize,
}

// SAFETY: the bytes are only read, and nothing about the mapping belongs to one thread.
unsafe impl Send for View {}

// SAFETY: as above; many may read them at once.
unsafe impl Sync for View {}

impl View {
    /// All the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is this one's alone and lives as long; the file behind it is sealed
        // against writing and shrinking, so the bytes are there and never change.
        unsafe { std::slice::from_raw_parts(self.base, self.len) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let base = self.base.cast_mut().cast();
        // SAFETY: the mapping is this one's alone, and every borrow of its bytes has ended.
        // Nothing can be done about a failure, and there is none for a mapping that is whole.
        let _ = unsafe { munmap(base, self.len) };
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_image_is_viewed_and_never_changed() {
        let mut image = Image::new().unwrap();
        image.grow(SLOTS_MAX).unwrap();
        let last = Slot(u16::try_from(SLOTS_MAX - 1).unwrap());
        rustix::io::pwrite(image.file(), b"clean", last.offset()).unwrap();
        assert!(
            image.view(last, 4_096).is_err(),
            "viewed before it was sealed"
        );
        image.seal().unwrap();
        assert_eq!(image.view(last, 4_096).unwrap().bytes()[..6], *b"clean\0");
        for slot in [Slot(0), last] {
            assert!(rustix::io::pwrite(image.file(), b"dirty", slot.offset()).is_err());
        }
        assert!(image.grow(1).is_err());
        assert!(Image::new().unwrap().grow(SLOTS_MAX + 1).is_err());
        assert!(rustix::fs::fstat(image.file()).unwrap().st_blocks <= 16);
    }
}
