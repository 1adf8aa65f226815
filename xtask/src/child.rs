//! A child process under watch: its lines are read as they come, its time is bounded, it ends when
//! dropped.
//!
//! A child is ended with everything that it started; also when this chore itself is told to end.
//! Deliberately absent: what is started and what its lines mean.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::proc;

/// Lines that may wait to be read, per child.
const LINES_WAITING_MAX: usize = 1024;
/// How long a child may take to end after it was asked to, in milliseconds.
const END_WAIT_MAX_MS: u64 = 3_000;

/// The children that have to be ended with this process.
static LIVE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// The cargo that started this chore.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// From now on an interrupt or a polite request to end takes the watched children along.
pub(crate) fn end_all_on_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let kinds = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            );
            let (Ok(mut interrupt), Ok(mut terminate)) = kinds else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            for id in live().iter() {
                end_tree(*id, Signal::TERM);
            }
            std::process::exit(130);
        });
    });
    Ok(())
}

/// A running child whose two outputs come as one stream of lines.
pub(crate) struct Watched {
    child: Child,
    lines: Receiver<String>,
    name: String,
    ended: bool,
}

impl Watched {
    /// Starts `command` without input.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!("{name} could not be started ({:?})", command.get_program())
            })?;
        live().insert(child.id());
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as _),
            child.stderr.take().map(|output| Box::new(output) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut output = BufReader::new(output);
                let mut line = Vec::new();
                while matches!(output.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                    // A reader that has lost interest must not make the child block on a full pipe.
                    let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                }
            });
        }
        let name = name.to_owned();
        Ok(Self {
            child,
            lines,
            name,
            ended: false,
        })
    }

    /// The child's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; none when both outputs have ended. Fails at `deadline`.
    pub(crate) fn line(&self, deadline: Instant) -> Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("{} took longer than it may", self.name),
        }
    }

    /// Reads lines until `wanted` finds what it looks for in one, and drops all that come later.
    ///
    /// Fails with what was read if none has it.
    pub(crate) fn wait_for<T>(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            match self.line(deadline) {
                Ok(Some(line)) => {
                    if let Some(found) = wanted(&line) {
                        self.mute();
                        return Ok(found);
                    }
                    seen.push(line);
                }
                Ok(None) => bail!(
                    "{} ended before it was ready:\n{}",
                    self.name,
                    seen.join("\n")
                ),
                Err(late) => bail!("{late}; it said:\n{}", seen.join("\n")),
            }
        }
    }

    /// Hands every line to `each` until the child has ended; ends it itself after `limit`.
    pub(crate) fn finish(
        mut self,
        limit: Duration,
        mut each: impl FnMut(&str),
    ) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        while let Some(line) = self.line(deadline)? {
            each(&line);
        }
        let status = self.child.wait()?;
        self.ended = true;
        Ok(status)
    }

    /// From now on all that it says is dropped.
    pub(crate) fn mute(&mut self) {
        self.lines = sync_channel(0).1;
    }

    /// What it has said and nobody has read yet.
    pub(crate) fn said(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let id = self.child.id();
        if !self.ended && !self.has_ended() {
            let below = proc::tree(id);
            self.signal(Signal::TERM);
            let deadline = Instant::now() + Duration::from_millis(END_WAIT_MAX_MS);
            while !self.has_ended() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            for left in below.into_iter().filter(|left| left.is_alive()) {
                send(left.id, Signal::KILL);
            }
        }
        let _ = self.child.wait();
        live().remove(&id);
    }
}

/// Asks a process and everything below it to end.
fn end_tree(id: u32, signal: Signal) {
    for process in proc::tree(id) {
        send(process.id, signal);
    }
}

fn send(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // The process may have ended by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}

fn live() -> MutexGuard<'static, BTreeSet<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Watched {
        Watched::start("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_of_both_outputs_come_and_the_status_is_told() {
        let mut lines = Vec::new();
        let status = shell("echo out; echo err >&2; exit 3")
            .finish(LIMIT, |line| lines.push(line.to_owned()))
            .unwrap();
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_child_that_is_too_slow_is_reported() {
        let error = shell("exec cat /dev/zero > /dev/null").finish(Duration::ZERO, |_| {});
        assert_eq!(error.unwrap_err().to_string(), "sh took longer than it may");
    }

    #[test]
    fn dropping_ends_what_the_child_started_too() {
        let mut watched = shell("cat /dev/zero > /dev/null & echo $!; wait");
        let below: u32 = watched.wait_for(LIMIT, |line| line.parse().ok()).unwrap();
        let grandchild = proc::Process::find(below).unwrap();
        assert!(grandchild.is_alive());
        drop(watched);
        // It was killed, and its end is certain; only its entry may still wait to be taken away.
        while grandchild.is_alive() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn waiting_for_a_line_tells_what_came_instead() {
        let port = |line: &str| line.strip_prefix("ready ").map(str::to_owned);
        assert_eq!(
            shell("echo no; echo ready 7")
                .wait_for(LIMIT, port)
                .unwrap(),
            "7"
        );
        let error = shell("echo no").wait_for(LIMIT, port).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("ended before it was ready:\nno")
        );
    }
}
