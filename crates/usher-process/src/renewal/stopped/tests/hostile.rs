//! Programs that know where the agent is.

use super::guest::{Guest, KILLED, getpids};
use crate::renewal::stopped::{Agent, InjectError, Stopped};

fn installed(guest: &Guest) -> Agent {
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    stopped.resume().unwrap();
    agent
}

#[test]
fn an_agent_whose_mappings_were_changed_is_not_used() {
    for word in ["unmap", "protect", "share"] {
        for part in ["text", "data", "one page of data", "guard and data"] {
            let mut guest = Guest::start("echo", 0);
            let agent = installed(&guest);
            let mut range = match part {
                "text" => agent.text(),
                "guard and data" => agent.data().start..agent.range().end,
                _ => agent.data(),
            };
            if part == "one page of data" {
                range.start = range.end - 4096;
            }
            let line = format!("{word} {:x} {:x}", range.start, range.end - range.start);
            assert_eq!(guest.ask(&line), 0);
            let mut stopped = Stopped::stop(guest.pid).unwrap();
            let ran = stopped.run(&agent, &getpids(1, guest.pid));
            let case = format!("{word} {part}: {ran:?}");
            assert!(matches!(ran, Err(InjectError::Tampered { .. })), "{case}");
            drop(stopped);
            assert_eq!(guest.ended(), KILLED, "{case}");
        }
    }
}

#[test]
fn an_agent_whose_text_was_overwritten_is_written_anew() {
    let mut guest = Guest::start("echo", 0);
    let agent = installed(&guest);
    assert_eq!(guest.ask(&format!("patch {:x}", agent.text().start)), 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    stopped.run(&agent, &getpids(70, guest.pid)).unwrap();
    stopped.resume().unwrap();
    assert_eq!(guest.ask("woken"), 0);
}

#[test]
fn nothing_can_be_kept_in_the_agent() {
    let mut guest = Guest::start("echo", 0);
    let agent = installed(&guest);
    let (text, data) = (agent.text(), agent.data());
    let of = |word, range: &std::ops::Range<u64>| {
        format!("{word} {:x} {:x}", range.start, range.end - range.start)
    };
    let clean = (guest.ask(&of("sum", &text)), guest.ask(&of("sum", &data)));
    assert_eq!(clean.1, 0);
    guest.ask(&of("stash", &data));
    let stashed = (guest.ask(&of("sum", &text)), guest.ask(&of("sum", &data)));
    assert_ne!(stashed.0, clean.0);
    assert_ne!(stashed.1, clean.1);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    stopped.run(&agent, &getpids(1, guest.pid)).unwrap();
    stopped.resume().unwrap();
    let after = (guest.ask(&of("sum", &text)), guest.ask(&of("sum", &data)));
    assert_eq!(after, clean);
}
