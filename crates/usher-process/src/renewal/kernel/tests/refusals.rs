//! What cannot be put back is refused when the snapshot is taken, with the reason.

use super::guest::{Guest, whole};

/// What the program does before, and what is then in the reason.
const CASES: &[(&str, &str)] = &[
    ("inotify", "of the kind `inotify`"),
    ("pidfd", "which cannot be put back"),
    ("memory-file", "has no name in scratch"),
    ("removed-but-open", "has no name in scratch"),
    ("pipe-fill", "a pipe with much unread"),
    ("unread", "something unread"),
    ("waits-at-listener", "waits to be accepted"),
    ("half-closed", "a peer that has closed"),
    ("run-out", "a timer that has run out"),
    ("pending", "a pending signal"),
    ("posix-timers", "POSIX timers"),
    ("child", "has children"),
    ("dead-child", "has children"),
    ("segment", "System V"),
    ("queue", "System V"),
    ("thread-apart", "descriptors or a folder of its own"),
];

#[test]
fn each_of_them_is_refused_with_its_reason() {
    let mut wrong = Vec::new();
    for (word, reason) in CASES {
        let mut guest = Guest::start();
        guest.tell(word);
        match guest.take() {
            Ok(_) => wrong.push(format!("{word}: is taken")),
            Err(error) if whole(&error).contains(reason) => {}
            Err(error) => wrong.push(format!("{word}: {}", whole(&error))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
