//! Which revision a request gets: splits of traffic, and aliases.
//!
//! ```text
//!   address ─► alias, or `live` ─► split: v2=90 v3=10 ─┬ one revision: that one
//!                                                      ├ state by key: the key's point
//!                                                      └ else: a random point
//!   points   0 ─────────────── v2 ──────────────► 90 ── v3 ──► 100
//! ```
//!
//! A *split* shares out a hundred, a thousand or ten thousand parts among revisions, which stand in
//! the order of their numbers. So where the parts of two change, only the points between the old
//! and the new border change their revision, and with them only those keys.
//!
//! Deliberately absent: randomness, which comes in as a number, what people write (`wanted`), and
//! whether a revision exists (the controller).

pub mod wanted;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{BadName, Name};
use crate::key::Key;

/// Revisions that one split can share traffic among.
pub const SHARES_MAX: usize = 8;

/// What the weights of a split may add up to: percent, and finer parts.
pub const TOTALS: [u32; 3] = [100, 1_000, 10_000];

/// The alias that a function's bare name stands for.
pub const LIVE: &str = "live";

/// What stands between alias and function in a host name.
pub const HOST_MARK: &str = "--";

/// What stands between function and alias in a path.
pub const PATH_MARK: char = '@';

/// One revision's share of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The revision's number.
    pub revision: u64,
    /// Its parts of the split's total; at least 1.
    pub weight: u32,
}

/// How traffic is shared out: 1 to [`SHARES_MAX`] revisions, each once, in the order of their
/// numbers; their weights add up to one of [`TOTALS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Share>", into = "Vec<Share>")]
pub struct Split(Vec<Share>);

/// Why shares are not a split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSplit {
    /// Nobody would get anything.
    #[error("no revision is named; name one, such as v3, or several with weights: v3=10 v2=90")]
    Nobody,
    /// More than one split can have.
    #[error("{count} revisions are named; a split has at most {SHARES_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A revision is named twice.
    #[error("revision {revision} is named twice; give it one weight")]
    Twice {
        /// Which.
        revision: u64,
    },
    /// A share of nothing.
    #[error(
        "revision {revision} has a weight of 0; leave it out, or name it by an alias of its own"
    )]
    Nothing {
        /// Which.
        revision: u64,
    },
    /// The weights are not parts of a whole.
    #[error(
        "the weights add up to {sum}; they are percent and add up to 100, or finer parts that add \
         up to 1000 or 10000"
    )]
    Sum {
        /// What they add up to.
        sum: u64,
    },
}

impl Split {
    /// All traffic to one revision.
    pub fn whole(revision: u64) -> Self {
        let weight = TOTALS[0];
        Self(vec![Share { revision, weight }])
    }

    /// Judges shares, in any order.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(mut shares: Vec<Share>) -> Result<Self, BadSplit> {
        let count = shares.len();
        match count {
            0 => return Err(BadSplit::Nobody),
            1..=SHARES_MAX => {}
            _ => return Err(BadSplit::TooMany { count }),
        }
        shares.sort_by_key(|share| share.revision);
        for pair in shares.windows(2) {
            let revision = pair[0].revision;
            if revision == pair[1].revision {
                return Err(BadSplit::Twice { revision });
            }
        }
        if let Some(none) = shares.iter().find(|share| share.weight == 0) {
            let revision = none.revision;
            return Err(BadSplit::Nothing { revision });
        }
        let sum = shares.iter().map(|share| u64::from(share.weight)).sum();
        match TOTALS.iter().any(|total| u64::from(*total) == sum) {
            true => Ok(Self(shares)),
            false => Err(BadSplit::Sum { sum }),
        }
    }

    /// The shares, in the order of their revisions' numbers; at least one.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// What the weights add up to.
    pub fn total(&self) -> u32 {
        self.0.iter().map(|share| share.weight).sum()
    }

    /// The one revision that gets everything, if it is one.
    pub fn only(&self) -> Option<u64> {
        match self.0[..] {
            [only] => Some(only.revision),
            _ => None,
        }
    }

    /// The revision with the largest share; of equal ones the newest.
    pub fn main(&self) -> u64 {
        let largest = self.0.iter().max_by_key(|share| share.weight);
        largest.map_or(0, |share| share.revision)
    }

    /// Whether a revision has a share.
    pub fn names(&self, revision: u64) -> bool {
        self.0.iter().any(|share| share.revision == revision)
    }

    /// Which of [`Split::shares`] a request at this point gets.
    pub fn pick(&self, point: Point) -> usize {
        let total = u128::from(self.total());
        // The same as a fraction of the whole, without a remainder that would prefer anybody.
        let mut at = (u128::from(point.0) * total) >> 64;
        for (index, share) in self.0.iter().enumerate() {
            let weight = u128::from(share.weight);
            if at < weight {
                return index;
            }
            at -= weight;
        }
        self.0.len() - 1
    }
}

impl TryFrom<Vec<Share>> for Split {
    type Error = BadSplit;

    fn try_from(shares: Vec<Share>) -> Result<Self, BadSplit> {
        Self::new(shares)
    }
}

impl From<Split> for Vec<Share> {
    fn from(split: Split) -> Self {
        split.0
    }
}

/// Where in a split a request falls, as a fraction of 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point(u64);

impl Point {
    /// A point of chance: every value of the number is to be equally likely.
    pub const fn random(number: u64) -> Self {
        Self(number)
    }

    /// The point of a key, the same for the same key for ever: state is kept per revision, so a key
    /// stays where it is for as long as the weights stand.
    pub fn of_key(key: &Key) -> Self {
        // FNV-1a, and the end of SplitMix64, without which short keys would lie close together.
        let fnv = key
            .bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        let mut mixed: u64 = fnv ^ (fnv >> 30);
        mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
        mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }
}

/// A named pointer of a function: a [`Name`] without `--`, which does not read as a revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(Name);

/// Why a text is not an alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAlias {
    /// It is not a name either.
    #[error(transparent)]
    Name(#[from] BadName),
    /// It could not be told from a function in a host name.
    #[error("{text:?} is not an alias: \"--\" stands between alias and function in host names")]
    Mark {
        /// What was given.
        text: String,
    },
    /// It means something else already.
    #[error("{text:?} is not an alias: it reads as a revision or as an encoded host name")]
    Taken {
        /// What was given.
        text: String,
    },
}

impl Alias {
    /// The alias that the bare name stands for.
    pub fn live() -> Self {
        // A constant that a test holds to be a name.
        Self(LIVE.parse().unwrap_or_else(|_| Name::default_owner()))
    }

    /// Whether it is that one.
    pub fn is_live(&self) -> bool {
        self.as_str() == LIVE
    }

    /// The alias as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Alias {
    type Err = BadAlias;

    fn from_str(text: &str) -> Result<Self, BadAlias> {
        let name: Name = text.parse()?;
        let text = || text.to_owned();
        if name.as_str().contains(HOST_MARK) {
            return Err(BadAlias::Mark { text: text() });
        }
        // A host label that begins with "xn--" is an encoded one, and browsers refuse it.
        let taken = name.as_str() == "xn" || name.as_str().parse::<wanted::Revision>().is_ok();
        match taken {
            true => Err(BadAlias::Taken { text: text() }),
            false => Ok(Self(name)),
        }
    }
}

impl TryFrom<String> for Alias {
    type Error = BadAlias;

    fn try_from(text: String) -> Result<Self, BadAlias> {
        text.parse()
    }
}

impl From<Alias> for String {
    fn from(alias: Alias) -> Self {
        alias.0.into()
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
