//! `usher completion`: the script by which a shell completes the words of this binary.
//!
//! Deliberately absent: names of functions, for which a shell would have to ask the platform at
//! every key.

use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, Completion};
use crate::man::visible;

/// Writes the script to standard output.
pub(crate) fn run(completion: &Completion) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(&script(completion.shell))?;
    out.flush().context("the script could not be written")
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = visible(Cli::command());
    generate(shell, &mut command, "usher", &mut script);
    script
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use clap::ValueEnum;

    use super::*;

    /// Whether a shell can read a script; none: the shell is not there.
    fn reads(shell: &str, script: &[u8]) -> Option<bool> {
        let mut child = Command::new(shell)
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It may end before it has read all of what is wrong.
        let _ = child.stdin.take().unwrap().write_all(script);
        Some(child.wait().unwrap().success())
    }

    #[test]
    fn every_shell_has_a_script_that_it_can_read() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            let text = String::from_utf8(script.clone()).unwrap();
            for word in ["dev", "live-reload", "completion"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
            assert!(!text.contains("compile-component"), "{shell}");
            assert_ne!(reads(&shell.to_string(), &script), Some(false), "{shell}");
        }
        // Bash is wherever these tests run.
        assert_eq!(reads("bash", b"if then fi ("), Some(false));
    }
}
