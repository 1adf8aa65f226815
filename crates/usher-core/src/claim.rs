//! Whether a request may claim an environment.
//!
//! What decides is what the environment *is*, never what it is called: owner, artifact, revision
//! and runtime must be the same, and it must be free, healthy and paid for with a permit. A name
//! can be deployed anew at any time; a digest cannot.
//!
//! Deliberately absent: which of several fitting environments is taken (`start`).

use std::fmt;

use crate::environment::State;
use crate::id::{Digest, Name, RevisionId};

/// What compiled code was made for: code of one is never run by another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuntimeAbi {
    /// The engine, such as `wasm`.
    pub engine: String,
    /// Its version, in the engine's own words.
    pub version: String,
    /// A digest of every setting that the compiled code depends on.
    pub settings: u64,
}

impl fmt::Display for RuntimeAbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:016x}", self.engine, self.version, self.settings)
    }
}

/// What runs: everything that has to be the same for an environment to be reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Whose function it is.
    pub owner: Name,
    /// Its bytes.
    pub artifact: Digest,
    /// Its deployment, with the settings.
    pub revision: RevisionId,
    /// What it was compiled for.
    pub abi: RuntimeAbi,
}

/// An environment that could serve the request.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// What it has loaded.
    pub code: &'a Code,
    /// Where it is in its life.
    pub state: State,
    /// Whether its last health check, if it has any, passed.
    pub healthy: bool,
    /// Whether the claimant holds a permit to run.
    pub permit: bool,
}

/// Why an environment may not be claimed, most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It belongs to somebody else, even if the bytes are the same.
    #[error("the environment belongs to another owner")]
    OtherOwner,
    /// It has other bytes loaded.
    #[error("the environment has another artifact loaded")]
    OtherArtifact,
    /// It has the bytes, with other settings or of another function.
    #[error("the environment runs another revision")]
    OtherRevision,
    /// Its code was compiled for another engine, version or settings.
    #[error("the environment's code was compiled for another runtime")]
    OtherAbi,
    /// It is not in a state to be claimed.
    #[error("the environment is {}", .0.word())]
    NotFree(State),
    /// It is not healthy.
    #[error("the environment is not healthy")]
    Unhealthy,
    /// The claimant has no permit.
    #[error("no permit to run")]
    NoPermit,
}

/// Whether `wanted` may run in what is `offered`.
///
/// # Errors
/// The most serious reason why not.
pub fn claim(wanted: &Code, offered: Offered<'_>) -> Result<(), Refusal> {
    let code = offered.code;
    let refusal = if wanted.owner != code.owner {
        Refusal::OtherOwner
    } else if wanted.artifact != code.artifact {
        Refusal::OtherArtifact
    } else if wanted.revision != code.revision {
        Refusal::OtherRevision
    } else if wanted.abi != code.abi {
        Refusal::OtherAbi
    } else if !offered.state.claimable() {
        Refusal::NotFree(offered.state)
    } else if !offered.healthy {
        Refusal::Unhealthy
    } else if !offered.permit {
        Refusal::NoPermit
    } else {
        return Ok(());
    };
    Err(refusal)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::environment::Then;

    fn code() -> Code {
        Code {
            owner: Name::default_owner(),
            artifact: Digest([1; 32]),
            revision: RevisionId(Digest([2; 32])),
            abi: RuntimeAbi {
                engine: "wasm".into(),
                version: "48".into(),
                settings: 3,
            },
        }
    }

    fn offer(code: &Code) -> Offered<'_> {
        Offered {
            code,
            state: State::Clean,
            healthy: true,
            permit: true,
        }
    }

    #[test]
    fn the_same_code_is_claimed_and_any_difference_refused() {
        let same = code();
        assert_eq!(claim(&code(), offer(&same)), Ok(()));
        let other = Code {
            owner: "eve".parse().unwrap(),
            ..code()
        };
        assert_eq!(claim(&code(), offer(&other)), Err(Refusal::OtherOwner));
        let other = Code {
            artifact: Digest([9; 32]),
            ..code()
        };
        assert_eq!(claim(&code(), offer(&other)), Err(Refusal::OtherArtifact));
        let other = Code {
            revision: RevisionId(Digest([9; 32])),
            ..code()
        };
        assert_eq!(claim(&code(), offer(&other)), Err(Refusal::OtherRevision));
        for abi in [
            RuntimeAbi {
                engine: "process".into(),
                ..code().abi
            },
            RuntimeAbi {
                version: "49".into(),
                ..code().abi
            },
            RuntimeAbi {
                settings: 4,
                ..code().abi
            },
        ] {
            let other = Code { abi, ..code() };
            assert_eq!(claim(&code(), offer(&other)), Err(Refusal::OtherAbi));
        }
    }

    #[test]
    fn only_a_free_and_healthy_environment_with_a_permit_is_claimed() {
        let same = code();
        for state in [State::Clean, State::Used, State::Kept] {
            assert_eq!(
                claim(
                    &same,
                    Offered {
                        state,
                        ..offer(&same)
                    }
                ),
                Ok(())
            );
        }
        for state in [
            State::Starting,
            State::Claimed,
            State::Busy,
            State::Renewing(Then::Offer),
            State::Renewing(Then::Run),
            State::Auditing(Then::Offer),
            State::Auditing(Then::Run),
            State::Quarantined,
            State::Dead,
        ] {
            let refused = claim(
                &same,
                Offered {
                    state,
                    ..offer(&same)
                },
            );
            assert_eq!(refused, Err(Refusal::NotFree(state)));
        }
        let ill = Offered {
            healthy: false,
            ..offer(&same)
        };
        assert_eq!(claim(&same, ill), Err(Refusal::Unhealthy));
        let unpaid = Offered {
            permit: false,
            ..offer(&same)
        };
        assert_eq!(claim(&same, unpaid), Err(Refusal::NoPermit));
    }
}
