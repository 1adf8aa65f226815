//! Registers of all threads, and threads that were born since.

use super::guest::{Guest, KILLED, getpids};
use crate::renewal::stopped::{InjectError, RegisterError, Registers, ResumeError, Stopped, Tid};
use crate::sys::trace;

const HOLDERS: usize = 3;

/// Other general and vector registers for all threads that hold marks, as a run would leave them.
fn spoil(stopped: &Stopped) {
    for thread in &stopped.threads()[1..] {
        let mut words = trace::general(*thread).unwrap();
        // r13
        words[2] ^= 1;
        trace::set_general(*thread, words).unwrap();
        let mut bytes = trace::extended(*thread).unwrap();
        // The low halves of xmm7, after 160 bytes of the legacy area.
        bytes[160 + 7 * 16] ^= 1;
        trace::set_extended(*thread, &bytes).unwrap();
        trace::set_mask(*thread, 0b1010_1010).unwrap();
    }
}

/// How many threads found a mark changed, of those that held some, with `meanwhile` in between.
fn found(meanwhile: impl FnOnce(Stopped)) -> i64 {
    let mut guest = Guest::start("hold", HOLDERS);
    meanwhile(Stopped::stop(guest.pid).unwrap());
    guest.ask("let-off");
    guest.ask_until("ended", |ended| ended == HOLDERS as i64);
    guest.ask("wrong")
}

#[test]
fn registers_are_put_back() {
    let put_back = found(|mut stopped| {
        let kept = stopped.registers().unwrap();
        spoil(&stopped);
        assert_ne!(kept.difference(&stopped.registers().unwrap()), None);
        stopped.put_registers(&kept).unwrap();
        assert_eq!(kept.difference(&stopped.registers().unwrap()), None);
        stopped.resume().unwrap();
    });
    assert_eq!(put_back, 0);
    // The guest sees it where they are not.
    let spoiled = found(|stopped| {
        spoil(&stopped);
        stopped.resume().unwrap();
    });
    assert_eq!(spoiled, HOLDERS as i64);
}

#[test]
fn registers_are_put_back_when_nobody_has_asked_where_the_threads_were() {
    let put_back = found(|mut stopped| {
        let agent = stopped.install().unwrap();
        let kept = stopped.registers().unwrap();
        stopped.put_registers(&kept).unwrap();
        stopped.resume().unwrap();
        let mut stopped = Stopped::stop(stopped_pid(&kept)).unwrap();
        spoil(&stopped);
        stopped.goes_back_to(&kept);
        for thread in stopped.threads().to_vec() {
            let batch = getpids(3, stopped.pid());
            stopped.run_by(thread, &agent, &batch).unwrap();
        }
        stopped.put_registers(&kept).unwrap();
        assert_eq!(kept.difference(&stopped.registers().unwrap()), None);
        stopped.resume().unwrap();
    });
    assert_eq!(put_back, 0);
}

#[test]
fn a_program_that_was_to_be_put_back_and_was_not_does_not_go_on() {
    let guest = Guest::start("hold", HOLDERS);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let kept = stopped.registers().unwrap();
    stopped.goes_back_to(&kept);
    assert!(matches!(stopped.resume(), Err(ResumeError::NotPut)));
    assert_eq!(guest.ended(), KILLED);
}

fn stopped_pid(kept: &Registers) -> Tid {
    kept.threads().next().unwrap()
}

#[test]
fn the_upper_halves_of_vectors_are_put_back() {
    let put_back = found(|mut stopped| {
        let kept = stopped.registers().unwrap();
        for thread in &stopped.threads()[1..] {
            let mut bytes = trace::extended(*thread).unwrap();
            // All but the legacy area's heads and the header of 64 bytes, whatever it stands for.
            bytes[160..416].fill(0x5a);
            bytes[576..832].fill(0x5a);
            trace::set_extended(*thread, &bytes).unwrap();
        }
        stopped.put_registers(&kept).unwrap();
        assert_eq!(kept.difference(&stopped.registers().unwrap()), None);
        stopped.resume().unwrap();
    });
    assert_eq!(put_back, 0);
}

#[test]
fn threads_that_wait_are_put_back_into_their_waits() {
    let mut guest = Guest::start("rest", 8);
    guest.until('S');
    let stopped = Stopped::stop(guest.pid).unwrap();
    let kept = stopped.registers().unwrap();
    // The fifth kind of thread works.
    assert!(
        kept.busy()
            .is_some_and(|thread| thread == stopped.threads()[5])
    );
    stopped.resume().unwrap();
    for _ in 0..100 {
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        stopped.put_registers(&kept).unwrap();
        stopped.resume().unwrap();
    }
    assert_eq!(guest.ask("woken"), 0);
    assert_eq!(guest.ended(), 0);
}

#[test]
fn new_threads_are_ended() {
    let mut guest = Guest::start("rest", 3);
    guest.until('S');
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let kept = stopped.registers().unwrap();
    assert_eq!(stopped.end_new_threads(&agent, &kept).unwrap(), 0);
    stopped.resume().unwrap();
    let mut started = 3;
    for _ in 0..100 {
        for kind in ["spin", "pause", "pause"] {
            guest.ask(kind);
            started += 1;
        }
        guest.ask_until("started", |count| count == started);
        // Its memory is not put back, so it must not be amid anything.
        guest.until('S');
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        assert!(matches!(
            stopped.put_registers(&kept),
            Err(RegisterError::Threads { .. })
        ));
        assert_eq!(stopped.end_new_threads(&agent, &kept).unwrap(), 3);
        assert_eq!(stopped.threads().len(), 4);
        stopped.put_registers(&kept).unwrap();
        stopped.resume().unwrap();
    }
    assert_eq!(guest.ask("woken"), 0);
    assert_eq!(guest.ended(), 0);
}

#[test]
fn a_thread_of_the_snapshot_that_has_ended_is_missed() {
    let mut guest = Guest::start("hold", HOLDERS);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let kept = stopped.registers().unwrap();
    stopped.resume().unwrap();
    guest.ask("let-off");
    guest.ask_until("ended", |ended| ended == HOLDERS as i64);
    let path = format!("/proc/{}/task", guest.pid);
    while std::fs::read_dir(&path).unwrap().count() > 1 {
        std::thread::yield_now();
    }
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let ended = stopped.end_new_threads(&agent, &kept);
    assert!(matches!(ended, Err(InjectError::Lost { .. })), "{ended:?}");
    let put = stopped.put_registers(&kept);
    assert!(matches!(put, Err(RegisterError::Threads { .. })), "{put:?}");
    drop(stopped);
    assert_eq!(guest.ended(), KILLED);
}

#[test]
fn a_thread_in_a_restartable_sequence_begins_it_anew() {
    let mut guest = Guest::start("echo", 0);
    guest.ask("sequence");
    guest.ask_until("started", |count| count == 1);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let thread = stopped.threads()[1];
    stopped
        .run_by(thread, &agent, &getpids(1, guest.pid))
        .unwrap();
    stopped.resume().unwrap();
    // Only out of its sequence does it see this.
    guest.ask("let-off");
    guest.ask_until("wrong", |left| left == 1);
}

#[test]
fn a_thread_that_runs_32_bit_code_makes_calls_but_is_not_renewable() {
    let mut guest = Guest::start("echo", 0);
    guest.ask("narrow");
    guest.ask_until("started", |count| count == 1);
    // It may be before its jump when it says so.
    let mut stopped = loop {
        let stopped = Stopped::stop(guest.pid).unwrap();
        let cs = trace::general(stopped.threads()[1]).unwrap()[17];
        if cs == 0x23 {
            break stopped;
        }
        stopped.resume().unwrap();
    };
    let agent = stopped.install().unwrap();
    let thread = stopped.threads()[1];
    stopped
        .run_by(thread, &agent, &getpids(1, guest.pid))
        .unwrap();
    let registers = stopped.registers();
    let refused =
        matches!(registers, Err(RegisterError::Thread { thread: found, .. }) if found == thread);
    assert!(refused, "{registers:?}");
}
