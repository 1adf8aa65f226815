//! A reply that is still being read while its program is renewed and serves another request.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use usher_api::body::Body;
use usher_core::function::Isolation;

use crate::rig::{Begun, Chance, Guest, Rig, Secret};

const MIB: usize = 64;
const REPLY_BYTES: usize = MIB << 20;
/// How much of the reply is left when its reader begins to stand still, in bytes.
const HELD_BYTES: usize = 1 << 20;
/// How long the reader stands still at each piece, if the next run does not end before, in
/// milliseconds: the program may need it to go on.
const STILL_MAX_MS: u64 = 50;

/// The byte of the reply at a place.
fn byte(at: usize) -> u8 {
    let at = u32::try_from(at).unwrap();
    u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()
}

/// How far the program is that the reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It may still be writing the reply.
    Writes,
    /// Its run is over, and it is clean again.
    Renewed,
    /// It has served others since.
    Served,
}

/// What came of a reply.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    /// At which byte it differs, if at any.
    differs: Option<usize>,
    bytes: usize,
    /// Bytes that were read when the program had served others.
    late_bytes: usize,
}

/// Reads all, but near the end as slowly as it may: from when the program is clean again it stands
/// still until that has served others.
async fn read(mut body: Body, mut phase: watch::Receiver<Phase>) -> Got {
    let mut got = Got::default();
    while let Some(frame) = body.frame().await {
        let piece: Bytes = frame.unwrap().into_data().unwrap();
        let wrong = piece
            .iter()
            .enumerate()
            .find(|(offset, is)| **is != byte(got.bytes + offset));
        let at = got.bytes;
        got.differs = got.differs.or(wrong.map(|(offset, _)| at + offset));
        got.bytes += piece.len();
        if *phase.borrow() == Phase::Served {
            got.late_bytes += piece.len();
        } else if got.bytes + HELD_BYTES > REPLY_BYTES {
            let renewed = phase.wait_for(|phase| *phase != Phase::Writes);
            // Either is well: what is tested is that nothing is lost meanwhile.
            let _ = timeout(Duration::from_millis(STILL_MAX_MS), renewed).await;
            if *phase.borrow() == Phase::Renewed {
                let served = phase.wait_for(|phase| *phase == Phase::Served);
                let _ = served.await.unwrap();
            }
        }
    }
    got
}

async fn races(isolation: Isolation) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let image = rig.hostile(Guest::C, isolation.clone(), "").await;
    let mut seat = image.seat().await;
    let Begun { reply, rest } = seat.begin(&format!("/stream?mib={MIB}")).await;
    let (phase, phases) = watch::channel(Phase::Writes);
    let reader = tokio::spawn(read(reply, phases));
    seat.finish(rest).await;
    // The program has written all; whoever reads may be far behind.
    phase.send_replace(Phase::Renewed);
    let secret = Secret::new(&mut chance);
    for channel in ["heap", "static", "mmap"] {
        let planted = seat.plant(channel, &secret).await.unwrap();
        assert_eq!(planted.told, "planted");
        if isolation == Isolation::Request {
            assert!(seat.look(channel).await.unwrap().is_clean(), "{channel}");
        }
    }
    phase.send_replace(Phase::Served);
    let got = reader.await.unwrap();
    println!("{isolation:?}: {} bytes were read late", got.late_bytes);
    assert_eq!((got.differs, got.bytes), (None, REPLY_BYTES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_is_whole_while_its_program_serves_the_next_request() {
    races(Isolation::Request).await;
    races(Isolation::None).await;
}

/// The check above, checked.
#[tokio::test]
async fn one_wrong_byte_of_a_reply_is_found() {
    let mut bytes: Vec<u8> = (0..4096).map(byte).collect();
    let phase = || watch::channel(Phase::Served).1;
    let whole = read(Bytes::from(bytes.clone()).into(), phase()).await;
    assert_eq!((whole.differs, whole.bytes), (None, 4096));
    bytes[4000] ^= 1;
    let broken = read(Bytes::from(bytes).into(), phase()).await;
    assert_eq!((broken.differs, broken.bytes), (Some(4000), 4096));
}
