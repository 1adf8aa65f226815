//! When a program rests: all of its threads sleep, and none has run for a while.
//!
//! A snapshot of a program that is still busy would be put back into the middle of that work for
//! every request. Nothing tells when a program has come to rest, so that it has to be watched.
//!
//! Deliberately absent: whether what it waits for may be put back, which the snapshot finds out.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// How long all threads must have slept, in milliseconds.
const QUIET_MS: u64 = 20;
/// How often they are looked at, in milliseconds.
const LOOK_EVERY_MS: u64 = 4;
/// How long a program is waited for, in milliseconds.
pub(crate) const QUIET_WAIT_MAX_MS: u64 = 1_000;
/// Threads that are looked at.
const THREADS_MAX: usize = 4_096;

/// What is seen of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    thread: String,
    asleep: bool,
    /// Time on a processor, time spent waiting for one, and how often: as the kernel writes them.
    ran: String,
}

/// How long nothing has been seen to run.
#[derive(Debug, Default)]
struct Rest {
    seen: Vec<Seen>,
    since: Option<Instant>,
}

impl Rest {
    /// Takes in what is seen now, and says for how long it has been so.
    fn look(&mut self, seen: Vec<Seen>, now: Instant) -> Duration {
        let asleep = !seen.is_empty() && seen.iter().all(|thread| thread.asleep);
        if !asleep || seen != self.seen {
            self.since = asleep.then_some(now);
            self.seen = seen;
        }
        self.since.map_or(Duration::ZERO, |since| now - since)
    }
}

/// Waits until the program rests. Whoever calls bounds the time.
///
/// # Errors
///
/// If the program has gone.
pub(crate) async fn quiet(program: Pid) -> io::Result<()> {
    let mut rest = Rest::default();
    while rest.look(seen(program)?, Instant::now()) < Duration::from_millis(QUIET_MS) {
        tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
    }
    Ok(())
}

fn seen(program: Pid) -> io::Result<Vec<Seen>> {
    let tasks = format!("/proc/{}/task", program.as_raw_nonzero());
    let mut seen = Vec::new();
    for task in fs::read_dir(tasks)?.take(THREADS_MAX) {
        let task = task?;
        let thread = task.file_name().to_string_lossy().into_owned();
        match look(&task.path()) {
            Some((asleep, ran)) => seen.push(Seen {
                thread,
                asleep,
                ran,
            }),
            // It has just ended, so that the program is not at rest.
            None => return Ok(Vec::new()),
        }
    }
    seen.sort_by(|one, other| one.thread.cmp(&other.thread));
    Ok(seen)
}

fn look(task: &Path) -> Option<(bool, String)> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let ran = fs::read_to_string(task.join("schedstat")).ok()?;
    // The name stands in brackets and may hold anything, so the last bracket counts.
    let (_, rest) = stat.rsplit_once(')')?;
    Some((rest.trim_start().starts_with('S'), ran))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(asleep: bool, ran: &str) -> Vec<Seen> {
        vec![Seen {
            thread: "7".to_owned(),
            asleep,
            ran: ran.to_owned(),
        }]
    }

    #[test]
    fn rest_begins_anew_whenever_something_ran() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut rest = Rest::default();
        assert_eq!(rest.look(thread(true, "1 0 1"), at(0)).as_millis(), 0);
        assert_eq!(rest.look(thread(true, "1 0 1"), at(9)).as_millis(), 9);
        assert_eq!(rest.look(thread(true, "2 0 2"), at(12)).as_millis(), 0);
        assert_eq!(rest.look(thread(true, "2 0 2"), at(20)).as_millis(), 8);
        assert_eq!(rest.look(thread(false, "2 0 2"), at(21)).as_millis(), 0);
        assert_eq!(rest.look(thread(false, "2 0 2"), at(90)).as_millis(), 0);
        assert_eq!(rest.look(thread(true, "3 0 3"), at(91)).as_millis(), 0);
        assert_eq!(rest.look(Vec::new(), at(99)).as_millis(), 0);
        assert_eq!(rest.look(Vec::new(), at(199)).as_millis(), 0);
    }

    #[tokio::test]
    async fn a_program_that_has_gone_never_rests() {
        let mut child = std::process::Command::new("/bin/true")
            .spawn()
            .expect("it starts");
        let pid = Pid::from_child(&child);
        child.wait().expect("it ends");
        assert!(quiet(pid).await.is_err());
    }
}
