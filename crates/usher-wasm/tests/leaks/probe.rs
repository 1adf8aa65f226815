//! The leak probes as the tests speak to them.

use serde::Deserialize;
use usher_engine::{RenewError, Used, UsedFacts};
use usher_wasm::{WasmEnvironment, WasmUsed};

use crate::guests::Bench;

/// Probes that search all the memory, globals and handles that they can address themselves.
pub(crate) const SEEKERS: [&str; 3] = ["rust-leak-probe", "c-leak-probe", "wat-globals"];
/// Probes whose memory only the host can search.
pub(crate) const SCANNED: [&str; 2] = ["js-leak-probe", "py-leak-probe"];

/// Each byte of what is planted is that of the marker XORed by this.
const MASK: u8 = 0xa5;

/// A secret of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker([u8; 16]);

impl Marker {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// The form that is found where the marker was planted, and nowhere else.
    pub(crate) fn planted(&self) -> [u8; 16] {
        self.0.map(|byte| byte ^ MASK)
    }

    pub(crate) fn plant(&self) -> String {
        format!("/?plant={:032x}", u128::from_be_bytes(self.0))
    }

    pub(crate) fn seek(&self) -> String {
        format!("/?seek={:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a probe that searches itself answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Found {
    pub(crate) planted: bool,
    pub(crate) hits: u64,
    pub(crate) first_handle: u32,
    pub(crate) fields_handles: Vec<u32>,
    pub(crate) counter: u64,
    pub(crate) memory_pages: u64,
}

impl Found {
    pub(crate) fn read(reply: &str) -> Self {
        serde_json::from_str(reply).unwrap_or_else(|error| panic!("{error}: {reply}"))
    }

    /// What every run begins with, and no earlier run may change.
    pub(crate) fn beginning(&self) -> Beginning {
        Beginning {
            first_handle: self.first_handle,
            fields_handles: self.fields_handles.clone(),
            counter: self.counter,
        }
    }
}

/// What a run can tell of the state that it begins in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) first_handle: u32,
    pub(crate) fields_handles: Vec<u32>,
    pub(crate) counter: u64,
}

/// What a probe answers whose memory the host searches.
#[derive(Debug, Deserialize)]
pub(crate) struct Survived {
    pub(crate) planted: bool,
    pub(crate) survived: Vec<String>,
    pub(crate) counter: u64,
}

/// A request to a probe.
pub(crate) async fn ask(
    bench: &Bench,
    environment: WasmEnvironment,
    target: &str,
) -> (Found, UsedFacts, WasmUsed) {
    let (reply, facts, used) = bench.run(environment, target).await;
    (Found::read(&reply), facts, used)
}

/// Why a renewal ended the environment, where that is legal: what is left cannot be put back.
pub(crate) fn leftover(error: &RenewError) -> bool {
    matches!(error, RenewError::Leftover(_))
}

/// Renewed and scrubbed.
pub(crate) async fn renewed(used: WasmUsed) -> WasmEnvironment {
    let renewed = used.renew(false).await.unwrap();
    if let Some(behind) = renewed.behind {
        behind.scrub();
    }
    renewed.clean
}
