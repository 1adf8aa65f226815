//! Header values that are made anew for each request: its id, its place in a trace, its proof.
//!
//! They are written digit by digit into small buffers, because formatting machinery and a string
//! for each would cost more than routing. A test holds them against the `Display` of the types in
//! `usher-core`, which say what the texts are.

use std::num::NonZeroU64;

use bytes::Bytes;
use http::HeaderValue;
use usher_core::id::RequestId;
use usher_core::proof::Proof;

/// `00-<32 digits>-<16 digits>-01`, of which the first digits are also the request's id.
const TRACE_BYTES: usize = 55;
/// Where in it the id stands.
const ID_AT: std::ops::Range<usize> = 3..35;
/// The longest proof: four numbers of at most 20 digits and the words around them.
const PROOF_MAX_BYTES: usize = 160;

/// A request's id with the header values that carry it, in one allocation.
pub(crate) struct Stamp {
    pub(crate) id: RequestId,
    span: NonZeroU64,
    text: Bytes,
}

impl Stamp {
    /// A new one, out of this thread's generator, which is seeded by the system.
    pub(crate) fn draw() -> Self {
        // Ids of zeros only name nothing in a trace; the lowest bit keeps them from it.
        let one = NonZeroU64::MIN;
        Self::new(rand::random::<u128>() | 1, one | rand::random::<u64>())
    }

    fn new(id: u128, span: NonZeroU64) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        hexadecimal(&mut text[ID_AT], &id.to_be_bytes());
        hexadecimal(&mut text[36..52], &span.get().to_be_bytes());
        Self {
            id: RequestId(id),
            span,
            text: Bytes::from_owner(Text(text)),
        }
    }

    /// The request's own span, by which `trace_parent` names it.
    pub(crate) fn span_id(&self) -> NonZeroU64 {
        self.span
    }

    /// The value of `x-request-id`.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.text.slice(ID_AT)).ok()
    }

    /// The value of `traceparent` for a request that belongs to no trace yet.
    pub(crate) fn trace_parent(&self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.text.clone()).ok()
    }
}

struct Text([u8; TRACE_BYTES]);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn hexadecimal(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
}

/// The value of `usher-run`.
pub(crate) fn proof_value(proof: &Proof) -> Option<HeaderValue> {
    let mut line = Line {
        bytes: [0; PROOF_MAX_BYTES],
        length: 0,
    };
    line.text("env=");
    line.number(proof.environment.0);
    line.text(", area=");
    line.number(proof.area.0);
    line.text(", gen=");
    line.number(proof.generation.0);
    line.text(", start=");
    line.text(proof.start.word());
    line.text(", renewal=");
    line.text(proof.renewal.word());
    line.text(", renew_us=");
    line.number(u64::from(proof.renew_us));
    HeaderValue::from_bytes(&line.bytes[..line.length]).ok()
}

struct Line {
    bytes: [u8; PROOF_MAX_BYTES],
    length: usize,
}

impl Line {
    fn text(&mut self, text: &str) {
        let end = self.length + text.len();
        self.bytes[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
            if number == 0 {
                break;
            }
        }
        let end = self.length + digits.len() - at;
        self.bytes[self.length..end].copy_from_slice(&digits[at..]);
        self.length = end;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use usher_core::id::{AreaId, EnvironmentId, Generation};
    use usher_core::proof::{Renewal, Start};
    use usher_core::trace::TraceParent;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_says_what_the_types_say(id in 1_u128.., span in 1_u64..) {
            let stamp = Stamp::new(id, span.try_into().unwrap());
            let value = stamp.request_id().unwrap();
            prop_assert_eq!(value.to_str().unwrap(), stamp.id.to_string());
            let parent = TraceParent::begin(stamp.id, span.try_into().unwrap(), true).unwrap();
            let value = stamp.trace_parent().unwrap();
            prop_assert_eq!(value.to_str().unwrap(), parent.to_string());
        }

        #[test]
        fn the_proof_is_written_as_it_is_displayed(
            environment: u64,
            area: u64,
            generation: u64,
            renew_us: u32,
            start in 0..3,
            renewal in 0..5,
        ) {
            let proof = Proof {
                environment: EnvironmentId(environment),
                area: AreaId(area),
                generation: Generation(generation),
                start: [Start::Warm, Start::Cold, Start::Joined][usize::try_from(start).unwrap()],
                renewal: [
                    Renewal::Swap,
                    Renewal::InPlace,
                    Renewal::Fresh,
                    Renewal::Replaced,
                    Renewal::Kept,
                ][usize::try_from(renewal).unwrap()],
                renew_us,
            };
            let value = proof_value(&proof).unwrap();
            prop_assert_eq!(value.to_str().unwrap(), proof.to_string());
        }
    }

    #[test]
    fn the_largest_proof_fits() {
        let proof = Proof {
            environment: EnvironmentId(u64::MAX),
            area: AreaId(u64::MAX),
            generation: Generation(u64::MAX),
            start: Start::Joined,
            renewal: Renewal::Replaced,
            renew_us: u32::MAX,
        };
        assert_eq!(
            proof_value(&proof).unwrap().to_str().unwrap(),
            proof.to_string()
        );
    }

    #[test]
    fn no_two_stamps_are_the_same() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| Stamp::draw().id).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
