//! Injected calls, and where their answers go.

use super::guest::{Guest, KILLED, getpids, one};
use crate::renewal::stopped::{
    Batch, Call, Expect, Full, InjectError, Pointer, Stopped, batch::BYTES_MAX,
};

#[test]
fn any_number_of_calls_is_answered() {
    let mut guest = Guest::start("echo", 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    for count in [0, 1, 64, 1023, 1024, 1025, 5000] {
        let answers = stopped.run(&agent, &getpids(count, guest.pid)).unwrap();
        let pid = i64::from(guest.pid.as_raw_nonzero().get());
        assert_eq!(answers.values, vec![pid; count]);
    }
    stopped.resume().unwrap();
    assert_eq!(guest.ask("woken"), 0);
    assert_eq!(guest.ended(), 0);
}

#[test]
fn calls_have_all_their_arguments_and_bytes() {
    let mut guest = Guest::start("echo", 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    // All six arguments count in this one.
    let (read_write, private) = (3_u64, 0x22_u64);
    let arguments = [
        0_u64.into(),
        8192_u64.into(),
        read_write.into(),
        private.into(),
        (-1).into(),
        0_u64.into(),
    ];
    let mapped = one(&mut stopped, &agent, libc::SYS_mmap, arguments);
    let mut byte = [1];
    let mapped = u64::try_from(mapped).unwrap();
    stopped.read(mapped + 8191, &mut byte).unwrap();
    assert_eq!(byte, [0]);

    let mut batch = Batch::new();
    let name = batch.bytes(b"/proc/self/stat\0").unwrap();
    let room = batch.space(32).unwrap();
    let open = Call::new(
        libc::SYS_openat,
        [libc::AT_FDCWD.into(), name.into(), 0.into()],
    );
    let opened = batch.call(open, Expect::Ok);
    let descriptor = stopped.run(&agent, &batch).unwrap().value(opened).unwrap();
    let mut batch = Batch::new();
    let same = batch.space(32).unwrap();
    assert_ne!(same, room);
    let read = Call::new(
        libc::SYS_read,
        [descriptor.into(), same.into(), same.len().into()],
    );
    let (read, close) = (
        batch.call(read, Expect::Value(32)),
        Call::new(libc::SYS_close, [descriptor.into()]),
    );
    batch.call(close, Expect::Value(0));
    let answers = stopped.run(&agent, &batch).unwrap();
    assert_eq!(answers.value(read), Some(32));
    let text = String::from_utf8_lossy(answers.bytes(same)).into_owned();
    let own = format!("{} (", guest.pid);
    assert!(
        text.starts_with(&own),
        "{text:?} does not begin with {own:?}"
    );
    stopped.resume().unwrap();
    assert_eq!(guest.ask("woken"), 0);
}

#[test]
fn bytes_stay_while_a_batch_takes_many_rounds() {
    let guest = Guest::start("echo", 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let mut batch = Batch::new();
    let big = vec![7; BYTES_MAX - 16];
    let bytes = batch.bytes(&big).unwrap();
    let clocks: Vec<Pointer> = std::iter::once(batch.space(16).unwrap()).collect();
    assert_eq!(
        batch.bytes(b"x"),
        Err(Full {
            wanted: 1,
            taken: BYTES_MAX
        })
    );
    for _ in 0..600 {
        let time = [1.into(), clocks[0].into()];
        batch.call(Call::new(libc::SYS_clock_gettime, time), Expect::Value(0));
    }
    let answers = stopped.run(&agent, &batch).unwrap();
    assert_eq!(answers.bytes(bytes), big);
    assert_ne!(answers.bytes(clocks[0]), [0; 16]);
}

#[test]
fn an_unexpected_answer_is_an_error_with_its_place_and_the_program_dies() {
    let guest = Guest::start("echo", 0);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    let mut batch = getpids(300, guest.pid);
    batch.call(Call::new(libc::SYS_close, [(-1).into()]), Expect::Ok);
    let failed = stopped.run(&agent, &batch).unwrap_err();
    let InjectError::Answer {
        place: 300,
        number: libc::SYS_close,
        answer: -9,
        ..
    } = failed
    else {
        panic!("{failed}")
    };
    drop(stopped);
    assert_eq!(guest.ended(), KILLED);
}

#[test]
fn a_call_can_be_made_by_each_thread() {
    let mut guest = Guest::start("rest", 7);
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    for thread in stopped.threads().to_vec() {
        let mut batch = Batch::new();
        let own = i64::from(thread.as_raw_nonzero().get());
        batch.call(Call::new::<0>(libc::SYS_gettid, []), Expect::Value(own));
        stopped.run_by(thread, &agent, &batch).unwrap();
    }
    stopped.resume().unwrap();
    assert_eq!(guest.ask("woken"), 0);
}

#[test]
fn the_program_keeps_its_handler_of_the_signal_that_ends_our_calls() {
    let mut guest = Guest::start("echo", 0);
    guest.ask("trap");
    let handled = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", guest.pid)).unwrap();
        let caught = status
            .lines()
            .find(|line| line.starts_with("SigCgt:"))
            .unwrap();
        let caught = u64::from_str_radix(caught.rsplit('\t').next().unwrap(), 16).unwrap();
        caught & (1 << (libc::SIGTRAP - 1)) != 0
    };
    assert!(handled());
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let agent = stopped.install().unwrap();
    stopped.run(&agent, &getpids(3, guest.pid)).unwrap();
    stopped.resume().unwrap();
    assert!(handled());
}
