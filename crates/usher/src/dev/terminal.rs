//! What the author sees in the terminal: builds as they go, how each change came out, what the
//! function writes.
//!
//! Deliberately absent: the browser (`page`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::report::{Phase, Report};
use crate::output;

/// How many changed files are named.
const NAMED_MAX: usize = 3;

/// The phases of one attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// The build command.
    pub(crate) build: Duration,
    /// Making it ready on the platform, reading it included.
    pub(crate) deploy: Duration,
    /// All of it, from the notice of the first change.
    pub(crate) whole: Duration,
}

/// The author's terminal.
pub(crate) struct Terminal {
    /// Whether standard output is for programs.
    pub(crate) json: bool,
    /// What names of files are relative to.
    pub(crate) folder: PathBuf,
}

impl Terminal {
    /// Says that a build begins.
    pub(crate) fn building(&self, command: &[String]) {
        eprintln!("usher: building: {}", command.join(" "));
    }

    /// Shows what a build writes, as it is.
    pub(crate) fn build_says(&self, piece: &[u8]) {
        // A terminal that is gone is noticed by what goes to standard output.
        let _ = io::stderr().write_all(piece);
    }

    /// Says that a change of files that matter is being worked on while another one was.
    pub(crate) fn overtaken(&self, changed: &[PathBuf]) {
        eprintln!("usher: {} changed, begun anew", self.named(changed));
    }

    /// Says that the source is served.
    pub(crate) fn reloaded(
        &self,
        number: u64,
        changed: &[PathBuf],
        times: Times,
    ) -> io::Result<()> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (whole, build, deploy) = (ms(times.whole), ms(times.build), ms(times.deploy));
        if self.json {
            return output::line(json!({
                "reloaded": number,
                "took_ms": whole,
                "build_ms": build,
                "deploy_ms": deploy,
                "changed": changed,
            }));
        }
        let what = match number {
            1 => "served".to_owned(),
            _ => format!("reloaded in {whole} ms"),
        };
        let phases = match build {
            0 => format!("deploy {deploy} ms"),
            _ => format!("build {build} ms, deploy {deploy} ms"),
        };
        match changed {
            [] => output::line(format!("{what} ({phases})")),
            _ => output::line(format!("{what} ({phases}): {}", self.named(changed))),
        }
    }

    /// Says what is wrong. What a build wrote was shown as it came.
    pub(crate) fn failed(&self, number: u64, report: &Report) -> io::Result<()> {
        let title = report.phase.title();
        let mut told = format!("usher: {title}: {}", report.message);
        if report.phase != Phase::Build && !report.output.is_empty() {
            told.push('\n');
            told.push_str(report.output.trim_end());
        }
        eprintln!("{told}");
        if !self.json {
            return Ok(());
        }
        output::line(json!({
            "failed": number,
            "label": report.phase.label(),
            "message": report.message,
            "output": report.output,
        }))
    }

    fn named(&self, changed: &[PathBuf]) -> String {
        let short = |path: &PathBuf| {
            let path: &Path = path.strip_prefix(&self.folder).unwrap_or(path);
            path.display().to_string()
        };
        let mut names: Vec<_> = changed.iter().take(NAMED_MAX).map(short).collect();
        if changed.len() > NAMED_MAX {
            names.push(format!("{} more", changed.len() - NAMED_MAX));
        }
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_changed_files_are_named_and_the_rest_are_counted() {
        let terminal = Terminal {
            json: false,
            folder: PathBuf::from("/f"),
        };
        let path = |name: &str| PathBuf::from("/f").join(name);
        assert_eq!(terminal.named(&[path("src/a.rs")]), "src/a.rs");
        let many = ["a", "b", "c", "d", "e"].map(path);
        assert_eq!(terminal.named(&many), "a, b, c, 2 more");
        let outside = [PathBuf::from("/shared/x")];
        assert_eq!(terminal.named(&outside), "/shared/x");
    }
}
