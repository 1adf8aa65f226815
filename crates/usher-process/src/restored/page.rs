//! The generation page: a file of one page from which a program learns, without a call to anybody,
//! that it is not what it last was.
//!
//! ```text
//!  0    8 bytes   generation, rises whenever the program's state was taken or given back
//!  8    8 bytes   zeros
//! 16   48 bytes   fresh entropy of this generation; the first 16 serve as its id
//! 64   zeros to the page's end
//! ```
//!
//! All in the machine's byte order. It is written while every thread of the program is stopped, and
//! as the last thing before they go on: a run sees one content from its first instruction to its
//! last, and never that of another run. Deliberately absent: where the file comes from
//! (`sandbox::generation`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::TryRng as _;
use rand::rngs::SysRng;

use super::message::ENTROPY_BYTES;

/// The variable that tells a program where the page is.
pub const PAGE_VARIABLE: &str = "USHER_GENERATION";
/// Its name in the folder of the shims.
pub(crate) const NAME: &str = "generation";
/// Its length.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Where the entropy begins.
const ENTROPY_AT: usize = 16;
/// What is written each time.
const WRITTEN_BYTES: usize = ENTROPY_AT + ENTROPY_BYTES;

/// The platform's hold on the page of one sandbox.
#[derive(Debug)]
pub(crate) struct Page {
    file: File,
    generation: AtomicU64,
}

/// Why a program cannot go on: it would take itself for what it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// No fresh entropy could be had.
    #[error("the machine gave no randomness for the generation page")]
    Entropy(#[source] rand::rngs::SysError),
    /// The file could not be written.
    #[error("the generation page could not be written")]
    Write(#[source] io::Error),
}

impl Page {
    /// The page behind a file of [`PAGE_BYTES`], which holds zeros.
    pub(crate) fn of(file: OwnedFd) -> Self {
        Self {
            file: file.into(),
            generation: AtomicU64::new(0),
        }
    }

    /// Begins another generation. No thread of the program may run meanwhile.
    ///
    /// # Errors
    ///
    /// The page may hold anything then, and the program must not go on.
    pub(crate) fn turn(&self) -> Result<(), PageError> {
        let mut entropy = [0; ENTROPY_BYTES];
        (SysRng.try_fill_bytes(&mut entropy)).map_err(PageError::Entropy)?;
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let content = content(generation, &entropy);
        (self.file.write_all_at(&content, 0)).map_err(PageError::Write)
    }
}

fn content(generation: u64, entropy: &[u8; ENTROPY_BYTES]) -> [u8; WRITTEN_BYTES] {
    let mut content = [0; WRITTEN_BYTES];
    let parts = generation.to_ne_bytes().into_iter().chain([0; 8]);
    for (place, byte) in content.iter_mut().zip(parts.chain(*entropy)) {
        *place = byte;
    }
    content
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_turn_has_a_higher_number_and_other_bytes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE_BYTES as u64).unwrap();
        let page = Page::of(file.into());
        let mut all = Vec::new();
        for generation in 1..=3_u64 {
            page.turn().unwrap();
            let mut content = vec![0; PAGE_BYTES];
            page.file.read_exact_at(&mut content, 0).unwrap();
            assert_eq!(content[..8], generation.to_ne_bytes());
            assert_eq!(content[8..16], [0; 8]);
            assert_eq!(content[64..], [0; PAGE_BYTES - 64]);
            all.push(content[16..64].to_vec());
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3);
    }
}
