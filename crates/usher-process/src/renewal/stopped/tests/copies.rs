//! Copies that a program makes for the platform.

use super::guest::{Guest, KILLED, one};
use crate::renewal::stopped::{Agent, InjectError, Stopped, Transfer};

const PAGE: u64 = 4096;

/// So many pages in the program with these rights, zeroed.
fn pages(stopped: &mut Stopped, agent: &Agent, pages: u64, rights: i32) -> u64 {
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let arguments = [
        0_u64.into(),
        (pages * PAGE).into(),
        rights.into(),
        private.into(),
        (-1).into(),
        0_u64.into(),
    ];
    u64::try_from(one(stopped, agent, libc::SYS_mmap, arguments)).unwrap()
}

#[test]
fn any_number_of_pieces_of_any_size_is_copied() {
    let mut guest = Guest::start("echo", 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let from = pages(&mut stopped, &agent, 2, rights);
    let to = pages(&mut stopped, &agent, 2, rights);
    let clean: Vec<u8> = (0..2 * PAGE).map(|at| (at % 251) as u8).collect();
    stopped.write(from, &clean).unwrap();
    for count in [0, 1, 682, 683, 2 * PAGE] {
        stopped.write(to, &[0; 2 * 4096]).unwrap();
        let pieces = (0..count).map(|at| Transfer {
            to: to + at,
            from: from + at,
            bytes: 1,
        });
        let pieces: Vec<_> = pieces.collect();
        stopped.copy(&agent, &pieces).unwrap();
        let mut now = vec![0; clean.len()];
        stopped.read(to, &mut now).unwrap();
        let (copied, left) = now.split_at(pieces.len());
        assert_eq!(copied, &clean[..pieces.len()], "{count}");
        assert!(left.iter().all(|byte| *byte == 0), "{count}");
    }
    let whole = Transfer {
        to,
        from,
        bytes: 2 * PAGE,
    };
    stopped.copy(&agent, &[whole]).unwrap();
    let mut now = vec![0; clean.len()];
    stopped.read(to, &mut now).unwrap();
    assert_eq!(now, clean);
    stopped.resume().unwrap();
    let data = agent.data();
    let line = format!("sum {:x} {:x}", data.start, data.end - data.start);
    assert_eq!(guest.ask(&line), 0, "the table was left there");
    assert_eq!(guest.ask("woken"), 0);
}

#[test]
fn what_cannot_be_copied_is_an_error_and_the_program_dies() {
    for (rights, from_there) in [
        (libc::PROT_NONE, true),
        (libc::PROT_NONE, false),
        (libc::PROT_READ, false),
    ] {
        let guest = Guest::start("echo", 0);
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        let agent = stopped.install().unwrap();
        let plain = libc::PROT_READ | libc::PROT_WRITE;
        let plain = pages(&mut stopped, &agent, 1, plain);
        let there = pages(&mut stopped, &agent, 1, rights);
        let (to, from) = if from_there {
            (plain, there)
        } else {
            (there, plain)
        };
        let bytes = PAGE;
        let copies = [(plain, plain), (to, from), (plain, plain)];
        let copies = copies.map(|(to, from)| Transfer { to, from, bytes });
        let failed = stopped.copy(&agent, &copies).unwrap_err();
        assert!(
            matches!(failed, InjectError::Uncopied { left: 2, .. }),
            "{failed}"
        );
        drop(stopped);
        assert_eq!(guest.ended(), KILLED);
    }
}
