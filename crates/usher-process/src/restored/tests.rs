//! A hook against ends that do what no good program does.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as StdUnixStream;

use super::*;

/// A hook, and the program's end of it in the hands of the test.
fn pair() -> (Hook, StdUnixStream) {
    let (hook, end) = Hook::pair().unwrap();
    (hook, StdUnixStream::from(end.into_descriptor()))
}

/// Both, declared.
fn declared() -> (Hook, StdUnixStream) {
    let (mut hook, mut end) = pair();
    end.write_all(&HELLO).unwrap();
    assert!(hook.declared().unwrap());
    (hook, end)
}

/// An answer as a good program writes it.
fn fresh(generation: u64) -> Vec<u8> {
    [b"USHER-1A".as_slice(), &generation.to_le_bytes()].concat()
}

/// Reads one message, and returns its generation and its entropy.
fn read(end: &mut StdUnixStream) -> (u64, Vec<u8>) {
    let mut message = [0; message::TOLD_BYTES];
    end.read_exact(&mut message).unwrap();
    let generation = u64::from_le_bytes(message[8..16].try_into().unwrap());
    (generation, message[16..].to_vec())
}

/// What comes of a put-back if the program writes this when it is told.
async fn told(answer: Vec<u8>) -> HookError {
    let (mut hook, mut end) = declared();
    let program = std::thread::spawn(move || {
        read(&mut end);
        end.write_all(&answer).unwrap();
        // It goes away then.
    });
    let error = hook.restored(9).await.unwrap_err();
    program.join().unwrap();
    error
}

#[tokio::test]
async fn a_program_that_answers_is_given_other_entropy_each_time() {
    let (mut hook, mut end) = declared();
    let program = std::thread::spawn(move || {
        let mut all = Vec::new();
        for _ in 0..3 {
            let (generation, entropy) = read(&mut end);
            let answer = fresh(generation);
            // Pieces are as good as a whole.
            end.write_all(&answer[..5]).unwrap();
            end.write_all(&answer[5..]).unwrap();
            all.push((generation, entropy));
        }
        all
    });
    hook.prepare().await.unwrap();
    hook.restored(1).await.unwrap();
    hook.restored(2).await.unwrap();
    let all = program.join().unwrap();
    let generations: Vec<_> = all.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(generations, [0, 1, 2]);
    assert!(all[0].1 != all[1].1 && all[1].1 != all[2].1 && all[0].1 != all[2].1);
}

#[tokio::test]
async fn who_says_nothing_has_declared_nothing() {
    let (mut hook, mut end) = pair();
    assert!(!hook.declared().unwrap());
    let error = hook.restored(1).await.unwrap_err();
    assert!(matches!(error, HookError::Undeclared), "{error}");
    // Nothing was told either.
    end.set_nonblocking(true).unwrap();
    let nothing = end.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

    // A later hello counts from then on, and so does that of a program which another one ran.
    end.write_all(&HELLO).unwrap();
    end.write_all(&HELLO).unwrap();
    assert!(hook.declared().unwrap());
    assert!(hook.declared().unwrap());
}

#[tokio::test]
async fn what_is_no_hello_is_an_error() {
    for garbage in [
        b"USHER-2H".as_slice(),
        b"USHER-1",
        b"USHER-1HUSH",
        b"GET / HTTP/1.1\r\n",
    ] {
        let (mut hook, mut end) = pair();
        end.write_all(garbage).unwrap();
        let error = hook.declared().unwrap_err();
        assert!(matches!(error, HookError::Malformed), "{error}");
    }
    let (mut hook, mut end) = pair();
    end.write_all(&HELLO.repeat(HELLOS_MAX + 1)).unwrap();
    let error = hook.declared().unwrap_err();
    assert!(matches!(error, HookError::Unasked), "{error}");

    let (mut hook, end) = pair();
    drop(end);
    let error = hook.declared().unwrap_err();
    assert!(matches!(error, HookError::Closed), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let error = told(fresh(8)).await;
    assert!(
        matches!(error, HookError::Generation { told: 9, said: 8 }),
        "{error}"
    );
    let stale = [b"USHER-1N".as_slice(), &9_u64.to_le_bytes()].concat();
    let error = told(stale).await;
    assert!(matches!(error, HookError::Stale), "{error}");
    let error = told(b"USHER-1H and so on ..".to_vec()).await;
    assert!(matches!(error, HookError::Malformed), "{error}");
    let error = told(fresh(9)[..15].to_vec()).await;
    assert!(matches!(error, HookError::Closed), "{error}");
}

#[tokio::test]
async fn an_answer_is_heard_by_the_thread_or_by_the_task_after_it() {
    let (mut hook, mut end) = declared();
    let message = hook.tell(1).unwrap();
    end.write_all(&fresh(1)).unwrap();
    assert!(hook.heard_soon(message).unwrap().is_none());
    read(&mut end);

    // One that comes late is waited for, and what has come of it before counts.
    let message = hook.tell(2).unwrap();
    let answer = fresh(2);
    end.write_all(&answer[..5]).unwrap();
    let message = hook.heard_soon(message).unwrap().unwrap();
    let program = std::thread::spawn(move || {
        read(&mut end);
        end.write_all(&answer[5..]).unwrap();
        end
    });
    hook.answered(message).await.unwrap();
    let mut end = program.join().unwrap();

    // A wrong one is as wrong by either way.
    let message = hook.tell(3).unwrap();
    end.write_all(&fresh(2)).unwrap();
    let error = hook.heard_soon(message).unwrap_err();
    assert!(
        matches!(error, HookError::Generation { told: 3, said: 2 }),
        "{error}"
    );
    let message = hook.tell(4).unwrap();
    drop(end);
    let error = hook.heard_soon(message).unwrap_err();
    assert!(matches!(error, HookError::Closed), "{error}");
}

#[tokio::test]
async fn what_nobody_asked_for_is_an_error() {
    let (mut hook, mut end) = declared();
    end.write_all(&fresh(9)).unwrap();
    let error = hook.restored(9).await.unwrap_err();
    assert!(matches!(error, HookError::Unasked), "{error}");

    // More than the answer is found before the next message.
    let (mut hook, mut end) = declared();
    let program = std::thread::spawn(move || {
        read(&mut end);
        end.write_all(&[fresh(9), fresh(10)].concat()).unwrap();
        end
    });
    hook.restored(9).await.unwrap();
    let error = hook.restored(10).await.unwrap_err();
    assert!(matches!(error, HookError::Unasked), "{error}");
    drop(program.join().unwrap());

    // A flood fills what the kernel holds for it, and nothing of ours.
    let (mut hook, mut end) = declared();
    end.set_nonblocking(true).unwrap();
    while end.write(&[b'x'; 1 << 16]).is_ok() {}
    let error = hook.restored(9).await.unwrap_err();
    assert!(matches!(error, HookError::Unasked), "{error}");
}

#[tokio::test]
async fn a_closed_end_is_an_error() {
    let (mut hook, end) = declared();
    drop(end);
    let error = hook.restored(9).await.unwrap_err();
    assert!(matches!(error, HookError::Closed), "{error}");

    let (mut hook, mut end) = declared();
    let program = std::thread::spawn(move || {
        read(&mut end);
    });
    let error = hook.restored(9).await.unwrap_err();
    program.join().unwrap();
    assert!(matches!(error, HookError::Closed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_late() {
    let (mut hook, mut end) = declared();
    let error = hook.restored(9).await.unwrap_err();
    assert!(
        matches!(error, HookError::Late(ANSWER_WAIT_MAX_MS)),
        "{error}"
    );
    assert_eq!(read(&mut end).0, 9);
}
