//! A command line program of WASI 0.3, run once over the same host functions as a function's.
//!
//! No function is such a program. The public test suite of WASI asks hosts about the types of
//! wasi:http by programs of this kind, and `cargo xtask wasi-suite` runs them here.

use std::sync::Arc;

use usher_core::function::Limits;
use usher_core::id::RequestId;
use usher_core::outbound::AllowList;
use usher_engine::GuestOutput;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::p3::bindings::Command;

use crate::host::{self, Host};
use crate::meter::Meter;
use crate::outbound::Outbound;
use crate::settings::{self, CodeKind, FreshPool};

/// Runs a program to its end.
///
/// # Errors
/// It is no such program, it trapped, or it ended with an error.
#[doc(hidden)]
pub async fn run_command(bytes: &[u8], output: Arc<dyn GuestOutput>) -> Result<(), String> {
    let ended = attempt(bytes, output).await;
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(())) => Err("it ended with an error".into()),
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn attempt(bytes: &[u8], output: Arc<dyn GuestOutput>) -> wasmtime::Result<Result<(), ()>> {
    let pool = FreshPool {
        instances_max: 1,
        ..FreshPool::default()
    };
    let engine = wasmtime::Engine::new(&settings::config(CodeKind::Concurrent, pool))?;
    let mut linker = Linker::new(&engine);
    host::link(&mut linker)?;
    host::link_concurrent(&mut linker)?;
    let component = Component::new(&engine, bytes)?;
    let nowhere = Arc::new(AllowList::default());
    let meter = Meter::new(&Limits::default());
    let mut host = Host::new(meter, Outbound::new(nowhere), Arc::default());
    host.begin(RequestId(0), output, false);
    let mut store = Store::new(&engine, host);
    store.limiter(|host| &mut host.meter);
    store.epoch_deadline_async_yield_and_update(1);
    let command = Command::instantiate_async(&mut store, &component, &linker).await?;
    let ran =
        store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await);
    ran.await?
}
