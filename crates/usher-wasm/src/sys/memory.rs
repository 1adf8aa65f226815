//! The memories that wasmtime runs guests in: two areas each, and a pointer that names one of them.
//!
//! ```text
//! reservation: │ area 0: open │ closed … │ guard │ area 1: open │ closed … │ guard │
//!                ▲ current                         the other one: clean, or being scrubbed
//! ```
//!
//! wasmtime asks a memory for its base ([`LinearMemory::as_ptr`]) when it is made and after every
//! `memory.grow`, and writes what it hears into the instance's context, where compiled code finds
//! it. So an environment changes its area by naming the other one here and growing by zero pages.
//!
//! Why that is sound although compiled code may keep a base for the length of a frame:
//! [`AreaPair::turn`] is called only between runs, when no guest frame, no suspended fibre and no
//! pending callback of the instance exists (the store is exclusively ours and its last call has
//! returned), and the function that then grows by zero touches no memory. A test fails if an engine
//! upgrade changes what `memory.grow` by zero does.
//!
//! Deliberately absent: which area is clean (`areas`), and when to turn.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::image::MemoryImage;
use super::mapping::{Mapping, PAGE_BYTES, page_align};
use super::tracker::Tracker;

/// One of the two areas of a pair: 0 or 1.
pub(crate) type Side = usize;

/// One linear memory: two areas in one reservation.
#[derive(Debug)]
pub(crate) struct AreaPair {
    mapping: Mapping,
    /// From the first byte of area 0 to that of area 1.
    stride: usize,
    /// What an area can grow to.
    capacity: usize,
    current: AtomicUsize,
    /// The memory's size as the guest knows it.
    size: AtomicUsize,
    /// Bytes of each area that are readable and writable.
    open: [AtomicUsize; 2],
    /// Bytes of an area that the image covers.
    imaged: AtomicUsize,
    /// Whether all pages of an area were read in.
    read_in: [AtomicBool; 2],
}

/// How a memory's area differs from what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Difference {
    #[error("its bytes differ from the image's")]
    Bytes,
    #[error("{open} bytes are accessible, the image has {image}")]
    Open { open: usize, image: usize },
}

impl AreaPair {
    fn reserve(minimum: usize, capacity: usize, guard: usize) -> io::Result<Self> {
        let capacity = page_align(capacity.max(minimum));
        let stride = capacity + page_align(guard).max(PAGE_BYTES);
        let mapping = Mapping::reserve(2 * stride)?;
        mapping.open(0, page_align(minimum))?;
        Ok(Self {
            mapping,
            stride,
            capacity,
            current: AtomicUsize::new(0),
            size: AtomicUsize::new(minimum),
            open: [AtomicUsize::new(page_align(minimum)), AtomicUsize::new(0)],
            imaged: AtomicUsize::new(0),
            read_in: [AtomicBool::new(false), AtomicBool::new(false)],
        })
    }

    /// Which area is current.
    pub(crate) fn current(&self) -> Side {
        self.current.load(Ordering::Acquire)
    }

    /// Address of an area's first byte.
    pub(crate) fn base(&self, side: Side) -> usize {
        self.mapping.base().as_ptr().addr() + side * self.stride
    }

    /// The memory's size, in bytes, as the guest knows it.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Acquire)
    }

    /// Makes an image of the current area, with `headroom` bytes of zeros behind the memory's size
    /// that stay open, and lays it over both areas. Where `known` holds the very same bytes it is
    /// shared instead of a new one.
    ///
    /// The environment must not be running.
    pub(crate) fn freeze(
        &self,
        headroom: usize,
        known: Option<&Arc<MemoryImage>>,
    ) -> io::Result<Arc<MemoryImage>> {
        let size = self.size();
        if !size.is_multiple_of(PAGE_BYTES) {
            return Err(io::Error::other("a memory of odd size cannot be imaged"));
        }
        let open = self.imaged_open(size, headroom);
        let side = self.current();
        let offset = side * self.stride;
        let shared = known.filter(|image| {
            image.len() == open.max(PAGE_BYTES) && image.equals(&self.mapping, offset, 0, size)
        });
        let image = match shared {
            Some(image) => image.clone(),
            None => Arc::new(MemoryImage::take(&self.mapping, offset, size, open)?),
        };
        self.lay(&image, open)?;
        Ok(image)
    }

    /// Lays an image over both areas that was taken of another pair of the same memory, which had
    /// `size` bytes then and the same `headroom`. The size takes effect when the instance next
    /// grows the memory, by zero pages at least.
    ///
    /// The environment must not be running, and nothing of it may touch the memory before that.
    pub(crate) fn adopt(
        &self,
        image: &MemoryImage,
        size: usize,
        headroom: usize,
    ) -> io::Result<()> {
        let open = self.imaged_open(size, headroom);
        if size > self.capacity || open > image.len() {
            return Err(io::Error::other("the image is of another memory"));
        }
        self.lay(image, open)?;
        self.size.store(size, Ordering::Release);
        Ok(())
    }

    /// Bytes of an area that the image of a memory of this size covers.
    fn imaged_open(&self, size: usize, headroom: usize) -> usize {
        (size + page_align(headroom)).min(self.capacity).max(size)
    }

    /// Lays `open` bytes of an image over both areas, and closes what lies behind.
    fn lay(&self, image: &MemoryImage, open: usize) -> io::Result<()> {
        for side in [0, 1] {
            let was = self.open[side].swap(open, Ordering::AcqRel);
            image.lay_over(&self.mapping, side * self.stride, open)?;
            if open > 0 {
                Tracker::get().watch(&self.mapping, side * self.stride, open)?;
            }
            if was > open {
                self.mapping.close(side * self.stride + open, was - open)?;
            }
        }
        self.imaged.store(open, Ordering::Release);
        Ok(())
    }

    /// Names the other area, with the memory's size in the image. It takes effect when the instance
    /// next grows the memory, by zero pages at least.
    pub(crate) fn turn(&self, image_size: usize) -> Side {
        let side = 1 - self.current();
        self.current.store(side, Ordering::Release);
        self.size.store(image_size, Ordering::Release);
        side
    }

    /// Puts an area back to the image: what was opened by growth is closed, private copies get the
    /// image's bytes.
    ///
    /// With `drop_cold`, private copies that equal the image already are given back to the system
    /// where they are many. Returns how many pages were copied back. Nobody may be using the area.
    pub(crate) fn scrub(
        &self,
        side: Side,
        image: &MemoryImage,
        drop_cold: bool,
    ) -> io::Result<usize> {
        let offset = side * self.stride;
        let tracker = Tracker::get();
        let open = self.open[side].load(Ordering::Acquire);
        let image_open = self.imaged.load(Ordering::Acquire);
        if open > image_open {
            self.mapping.close(offset + image_open, open - image_open)?;
            self.open[side].store(image_open, Ordering::Release);
        }
        if drop_cold {
            self.drop_cold(side, image)?;
            // An area that is used so often will be audited; what no run has touched is faulted in
            // here, behind a reply, and not then. Where it fails, the audit does it.
            if !self.read_in[side].swap(true, Ordering::AcqRel) {
                let _later = self.mapping.read_in(offset, image_open);
            }
        }
        let mut pages = 0;
        let told = tracker.changed(&self.mapping, offset, image_open, |from, to| {
            image.put_back(&self.mapping, offset, from - offset, to - offset);
            pages += (to - from) / PAGE_BYTES;
        })?;
        if !told {
            self.mapping.drop_pages(offset, image_open)?;
            pages = image_open / PAGE_BYTES;
        }
        Ok(pages)
    }

    /// Gives private copies back that equal the image, unless they are few beside those that
    /// differ: a page that is written now and then costs less kept than faulted in again.
    fn drop_cold(&self, side: Side, image: &MemoryImage) -> io::Result<()> {
        let offset = side * self.stride;
        let len = self.imaged.load(Ordering::Acquire);
        let tracker = Tracker::get();
        let (mut cold, mut hot) = (Vec::new(), 0);
        tracker.changed(&self.mapping, offset, len, |from, to| {
            for at in (from..to).step_by(PAGE_BYTES) {
                let page = at - offset;
                if image.equals(&self.mapping, offset, page, page + PAGE_BYTES) {
                    cold.push(at);
                } else {
                    hot += 1;
                }
            }
        })?;
        if cold.len() <= COLD_PAGES_KEPT + hot {
            return Ok(());
        }
        cold.iter()
            .try_for_each(|&at| tracker.drop_pages(&self.mapping, at, PAGE_BYTES))
    }

    /// Compares a whole area with the image, every byte of it.
    ///
    /// Nobody may be writing to the area.
    pub(crate) fn compare(&self, side: Side, image: &MemoryImage) -> Result<(), Difference> {
        let image_open = self.imaged.load(Ordering::Acquire);
        let open = self.open[side].load(Ordering::Acquire);
        if open != image_open {
            return Err(Difference::Open {
                open,
                image: image_open,
            });
        }
        if image.equals(&self.mapping, side * self.stride, 0, image_open) {
            Ok(())
        } else {
            Err(Difference::Bytes)
        }
    }

    /// Writes a wrong byte into an area, so that tests can show that an audit finds it.
    pub(crate) fn spoil(&self, side: Side) {
        let at = self.mapping.at(side * self.stride, PAGE_BYTES).cast::<u8>();
        // SAFETY: the first page of an area is open and lies in the mapping (checked by `at`), and
        // the area is not in use, by the contract of the scrub that calls this.
        let byte = unsafe { &mut *at };
        *byte ^= 0x5a;
    }

    /// How often `marker` stands in what is open of an area. For tests and audits.
    pub(crate) fn count(&self, side: Side, marker: &[u8]) -> usize {
        let open = self.open[side].load(Ordering::Acquire);
        let start = self.mapping.at(side * self.stride, open).cast::<u8>();
        let bytes = std::ptr::slice_from_raw_parts(start, open);
        // SAFETY: the range is open and lies in the mapping (checked by `at`); the caller sees to
        // it that nobody writes to it meanwhile.
        let bytes = unsafe { &*bytes };
        bytes
            .windows(marker.len())
            .filter(|at| *at == marker)
            .count()
    }
}

/// Private copies equal to the image that an area keeps beside those that differ, in pages.
const COLD_PAGES_KEPT: usize = 64;

/// What wasmtime holds of a pair.
struct AreaMemory(Arc<AreaPair>);

// SAFETY: the base never moves while the guest can run (see the header), `byte_size` bytes behind
// it are open, and what lies behind them up to the reservation and the guard is inaccessible, or
// open but behind explicit bounds checks for engines that were configured with headroom.
unsafe impl LinearMemory for AreaMemory {
    fn byte_size(&self) -> usize {
        self.0.size()
    }

    fn byte_capacity(&self) -> usize {
        self.0.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        let pair = &self.0;
        if new_size > pair.capacity {
            wasmtime::bail!("a memory cannot grow to {new_size} bytes");
        }
        let side = pair.current();
        let open = pair.open[side].load(Ordering::Acquire);
        let wanted = page_align(new_size);
        if wanted > open {
            pair.mapping
                .open(side * pair.stride + open, wanted - open)?;
            pair.open[side].store(wanted, Ordering::Release);
        }
        pair.size.store(new_size, Ordering::Release);
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        let base = self.0.mapping.base().as_ptr();
        base.wrapping_add(self.0.current() * self.0.stride)
    }
}

/// Gathers the memories that are made while one environment is instantiated.
#[derive(Debug, Clone)]
pub(crate) struct Nursery {
    /// What one memory may grow to, in bytes, where the engine reserves no more than that.
    pub(crate) memory_max_bytes: usize,
    /// The pairs, in the order in which they were made.
    pub(crate) pairs: Arc<parking_lot::Mutex<Vec<Arc<AreaPair>>>>,
}

thread_local! {
    static NURSERY: RefCell<Option<Nursery>> = const { RefCell::new(None) };
}

impl Nursery {
    /// A nursery for one environment.
    pub(crate) fn new(memory_max_bytes: usize) -> Self {
        Self {
            memory_max_bytes,
            pairs: Arc::default(),
        }
    }

    /// Runs `make`, during which memories of this thread are born into this nursery.
    pub(crate) fn during<T>(&self, make: impl FnOnce() -> T) -> T {
        struct Restore(Option<Nursery>);
        impl Drop for Restore {
            fn drop(&mut self) {
                NURSERY.set(self.0.take());
            }
        }
        let _restore = Restore(NURSERY.replace(Some(self.clone())));
        make()
    }
}

/// Makes the memories of the live engines.
#[derive(Debug, Default)]
pub(crate) struct AreaCreator;

// SAFETY: each memory is a reservation of its own with the asked-for size and guard, zero when new,
// and only changed between runs, as the header says.
unsafe impl MemoryCreator for AreaCreator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        NURSERY.with_borrow(|nursery| {
            let nursery = nursery
                .as_ref()
                .ok_or("a memory was made outside of a start")?;
            let limit = maximum.unwrap_or(usize::MAX).min(nursery.memory_max_bytes);
            let capacity = reserved.unwrap_or(0).max(limit);
            let pair = AreaPair::reserve(minimum, capacity, guard)
                .map(Arc::new)
                .map_err(|error| format!("no address space for a memory: {error}"))?;
            nursery.pairs.lock().push(pair.clone());
            Ok(Box::new(AreaMemory(pair)) as Box<dyn LinearMemory>)
        })
    }
}
