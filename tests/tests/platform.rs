//! The whole platform: the real binary as a process of its own, spoken to as users speak to it.
//!
//! Each test starts the servers that it needs on free ports and throw-away folders, waits for the
//! line that says that all is up, and ends them by their process ids. The binary is the one built
//! beside this test (`cargo build --release --workspace`); functions are those of `cargo xtask
//! examples`. `USHER_COUNT` is the number of requests where many are sent, 1,000 without it.
//!
//! Deliberately absent: what one crate can show by itself, and figures, which `cargo xtask bench`
//! measures.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "platform/acme.rs"]
mod acme;
#[path = "platform/areas.rs"]
mod areas;
#[path = "platform/backup.rs"]
mod backup;
#[path = "platform/browser.rs"]
mod browser;
#[path = "platform/bundles.rs"]
mod bundles;
#[path = "platform/caller.rs"]
mod caller;
#[path = "platform/collector.rs"]
mod collector;
#[path = "platform/commands.rs"]
mod commands;
#[path = "platform/demo.rs"]
mod demo;
#[path = "platform/dev.rs"]
mod dev;
#[path = "platform/ending.rs"]
mod ending;
#[path = "platform/events.rs"]
mod events;
#[path = "platform/faults.rs"]
mod faults;
#[path = "platform/folder.rs"]
mod folder;
#[path = "platform/full.rs"]
mod full;
#[path = "platform/given.rs"]
mod given;
#[path = "platform/hostile_clients.rs"]
mod hostile_clients;
#[path = "platform/isolation.rs"]
mod isolation;
#[path = "platform/keys.rs"]
mod keys;
#[path = "platform/keyvalue.rs"]
mod keyvalue;
#[path = "platform/kill.rs"]
mod kill;
#[path = "platform/lambda.rs"]
mod lambda;
#[path = "platform/limits.rs"]
mod limits;
#[path = "platform/lint.rs"]
mod lint;
#[path = "platform/logs.rs"]
mod logs;
#[path = "platform/many.rs"]
mod many;
#[path = "platform/mistakes.rs"]
mod mistakes;
#[path = "platform/observe.rs"]
mod observe;
#[path = "platform/outbound.rs"]
mod outbound;
#[path = "platform/owners.rs"]
mod owners;
#[path = "platform/p3.rs"]
mod p3;
#[path = "platform/programs.rs"]
mod programs;
#[path = "platform/revisions.rs"]
mod revisions;
#[path = "platform/secrets.rs"]
mod secrets;
#[path = "platform/serve.rs"]
mod serve;
#[path = "platform/server.rs"]
mod server;
#[path = "platform/streams.rs"]
mod streams;
#[path = "platform/tiny.rs"]
mod tiny;
#[path = "platform/tls.rs"]
mod tls;
#[path = "platform/traces.rs"]
mod traces;
#[path = "platform/twins.rs"]
mod twins;
#[path = "platform/variant.rs"]
mod variant;
#[path = "platform/warm.rs"]
mod warm;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one event may be waited for, in seconds; only a test that fails ever waits so long.
const EVENT_WAIT_MAX_S: u64 = 120;

/// How many requests are sent where many are.
fn count() -> usize {
    match std::env::var("USHER_COUNT") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => 1_000,
    }
}

/// Waits for an event, and fails where it does not come at all.
async fn event<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let bound = Duration::from_secs(EVENT_WAIT_MAX_S);
    match tokio::time::timeout(bound, coming).await {
        Ok(come) => come,
        Err(_) => panic!("{what}: not within {EVENT_WAIT_MAX_S} s"),
    }
}

/// The folder that everything is built into.
fn target() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap().join("target")
}

/// A component that `cargo xtask examples` built.
fn example(name: &str) -> PathBuf {
    let path = target().join("examples").join(format!("{name}.wasm"));
    let shown = path.display();
    assert!(
        path.exists(),
        "{shown} is not there; `cargo xtask examples` builds it"
    );
    path
}
