//! The words that the binary understands.
//!
//! Deliberately absent: what they do.

pub(crate) mod audit;
pub(crate) mod backup;
mod completion;
mod dev;
pub(crate) mod key;
mod man;
mod new;
mod observe;
pub(crate) mod owner;
pub(crate) mod secret;
pub(crate) mod tls;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use usher_core::audit::AUDIT_ONE_IN;
use usher_core::function::AREA_MEMORY;
use usher_core::id::{Name, RequestId};
use usher_core::route::Domain;

use crate::key::Hidden;
pub(crate) use completion::Completion;
pub(crate) use dev::Dev;
pub(crate) use man::Man;
pub(crate) use new::{Kind, Lang, New};
pub(crate) use observe::{LogFormat, Logs, Observe, OwnLog, Top};
pub(crate) use traffic::{Alias, Rollback, Split};

/// A serverless platform: every request meets a clean environment, at warm speed.
#[derive(Debug, Parser)]
#[command(name = "usher", version, about)]
pub(crate) struct Cli {
    /// Write JSON, one value per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log of the platform itself, as in `info` or `usher_node=debug,warn`
    #[arg(
        long,
        global = true,
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "warn"
    )]
    pub(crate) log: String,
    #[command(flatten)]
    pub(crate) own_log: OwnLog,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform until it is stopped
    Up(Box<Up>),
    /// Run one function in the foreground, at `/` of any host, on throw-away data
    Serve(Serve),
    /// Run a function while it is written: it is built and served anew with every change
    Dev(Dev),
    /// Make a folder with a function to begin with
    New(New),
    /// Deploy a function: a component, a program, or a folder of either
    Deploy(Deploy),
    /// Call a function
    Invoke(Invoke),
    /// List the functions
    List(List),
    /// Show a function
    Show(One),
    /// Show a function's log, or the logs of all functions
    Logs(Logs),
    /// Show the busiest functions, and how they stand
    Top(Top),
    /// Delete a function
    Delete(One),
    /// Make, list and revoke keys of the API
    Key {
        /// What to do.
        #[command(subcommand)]
        what: key::Key,
    },
    /// Set and show what owners may have at once
    Owner {
        /// What to do.
        #[command(subcommand)]
        what: owner::Owner,
    },
    /// Show the calls of the API
    Audit(audit::Audit),
    /// Name revisions of a function
    Alias {
        /// What to do.
        #[command(subcommand)]
        what: Alias,
    },
    /// Share a function's traffic out among its revisions, as in `split hello v3=10 v2=90`
    Split(Split),
    /// Let a function serve again what it served before
    Rollback(Rollback),
    /// Write a back-up of the whole platform into a file
    Backup(backup::Backup),
    /// Restore a back-up into a running platform
    Restore(backup::Restore),
    /// Keep secrets that functions are granted
    Secret {
        /// What to do.
        #[command(subcommand)]
        what: secret::Secret,
    },
    /// Show what this machine gives, and what is made of it
    Doctor,
    /// Prove the mechanisms on bundled functions, and stop
    Demo,
    /// Write the script by which a shell completes these words
    Completion(Completion),
    /// Write the manual pages
    Man(Man),
    /// Measure a mechanism by itself
    Bench {
        /// Which.
        #[command(subcommand)]
        what: Bench,
    },
    /// Compile one component; the platform starts itself with this word
    #[command(hide = true)]
    CompileComponent {
        /// What the platform says to its child.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<String>,
    },
    /// Make sandboxes; the platform starts itself with this word
    #[command(hide = true)]
    MakeSandboxes {
        /// What the platform says to its child.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<String>,
    },
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Changing an environment's area, by the size of its state
    Swap {
        /// Sizes of state to measure, in bytes
        #[arg(long, value_delimiter = ',', default_values_t = [1 << 16, 1 << 20, 1 << 26, 1 << 30])]
        state_bytes: Vec<usize>,
    },
    /// Requests per second of the engine alone, by the number of threads
    Engine {
        /// A component that answers GET /
        component: PathBuf,
        /// Numbers of threads to measure
        #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
        threads: Vec<usize>,
        /// Rounds of each
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// The length of a round, in milliseconds
        #[arg(long, default_value_t = 1_000)]
        round_ms: u64,
    },
}

/// `usher up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where to keep functions and logs [default: a folder of this user]
    #[arg(long, env = "USHER_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where functions answer; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) gateway: SocketAddr,
    /// Where the API listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub(crate) api: SocketAddr,
    /// Functions answer at NAME.DOMAIN
    #[arg(long, default_value = "localhost")]
    pub(crate) domain: Domain,
    /// Let the API listen where other machines can reach it, though it has no keys yet
    #[arg(long)]
    pub(crate) insecure_api: bool,
    /// A name by which the API may be asked, besides localhost and its addresses; may be given
    /// again
    #[arg(long, value_name = "NAME")]
    pub(crate) api_name: Vec<String>,
    /// Deploy the bundled examples; without --data on throw-away data
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) tls: tls::TlsArgs,
    #[command(flatten)]
    pub(crate) observe: Observe,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// What both ways to run the platform can be told of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Tuning {
    /// Compare one renewal in N whole with the clean image, by means that did not do it; 0: none
    #[arg(long, env = "USHER_AUDIT_ONE_IN", value_name = "N", default_value_t = AUDIT_ONE_IN)]
    pub(crate) audit_one_in: u64,
    /// A folder on a device that programs' memory areas can be in, under a name for manifests; may
    /// be given again
    #[arg(long = "area", value_name = "NAME=DIR", value_parser = area)]
    pub(crate) areas: Vec<(String, PathBuf)>,
    /// Let programs share what processors learn of their branches, though the kernel could keep it
    /// apart: quicker changes between programs, and a side channel from one to the other
    #[arg(long)]
    pub(crate) shared_predictors: bool,
    /// The key that seals secrets, so that it is elsewhere than the data [default: secrets.key in
    /// the data folder, made if it is not there]
    #[arg(long, env = "USHER_SECRETS_KEY", value_name = "FILE")]
    pub(crate) secrets_key: Option<PathBuf>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            audit_one_in: AUDIT_ONE_IN,
            areas: Vec::new(),
            shared_predictors: false,
            secrets_key: None,
        }
    }
}

fn area(text: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) = text.split_once('=').ok_or("write NAME=DIR")?;
    if name == AREA_MEMORY {
        return Err(format!(
            "\"{AREA_MEMORY}\" names the machine's own memory; take another name"
        ));
    }
    let name: Name = name.parse().map_err(|error| format!("{error}"))?;
    let folder = PathBuf::from(folder);
    match folder.is_dir() {
        true => Ok((name.to_string(), folder)),
        false => Err(format!("{} is no folder", folder.display())),
    }
}

/// `usher serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A component, a folder or .zip of a program, a .py or .js file, or a folder with
    /// function.toml
    pub(crate) path: PathBuf,
    /// Where it answers; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// Which platform is meant.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// The platform's API
    #[arg(
        long,
        env = "USHER_API",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    pub(crate) api: String,
    /// A key of the platform; other users of this machine can read it here, so rather name a file
    /// or set USHER_KEY
    #[arg(long, env = "USHER_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<Hidden>,
    /// A file with a key of the platform
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

/// `usher deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// A component, a folder or .zip of a program, a .py or .js file, or a folder with
    /// function.toml
    pub(crate) path: PathBuf,
    /// The function's name [default: the manifest's, or that of the file or folder]
    #[arg(long)]
    pub(crate) name: Option<Name>,
    /// Whose function it is
    #[arg(long)]
    pub(crate) owner: Option<Name>,
    /// Make the new revision ready, and leave the traffic where it is
    #[arg(long)]
    pub(crate) no_traffic: bool,
    /// Run the manifest's build command first
    #[arg(long)]
    pub(crate) build: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// A command about one function.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The function
    pub(crate) name: Name,
    /// Whose function it is
    #[arg(long, default_value = "default")]
    pub(crate) owner: Name,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// A command that lists what owners have.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of one owner
    #[arg(long)]
    pub(crate) owner: Option<Name>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `usher invoke`.
#[derive(Debug, Args)]
pub(crate) struct Invoke {
    #[command(flatten)]
    pub(crate) one: One,
    /// The request's body: a text, @FILE, or - for standard input
    #[arg(long, short, allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// The method [default: GET, or POST where there is data]
    #[arg(long, short = 'X')]
    pub(crate) method: Option<http::Method>,
    /// Path and query
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// A header, as NAME:VALUE; may be given several times
    #[arg(long, short = 'H', value_name = "NAME:VALUE")]
    pub(crate) header: Vec<String>,
    /// Write the answer's status and headers too
    #[arg(long, short)]
    pub(crate) include: bool,
}

fn request_id(text: &str) -> Result<RequestId, String> {
    let id = RequestId::try_from(text.to_owned());
    id.map_err(|error| format!("{error}, as in the header x-request-id"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_words_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
