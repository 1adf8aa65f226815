//! The command by which an author's source becomes an artifact.
//!
//! ```text
//!  started ─ends→ built, or failed with what it wrote;  any ─dropped→ killed, with its group
//! ```
//!
//! What it writes is shown as it comes, and the beginning and the end of it are kept. A process that
//! a finished build leaves running on purpose, such as a compiler's server, is left alone.
//!
//! Deliberately absent: when something is built.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use usher_api::manifest::{MANIFEST_FILE, Manifest};

/// How long a build may take, in seconds.
const BUILD_MAX_S: u64 = 3_600;
/// How long its output may go on when it has ended, in milliseconds: somebody else may hold it.
const OUTPUT_WAIT_MAX_MS: u64 = 500;
/// How much of the beginning of its output is kept, in bytes.
const HEAD_MAX_BYTES: usize = 48 << 10;
/// How much of the end of its output is kept, in bytes.
const TAIL_MAX_BYTES: usize = 16 << 10;
/// How much is read at once, in bytes.
const READ_MAX_BYTES: usize = 8 << 10;

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The command did not start.
    #[error(
        "the build command {program:?} was not started in {}; is it installed, and in PATH?",
        folder.display()
    )]
    Start {
        /// What was to be started.
        program: String,
        /// Where.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The command says that it failed.
    #[error("the build command `{command}` failed: {status}")]
    Failed {
        /// Its words.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// The command goes on and on.
    #[error("the build command `{command}` was ended, as it took longer than {BUILD_MAX_S} s")]
    TooLong {
        /// Its words.
        command: String,
        /// What it wrote.
        output: String,
    },
    /// The command could not be followed.
    #[error("the build command `{command}` could not be followed")]
    Lost {
        /// Its words.
        command: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// What the command wrote before it failed.
    pub(crate) fn output(&self) -> &str {
        match self {
            Self::Failed { output, .. } | Self::TooLong { output, .. } => output,
            Self::Start { .. } | Self::Lost { .. } => "",
        }
    }
}

/// Builds what is at a path by its manifest's command, shown on standard error.
pub(crate) async fn of_manifest(path: &Path) -> anyhow::Result<()> {
    let at = match path.is_dir() {
        true => path.join(MANIFEST_FILE),
        false => path.to_owned(),
    };
    ensure!(
        at.file_name().is_some_and(|name| name == MANIFEST_FILE) && at.exists(),
        "--build runs the build command of a manifest, and {} has none; leave it out",
        path.display()
    );
    let text = fs::read_to_string(&at);
    let text = text.with_context(|| format!("{} cannot be read", at.display()))?;
    let said = Manifest::read(&text).with_context(|| at.display().to_string())?;
    let wanted = said.build.with_context(|| {
        let at = at.display();
        format!("{at} has no table [build]; write one with a command, or leave out --build")
    })?;
    let folder = match at.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A terminal that is gone is noticed by what is told at the end.
    let show = |piece: &[u8]| drop(io::stderr().write_all(piece));
    Ok(run(&wanted.command, folder, show).await?)
}

/// Runs the command in a folder, and shows what it writes. Dropping the future ends all of its
/// processes that have not left its group.
pub(crate) async fn run(
    command: &[String],
    folder: &Path,
    show: impl FnMut(&[u8]),
) -> Result<(), BuildError> {
    let words = command.join(" ");
    let program = command.first().map_or("", String::as_str);
    let (mut child, output) = start(command, folder).map_err(|source| BuildError::Start {
        program: program.to_owned(),
        folder: folder.to_owned(),
        source,
    })?;
    // Behind the child, so that it is dropped before: the group must not be empty yet.
    let mut group = Group::of(&child);
    let mut said = Said::default();
    let bound = Duration::from_secs(BUILD_MAX_S);
    let ended = tokio::time::timeout(bound, follow(&mut child, output, show, &mut said)).await;
    let status = match ended {
        Ok(Ok(status)) => status,
        Ok(Err(source)) => {
            return Err(BuildError::Lost {
                command: words,
                source,
            });
        }
        Err(_) => {
            return Err(BuildError::TooLong {
                command: words,
                output: said.text(),
            });
        }
    };
    group.0 = None;
    match status.success() {
        true => Ok(()),
        false => Err(BuildError::Failed {
            command: words,
            status,
            output: said.text(),
        }),
    }
}

/// Starts the command with one pipe for all that it writes, so that its order is kept.
fn start(command: &[String], folder: &Path) -> io::Result<(Child, Receiver)> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let (output, input) = io::pipe()?;
    let output = Receiver::from_owned_fd(output.into())?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, output))
}

/// Reads until the command has ended, and what is left behind that.
async fn follow(
    child: &mut Child,
    mut output: Receiver,
    mut show: impl FnMut(&[u8]),
    said: &mut Said,
) -> io::Result<ExitStatus> {
    let mut read = async |said: &mut Said| {
        let mut piece = vec![0; READ_MAX_BYTES];
        loop {
            let bytes = output.read(&mut piece).await?;
            if bytes == 0 {
                return io::Result::Ok(());
            }
            show(&piece[..bytes]);
            said.add(&piece[..bytes]);
        }
    };
    let status = tokio::select! {
        status = child.wait() => status?,
        all = read(said) => {
            all?;
            return child.wait().await;
        }
    };
    let rest = Duration::from_millis(OUTPUT_WAIT_MAX_MS);
    if let Ok(read) = tokio::time::timeout(rest, read(said)).await {
        read?;
    }
    Ok(status)
}

/// The processes of a build. Goes away by drop, with all of them.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Self(pid.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails where all of them have ended by themselves.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a command wrote: how it begins, and how it ends.
#[derive(Default)]
struct Said {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out_bytes: usize,
}

impl Said {
    fn add(&mut self, piece: &[u8]) {
        let room = HEAD_MAX_BYTES - self.head.len();
        let (head, tail) = piece.split_at(room.min(piece.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(tail);
        let over = self.tail.len().saturating_sub(TAIL_MAX_BYTES);
        self.tail.drain(..over);
        self.left_out_bytes += over;
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.left_out_bytes > 0 {
            text.push_str(&format!("\n… {} bytes left out …\n", self.left_out_bytes));
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        text.push_str(&String::from_utf8_lossy(&tail));
        text
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).into()
    }

    #[tokio::test]
    async fn a_build_shows_what_it_writes_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut shown = Vec::new();
        let script = sh("echo one; echo two >&2; pwd > made");
        let show = |piece: &[u8]| shown.extend_from_slice(piece);
        run(&script, folder.path(), show).await.unwrap();
        assert_eq!(shown, b"one\ntwo\n");
        assert!(folder.path().join("made").exists());
    }

    #[tokio::test]
    async fn a_build_that_fails_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let failed = run(&sh("echo wrong >&2; exit 3"), folder.path(), |_| {}).await;
        let error = failed.unwrap_err();
        assert_eq!(error.output(), "wrong\n");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        let missing = ["no-such-program".to_owned()];
        let error = run(&missing, folder.path(), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("is it installed"), "{error}");
    }

    /// The end of the pipe says that every process that held it has ended.
    #[tokio::test]
    async fn a_build_that_is_dropped_ends_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let (alive, held) = io::pipe().unwrap();
        let mut alive = Receiver::from_owned_fd(alive.into()).unwrap();
        let begun = folder.path().join("begun");
        let status = std::process::Command::new("mkfifo").arg(&begun).status();
        assert!(status.unwrap().success());
        let held: std::os::fd::OwnedFd = held.into();
        // Handed on by its number, which a child of a child has too.
        rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
        let script = sh("sleep 600 & echo > begun; wait");
        let building = run(&script, folder.path(), |_| {});
        let reader = tokio::task::spawn_blocking(move || std::fs::read(begun).unwrap());
        tokio::select! {
            built = building => panic!("{built:?}"),
            begun = reader => assert_eq!(begun.unwrap(), b"\n"),
        }
        drop(held);
        let mut end = Vec::new();
        alive.read_to_end(&mut end).await.unwrap();
        assert_eq!(end, b"");
    }

    #[test]
    fn a_long_output_keeps_both_of_its_ends() {
        let mut said = Said::default();
        said.add(b"begin");
        for _ in 0..100 {
            said.add(&[b'.'; 1_024]);
        }
        said.add("the end ✓".as_bytes());
        let text = said.text();
        assert!(text.starts_with("begin") && text.ends_with("the end ✓"));
        assert!(text.contains("bytes left out"), "{}", text.len());
        assert!(text.len() < HEAD_MAX_BYTES + TAIL_MAX_BYTES + 100);
    }
}
