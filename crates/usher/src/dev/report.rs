//! What is wrong with the source, for the terminal and for the browser.
//!
//! Deliberately absent: how it looks there (`page`, `terminal`).

use crate::build::BuildError;
use crate::output;

use super::tree::ScanError;

/// What of an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reading the source or its manifest.
    Read,
    /// The build command.
    Build,
    /// Making it ready on the platform.
    Deploy,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Where it failed.
    pub(crate) phase: Phase,
    /// What happened, and what to do.
    pub(crate) message: String,
    /// What the compiler or the program wrote, without escapes of a terminal; perhaps nothing.
    pub(crate) output: String,
}

impl Phase {
    /// The heading of a page about it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Read => "The source cannot be read",
            Self::Build => "The build failed",
            Self::Deploy => "The function does not start",
        }
    }

    /// The label in JSON.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Read => "source-wrong",
            Self::Build => "build-failed",
            Self::Deploy => "deploy-failed",
        }
    }
}

impl Report {
    /// About an error with its causes; what follows its first line is what somebody wrote.
    pub(crate) fn of(phase: Phase, error: &anyhow::Error) -> Self {
        let told = output::with_causes(error);
        let (message, output) = told.split_once('\n').unwrap_or((&told, ""));
        Self {
            phase,
            message: plain(message),
            output: plain(output),
        }
    }
}

impl From<BuildError> for Report {
    fn from(error: BuildError) -> Self {
        let output = plain(error.output());
        Self {
            output,
            ..Self::of(Phase::Build, &error.into())
        }
    }
}

impl From<ScanError> for Report {
    fn from(error: ScanError) -> Self {
        Self::of(Phase::Read, &error.into())
    }
}

/// A text without what tells a terminal how to show it: colours, links, titles.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.next() {
                // A control sequence ends with a letter or another of these.
                Some('[') => drop(letters.find(|end| ('\u{40}'..='\u{7e}').contains(end))),
                // A command to the system ends with a bell, or with another escape and a backslash.
                Some(']') => {
                    let end = letters.find(|end| matches!(end, '\u{7}' | '\u{1b}'));
                    if end == Some('\u{1b}') {
                        letters.next();
                    }
                }
                _ => {}
            },
            // What was written over in the same line is not shown by a terminal either.
            '\r' if letters.peek() != Some(&'\n') => {
                let line = plain.rfind('\n').map_or(0, |end| end + 1);
                plain.truncate(line);
            }
            '\r' => {}
            '\n' | '\t' => plain.push(letter),
            control if control.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_a_terminal_are_left_out() {
        let colour = "\u{1b}[1;31merror\u{1b}[0m: \u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}\n";
        assert_eq!(plain(colour), "error: link\n");
        assert_eq!(plain("1 of 2\r2 of 2\r\ndone\u{0}"), "2 of 2\ndone");
        assert_eq!(plain("\u{1b}"), "");
        assert_eq!(plain("größe ✓"), "größe ✓");
    }
}
