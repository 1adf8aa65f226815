//! A reply that is still being read while its program is renewed and serves another request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
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

/// Reads all, but near the end as slowly as it may, until it is told that another run is over.
/// Answers at which byte the reply differs, if at any, and how many there were.
async fn read(mut body: Body, over: Arc<Notify>) -> (Option<usize>, usize) {
    let (mut at, mut differs) = (0, None);
    while let Some(frame) = body.frame().await {
        let piece: Bytes = frame.unwrap().into_data().unwrap();
        let wrong = piece
            .iter()
            .enumerate()
            .find(|(offset, is)| **is != byte(at + offset));
        differs = differs.or(wrong.map(|(offset, _)| at + offset));
        at += piece.len();
        if at + HELD_BYTES > REPLY_BYTES {
            // Either is well: what is tested is that nothing is lost meanwhile.
            let _ = timeout(Duration::from_millis(STILL_MAX_MS), over.notified()).await;
        }
    }
    (differs, at)
}

async fn races(isolation: Isolation) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let image = rig.hostile(Guest::C, isolation.clone(), "").await;
    let mut seat = image.seat().await;
    let Begun { reply, rest } = seat.begin(&format!("/stream?mib={MIB}")).await;
    let over = Arc::new(Notify::new());
    let reader = tokio::spawn(read(reply, over.clone()));
    seat.finish(rest).await;
    // The program has written all; whoever reads may be far behind.
    let secret = Secret::new(&mut chance);
    for channel in ["heap", "static", "mmap"] {
        let planted = seat.plant(channel, &secret).await.unwrap();
        assert_eq!(planted.told, "planted");
        if isolation == Isolation::Request {
            assert!(seat.look(channel).await.unwrap().is_clean(), "{channel}");
        }
        over.notify_one();
    }
    let (differs, read) = reader.await.unwrap();
    assert_eq!((differs, read), (None, REPLY_BYTES));
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
    let whole = read(Bytes::from(bytes.clone()).into(), Arc::default()).await;
    assert_eq!(whole, (None, 4096));
    bytes[4000] ^= 1;
    let broken = read(Bytes::from(bytes).into(), Arc::default()).await;
    assert_eq!(broken, (Some(4000), 4096));
}
