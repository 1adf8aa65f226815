//! The example functions that travel in the binary, so that the demo needs no tool chain.
//!
//! Deliberately absent: their sources, which stand in `examples/`, and the proof that they are what
//! the sources build, which is `cargo xtask`'s.

use bytes::Bytes;
use usher_api::client::{Client, ClientError};
use usher_api::http::{DeployRequest, Deployed};
use usher_core::function::Settings;
use usher_core::id::Name;

/// A bundled component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundled {
    /// The name that `up --demo` deploys it by.
    pub(crate) name: &'static str,
    /// The component.
    pub(crate) bytes: &'static [u8],
}

macro_rules! bundled {
    ($name:literal, $file:literal) => {
        Bundled {
            name: $name,
            bytes: include_bytes!(concat!("../../../examples/bundled/", $file, ".wasm")),
        }
    };
}

/// Greets.
pub(crate) const HELLO: Bundled = bundled!("hello", "rust-hello");
/// Counts its own calls.
pub(crate) const COUNTER: Bundled = bundled!("counter", "rust-counter");
/// Plants a marker in every kind of state, or looks for one.
pub(crate) const LEAK_PROBE: Bundled = bundled!("leak-probe", "rust-leak-probe");
/// Takes its time.
pub(crate) const SLOW: Bundled = bundled!("slow", "rust-slow");

/// All that `up --demo` deploys.
pub(crate) const ALL: [Bundled; 8] = [
    HELLO,
    COUNTER,
    bundled!("echo", "rust-echo"),
    SLOW,
    LEAK_PROBE,
    bundled!("c-hello", "c-hello"),
    bundled!("c-counter", "c-counter"),
    bundled!("c-leak-probe", "c-leak-probe"),
];

impl Bundled {
    /// Deploys it under a name of the default owner.
    pub(crate) async fn deploy(
        self,
        client: &Client,
        name: Name,
        settings: Settings,
    ) -> Result<Deployed, ClientError> {
        let stored = client.put_artifact(Bytes::from_static(self.bytes)).await?;
        let request = DeployRequest {
            owner: None,
            name,
            artifact: stored.digest,
            settings,
        };
        client.deploy(&request, |_| {}).await
    }
}

/// Deploys all of them as they are.
pub(crate) async fn deploy_all(client: &Client) -> anyhow::Result<()> {
    for bundled in ALL {
        let name = bundled.name.parse()?;
        bundled.deploy(client, name, Settings::default()).await?;
    }
    Ok(())
}
