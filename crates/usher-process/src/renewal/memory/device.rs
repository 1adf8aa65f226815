//! Areas of a program's memory on other devices: files there that take turns with the image.
//!
//! ```text
//!  file: made and filled ─► clean ─► shown to the program, which writes to it ─► used
//!            clean ◄─ compared with the image, and written anew where it differs ─┘
//! ```
//!
//! The program's addresses stay; what is behind those parts of its image that it may write is the
//! file, shared, so that what it writes goes to the file's device and nowhere else. Before the
//! program is put back the image is mapped over it, and the used file is in nobody's memory from
//! then on. It is scrubbed behind the next request.
//!
//! A shared mapping is not copied when the program forks: such programs are not let fork. The
//! stack, and what a run maps anew, stay in the machine's own memory.
//!
//! Deliberately absent: when which area is shown; bounds on the device, which is its owner's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, StatVfsMountFlags, fallocate, fstat, statvfs};
use usher_core::renewal::layout::{Access, Backing, Mapping, repairs};

use super::calls;
use super::errors::Failed;
use super::handover;
use super::parts::Part;
use super::repair::place;
use super::sample::Undetermined;
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::image::Image;
use crate::sys::pages::{Mappings, page_bytes};

/// What the files are called for the moment before they lose their names.
pub(crate) const AREA_NAME: &str = "usher-area";
/// Bytes that are compared at once.
const PIECE_BYTES: usize = 1 << 20;

/// The areas of one program, which take turns.
#[derive(Debug)]
pub(super) struct Areas {
    /// None: the image itself, in the machine's memory.
    areas: [Option<Area>; 2],
    /// That of the run before; none before the first one.
    former: Option<usize>,
    shown: Option<usize>,
}

/// A file on a device that a program's memory can be in.
#[derive(Debug)]
pub(super) struct Area {
    file: Arc<File>,
    image: Arc<File>,
    /// Device and number of the file, as mappings tell them.
    identity: (u64, u64),
    places: Arc<[Place]>,
    clean: Arc<Mutex<bool>>,
}

/// Where a part is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The part's number.
    part: usize,
    /// Where it begins in the file, and in the image.
    offset: u64,
    image_offset: u64,
    bytes: u64,
}

/// Work that makes a used area clean. Nobody waits for it but who shows the area next.
#[derive(Debug)]
#[must_use = "a used area is not clean before it was scrubbed"]
pub(crate) struct Scrub {
    file: Arc<File>,
    image: Arc<File>,
    places: Arc<[Place]>,
    clean: Arc<Mutex<bool>>,
}

impl Areas {
    /// Makes them; the program is shown none of them yet.
    ///
    /// # Errors
    ///
    /// See [`Area::make`].
    pub(super) fn make(
        folders: [Option<&Path>; 2],
        image: &Image,
        parts: &[Part],
    ) -> Result<Self, Failed> {
        let [first, second] = folders.map(|folder| {
            let made = folder.map(|folder| Area::make(folder, image, parts));
            made.transpose()
        });
        Ok(Self {
            areas: [first?, second?],
            former: None,
            shown: None,
        })
    }

    /// Maps the image again over the area that is shown.
    pub(super) fn leave(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        image: &Image,
        parts: &[Part],
    ) -> Result<(), Failed> {
        self.former = self.shown;
        let shown = self.shown.and_then(|shown| self.areas.get(shown));
        let Some(Some(area)) = shown else {
            return Ok(());
        };
        let number = handover::give(stopped, agent, image.file())?;
        let mut batch = Batch::new();
        for part in area.places.iter().filter_map(|place| parts.get(place.part)) {
            calls::map_part(&mut batch, part, part.span, number);
        }
        let close = Call::new(libc::SYS_close, [number.into()]);
        batch.call(close, Expect::Value(0));
        let done = stopped.run(agent, &batch);
        done.map_err(Failed::by_program("map the image over a used area"))?;
        Ok(())
    }

    /// Shows the next one; returns what makes the one that was left clean.
    pub(super) fn show_next(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        parts: &[Part],
        mappings: &mut Mappings,
    ) -> Result<Option<Scrub>, Failed> {
        let left = self.former.and_then(|left| self.areas.get(left)?.as_ref());
        let scrub = left.map(Area::scrub);
        let next = self.next();
        if let Some(Some(area)) = self.areas.get(next) {
            area.show(stopped, agent, parts, mappings)?;
        }
        self.shown = Some(next);
        Ok(scrub)
    }

    /// Whether a program has another area than in the run before, by what the kernel tells of its
    /// mapping at `address`, which is in a part that the program may write.
    pub(super) fn determine(
        &self,
        image: (u64, u64),
        address: u64,
        mappings: &[Mapping],
    ) -> Result<(), Undetermined> {
        let next = self.areas.get(self.next()).and_then(Option::as_ref);
        let wanted = next.map_or((image, false), |area| (area.identity, true));
        let there = |one: &&Mapping| one.span.start <= address && address < one.span.end;
        let found = mappings.iter().find(there).ok_or(Undetermined::Elsewhere)?;
        let found = found.backing;
        match ((found.device, found.inode), found.shared) == wanted {
            true => Ok(()),
            false => Err(Undetermined::Elsewhere),
        }
    }

    fn next(&self) -> usize {
        self.former
            .map_or(0, |former| (former + 1) % self.areas.len())
    }
}

impl Area {
    /// Makes a file in `folder` with room for all that the program may write of `parts`, and fills
    /// it. It has no name: it is gone when nobody uses it any more.
    ///
    /// # Errors
    ///
    /// The folder cannot be written, its device has no room, or nothing there may be executed.
    fn make(folder: &Path, image: &Image, parts: &[Part]) -> Result<Self, Failed> {
        let make = Failed::at("make an area on a device for the memory");
        Self::made(folder, image, parts).map_err(make)
    }

    fn made(folder: &Path, image: &Image, parts: &[Part]) -> io::Result<Self> {
        // A program may ask that memory which it has written can be executed.
        if statvfs(folder)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(io::Error::other(format!(
                "{} is mounted so that nothing there can be executed",
                folder.display()
            )));
        }
        let mut named = tempfile::Builder::new();
        let file = named.prefix(AREA_NAME).tempfile_in(folder)?;
        let file = file.into_file();
        let mut places = Vec::new();
        let mut offset = 0;
        for (number, part) in parts.iter().enumerate() {
            if !is_moved(part) {
                continue;
            }
            let place = Place {
                part: number,
                offset,
                image_offset: part.slot.offset(),
                bytes: part.span.len(),
            };
            fallocate(&file, FallocateFlags::empty(), offset, place.bytes)?;
            places.push(place);
            // A page between two parts, or the kernel would take them for one.
            offset += place.bytes + page_bytes();
        }
        let stat = fstat(&file)?;
        let major = u64::from(rustix::fs::major(stat.st_dev));
        let minor = u64::from(rustix::fs::minor(stat.st_dev));
        let area = Self {
            file: Arc::new(file),
            image: Arc::new(File::from(image.file().try_clone_to_owned()?)),
            identity: (major << 32 | minor, stat.st_ino),
            places: places.into(),
            clean: Arc::default(),
        };
        area.scrub().run()?;
        Ok(area)
    }

    /// Shows this area to a program that was put back, and sees in the kernel's own list that it is
    /// what the program has from now on.
    ///
    /// # Errors
    ///
    /// It is not clean; the program could not be made to map it, or shows something else.
    fn show(
        &self,
        stopped: &mut Stopped,
        agent: &Agent,
        parts: &[Part],
        mappings: &mut Mappings,
    ) -> Result<(), Failed> {
        if !std::mem::take(&mut *self.clean.lock()) {
            return Err(Failed::Unscrubbed);
        }
        let number = handover::give(stopped, agent, self.file.as_fd())?;
        let mut batch = Batch::new();
        let mut wanted = Vec::new();
        for place in self.places.iter() {
            if let Some(part) = parts.get(place.part) {
                calls::map_shared(&mut batch, part, number, place.offset);
                wanted.push(self.mapping(part, place));
            }
        }
        let close = Call::new(libc::SYS_close, [number.into()]);
        batch.call(close, Expect::Value(0));
        let done = stopped.run(agent, &batch);
        done.map_err(Failed::by_program("map an area on a device"))?;
        let now = mappings.all().map_err(Failed::at("read the mappings"))?;
        let of_parts = |one: &&Mapping| wanted.iter().any(|all| all.span.holds(one.span));
        let now: Vec<_> = now.iter().filter(of_parts).copied().collect();
        match repairs(&wanted, &now).first() {
            None => Ok(()),
            Some(step) => Err(Failed::Unrepaired(place(step))),
        }
    }

    /// What must be done before the area is shown again.
    fn scrub(&self) -> Scrub {
        Scrub {
            file: self.file.clone(),
            image: self.image.clone(),
            places: self.places.clone(),
            clean: self.clean.clone(),
        }
    }

    fn mapping(&self, part: &Part, place: &Place) -> Mapping {
        let (device, inode) = self.identity;
        Mapping {
            span: part.span,
            access: part.access,
            backing: Backing {
                device,
                inode,
                offset: place.offset,
                shared: true,
            },
        }
    }
}

impl Scrub {
    /// Compares the whole area with the image, and writes what differs; returns how many bytes that
    /// were. The area must be in no program's memory.
    ///
    /// # Errors
    ///
    /// The device failed, or is full. The area stays unclean, and is never shown again.
    pub(crate) fn run(self) -> io::Result<u64> {
        let mut clean = self.clean.lock();
        if *clean {
            return Ok(0);
        }
        let mut written = 0;
        let (mut now, mut wanted) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        for place in self.places.iter() {
            let mut done = 0;
            while done < place.bytes {
                let left = usize::try_from(place.bytes - done).unwrap_or(PIECE_BYTES);
                let len = left.min(PIECE_BYTES);
                let (now, wanted) = (&mut now[..len], &mut wanted[..len]);
                self.file.read_exact_at(now, place.offset + done)?;
                self.image
                    .read_exact_at(wanted, place.image_offset + done)?;
                written += self.write(now, wanted, place.offset + done)?;
                done += len as u64;
            }
        }
        *clean = true;
        Ok(written)
    }

    /// Writes the pages that differ.
    fn write(&self, now: &[u8], wanted: &[u8], at: u64) -> io::Result<u64> {
        let page = usize::try_from(page_bytes()).unwrap_or(PIECE_BYTES);
        let pages = now.chunks(page).zip(wanted.chunks(page));
        let mut written = 0;
        for ((now, wanted), at) in pages.zip((at..).step_by(page)) {
            if now != wanted {
                self.file.write_all_at(wanted, at)?;
                written += wanted.len() as u64;
            }
        }
        Ok(written)
    }
}

/// What is executed stays where it is, and what is only read has nothing to write.
fn is_moved(part: &Part) -> bool {
    let Access { write, execute, .. } = part.access;
    write && !execute
}
