//! What a function is called whose author did not say.
//!
//! Deliberately absent: manifests, which say it.

use std::path::Path;

use anyhow::Context;
use usher_core::id::{NAME_MAX_BYTES, Name};

use super::absolute;

/// The name that was given, else one made of a file's or a folder's.
pub(super) fn given_or_of(given: Option<Name>, path: &Path) -> anyhow::Result<Name> {
    let path = absolute(path);
    // A folder's name has no ending, whatever dots there are in it.
    let stem = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    let stem = stem.unwrap_or_default().to_string_lossy();
    given.or_else(|| legal_name(&stem)).with_context(|| {
        format!(
            "no name can be made of {}; give one with --name",
            path.display()
        )
    })
}

/// A name as near to a file's as is legal; none where no letter or digit is left.
fn legal_name(stem: &str) -> Option<Name> {
    let mut name = String::new();
    for letter in stem.chars().map(|letter| letter.to_ascii_lowercase()) {
        let legal = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        match legal {
            true => name.push(letter),
            false if name.ends_with('-') || name.is_empty() => {}
            false => name.push('-'),
        }
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert_str(0, "f-");
    }
    name.truncate(NAME_MAX_BYTES);
    name.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_any_file_with_a_letter_or_digit() {
        for (stem, name) in [
            ("hello", "hello"),
            ("Hello_World.component", "hello-world-component"),
            ("__x__", "x"),
            ("2048", "f-2048"),
            ("größe", "gr-e"),
        ] {
            assert_eq!(legal_name(stem).unwrap().as_str(), name);
        }
        assert_eq!(legal_name("___"), None);
        let cut = legal_name(&format!("{}-tail", "a".repeat(NAME_MAX_BYTES - 1)));
        assert_eq!(cut.unwrap().as_str().len(), NAME_MAX_BYTES - 1);
    }
}
