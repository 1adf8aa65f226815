//! The project's chores: `cargo xtask NAME`, the same for continuous integration and for hands.
//!
//! Each chore is a module of its own; this file only names them.

#![forbid(unsafe_code)]

mod audit;
mod bench;
mod child;
mod examples;
mod peers;
mod proc;
mod prove;
mod test;
mod tidy;
mod wasi_suite;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the example functions, installing their tool chains where they are missing.
    Examples(examples::Args),
    /// Check the rules of the house that no compiler knows.
    Tidy(tidy::Args),
    /// Judge the packages that are built in: licences, duplicates, sources.
    Audit,
    /// Install the programs that tests talk to.
    Peers,
    /// Run everything that has to hold: what continuous integration runs.
    Test(test::Args),
    /// Run the public test suite of WASI against ours.
    WasiSuite(wasi_suite::Args),
    /// Run the long counts and record them.
    Prove(prove::Args),
    /// Measure ours and the baselines in turn.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Serve as a baseline.
    #[command(hide = true, subcommand)]
    Peer(bench::peer::Peer),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Examples(args) => examples::run(&args),
        Chore::Tidy(args) => tidy::run(&args),
        Chore::Audit => audit::run(),
        Chore::Peers => peers::run(),
        Chore::Test(args) => match test::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Chore::WasiSuite(args) => wasi_suite::run(&args),
        Chore::Prove(args) => prove::run(&args),
        Chore::Bench(which) => bench::run(&which),
        Chore::Peer(which) => bench::peer::run(which),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
