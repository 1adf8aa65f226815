//! The table `[build]`: what makes the artifact of its source, and what of the source is watched.
//!
//! It is the author's, and no setting of a revision: nothing of it reaches the platform.
//!
//! Deliberately absent: running the command, and matching the patterns.

use super::check::is_inside;
use super::section::{Section, shown};

/// How many words a command may have.
const WORDS_MAX: usize = 100;
/// How many entries each list may have.
const ENTRIES_MAX: usize = 200;
/// The length of a word, a path or a pattern, in bytes.
const TEXT_MAX_BYTES: usize = 4_096;

/// How a function is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The program and its arguments, run in the manifest's folder; never empty.
    pub command: Vec<String>,
    /// What it makes where that is not what `component` or `process.folder` names: a path inside
    /// the manifest's folder.
    pub artifact: Option<String>,
    /// Files and folders whose changes matter, relative to the manifest's folder and perhaps
    /// outside of it; empty: all of the folder.
    pub watch: Vec<String>,
    /// What of them does not matter, in the words of a `.gitignore`.
    pub ignore: Vec<String>,
}

/// Reads the table.
pub(super) fn read(section: &mut Section<'_, '_>) -> Build {
    let mut build = Build::default();
    section.require("command", "command = [\"cargo\", \"build\", \"--release\"]");
    section.texts("command", WORDS_MAX, text, &mut build.command);
    if section.is_empty_list("command") || build.command.first().is_some_and(String::is_empty) {
        section.mistake(
            "command",
            "it names no program; write [\"cargo\", \"build\", \"--release\"]",
        );
    }
    build.artifact = section.text("artifact", "a text in quotes", artifact);
    section.texts("watch", ENTRIES_MAX, watched, &mut build.watch);
    section.texts("ignore", ENTRIES_MAX, text, &mut build.ignore);
    build
}

fn text(text: &str) -> Result<(), String> {
    match text {
        long if long.len() > TEXT_MAX_BYTES => Err(format!(
            "{} has {} bytes; it may have at most {TEXT_MAX_BYTES}",
            shown(long),
            long.len()
        )),
        word if word.contains(['\0', '\n']) => Err(format!(
            "{} holds a zero byte or the end of a line",
            shown(word)
        )),
        _ => Ok(()),
    }
}

fn watched(path: &str) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') {
        return Err(format!(
            "{} is no path from the manifest's folder; write one such as \"src\" or \"../shared\"",
            shown(path)
        ));
    }
    text(path)
}

fn artifact(path: &str) -> Result<String, String> {
    let named = path != "." && is_inside(path) && text(path).is_ok();
    named.then(|| path.to_owned()).ok_or_else(|| {
        format!(
            "{} is nothing inside the manifest's folder; write a path such as \
             \"target/hello.wasm\" or \"dist\"",
            shown(path)
        )
    })
}
