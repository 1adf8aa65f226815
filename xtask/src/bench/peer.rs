//! Baselines that are part of this chore, as processes of their own.

mod hyper;
mod runtime_api;

use anyhow::Result;
use clap::Subcommand;

/// Which peer.
#[derive(Subcommand)]
pub(crate) enum Peer {
    /// A bare HTTP server.
    Hyper(hyper::Args),
    /// A bare AWS Lambda Runtime API with an HTTP server in front.
    RuntimeApi,
}

/// Serves until it is ended.
pub(crate) fn run(peer: Peer) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match peer {
        Peer::Hyper(args) => runtime.block_on(hyper::serve(args)),
        Peer::RuntimeApi => runtime.block_on(runtime_api::serve()),
    }
}
