//! Programs that are stopped and let go again and again, and do not notice.

use std::process::Command;

use super::guest::{Guest, getpids};
use crate::renewal::stopped::Stopped;

const CYCLES: usize = 1000;

#[test]
fn threads_that_wait_or_work_do_not_notice() {
    for count in [0, 7, 31] {
        let mut guest = Guest::start("rest", count);
        for _ in 0..50 {
            let stopped = Stopped::stop(guest.pid).unwrap();
            assert_eq!(stopped.threads().len(), count + 1);
            assert_eq!(stopped.threads()[0], guest.pid);
            stopped.resume().unwrap();
        }
        assert_eq!(guest.ask("woken"), 0, "{count} threads");
        assert_eq!(guest.ended(), 0);
    }
}

#[test]
fn a_program_that_answers_meanwhile_does_not_notice() {
    let mut guest = Guest::start("echo", 0);
    let pid = guest.pid;
    let asking = std::thread::spawn(move || {
        for _ in 0..20 * CYCLES {
            assert_eq!(guest.ask("woken"), 0);
        }
        guest
    });
    for _ in 0..CYCLES {
        Stopped::stop(pid).unwrap().resume().unwrap();
    }
    assert_eq!(asking.join().unwrap().ended(), 0);
}

#[test]
fn a_program_that_starts_threads_all_the_time_does_not_notice() {
    let mut guest = Guest::start("churn", 0);
    for _ in 0..CYCLES {
        Stopped::stop(guest.pid).unwrap().resume().unwrap();
    }
    guest.ask_until("ended", |ended| ended > 0);
    assert_eq!(guest.ask("wrong"), 0);
    assert_eq!(guest.ended(), 0);
}

#[test]
fn no_signal_is_lost_and_none_comes_twice() {
    let mut guest = Guest::start("signals", 0);
    let mut met = 0;
    for _ in 0..CYCLES {
        let stopped = Stopped::stop(guest.pid).unwrap();
        met += usize::from(stopped.signalled().is_some());
        stopped.resume().unwrap();
    }
    guest.ask("over");
    guest.ask_until("unsent", |unsent| unsent == 0);
    eprintln!("{met} of {CYCLES} stops met a signal on its way");
    assert!(guest.ask("taken") > 0);
    assert_eq!(guest.ask("wrong"), 0, "signals that were lost or doubled");
    assert_eq!(guest.ask("woken"), 0, "waits that ended without a signal");
}

#[test]
fn a_thread_under_fire_of_signals_makes_calls_and_goes_on() {
    let mut guest = Guest::start("signals", 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    stopped.resume().unwrap();
    for _ in 0..CYCLES {
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        for thread in stopped.threads().to_vec() {
            let batch = getpids(1, guest.pid);
            stopped.run_by(thread, &agent, &batch).unwrap();
        }
        stopped.resume().unwrap();
    }
    guest.ask("over");
    guest.ask_until("unsent", |unsent| unsent == 0);
    assert_eq!(guest.ask("wrong"), 0, "signals that were lost or doubled");
    assert_eq!(guest.ask("woken"), 0, "waits that ended without a signal");
}

#[test]
fn children_of_the_same_thread_are_left_to_those_who_wait_for_them() {
    let guest = Guest::start("rest", 7);
    for code in 0..50 {
        let mut child = Command::new("sh");
        let mut child = child.args(["-c", &format!("exit {code}")]).spawn().unwrap();
        let stopped = Stopped::stop(guest.pid).unwrap();
        stopped.resume().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
    assert_eq!(guest.ended(), 0);
}

#[tokio::test]
async fn children_of_the_runtime_are_told_to_it() {
    let guest = Guest::start("rest", 7);
    let pid = guest.pid;
    let stops = tokio::task::spawn_blocking(move || {
        for _ in 0..CYCLES {
            Stopped::stop(pid).unwrap().resume().unwrap();
        }
    });
    for code in 0..50 {
        let mut child = tokio::process::Command::new("sh");
        let child = child.args(["-c", &format!("exit {code}")]).status();
        assert_eq!(child.await.unwrap().code(), Some(code));
    }
    stops.await.unwrap();
    assert_eq!(guest.ended(), 0);
}
