//! Memory that cannot lie on the image, such as the main stack: saved, and copied back each time.
//!
//! Deliberately absent: which memory that is, see `survey`.

use std::io;

use usher_core::renewal::runs::Span;

use super::survey::Told;
use crate::renewal::stopped::Stopped;

/// Bytes of all of it together.
pub(super) const KEPT_MAX_BYTES: u64 = 16 << 20;

/// One mapping that is kept aside.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Where it is.
    pub(super) span: Span,
    /// Whether pages in it cannot be dropped.
    pub(super) locked: bool,
    /// Whether the program may write there.
    pub(super) written: bool,
    /// Its own pages and their bytes, sorted. Pages without are zero, or the file's.
    pub(super) saved: Vec<(Span, Vec<u8>)>,
}

impl Kept {
    /// Saves `own`, which are the program's own pages in the mapping.
    pub(super) fn save(
        stopped: &Stopped,
        told: &Told,
        own: impl Iterator<Item = Span>,
    ) -> io::Result<Self> {
        let mut saved = Vec::new();
        for own in own {
            let len = usize::try_from(own.len()).map_err(io::Error::other)?;
            let mut bytes = vec![0; len];
            stopped.read(own.start, &mut bytes)?;
            saved.push((own, bytes));
        }
        Ok(Self {
            span: told.span(),
            locked: told.has("lo"),
            written: told.found.mapping.access.write,
            saved,
        })
    }

    /// Where pages were saved.
    pub(super) fn saved_spans(&self) -> Vec<Span> {
        self.saved.iter().map(|(span, _)| *span).collect()
    }
}
