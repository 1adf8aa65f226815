//! Traffic as people write it: `v3=10 v2=90`, `latest`, the beginning of an id.
//!
//! Deliberately absent: revisions themselves; whoever knows them passes numbers and ids in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BadSplit, Share, Split, TOTALS};
use crate::id::RevisionId;

/// The fewest digits by which an id is known.
pub const ID_DIGITS_MIN: usize = 6;
/// The digits of a whole id.
const ID_DIGITS_MAX: usize = 64;

/// A revision as people name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Revision {
    /// `latest`: the one that was deployed last.
    Latest,
    /// `v3` or `3`: by its number; digits alone may also be the beginning of an id.
    Number {
        /// The number.
        number: u64,
        /// What was written, where it may be an id as well.
        or_id: Option<String>,
    },
    /// The first digits of its id, in lower case.
    Id(String),
}

/// Why a text names no revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no revision; write its number as in v3, \"latest\", or at least \
     {ID_DIGITS_MIN} digits of its id"
)]
pub struct BadRevision {
    /// What was given, shortened to a readable length.
    pub text: String,
}

/// Why a revision that is named is none of a function's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRevision {
    /// None fits.
    #[error("there is no revision {wanted} that can be restored; there are {there}")]
    Unknown {
        /// What was wanted.
        wanted: String,
        /// The numbers that there are.
        there: String,
    },
    /// Several fit.
    #[error("{wanted} begins the ids of revisions {fits}; give more digits, or a number")]
    Ambiguous {
        /// What was wanted.
        wanted: String,
        /// The numbers of those that fit.
        fits: String,
    },
}

impl Revision {
    /// The number of the revision that is meant, of `known` ones: numbers and ids, newest first.
    /// Of several with the same id the newest is meant.
    ///
    /// # Errors
    /// If none is meant, or more than one.
    pub fn find(&self, known: &[(u64, RevisionId)]) -> Result<u64, NoRevision> {
        let found = match self {
            Self::Latest => known.first().map(|(number, _)| *number),
            Self::Number { number, or_id } => {
                let by_number = known.iter().find(|(known, _)| known == number);
                match (by_number, or_id) {
                    (Some((number, _)), _) => Some(*number),
                    (None, Some(digits)) => self.by_id(digits, known)?,
                    (None, None) => None,
                }
            }
            Self::Id(digits) => self.by_id(digits, known)?,
        };
        found.ok_or_else(|| NoRevision::Unknown {
            wanted: self.to_string(),
            there: numbers(known.iter().map(|(number, _)| *number)),
        })
    }

    fn by_id(&self, digits: &str, known: &[(u64, RevisionId)]) -> Result<Option<u64>, NoRevision> {
        let fits = |(_, id): &&(u64, RevisionId)| id.to_string().starts_with(digits);
        let fits: Vec<_> = known.iter().filter(fits).collect();
        match fits.first() {
            Some((_, first)) if fits.iter().any(|(_, id)| id != first) => {
                Err(NoRevision::Ambiguous {
                    wanted: self.to_string(),
                    fits: numbers(fits.iter().map(|(number, _)| *number)),
                })
            }
            first => Ok(first.map(|(number, _)| *number)),
        }
    }
}

fn numbers(numbers: impl Iterator<Item = u64>) -> String {
    let numbers: Vec<_> = numbers.map(|number| format!("v{number}")).collect();
    match numbers.is_empty() {
        true => "none".to_owned(),
        false => numbers.join(", "),
    }
}

impl FromStr for Revision {
    type Err = BadRevision;

    fn from_str(text: &str) -> Result<Self, BadRevision> {
        let bad = || BadRevision {
            text: text.chars().take(ID_DIGITS_MAX + 1).collect(),
        };
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let is_digit = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if let Some(digits) = text.strip_prefix('v') {
            let number = digits.parse().ok().filter(|_| is_digit(digits));
            let or_id = None;
            return number
                .map(|number| Self::Number { number, or_id })
                .ok_or_else(bad);
        }
        let is_id = (ID_DIGITS_MIN..=ID_DIGITS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = is_id.then(|| text.to_ascii_lowercase());
        match (text.parse(), id) {
            (Ok(number), or_id) if is_digit(text) => Ok(Self::Number { number, or_id }),
            (_, Some(id)) => Ok(Self::Id(id)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number {
                or_id: Some(text), ..
            } => f.write_str(text),
            Self::Number { number, .. } => write!(f, "v{number}"),
            Self::Id(digits) => f.write_str(digits),
        }
    }
}

impl TryFrom<String> for Revision {
    type Error = BadRevision;

    fn try_from(text: String) -> Result<Self, BadRevision> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.to_string()
    }
}

/// A share as people write it: `v3=10`, `v3=10%`, or `v3` for what the others leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The revision.
    pub revision: Revision,
    /// Its weight; none: what the others leave of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Why a text is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWanted {
    /// The revision cannot be read.
    #[error(transparent)]
    Revision(#[from] BadRevision),
    /// The weight cannot be read.
    #[error("{text:?} is no weight; write a whole number, as in v3=10")]
    Weight {
        /// What was given.
        text: String,
    },
}

impl FromStr for Wanted {
    type Err = BadWanted;

    fn from_str(text: &str) -> Result<Self, BadWanted> {
        let Some((revision, weight)) = text.split_once('=') else {
            let revision = text.parse()?;
            return Ok(Self {
                revision,
                weight: None,
            });
        };
        let digits = weight.strip_suffix('%').unwrap_or(weight);
        let number = match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse().ok(),
            false => None,
        };
        let weight = number.ok_or_else(|| BadWanted::Weight {
            text: weight.chars().take(ID_DIGITS_MAX).collect(),
        })?;
        Ok(Self {
            revision: revision.parse()?,
            weight: Some(weight),
        })
    }
}

/// Why what is wanted is no split of a function's traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSplit {
    /// A revision that is not there.
    #[error(transparent)]
    Revision(#[from] NoRevision),
    /// The shares do not go together.
    #[error(transparent)]
    Split(#[from] BadSplit),
    /// Several are without a weight.
    #[error("only one revision can be left without a weight; it gets what the others leave")]
    Weights,
}

/// The split that is wanted, among `known` revisions: numbers and ids, newest first.
///
/// # Errors
/// What is wrong with it.
pub fn split(wanted: &[Wanted], known: &[(u64, RevisionId)]) -> Result<Split, NotSplit> {
    let given = wanted.iter().filter_map(|wanted| wanted.weight);
    let given = given.fold(0_u32, u32::saturating_add);
    if wanted.iter().filter(|it| it.weight.is_none()).count() > 1 {
        return Err(NotSplit::Weights);
    }
    // Where the others take all of it, what is left is a weight of 0, which is refused by name.
    let left = TOTALS[0].saturating_sub(given);
    let mut shares = Vec::with_capacity(wanted.len());
    for Wanted { revision, weight } in wanted {
        let revision = revision.find(known)?;
        let weight = weight.unwrap_or(left);
        shares.push(Share { revision, weight });
    }
    Ok(Split::new(shares)?)
}
