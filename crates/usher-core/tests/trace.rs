//! `traceparent` against texts that nobody foresaw.

use std::num::{NonZeroU64, NonZeroU128};

use proptest::prelude::*;
use usher_core::trace::TraceParent;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn what_is_written_is_read(trace_id: NonZeroU128, parent_id: NonZeroU64, sampled: bool) {
        let parent = TraceParent { trace_id, parent_id, sampled };
        let text = parent.to_string();
        prop_assert_eq!(text.len(), 55);
        prop_assert_eq!(text.parse(), Ok(parent));
    }

    #[test]
    fn any_text_is_answered(
        text in prop_oneof![
            "\\PC{0,70}",
            "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\\PC{0,4}",
            "[0-9a-fA-F-]{55}",
        ],
        at in any::<prop::sample::Index>(),
        letter in "\\PC",
    ) {
        // What is read at all is what the text says, digit for digit.
        if let Ok(parent) = text.parse::<TraceParent>() {
            let written = parent.to_string();
            prop_assert_eq!(&written[2..53], &text[2..53]);
        }
        // A good header with one letter changed never becomes another trace by accident.
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let at = at.index(good.len());
        let bent = format!("{}{letter}{}", &good[..at], &good[at + 1..]);
        let digit = letter.len() == 1 && b"0123456789abcdef".contains(&letter.as_bytes()[0]);
        if bent.parse::<TraceParent>().is_ok() {
            prop_assert!(digit || bent == good);
        }
    }
}
