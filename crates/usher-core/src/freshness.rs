//! The freshness lint: which values of a function's answers would be the same for every caller.
//!
//! Renewal brings back the state that a generator of random values, a noted time or an identity has
//! in the image, and each request is given it again. Two environments, started separately, are
//! asked the same: one is renewed after each answer, the other one simply goes on.
//!
//! ```text
//! renewed   a1 ↺ ........................ a2 ↺ a3 ↺ a4        one value at the same place, say v
//! going on      b1 → b2 → b3
//!
//! v in all a, in no b,   b1, b2, b3 all different: frozen; each request should have its own
//!                        b1 = b2 = b3:             an identity, drawn once by each environment
//! v in any b: it belongs to the code, and not to the environment
//! ```
//!
//! That a value stands in no answer of the other environment lets pages, tags and builds through,
//! which are the same everywhere, and counters, which begin at one number. That only values which
//! look random are looked at lets words and small numbers through. And because all `b` are asked
//! between two of the `a`, a clock that has moved on among the `b` has moved on among the `a` too.
//!
//! What it finds is so; that it finds nothing proves nothing. Deliberately absent: the asking,
//! which is an engine's, and what follows from a finding.

mod slots;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use self::slots::{Slots, slots};
use self::token::{Token, is_time};

/// Answers of the renewed environment that are needed; four equal values of 32 bits are no chance.
pub const RENEWED_MIN: usize = 4;
/// Answers of the one that goes on that are needed.
pub const GOING_ON_MIN: usize = 3;
/// Findings that are told of one request.
pub const FINDINGS_MAX: usize = 8;
/// What is shown of a value, in characters: enough to know it again, too little to use it.
const SHOWN_MAX_CHARS: usize = 6;

/// One answer of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names in lower case and values, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, or as much of it as is to be looked at.
    pub body: Vec<u8>,
}

/// What one request was answered, in the order in which it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Method and path, for people.
    pub request: String,
    /// By the environment that was renewed after each of them. The first one was asked before all
    /// of `going_on`, the others after them.
    pub renewed: Vec<Answer>,
    /// By the environment that was not.
    pub going_on: Vec<Answer>,
}

/// Where in an answer a value stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In this header.
    Header(String),
    /// In a JSON body, by its pointer (RFC 6901).
    Json(String),
    /// In any other body, at this byte.
    Body(usize),
}

/// What kind of value does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One that is new in each request, until there are renewals.
    Random,
    /// The same, and it looks like the time.
    Time,
    /// One that an environment draws once. It is no fault of a renewal, since it would stay in any
    /// case; but environments that are made from one image would share it.
    Identity,
}

/// A value that does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The request, as it was given.
    pub request: String,
    /// Where in its answer.
    pub place: Place,
    /// What kind of value.
    pub kind: Kind,
    /// Its beginning.
    pub beginning: String,
    /// Its length, in bytes.
    pub bytes: usize,
}

impl Kind {
    /// Whether a renewal repeats what would not have been repeated without it.
    pub const fn is_frozen(self) -> bool {
        matches!(self, Self::Random | Self::Time)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "in the header {name}"),
            Self::Json(pointer) if pointer.is_empty() => f.write_str("as the body"),
            Self::Json(pointer) => write!(f, "at {pointer}"),
            Self::Body(at) => write!(f, "at byte {at}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request,
            place,
            kind,
            beginning,
            bytes,
        } = self;
        write!(
            f,
            "{request} answers {beginning:?}… ({bytes} bytes) {place} "
        )?;
        f.write_str(match kind {
            Kind::Random => "again after each renewal, where another value would be new each time",
            Kind::Time => "as the time again after each renewal",
            Kind::Identity => {
                "in all requests to an environment, and another value in the next one"
            }
        })
    }
}

/// The values that do not change, by request and place; none where there are too few answers.
/// `now_s` are seconds since the Unix epoch.
pub fn judge(asked: &[Asked], now_s: u64) -> Vec<Finding> {
    asked.iter().flat_map(|one| findings(one, now_s)).collect()
}

fn findings(asked: &Asked, now_s: u64) -> Vec<Finding> {
    if asked.renewed.len() < RENEWED_MIN || asked.going_on.len() < GOING_ON_MIN {
        return Vec::new();
    }
    let renewed: Vec<Slots> = asked.renewed.iter().map(slots).collect();
    let going_on: Vec<Slots> = asked.going_on.iter().map(slots).collect();
    let counts = counts(&going_on);
    let [first, others @ ..] = renewed.as_slice() else {
        return Vec::new();
    };
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for (slot, token) in first {
        let same = |other: &Slots| other.get(slot).is_some_and(|it| it.text == token.text);
        if !others.iter().all(same) || counts.contains_key(token.text.as_str()) {
            continue;
        }
        let others = going_on.iter().map(|slots| slots.get(slot));
        let Some(kind) = kind(token, others.collect(), &counts, now_s) else {
            continue;
        };
        if findings.len() < FINDINGS_MAX && told.insert(&token.text) {
            findings.push(Finding {
                request: asked.request.clone(),
                place: slot.place(token),
                kind,
                beginning: token.text.chars().take(SHOWN_MAX_CHARS).collect(),
                bytes: token.text.len(),
            });
        }
    }
    findings
}

/// In how many answers each value stands, wherever that is.
fn counts(answers: &[Slots]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for slots in answers {
        let distinct: BTreeSet<_> = slots.values().map(|token| token.text.as_str()).collect();
        for text in distinct {
            *counts.entry(text).or_default() += 1;
        }
    }
    counts
}

/// What a value is that stays the same, by what stands in its place where nothing is renewed. None
/// where that is sometimes the same and sometimes not, or stands elsewhere too: no generator does
/// the first, and a list that grows does the second.
fn kind(
    token: &Token,
    going_on: Option<Vec<&Token>>,
    counts: &BTreeMap<&str, usize>,
    now_s: u64,
) -> Option<Kind> {
    let texts: Vec<_> = going_on?.iter().map(|it| it.text.as_str()).collect();
    let count = |text: &str| counts.get(text).copied().unwrap_or_default();
    match texts.as_slice() {
        [first, others @ ..] if others.iter().all(|other| other == first) => Some(Kind::Identity),
        texts if texts.iter().any(|text| count(text) > 1) => None,
        _ if is_time(&token.text, now_s) => Some(Kind::Time),
        _ => Some(Kind::Random),
    }
}
