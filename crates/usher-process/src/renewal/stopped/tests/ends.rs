//! Programs that end, are killed or cannot be stopped: always an error, never a hang.

use std::thread;

use rustix::process::Pid;

use super::guest::{Guest, KILLED, getpids};
use crate::renewal::stopped::{Batch, Call, Expect, InjectError, StopError, Stopped};

#[test]
fn dropping_it_kills_the_program() {
    for threads in [0, 31] {
        let guest = Guest::start("rest", threads);
        drop(Stopped::stop(guest.pid).unwrap());
        assert_eq!(guest.ended(), KILLED);
    }
}

#[test]
fn the_end_of_the_tracing_thread_kills_the_program() {
    let guest = Guest::start("rest", 7);
    let pid = guest.pid;
    let tracing = thread::spawn(move || std::mem::forget(Stopped::stop(pid).unwrap()));
    tracing.join().unwrap();
    assert_eq!(guest.ended(), KILLED);
}

#[test]
fn a_program_that_is_killed_in_any_phase_is_an_error() {
    type Fails = fn(&mut Stopped) -> bool;
    let phases: [(&str, Fails); 4] = [
        ("install", |stopped| stopped.install().is_err()),
        ("registers", |stopped| stopped.registers().is_err()),
        ("nothing", |_| true),
        ("both", |stopped| {
            stopped.install().is_err() && stopped.registers().is_err()
        }),
    ];
    for (name, phase) in phases {
        let guest = Guest::start("rest", 7);
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        guest.kill();
        assert!(phase(&mut stopped), "{name}");
        assert!(stopped.resume().is_err(), "{name}");
        assert_eq!(guest.ended(), KILLED, "{name}");
    }
}

#[test]
fn a_program_that_is_killed_after_the_snapshot_is_an_error() {
    for phase in ["run", "threads", "put"] {
        let mut guest = Guest::start("rest", 7);
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        let agent = stopped.install().unwrap();
        let kept = stopped.registers().unwrap();
        stopped.resume().unwrap();
        guest.ask("pause");
        guest.ask_until("started", |count| count == 8);
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        if phase == "put" {
            stopped.end_new_threads(&agent, &kept).unwrap();
        }
        guest.kill();
        let failed = match phase {
            "run" => stopped.run(&agent, &getpids(3, guest.pid)).is_err(),
            "threads" => stopped.end_new_threads(&agent, &kept).is_err(),
            _ => stopped.put_registers(&kept).is_err(),
        };
        assert!(failed, "{phase}");
        drop(stopped);
        assert_eq!(guest.ended(), KILLED, "{phase}");
    }
}

#[test]
fn a_program_that_is_killed_amid_a_call_is_an_error() {
    let guest = Guest::start("rest", 7);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let mut batch = Batch::new();
    batch.call(Call::new::<0>(libc::SYS_pause, []), Expect::Any);
    let pid = guest.pid;
    let killing = thread::spawn(move || {
        guest.until('S');
        guest.kill();
        guest
    });
    let ran = stopped.run(&agent, &batch);
    assert!(matches!(ran, Err(InjectError::Trace(_))), "{ran:?}");
    drop(stopped);
    assert_eq!(killing.join().unwrap().ended(), KILLED);
    assert!(matches!(Stopped::stop(pid), Err(StopError::Missing { .. })));
}

#[test]
fn a_program_that_is_killed_while_it_is_stopped_is_an_error() {
    for _ in 0..20 {
        let guest = Guest::start("rest", 31);
        let pid = guest.pid;
        let killing = thread::spawn(move || {
            guest.kill();
            guest
        });
        // Whether the kill comes before or after is open; that it ends is not.
        if let Ok(stopped) = Stopped::stop(pid) {
            drop(stopped);
        }
        assert_eq!(killing.join().unwrap().ended(), KILLED);
    }
}

#[test]
fn there_must_be_such_a_program() {
    // Numbers end at 2^22.
    let none = Pid::from_raw(i32::MAX).unwrap();
    let stopped = Stopped::stop(none);
    assert!(matches!(stopped, Err(StopError::Missing { .. })));
}

#[test]
fn a_program_that_was_stopped_by_a_signal_is_refused() {
    let mut guest = Guest::start("rest", 3);
    guest.tell("stop");
    guest.until('T');
    let stopped = Stopped::stop(guest.pid);
    let signal = libc::SIGSTOP;
    assert!(
        matches!(stopped, Err(StopError::Job { signal: found, .. }) if found == signal),
        "{stopped:?}"
    );
    assert_eq!(guest.ended(), KILLED);
}

#[test]
fn a_program_whose_main_thread_has_ended_is_refused() {
    let mut guest = Guest::start("rest", 3);
    guest.tell("leave");
    guest.until('Z');
    let stopped = Stopped::stop(guest.pid);
    assert!(
        matches!(stopped, Err(StopError::MainEnded { .. })),
        "{stopped:?}"
    );
    assert_eq!(guest.ended(), KILLED);
}

#[test]
fn a_thread_that_does_not_stop_is_an_error_that_tells_its_state() {
    let mut guest = Guest::start("rest", 3);
    guest.ask("park");
    guest.ask_until("started", |count| count == 4);
    let path = format!("/proc/{}/task", guest.pid);
    let parked = || {
        let tasks = std::fs::read_dir(&path).unwrap();
        let mut states = tasks.map(|task| {
            let stat = task.unwrap().path().join("stat");
            std::fs::read_to_string(stat).unwrap_or_default()
        });
        states.any(|stat| stat.contains(") D "))
    };
    while !parked() {
        thread::yield_now();
    }
    let stopped = Stopped::stop(guest.pid).unwrap_err();
    let StopError::Trace(cause) = stopped else {
        panic!("{stopped}")
    };
    assert!(cause.to_string().contains("in state D"), "{cause}");
    assert_eq!(guest.ended(), KILLED);
}
