//! A reply whose bytes are still held by whoever reads while its program is renewed and serves
//! other requests.
//!
//! The program's run is over when the last of its bytes was taken, and not before; that is why a
//! reader who stands still holds up the program, and why what was taken must stay what it is.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use usher_api::body::Body;
use usher_core::function::Isolation;

use crate::chance::Chance;
use crate::rig::{Begun, Guest, Rig};
use crate::secret::Secret;

const MIB: usize = 64;
const REPLY_BYTES: usize = MIB << 20;

/// The byte of the reply at a place.
fn byte(at: usize) -> u8 {
    let at = u32::try_from(at).unwrap();
    u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()
}

/// Takes all pieces of a reply, and looks into none.
async fn taken(mut body: Body) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.push(frame.unwrap().into_data().unwrap());
    }
    pieces
}

/// At which byte the reply differs, if at any, and how many there are.
fn compared(pieces: &[Bytes]) -> (Option<usize>, usize) {
    let bytes = pieces.iter().flatten();
    let differs = bytes.enumerate().position(|(at, is)| *is != byte(at));
    (differs, pieces.iter().map(Bytes::len).sum())
}

async fn races(isolation: Isolation) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let image = rig.hostile(Guest::C, isolation.clone(), "").await;
    let mut seat = image.seat().await;
    let Begun { reply, rest } = seat.begin(&format!("/stream?mib={MIB}")).await;
    let reader = tokio::spawn(taken(reply));
    seat.finish(rest).await;
    // The memory that the reply was made in is clean by now, and is written to.
    let secret = Secret::new(&mut chance);
    for channel in ["heap", "static", "mmap"] {
        let planted = seat.plant(channel, &secret.hex()).await.unwrap();
        assert_eq!(planted.told, "planted");
        if isolation == Isolation::Request {
            assert!(seat.look(channel).await.unwrap().is_clean(), "{channel}");
        }
    }
    seat.ask("/write?kib=16384").await;
    // And another reply is made in the same place.
    let Begun { reply, rest } = seat.begin("/stream?mib=1").await;
    let (other, ()) = tokio::join!(taken(reply), seat.finish(rest));
    assert_eq!(compared(&other), (None, 1 << 20));
    assert_eq!(compared(&reader.await.unwrap()), (None, REPLY_BYTES));
    if isolation == Isolation::Request {
        assert_eq!(seat.put_back(), seat.served.len() - 1, "{:?}", seat.reasons);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_is_whole_while_its_program_serves_the_next_request() {
    races(Isolation::Request).await;
    races(Isolation::None).await;
}

/// The check above, checked.
#[test]
fn one_wrong_byte_of_a_reply_is_found() {
    let mut bytes: Vec<u8> = (0..4096).map(byte).collect();
    assert_eq!(compared(&[bytes.clone().into()]), (None, 4096));
    bytes[4000] ^= 1;
    let pieces: Vec<Bytes> = bytes.chunks(100).map(|it| it.to_vec().into()).collect();
    assert_eq!(compared(&pieces), (Some(4000), 4096));
}
