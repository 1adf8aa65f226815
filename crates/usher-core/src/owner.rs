//! Owners: what the platform lets one of them have at once.
//!
//! An owner is a name and exists where a function, a key or a quota names it. Deliberately absent:
//! holding anybody to a quota, which is done where the thing is: functions by the controller,
//! concurrency (`admit`) and rate (`rate`) by the gateway, memory by the node.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Name;

/// Bounds over all functions of one owner; none: no such bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Functions that are deployed.
    pub functions_max: Option<u32>,
    /// Requests that run at once; 0 lets none run.
    pub concurrency_max: Option<u32>,
    /// What all environments on one node may use together, by their bounds, in MiB.
    pub memory_max_mib: Option<u64>,
    /// Requests that begin in a second, in the long run.
    pub requests_per_s: Option<u32>,
    /// Requests that may begin at once after a rest; none: those of one second.
    pub burst: Option<u32>,
}

impl Quotas {
    /// No bound at all.
    pub const NONE: Self = Self {
        functions_max: None,
        concurrency_max: None,
        memory_max_mib: None,
        requests_per_s: None,
        burst: None,
    };
}

/// An owner with its quotas, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// Who.
    pub owner: Name,
    /// What it may have at once.
    pub quotas: Quotas,
    /// When they were set, in microseconds since the Unix epoch.
    pub updated_us: u64,
}

/// Which of an owner's bounds was reached, for whoever is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quota {
    /// `concurrency_max`
    Concurrency,
    /// `memory_max_mib`
    Memory,
    /// `requests_per_s`
    Rate,
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Concurrency => "concurrency_max",
            Self::Memory => "memory_max_mib",
            Self::Rate => "requests_per_s",
        })
    }
}
