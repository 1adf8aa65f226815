//! What was not put back is found: by the comparison, by the kernel's count, by the spoilt page.

use super::guest::Guest;
use crate::renewal::memory::{Failed, errors::Difference};
use crate::renewal::stopped::{Batch, Stopped};

#[test]
fn a_run_that_was_not_put_back_is_found() {
    for line in [
        "count 0",
        "dirty 4096",
        "untouched 1",
        "bss 0",
        "deep 1",
        "text 0",
        "locked 0",
    ] {
        let mut guest = Guest::start();
        let taken = guest.taken();
        guest.ask(line);
        let stopped = Stopped::stop(guest.pid).unwrap();
        let difference = taken.memory.compare(&stopped).unwrap_err();
        assert!(
            matches!(difference, Difference::Byte { .. }),
            "{line}: {difference}"
        );
    }
    let mut guest = Guest::start();
    let taken = guest.taken();
    guest.ask("new 4096");
    let stopped = Stopped::stop(guest.pid).unwrap();
    let difference = taken.memory.compare(&stopped).unwrap_err();
    assert!(matches!(difference, Difference::Mapping(_)), "{difference}");
}

#[test]
fn one_wrong_byte_is_found() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let region = u64::try_from(guest.ask("region 0")).unwrap();
    let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
    stopped.write(region + 5_000, b"!").unwrap();
    let difference = taken.memory.compare(&stopped).unwrap_err();
    let Difference::Byte {
        address,
        now,
        recorded,
    } = difference
    else {
        panic!("{difference}");
    };
    assert_eq!((address, now, recorded), (region + 5_000, b'!', 2));
}

#[test]
fn a_batch_that_was_not_run_is_found() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    guest.ask("dirty 65536");
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let mut batch = Batch::new();
    let planned = taken
        .memory
        .plan(&mut stopped, &taken.agent, &mut batch, taken.wanted);
    let ended = taken.memory.done(&stopped, planned.unwrap()).unwrap_err();
    assert!(matches!(ended, Failed::Hidden { .. }), "{ended}");
    drop(stopped);
    // Without the kernel's count the spoilt page tells.
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    taken.memory.counted = false;
    guest.ask("dirty 65536");
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let planned = taken
        .memory
        .plan(&mut stopped, &taken.agent, &mut batch, taken.wanted);
    let ended = taken.memory.done(&stopped, planned.unwrap()).unwrap_err();
    assert!(matches!(ended, Failed::Canary), "{ended}");
}
