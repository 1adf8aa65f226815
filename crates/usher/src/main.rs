//! The one binary. It reads its words, makes a runtime, and runs one command.
//!
//! ```text
//!  cli ─► command ┬ up, serve, dev, demo ─► platform: backbone, node, gateway, controller, API
//!                 ├ doctor, bench ─► this machine
//!                 ├ new, completion, man ─► files and texts
//!                 └ deploy, invoke, list, show, logs, secret, … ─► the API of a running platform
//! ```
//!
//! Only here are the environment's variables read. Deliberately absent: anything a role decides.

#![forbid(unsafe_code)]

mod access;
mod audit;
mod backup;
mod bench;
mod build;
mod bundled;
mod call;
mod cli;
mod command;
mod completion;
mod demo;
mod deploy;
mod dev;
mod doctor;
mod dumps;
mod engines;
mod folders;
mod functions;
mod given;
mod invoke;
mod key;
mod logs;
mod man;
mod metrics;
mod moment;
mod new;
mod output;
mod own_log;
mod owner;
mod platform;
mod secret;
mod serve;
mod signals;
mod source;
mod telemetry;
mod tls;
mod top;
mod traffic;
mod up;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// A request makes some seventy small allocations, and some end on another thread (the log's): the
/// system's own allocator took a seventh of a request's instructions.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // What runs in a process of its own runs before any thread is made here.
    match cli.command {
        cli::Command::CompileComponent { .. } => return engines::compile_child(),
        cli::Command::MakeSandboxes { .. } => return engines::sandbox_child(),
        _ => {}
    }
    let json = cli.json;
    match command::run(cli) {
        Ok(code) => code,
        Err(error) => output::failure(&error, json),
    }
}
