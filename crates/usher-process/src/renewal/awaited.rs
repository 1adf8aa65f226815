//! What tests wait for of their guests: a line, for so long and no longer.
//!
//! A guest that was killed need not end its output, since whoever puts it back holds that too.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::Pid;

/// How long a line may take, in seconds.
const WAIT_MAX_S: i64 = 60;

/// The next line, without its end; empty if there is none any more.
pub(crate) fn line<R: Read + AsFd>(answers: &mut BufReader<R>) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        if answers.buffer().is_empty() {
            let mut ready = [PollFd::new(answers.get_ref(), PollFlags::IN)];
            let wait = Timespec {
                tv_sec: WAIT_MAX_S,
                tv_nsec: 0,
            };
            // Signals about tests beside this one come to any thread.
            let ready = retry_on_intr(|| poll(&mut ready, Some(&wait))).unwrap();
            assert!(ready > 0, "the guest said nothing for {WAIT_MAX_S} s");
        }
        let there = answers.fill_buf().unwrap();
        if there.is_empty() {
            break;
        }
        let end = there.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(there.len(), |end| end + 1);
        line.extend_from_slice(&there[..taken]);
        answers.consume(taken);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Waits until all threads of a program wait, the main thread for a line.
pub(crate) fn quiet(pid: Pid) {
    let pid = pid.as_raw_nonzero();
    let call = |task: &Path| std::fs::read_to_string(task.join("syscall")).unwrap_or_default();
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let called = |task: std::io::Result<std::fs::DirEntry>| {
            call(&task.unwrap().path()).starts_with(|first: char| first.is_ascii_digit())
        };
        let all = tasks.into_iter().all(called);
        if all && call(Path::new(&format!("/proc/{pid}"))).starts_with("0 0x0 ") {
            return;
        }
        std::thread::yield_now();
    }
}
