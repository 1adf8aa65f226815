//! Proof on record: how one request was served.
//!
//! The same facts stand in the `usher-run` header, in the log line and, without ids, in the
//! metrics. The text is a dictionary of RFC 9651 (structured fields), so that any client can read
//! it.
//!
//! Deliberately absent: who measures. The engine fills in what it read of the environment itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AreaId, EnvironmentId, Generation};

/// Name of the response header that carries the proof.
pub const PROOF_HEADER: &str = "usher-run";

/// How the environment was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Nothing was created on the request's path.
    Warm,
    /// This request started an environment and waited for it.
    Cold,
    /// This request waited for a start that another one had begun.
    Joined,
}

/// How the area that served the request had become clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renewal {
    /// The same environment, another area: the pointer was changed.
    Swap,
    /// The same area of the same environment, put back to the image.
    InPlace,
    /// A new instance from the stock, or an environment's first use.
    Fresh,
    /// A new process or sandbox.
    Replaced,
    /// Not renewed: state was kept on purpose.
    Kept,
}

/// How one request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The environment that served it.
    pub environment: EnvironmentId,
    /// The area that held its state.
    pub area: AreaId,
    /// Which use of that area it was; rises by one with each.
    pub generation: Generation,
    /// How the environment was come by.
    pub start: Start,
    /// How the area had become clean.
    pub renewal: Renewal,
    /// What making the area clean took, in microseconds, rounded up; 0 for a first use.
    pub renew_us: u32,
}

impl Start {
    /// The word for header, log and metric label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Joined => "joined",
        }
    }
}

impl Renewal {
    /// The word for header, log and metric label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::InPlace => "in-place",
            Self::Fresh => "fresh",
            Self::Replaced => "replaced",
            Self::Kept => "kept",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "env={}, area={}, gen={}, start={}, renewal={}, renew_us={}",
            self.environment.0,
            self.area.0,
            self.generation.0,
            self.start.word(),
            self.renewal.word(),
            self.renew_us
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_every_field_in_order() {
        let proof = Proof {
            environment: EnvironmentId(7),
            area: AreaId(14),
            generation: Generation(3),
            start: Start::Warm,
            renewal: Renewal::InPlace,
            renew_us: 2,
        };
        assert_eq!(
            proof.to_string(),
            "env=7, area=14, gen=3, start=warm, renewal=in-place, renew_us=2"
        );
    }
}
