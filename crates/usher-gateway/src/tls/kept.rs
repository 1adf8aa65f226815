//! Files that only their owner may read: keys, and what goes with them.
//!
//! Deliberately absent: what is in them.

use std::fs::{DirBuilder, File, OpenOptions, rename};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The largest file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Reads a file; none: it is not there.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_MAX_BYTES {
        true => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        false => Ok(Some(bytes)),
    }
}

/// Writes a file whole or not at all, so that a kill at any moment leaves the old one or the new
/// one; its folder is made where it is not there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Not opened where it is there, as its mode would be another one.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/key.pem");
        assert_eq!(read(&path).unwrap(), None);
        for text in ["one", "two"] {
            // What a kill left behind is no hindrance, whoever could read it.
            if text == "two" {
                std::fs::write(folder.path().join("a/b/key.pem.new"), "half").unwrap();
            }
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), text.as_bytes());
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(path.parent().unwrap()), 0o700);
        }
    }
}
