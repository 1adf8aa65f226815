//! The determination for programs: do their pages lie in other frames than in the run before?
//!
//! A program's state is behind its page-table entries, and those cannot be told to be right by an
//! address; but the frame of a page can be read. One page of the platform's own must be in a frame
//! of its own, and a sample of those that runs write must not be where they were. The kernel may
//! move a page to any other frame at any time, so that no frame is demanded, only another one.
//!
//! Deliberately absent: reading page maps.

/// Where one page is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The number of its frame; none: it is in none, or the kernel does not tell.
    pub frame: Option<u64>,
    /// Whether the frame is the program's own, and not that of a file or of zeros.
    pub own: bool,
}

/// Pages are not where they must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotMoved {
    /// Not every page was read.
    #[error("{read} pages were read, the sample has {expected}")]
    Count {
        /// How many the sample has.
        expected: usize,
        /// How many were read.
        read: usize,
    },
    /// The platform's page is in no frame of its own.
    #[error("the platform's page is in no frame of the program's own")]
    Nowhere,
    /// A page is in the frame of the run before.
    #[error("page {page} of the sample is in frame {frame:#x}, as in the run before")]
    Same {
        /// Which, in the order of the sample.
        page: usize,
        /// The frame.
        frame: u64,
    },
}

/// Compares where the pages of a sample are, as *read from the program itself*, with where they
/// were in the run before. The first one is the platform's.
///
/// # Errors
/// The first difference. The run is then refused and the environment quarantined.
pub fn moved(former: &[Place], read: &[Place]) -> Result<(), NotMoved> {
    if former.len() != read.len() {
        return Err(NotMoved::Count {
            expected: former.len(),
            read: read.len(),
        });
    }
    if !read.first().is_some_and(|it| it.own && it.frame.is_some()) {
        return Err(NotMoved::Nowhere);
    }
    for (page, (former, read)) in former.iter().zip(read).enumerate() {
        let own = former.own && read.own;
        if let (true, Some(former), Some(frame)) = (own, former.frame, read.frame)
            && former == frame
        {
            return Err(NotMoved::Same { page, frame });
        }
    }
    Ok(())
}
