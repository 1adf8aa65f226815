//! The steps of a chore: a headline and seconds for each, output bounded here and whole in a file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::Watched;
use crate::workspace;

/// Lines that one step may print; the rest is in its file only.
const SHOWN_MAX_LINES: usize = 400;

/// The steps so far.
pub(crate) struct Steps {
    folder: PathBuf,
    done: Vec<(String, Duration, bool)>,
}

impl Steps {
    /// No step yet; makes the folder for what they print.
    pub(crate) fn begin() -> Result<Self> {
        let folder = workspace::root().join("target/xtask");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self {
            folder,
            done: Vec::new(),
        })
    }

    /// Runs a step within this program. Answers whether it went well.
    pub(crate) fn here(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> bool {
        println!("== {name}");
        let begun = Instant::now();
        let result = work();
        if let Err(error) = &result {
            println!("{name} failed: {error:#}");
        }
        let well = result.is_ok();
        self.done.push((name.to_owned(), begun.elapsed(), well));
        well
    }

    /// Runs a command as a step. Answers whether it went well.
    pub(crate) fn command(&mut self, name: &str, command: Command, limit: Duration) -> bool {
        self.command_read(name, command, limit, |_| {})
    }

    /// The same, with every line handed to `read`.
    pub(crate) fn command_read(
        &mut self,
        name: &str,
        mut command: Command,
        limit: Duration,
        mut read: impl FnMut(&str),
    ) -> bool {
        let path = self.folder.join(format!("{name}.log"));
        self.here(name, || {
            let mut log = BufWriter::new(File::create(&path)?);
            let mut shown = 0;
            let each = |line: &str| {
                // A full disk must not fail the step; its status still tells how it went.
                let _ = writeln!(log, "{line}");
                read(line);
                if worth_showing(line) && shown < SHOWN_MAX_LINES {
                    shown += 1;
                    println!("{line}");
                }
            };
            let status = Watched::start(name, &mut command)?.finish(limit, each)?;
            if !status.success() {
                bail!("{status}; all it said is in {}", path.display());
            }
            Ok(())
        })
    }

    /// Prints how long each step took; answers whether all went well.
    pub(crate) fn finish(self) -> bool {
        println!("== done");
        for (name, took, well) in &self.done {
            let mark = if *well { "ok" } else { "FAILED" };
            println!("{name:<8} {:>7.1} s  {mark}", took.as_secs_f64());
        }
        self.done.iter().all(|(_, _, well)| *well)
    }
}

/// Whether a line is more than progress: one line for each crate and each test is too much.
fn worth_showing(line: &str) -> bool {
    let trimmed = line.trim_start();
    let progress = [
        "Compiling ",
        "Checking ",
        "Downloaded ",
        "Downloading ",
        "Locking ",
        "Fresh ",
    ];
    let passed = trimmed.starts_with("test ") && trimmed.ends_with("... ok");
    let counted = trimmed.starts_with("running ")
        && (trimmed.ends_with(" tests") || trimmed.ends_with(" test"));
    !trimmed.is_empty()
        && !passed
        && !counted
        && !progress.iter().any(|word| trimmed.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_not_shown_but_failures_are() {
        let hidden = [
            "",
            "   Compiling a v1.0.0",
            "test a::b ... ok",
            "running 12 tests",
        ];
        assert!(hidden.iter().all(|line| !worth_showing(line)));
        let shown = [
            "test a::b ... FAILED",
            "error: x",
            "warning: y",
            "test result: ok. 1 passed",
        ];
        assert!(shown.iter().all(|line| worth_showing(line)));
    }
}
