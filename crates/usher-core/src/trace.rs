//! Traces: reading and writing `traceparent`, and the steps of the pipeline in their order.
//!
//! The header is that of W3C Trace Context, version 00: `00-<trace id>-<parent id>-<flags>`. A
//! header that cannot be read is treated as absent: the caller starts a trace of its own.
//!
//! ```text
//! Receive → Loaded? ─no→ Instantiate → Swap → Run → Respond
//!               └──yes───────────────────┘
//! ```
//!
//! Deliberately absent: randomness (ids are passed in) and `tracestate`, which is forwarded as it
//! is.

pub mod sampling;

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use crate::id::RequestId;

/// Name of the header.
pub const TRACEPARENT: &str = "traceparent";

/// Length of the header's value in version 00, in bytes.
const LENGTH: usize = 55;

/// Set if the caller may have recorded the trace.
const SAMPLED: u8 = 0b01;

/// Where in which trace the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: NonZeroU128,
    /// The caller's span.
    pub parent_id: NonZeroU64,
    /// Whether the caller may have recorded it.
    pub sampled: bool,
}

/// Why a text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTraceParent {
    /// Not four fields of the right length between hyphens.
    #[error("a traceparent is 00-<32 digits>-<16 digits>-<2 digits>")]
    Shape,
    /// A digit is not a lower-case hexadecimal one.
    #[error("a traceparent has lower-case hexadecimal digits only")]
    Digit,
    /// Version ff is not one.
    #[error("version ff is forbidden")]
    Version,
    /// An id of zeros only names nothing.
    #[error("an id of zeros only is none")]
    Zero,
}

impl TraceParent {
    /// The trace that a request begins whose caller brought none: its id is the request's. None for
    /// a request id of zero, which no trace can have.
    pub fn begin(request: RequestId, span_id: NonZeroU64, sampled: bool) -> Option<Self> {
        let trace_id = NonZeroU128::new(request.0)?;
        Some(Self {
            trace_id,
            parent_id: span_id,
            sampled,
        })
    }

    /// What a span of this trace sends on: the same trace, itself as the parent.
    #[must_use]
    pub const fn child(self, span_id: NonZeroU64) -> Self {
        Self {
            parent_id: span_id,
            ..self
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled) * SAMPLED;
        write!(
            f,
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.parent_id
        )
    }
}

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    /// Reads every version but ff: later ones must begin as version 00 does (section 4.3 of the
    /// specification), and of their flags only *sampled* is known.
    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let bytes = text.as_bytes();
        let (head, tail) = bytes
            .split_at_checked(LENGTH)
            .ok_or(BadTraceParent::Shape)?;
        if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
            return Err(BadTraceParent::Shape);
        }
        let version = number(&head[..2])?;
        if version == 0xff {
            return Err(BadTraceParent::Version);
        }
        if !tail.is_empty() && (version == 0 || tail[0] != b'-') {
            return Err(BadTraceParent::Shape);
        }
        let trace_id = NonZeroU128::new(number(&head[3..35])?).ok_or(BadTraceParent::Zero)?;
        let parent_id = u64::try_from(number(&head[36..52])?).map_err(|_| BadTraceParent::Shape)?;
        let parent_id = NonZeroU64::new(parent_id).ok_or(BadTraceParent::Zero)?;
        let sampled = number(&head[53..])? & u128::from(SAMPLED) != 0;
        Ok(Self {
            trace_id,
            parent_id,
            sampled,
        })
    }
}

/// Reads at most 32 lower-case hexadecimal digits.
fn number(digits: &[u8]) -> Result<u128, BadTraceParent> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(BadTraceParent::Digit),
        };
        Ok(number << 4 | u128::from(value))
    })
}

/// A step of the pipeline; each is a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The request's head is read, its function found, and it is admitted.
    Receive,
    /// Is the code loaded here? By digest and runtime, never by name.
    Loaded,
    /// An environment is made; left out if one was ready.
    Instantiate,
    /// The pointer is made, or found, to name a clean area, and is read.
    Swap,
    /// The hook before the run, and the run.
    Run,
    /// The reply goes out.
    Respond,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 6] = [
        Self::Receive,
        Self::Loaded,
        Self::Instantiate,
        Self::Swap,
        Self::Run,
        Self::Respond,
    ];

    /// The span's name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Loaded => "loaded",
            Self::Instantiate => "instantiate",
            Self::Swap => "swap",
            Self::Run => "run",
            Self::Respond => "respond",
        }
    }

    /// Whether this step may come right after `before`, or first if there is none. Only
    /// `Instantiate` can be left out; a request may end after any step.
    pub fn follows(self, before: Option<Self>) -> bool {
        match (before, self) {
            (None, Self::Receive) | (Some(Self::Loaded), Self::Swap) => true,
            (Some(before), this) => this as u8 == before as u8 + 1,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert!(parent.sampled);
        let child = parent.child(NonZeroU64::new(0xab).unwrap());
        assert_eq!(
            child.to_string(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01"
        );
        let begun = TraceParent::begin(RequestId(0xcd), NonZeroU64::MIN, false).unwrap();
        assert_eq!(
            begun.to_string(),
            "00-000000000000000000000000000000cd-0000000000000001-00"
        );
        assert_eq!(
            TraceParent::begin(RequestId(0), NonZeroU64::MIN, false),
            None
        );
    }

    #[test]
    fn unknown_flags_are_read_and_not_passed_on() {
        let parent: TraceParent = GOOD.replace("-01", "-ff").parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        let parent: TraceParent = GOOD.replace("-01", "-02").parse().unwrap();
        assert!(!parent.sampled);
    }

    #[test]
    fn later_versions_may_be_longer_and_version_00_may_not() {
        let later = |text: &str| text.replacen("00", "cc", 1).parse::<TraceParent>();
        assert_eq!(later(GOOD).unwrap().to_string(), GOOD);
        assert!(later(&format!("{GOOD}-what-the-future-will-be-like")).is_ok());
        assert_eq!(later(&format!("{GOOD}.x")), Err(BadTraceParent::Shape));
        let longer = format!("{GOOD}-x").parse::<TraceParent>();
        assert_eq!(longer, Err(BadTraceParent::Shape));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let read = |text: &str| text.parse::<TraceParent>().unwrap_err();
        assert_eq!(read(""), BadTraceParent::Shape);
        assert_eq!(read(&GOOD[..54]), BadTraceParent::Shape);
        assert_eq!(read(&GOOD.replace('-', "_")), BadTraceParent::Shape);
        assert_eq!(read(&GOOD.to_uppercase()), BadTraceParent::Digit);
        assert_eq!(read(&GOOD.replacen("00", "ff", 1)), BadTraceParent::Version);
        let none = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        assert_eq!(read(&none), BadTraceParent::Zero);
        let none = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        assert_eq!(read(&none), BadTraceParent::Zero);
    }

    #[test]
    fn steps_follow_in_order_and_only_instantiate_is_left_out() {
        let legal = |steps: &[Step]| {
            let mut before = None;
            steps.iter().all(|step| step.follows(before.replace(*step)))
        };
        assert!(legal(&Step::ALL));
        use Step::{Instantiate, Loaded, Receive, Respond, Run, Swap};
        assert!(legal(&[Receive, Loaded, Swap, Run, Respond]));
        assert!(
            !legal(&[Receive, Loaded, Run, Respond]),
            "a run without a swap"
        );
        assert!(!legal(&[Receive, Loaded, Instantiate, Run]));
        assert!(!legal(&[Receive, Loaded, Swap, Instantiate]));
        assert!(!legal(&[Loaded, Swap]));
        assert!(!legal(&[Receive, Receive]));
    }
}
