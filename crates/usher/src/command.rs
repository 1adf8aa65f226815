//! From words to the command that they mean, on a runtime.
//!
//! Deliberately absent: each command's own work.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{Bench, Cli, Command};
use crate::{
    audit, backup, bench, completion, demo, deploy, dev, doctor, functions, invoke, key, logs, man,
    new, own_log, owner, secret, serve, top, traffic, up,
};

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    own_log::begin(&cli.log, &cli.own_log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime was not made; are there too many threads already?")?;
    let ended = runtime.block_on(perform(cli.command, cli.json));
    // Every command has waited for what it must; a read of standard input may never end.
    runtime.shutdown_background();
    ended
}

async fn perform(command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(up) => up::run(*up, json).await,
        Command::Serve(serve) => serve::run(serve, json).await,
        Command::Dev(dev) => dev::run(dev, json).await,
        Command::New(new) => done(new::run(&new, json)),
        Command::Completion(completion) => done(completion::run(&completion)),
        Command::Man(man) => done(man::run(&man)),
        Command::Deploy(deploy) => done(deploy::run(deploy, json).await),
        Command::Invoke(invoke) => invoke::run(invoke, json).await,
        Command::List(list) => done(functions::list(list, json).await),
        Command::Show(one) => done(functions::show(one, json).await),
        Command::Logs(logs) => done(logs::run(logs, json).await),
        Command::Top(top) => done(top::run(top, json).await),
        Command::Delete(one) => done(functions::delete(one, json).await),
        Command::Key { what } => done(key::run(what, json).await),
        Command::Owner { what } => done(owner::run(what, json).await),
        Command::Audit(audit) => done(audit::run(audit, json).await),
        Command::Alias { what } => done(traffic::alias(what, json).await),
        Command::Split(split) => done(traffic::split(split, json).await),
        Command::Rollback(rollback) => done(traffic::roll_back(rollback, json).await),
        Command::Backup(what) => done(backup::backup(what, json).await),
        Command::Restore(what) => done(backup::restore(what, json).await),
        Command::Secret { what } => done(secret::run(what, json).await),
        Command::Doctor => doctor::run(json).await,
        Command::Demo => demo::run(json).await,
        Command::Bench { what } => match what {
            Bench::Swap { state_bytes } => done(bench::swap(&state_bytes, json).await),
            Bench::Engine {
                component,
                threads,
                rounds,
                round_ms,
            } => done(bench::engine(&component, &threads, rounds, round_ms, json).await),
        },
        // `main` has seen to it before there was a runtime.
        Command::CompileComponent { .. } | Command::MakeSandboxes { .. } => Ok(ExitCode::FAILURE),
    }
}

fn done(ended: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    ended.map(|()| ExitCode::SUCCESS)
}
