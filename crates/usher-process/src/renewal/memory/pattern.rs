//! The memory of another process, made like one that was recorded.
//!
//! ```text
//!  another program was executed, and has run nothing
//!    ─► cleared, but for the agent and the kernel's own pages, which move
//!    ─► borders (heap, stack, arguments), files by their paths, stack: as recorded
//!    ─► repaired, as memory is that is put back: the image, which is one for all, and zeros
//!    ─► looked at: every mapping, every page
//! ```
//!
//! What was written lies on the image of the first program, so that a page which no clone changes
//! exists once. Deliberately absent: registers and what the kernel keeps besides memory.

mod borders;
mod files;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rustix::process::Pid;
use thiserror::Error;
use usher_core::renewal::hot::Hot;
use usher_core::renewal::layout::Mapping;
use usher_core::renewal::runs::Span;
use usher_core::renewal::warm::Warm;

use self::borders::{BORDERS_BYTES, Borders};
use self::files::{Mapped, Stamp, map_files};
use super::aside::Aside;
use super::canary::Canary;
use super::counters::Counter;
use super::dirty::Regions;
use super::errors::Failed;
use super::kept::Kept;
use super::parts::Part;
use super::repair::{self, Zeros};
use super::usual::Usual;
use super::windows::Windows;
use super::{Memory, SWAP_MAX_PAGES, calls, count, means, survey};
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::image::Image;
use crate::sys::pages::{self, Found, Mappings, PageMap};

/// `PR_SET_MM` and `PR_SET_MM_MAP`
const SET_MEMORY: u64 = 35;
const SET_MEMORY_MAP: u64 = 14;
/// `MREMAP_MAYMOVE | MREMAP_FIXED`
const MOVE_TO: u64 = 3;
/// `MADV_POPULATE_WRITE`
const MAKE_OWN: u64 = 23;
/// Put-backs of a program after which its hot pages are those of all programs of its image.
const HOT_ROUNDS: u32 = 8;
/// Files that are opened by one batch: their paths have to fit into it.
const FILES_PER_BATCH: usize = 64;

/// Why other processes cannot be given such a memory.
#[derive(Debug, Error)]
pub(crate) enum NoPattern {
    /// There is something that is not made again.
    #[error("it has {what} at {:x}-{:x} ({name})", span.start, span.end)]
    Mapping {
        /// What it is.
        what: &'static str,
        /// Where.
        span: Span,
        /// The file's path, or what the kernel calls it.
        name: String,
    },
    /// The kernel does not tell.
    #[error("its memory could not be looked at")]
    Unread(#[source] io::Error),
}

/// What is needed to make a process's memory like that of the program which was recorded.
#[derive(Debug)]
pub(crate) struct Pattern {
    image: Arc<Image>,
    identity: (u64, u64),
    recorded: Vec<Mapping>,
    parts: Vec<Part>,
    kept: Vec<Kept>,
    zeros: Zeros,
    written: Vec<Span>,
    heap_end: u64,
    expected: Vec<Span>,
    windows: Windows,
    counted: bool,
    hot: Hot,
    canary: Canary,
    agent: Agent,
    hottest: Arc<Hottest>,
    /// The kernel's own pages, by name.
    kernels: Vec<Found>,
    files: Vec<Mapped>,
    borders: Borders,
}

/// Where the pages are that most runs change, for all programs of an image: places only, and
/// nothing of what is there.
#[derive(Debug, Default)]
pub(super) struct Hottest {
    spans: Mutex<Vec<Span>>,
    rounds: AtomicU32,
}

impl Hottest {
    /// A program was put back, and these pages were copied.
    pub(super) fn copied(&self, spans: impl Iterator<Item = Span>) {
        // Any program's will do; the count is only to wait until some are hot.
        if self.rounds.fetch_add(1, Ordering::Relaxed) == HOT_ROUNDS {
            *self.spans.lock() = spans.collect();
        }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().clone()
    }
}

impl Memory {
    /// The pattern of the program `pid` for others, while nothing has changed since the snapshot.
    pub(crate) fn pattern(&self, pid: Pid) -> Result<Pattern, NoPattern> {
        let unread = NoPattern::Unread;
        let named = Mappings::open(pid, false).and_then(|mut all| all.named());
        let named = named.map_err(unread)?;
        let agent = self.agent.range();
        let agent = Span::new(agent.start, agent.end);
        let (mut kernels, mut files) = (Vec::new(), Vec::<Mapped>::new());
        for found in named {
            let backing = found.mapping.backing;
            let refuse = |what| NoPattern::Mapping {
                what,
                span: found.mapping.span,
                name: found.name.clone(),
            };
            if found.name == "[vdso]" || found.name.starts_with("[vvar") {
                kernels.push(found);
                continue;
            }
            let ours = agent.holds(found.mapping.span);
            let of_image = (backing.device, backing.inode) == self.identity;
            if ours || of_image || (backing.is_anonymous() && !backing.shared) {
                continue;
            }
            if !found.name.starts_with('/') || found.name.ends_with(" (deleted)") {
                return Err(refuse("a file without a path"));
            }
            let path = survey::mapped_file(pid, found.mapping.span);
            let stamp = Stamp::of(&fs::metadata(path).map_err(unread)?);
            match files.iter_mut().find(|file| file.path == found.name) {
                Some(file) if file.stamp == stamp => file.places.push(found.mapping),
                Some(_) => return Err(refuse("two files by one path")),
                None => files.push(Mapped {
                    path: found.name,
                    stamp,
                    places: vec![found.mapping],
                }),
            }
        }
        let borders = Borders::of(pid).map_err(unread)?;
        let stack =
            |kept: &&Kept| kept.span.start <= borders.stack && borders.stack < kept.span.end;
        if let Some(kept) = self.kept.iter().find(|kept| !stack(kept)) {
            return Err(NoPattern::Mapping {
                what: "memory that is locked or wiped for children",
                span: kept.span,
                name: String::new(),
            });
        }
        Ok(Pattern {
            image: self.image.clone(),
            identity: self.identity,
            recorded: self.recorded.clone(),
            parts: self.parts.iter().map(Part::again).collect(),
            kept: self.kept.clone(),
            zeros: self.zeros.clone(),
            written: self.written.clone(),
            heap_end: self.heap_end,
            expected: self.expected.clone(),
            windows: self.windows.clone(),
            counted: self.counted,
            hot: self.hot.clone(),
            canary: self.canary.again(),
            agent: self.agent.clone(),
            hottest: self.hottest.clone(),
            kernels,
            files,
            borders,
        })
    }
}

impl Pattern {
    /// Where the agent is, in this program and in all others.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Makes the memory of a program that was cleared. After an error it is to be ended.
    pub(crate) fn fill(&self, stopped: &mut Stopped, agent: &Agent) -> Result<Memory, Failed> {
        for files in self.files.chunks(FILES_PER_BATCH) {
            map_files(files, stopped, agent)?;
        }
        let mut memory = self.bare(stopped)?;
        repair::repair(&mut memory, stopped, agent)?;
        self.prefetch(stopped, agent)?;
        let step = "write the stack";
        let saved = self.kept.iter().flat_map(|kept| &kept.saved);
        let saved: Vec<_> = saved
            .map(|(span, bytes)| (bytes.as_slice(), span.start))
            .collect();
        pages::write_pieces(stopped.pid(), &saved).map_err(Failed::at(step))?;
        let told = survey::told(stopped.pid()).map_err(Failed::at("read the mappings"))?;
        let flags = told.iter().map(|told| (told.span(), told.flags.join(" ")));
        memory.flags = flags.collect();
        self.look(&mut memory)?;
        Ok(memory)
    }

    /// Has the pages made the program's own that most runs change, where that is known.
    fn prefetch(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Failed> {
        let spans = self.hottest.spans();
        let mut batch = Batch::new();
        for span in spans {
            let arguments = [span.start.into(), span.len().into(), MAKE_OWN.into()];
            // A kernel that does not know it makes them when they are written.
            batch.call(Call::new(libc::SYS_madvise, arguments), Expect::Any);
        }
        let done = stopped.run(agent, &batch);
        done.map_err(Failed::by_program("fetch pages ahead"))?;
        Ok(())
    }

    /// Takes away what a program has that was executed and has run nothing, moves what is the
    /// kernel's, and sets the borders. Its calls must pass by its filters for that, and need not
    /// any more from then on.
    pub(crate) fn clear(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Failed> {
        let pid = stopped.pid();
        let now = Mappings::open(pid, false).and_then(|mut all| all.named());
        let now = now.map_err(Failed::at("read the mappings"))?;
        let ours = agent.range();
        let ours = Span::new(ours.start, ours.end);
        let place = |found: &Found| {
            let mut then = self
                .kernels
                .iter()
                .map(|then| (&then.name, then.mapping.span));
            let then = then.find(|(name, _)| **name == found.name);
            let to = then.map(|(_, to)| to);
            to.filter(|to| to.len() == found.mapping.span.len())
        };
        let mut batch = Batch::new();
        let others = now.iter().filter(|found| place(found).is_none());
        for span in others.map(|found| found.mapping.span) {
            if !ours.holds(span) {
                calls::unmap(&mut batch, span);
            }
        }
        let mut moved = 0;
        for found in &now {
            if let Some(to) = place(found) {
                moved += 1;
                move_to(&mut batch, found.mapping.span, to);
            }
        }
        if moved != self.kernels.len() {
            return Err(Failed::Step {
                step: "find the kernel's own pages",
                source: io::Error::other("they are not as in the first program"),
            });
        }
        for kept in &self.kept {
            let recorded = self.recorded.iter();
            let mut recorded = recorded.filter(|one| kept.span.holds(one.span));
            recorded.try_for_each(|one| map_stack(&mut batch, one))?;
        }
        let told = batch.bytes(&self.borders.told)?;
        let map = self.borders.map(self.heap_end, told.address(agent));
        let map = batch.bytes(&map)?;
        let bytes = BORDERS_BYTES as u64;
        let arguments = [
            SET_MEMORY.into(),
            SET_MEMORY_MAP.into(),
            map.into(),
            bytes.into(),
        ];
        batch.call(Call::new(libc::SYS_prctl, arguments), Expect::Value(0));
        let done = stopped.run(agent, &batch);
        done.map_err(Failed::by_program("clear its memory"))?;
        Ok(())
    }

    /// The record of a memory that is still to be repaired.
    fn bare(&self, stopped: &Stopped) -> Result<Memory, Failed> {
        let pid = stopped.pid();
        let means = means();
        let way = means.pages.ok_or(Failed::Step {
            step: "search the memory",
            source: io::Error::other("this kernel does not tell which pages were written"),
        })?;
        let pages = PageMap::open(pid, way).map_err(Failed::at("open the page map"))?;
        let mappings = Mappings::open(pid, means.mappings_asked);
        let parts: Vec<_> = self.parts.iter().map(Part::again).collect();
        Ok(Memory {
            image: self.image.clone(),
            identity: self.identity,
            recorded: self.recorded.clone(),
            flags: Vec::new(),
            regions: Regions::of(&parts, &self.kept, &self.agent),
            parts,
            kept: self.kept.clone(),
            zeros: self.zeros.clone(),
            written: self.written.clone(),
            heap_end: self.heap_end,
            expected: self.expected.clone(),
            counted: self.counted,
            counter: Counter::open(pid).map_err(Failed::at("open the count of pages"))?,
            pages,
            mappings: mappings.map_err(Failed::at("open the list of mappings"))?,
            hot: self.hot.clone(),
            usual: Usual::default(),
            windows: self.windows.clone(),
            warm: Warm::new(usize::try_from(SWAP_MAX_PAGES).unwrap_or(usize::MAX)),
            sample: None,
            given_up: Aside::default(),
            room: None,
            areas: None,
            canary: self.canary.again(),
            agent: self.agent.clone(),
            hottest: self.hottest.clone(),
            own: Vec::new(),
        })
    }

    /// Sees that there is nothing of which nobody knows what it should hold.
    fn look(&self, memory: &mut Memory) -> Result<(), Failed> {
        let recorded = memory.recorded.iter().map(|one| one.span);
        memory.own.clear();
        let searched = memory.pages.own_anywhere(recorded, &mut memory.own);
        searched.map_err(Failed::at("search the memory"))?;
        let own = memory.own.iter().map(|own| own.span);
        if let Some(span) = memory.regions.beside(own.clone()) {
            return Err(Failed::Unrecorded(span));
        }
        memory.counted &= memory.counter.own_pages()? == count(own);
        Ok(())
    }
}

fn move_to(batch: &mut Batch, from: Span, to: Span) {
    if from == to {
        return;
    }
    let arguments = [
        from.start.into(),
        from.len().into(),
        to.len().into(),
        MOVE_TO.into(),
        to.start.into(),
    ];
    let there = Expect::Value(to.start.cast_signed());
    batch.call(Call::new(libc::SYS_mremap, arguments), there);
}

/// The main stack, which grows.
fn map_stack(batch: &mut Batch, stack: &Mapping) -> Result<(), Failed> {
    if !stack.backing.is_anonymous() {
        return Err(Failed::Irreparable(stack.span));
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_GROWSDOWN;
    calls::map(batch, stack.span, stack.access, flags, -1, 0);
    Ok(())
}
