//! How changed pages are found on this machine: the best way that works, chosen once by behaviour.
//!
//! | way | needs | cost of a scan |
//! | --- | --- | --- |
//! | written | userfaultfd, `PAGEMAP_SCAN` | a walk over page tables |
//! | private | `PAGEMAP_SCAN` | the same, and a look at every page that is there |
//! | whole | nothing | none; the area is dropped, and the next run faults it in again |

use std::io;
use std::sync::LazyLock;

use super::mapping::Mapping;
use super::pagemap::{Pagemap, Wanted};
use super::written::Written;

/// The way of this machine.
#[derive(Debug)]
pub(crate) enum Tracker {
    Written(Pagemap, Written),
    Private(Pagemap),
    Whole,
}

static TRACKER: LazyLock<Tracker> = LazyLock::new(|| {
    let tracker = match Pagemap::probe() {
        None => Tracker::Whole,
        Some(pagemap) => match Written::probe(&pagemap) {
            Some(written) => Tracker::Written(pagemap, written),
            None => Tracker::Private(pagemap),
        },
    };
    match tracker {
        Tracker::Written(..) => tracing::debug!("changed pages are found by userfaultfd"),
        Tracker::Private(_) => {
            tracing::warn!("this kernel gives no userfaultfd: scans for changed pages are slower");
        }
        Tracker::Whole => tracing::warn!(
            "this kernel has no usable page scan (PAGEMAP_SCAN, Linux 6.7): \
             used areas are dropped whole, which is slower"
        ),
    }
    tracker
});

impl Tracker {
    /// The way of this machine.
    pub(crate) fn get() -> &'static Self {
        &TRACKER
    }

    /// Begins to track a range that an image was just laid over.
    pub(crate) fn watch(&self, mapping: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        match self {
            Self::Written(_, written) => written.watch(mapping, offset, len),
            Self::Private(_) | Self::Whole => Ok(()),
        }
    }

    /// Calls `each(from, to)` for every range of changed pages. False: this machine cannot tell.
    pub(crate) fn changed(
        &self,
        mapping: &Mapping,
        offset: usize,
        len: usize,
        each: impl FnMut(usize, usize),
    ) -> io::Result<bool> {
        let (pagemap, wanted) = match self {
            Self::Written(pagemap, _) => (pagemap, Wanted::Written),
            Self::Private(pagemap) => (pagemap, Wanted::Private),
            Self::Whole => return Ok(false),
        };
        pagemap.scan(mapping, offset, len, wanted, each)?;
        Ok(true)
    }

    /// Drops private copies, so that the next access shows the image, and tracks the pages anew.
    pub(crate) fn drop_pages(
        &self,
        mapping: &Mapping,
        offset: usize,
        len: usize,
    ) -> io::Result<()> {
        mapping.drop_pages(offset, len)?;
        match self {
            Self::Written(_, written) => written.protect(mapping, offset, len),
            Self::Private(_) | Self::Whole => Ok(()),
        }
    }
}
