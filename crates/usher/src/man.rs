//! `usher man`: the manual pages, made of the same words that the binary understands.
//!
//! Deliberately absent: what takes longer to explain, which is in `docs/`.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{self, Cli};
use crate::output;

/// Writes a page for each command into a folder, or usher's own to standard output.
pub(crate) fn run(man: &cli::Man) -> anyhow::Result<()> {
    let command = visible(Cli::command());
    let Some(folder) = &man.out else {
        let mut out = std::io::stdout().lock();
        out.write_all(&page(command)?)?;
        return out.flush().context("the page could not be written");
    };
    fs::create_dir_all(folder).with_context(|| format!("{} was not made", folder.display()))?;
    write_all(command, folder)
}

/// The command without the words that the platform says to itself.
pub(crate) fn visible(command: Command) -> Command {
    let mut shown = Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .disable_help_subcommand(true);
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    let shown = shown.args(command.get_arguments().cloned());
    let public = command.get_subcommands().filter(|one| !one.is_hide_set());
    shown.subcommands(public.cloned())
}

fn write_all(mut command: Command, folder: &Path) -> anyhow::Result<()> {
    // Gives each command within another its whole name, such as `usher-bench-swap`.
    command.build();
    let mut pages = vec![command];
    while let Some(command) = pages.pop() {
        pages.extend(command.get_subcommands().cloned());
        let name = command.get_display_name().unwrap_or(command.get_name());
        let file = folder.join(format!("{name}.1"));
        let written = fs::write(&file, page(command)?);
        written.with_context(|| format!("{} was not written", file.display()))?;
        output::line(file.display())?;
    }
    Ok(())
}

fn page(command: Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).manual("Usher").render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn every_command_has_a_page_that_can_be_set() {
        let folder = tempfile::tempdir().unwrap();
        write_all(visible(Cli::command()), folder.path()).unwrap();
        let mut names = Vec::new();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let page = fs::read_to_string(&path).unwrap();
            assert!(page.contains(".TH ") && page.contains(".SH NAME"), "{page}");
            // What it warns of is a mistake of the page; none: it is not there.
            let set = Process::new("groff")
                .args(["-ww", "-man", "-Tutf8", "-z"])
                .arg(&path)
                .output();
            if let Ok(set) = set {
                let said = String::from_utf8_lossy(&set.stderr).into_owned();
                assert!(set.status.success() && said.is_empty(), "{path:?}: {said}");
            }
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        for name in ["usher.1", "usher-dev.1", "usher-bench-swap.1"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
        assert!(
            !names.iter().any(|name| name.contains("compile")),
            "{names:?}"
        );
    }
}
