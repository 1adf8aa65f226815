//! What tests wait for of their guests: a line, for so long and no longer.
//!
//! A guest that was killed need not end its output, since whoever puts it back holds that too.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

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
            let ready = poll(&mut ready, Some(&wait)).unwrap();
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
