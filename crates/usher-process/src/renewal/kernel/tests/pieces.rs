//! Each piece of state is changed alone: a comparison finds it, and it is put back, or found.

use super::guest::{Guest, whole};
use crate::renewal::stopped::Stopped;

/// What the program is told, and what is then in the reason why it is replaced; nothing if it is
/// put back.
const CASES: &[(&str, &str)] = &[
    ("open", ""),
    ("open-many", ""),
    ("dup-over", "exchanged for another"),
    ("close", "was closed"),
    ("close-and-open", "exchanged for another"),
    ("blocking", ""),
    ("append", ""),
    ("close-on-exec", ""),
    ("open-on-exec", ""),
    ("owner", "sends signals"),
    ("offset", ""),
    ("listing", ""),
    ("flock", ""),
    ("posix-lock", ""),
    ("description-lock", ""),
    ("pipe-lock", ""),
    ("end-lock", ""),
    ("counter-lock", ""),
    ("socket-lock", ""),
    ("pipe-fill", ""),
    ("pipe-size", ""),
    ("byte-taken", ""),
    ("byte-exchanged", ""),
    ("count", ""),
    ("count-more", ""),
    ("count-read", ""),
    ("arm", ""),
    ("run-out", ""),
    ("signal-mask", ""),
    ("watch-new", ""),
    ("watch-more", ""),
    ("watch-other", ""),
    ("watch-less", ""),
    ("watch-spent", ""),
    ("watch-nameless", "nobody names"),
    ("waits-at-listener", ""),
    ("accepted", ""),
    ("unread", "something unread"),
    ("urgent", "something unread"),
    ("unread-in-pair", "something unread"),
    ("half-closed", "another name, peer or state"),
    ("half-closed-pair", "something unread"),
    ("closed-connection", ""),
    ("exchanged-connection", ""),
    ("both-ends-closed", ""),
    ("half-closed-and-closed", "another name, peer or state"),
    ("datagram", ""),
    ("corked", "not sent"),
    ("connected-datagrams", "another name, peer"),
    ("no-delay", ""),
    ("type-of-service", ""),
    ("send-buffer", "buffers"),
    ("listen-more", "another name, peer or state"),
    ("handler", ""),
    ("other-handler", ""),
    ("ignored", ""),
    ("default-with-flags", ""),
    ("pending", ""),
    ("pending-shared", ""),
    ("alternate-stack", ""),
    ("alternate-stack-of-other", ""),
    ("alarm", ""),
    ("interval", ""),
    ("posix-timers", ""),
    ("folder", ""),
    ("mask", ""),
    ("soft-limit", ""),
    ("name", ""),
    ("name-of-other", ""),
    ("dumpable", ""),
    ("subreaper", ""),
    ("huge-pages", ""),
    ("nice", ""),
    ("nice-of-other", ""),
    ("processors", ""),
    ("locked", ""),
    ("barrier", "membarrier"),
    ("robust-list", ""),
    ("sequences", "restartable sequences"),
    ("cleared", ""),
    ("child", "processes or threads"),
    ("dead-child", "processes or threads"),
    ("segment", "System V"),
    ("semaphores", "System V"),
    ("queue", "System V"),
    ("file", ""),
    ("tree", ""),
    ("changed", ""),
    ("truncated", ""),
    ("mapped-write", ""),
    ("renamed", "in use"),
    ("replaced", ""),
    ("removed-but-open", "in use"),
    ("linked-elsewhere", ""),
    ("mode", ""),
    ("attribute", ""),
    ("times", ""),
    ("nameless", ""),
    ("mapped", "in use"),
];

#[test]
fn each_piece_is_seen_and_put_back_or_found() {
    // Whoever may not raise a limit replaces a program that has lowered one.
    let lowered = if can_raise_limits() {
        ""
    } else {
        "lowered for good"
    };
    let limits = [("limit", lowered), ("limit-of-processor", lowered)];
    let mut wrong = Vec::new();
    for (word, left) in CASES.iter().chain(&limits) {
        if let Err(how) = case(word, left) {
            wrong.push(format!("{word}: {how}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn can_raise_limits() -> bool {
    let all = rustix::thread::capabilities(None).unwrap().effective;
    all.contains(rustix::thread::CapabilitySet::SYS_RESOURCE)
}

fn case(word: &str, left: &str) -> Result<(), String> {
    let mut guest = Guest::start();
    let mut renewed = guest.take().map_err(|error| whole(&error))?;
    guest.tell(word);
    let mut stopped = Stopped::stop(guest.pid).map_err(|error| whole(&error))?;
    let registers = stopped.registers().map_err(|error| whole(&error))?;
    // The control: without anything put back, the difference is there to be found.
    if renewed.compare(&mut stopped).is_ok() {
        return Err("a comparison does not see it".to_owned());
    }
    match (renewed.put_back(&mut stopped), left) {
        (Ok(()), "") => {}
        (Ok(()), _) => return Err("it was not found".to_owned()),
        (Err(error), left) if !left.is_empty() && whole(&error).contains(left) => return Ok(()),
        (Err(error), _) => return Err(format!("found as: {}", whole(&error))),
    }
    let compared = renewed.compare(&mut stopped);
    compared.map_err(|error| format!("not put back: {}", whole(&error)))?;
    // It goes on, and a second run is renewed too.
    let put = stopped.put_registers(&registers);
    put.map_err(|error| whole(&error))?;
    stopped.resume().map_err(|error| whole(&error))?;
    guest.tell("nothing");
    let mut stopped = Stopped::stop(guest.pid).map_err(|error| whole(&error))?;
    let again = renewed.put_back(&mut stopped);
    again.map_err(|error| format!("not renewed again: {}", whole(&error)))?;
    let compared = renewed.compare(&mut stopped);
    compared.map_err(|error| format!("differs later: {}", whole(&error)))
}
