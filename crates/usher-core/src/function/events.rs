//! How a function takes CloudEvents.

use serde::{Deserialize, Serialize};

/// In which form a function sees events, whatever form they were sent in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventMode {
    /// As they came: an event is a request like any other.
    #[default]
    AsIs,
    /// Attributes in headers, the data in the body.
    Binary,
    /// All in a body of JSON; for a Lambda function that is its event.
    Structured,
}

/// How a function takes events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// The form. In any but the first one events are checked, and converted both ways.
    pub mode: EventMode,
    /// Whether the function takes lists of events, as they are.
    pub batches: bool,
    /// The largest body of an event that is read whole, in bytes.
    pub event_max_bytes: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            mode: EventMode::AsIs,
            batches: false,
            event_max_bytes: 1 << 20,
        }
    }
}
