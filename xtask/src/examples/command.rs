//! Runs a program to its end, quietly: what it printed is shown only if it failed.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The most lines of a failed program's output that are shown.
const SHOWN_MAX_LINES: usize = 60;

/// Runs `command` and answers what it wrote to standard output.
///
/// # Errors
/// It could not be started, or ended with another status than 0: the error carries the end of its
/// output.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{name}`: is it installed?"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_MAX_LINES)..];
    bail!("`{name}` failed ({}):\n{}", output.status, shown.join("\n"))
}

/// Whether `program` can be started and ends with 0.
pub(super) fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
