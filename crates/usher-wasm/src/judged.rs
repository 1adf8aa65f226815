//! What a deployment has found out about a revision by asking it, kept beside its compiled code: so
//! that it is asked once, and not each time that its image is loaded.
//!
//! What is lost or cannot be read is found out again; nothing rests on its being there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use usher_core::id::RevisionId;

/// How a revision's image is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// Why the warm-up is left out, if it is.
    pub(crate) cold: Option<String>,
    /// Why it is served by fresh instances, if it is.
    pub(crate) fresh: Option<String>,
}

impl Judged {
    /// What is known of a revision.
    pub(crate) fn read(folder: &Path, revision: RevisionId) -> Option<Self> {
        let bytes = fs::read(place(folder, revision)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps it.
    pub(crate) fn write(&self, folder: &Path, revision: RevisionId) -> io::Result<()> {
        let place = place(folder, revision);
        let draft = place.with_extension(format!("{:016x}", rand::random::<u64>()));
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(&draft, &place).inspect_err(|_| {
            let _gone = fs::remove_file(&draft);
        })
    }
}

fn place(folder: &Path, revision: RevisionId) -> PathBuf {
    folder.join(format!("judged-{}.json", revision.0))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::id::Digest;

    use super::*;

    #[test]
    fn what_was_found_out_is_kept_by_revision_and_what_is_broken_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [1, 2].map(|byte| RevisionId(Digest([byte; 32])));
        let judged = Judged {
            cold: Some("it repeats".into()),
            ..Judged::default()
        };
        judged.write(folder.path(), one).unwrap();
        assert_eq!(Judged::read(folder.path(), one), Some(judged));
        assert_eq!(Judged::read(folder.path(), other), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(place(folder.path(), one), b"{\"cold\": 1").unwrap();
        assert_eq!(Judged::read(folder.path(), one), None);
    }
}
