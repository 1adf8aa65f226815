//! What platform and program write on the hook's socket: three kinds of message, each of a fixed
//! length, in the order of the drawing in [`super`].
//!
//! ```text
//! hello     USHER-1H                                 8 bytes   program ─► platform, once
//! told      USHER-1R  generation   fresh entropy    64 bytes   platform ─► program
//! answered  USHER-1A  generation                    16 bytes   program ─► platform: all is fresh
//!           USHER-1N  generation                    16 bytes   program ─► platform: it is not
//! ```
//!
//! A generation is 8 bytes, the lowest first. Deliberately absent: sockets.

/// What every message begins with: the protocol and its version.
const MAGIC: [u8; 7] = *b"USHER-1";
/// Bytes of fresh entropy in one message: enough for the largest seed of the generators that are
/// known, OpenSSL's.
pub(crate) const ENTROPY_BYTES: usize = 48;
/// Bytes of a hello.
pub(super) const HELLO_BYTES: usize = 8;
/// Bytes of what a program is told.
pub(super) const TOLD_BYTES: usize = 16 + ENTROPY_BYTES;
/// Bytes of its answer.
pub(super) const ANSWER_BYTES: usize = 16;
/// What a program declares itself with.
pub(super) const HELLO: [u8; HELLO_BYTES] = *b"USHER-1H";

/// What a program answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// Whatever it draws from now on is fresh.
    Fresh(u64),
    /// It holds a generator that it cannot seed anew.
    Stale(u64),
}

/// What a program is told.
pub(super) fn told(generation: u64, entropy: &[u8; ENTROPY_BYTES]) -> [u8; TOLD_BYTES] {
    let mut message = [0; TOLD_BYTES];
    let parts = MAGIC.iter().chain(b"R").copied();
    let parts = parts.chain(generation.to_le_bytes());
    let parts = parts.chain(entropy.iter().copied());
    for (place, byte) in message.iter_mut().zip(parts) {
        *place = byte;
    }
    message
}

/// What an answer says, if it is one.
pub(super) fn answer(bytes: [u8; ANSWER_BYTES]) -> Option<Answer> {
    let (head, generation) = bytes.split_first_chunk::<8>()?;
    let generation = u64::from_le_bytes(generation.try_into().ok()?);
    match head.strip_prefix(&MAGIC)? {
        b"A" => Some(Answer::Fresh(generation)),
        b"N" => Some(Answer::Stale(generation)),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_told_has_its_parts_in_their_places() {
        let message = told(0x0102_0304, &[7; ENTROPY_BYTES]);
        assert_eq!(&message[..8], b"USHER-1R");
        assert_eq!(message[8..16], [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(message[16..], [7; ENTROPY_BYTES]);
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let bytes = |head: &[u8; 8]| {
            let bytes: Vec<_> = head.iter().copied().chain(9_u64.to_le_bytes()).collect();
            <[u8; ANSWER_BYTES]>::try_from(bytes).unwrap()
        };
        assert_eq!(answer(bytes(b"USHER-1A")), Some(Answer::Fresh(9)));
        assert_eq!(answer(bytes(b"USHER-1N")), Some(Answer::Stale(9)));
        for other in [b"USHER-1H", b"USHER-1R", b"USHER-2A", b"\0SHER-1A"] {
            assert_eq!(answer(bytes(other)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_as_another_generation(bytes: [u8; ANSWER_BYTES]) {
            let generation = u64::from_le_bytes(bytes[8..].try_into().unwrap());
            match answer(bytes) {
                None => prop_assert!(!bytes.starts_with(b"USHER-1A")),
                Some(Answer::Fresh(said) | Answer::Stale(said)) => {
                    prop_assert_eq!(said, generation);
                }
            }
        }
    }
}
