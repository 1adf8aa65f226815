//! Servers that are measured: how each is started, where it listens, and that it ends.
//!
//! All listen on a free port of the loopback device. A server ends when it is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::child::Watched;

/// How long a server may take until it is ready, compilation of a component included, in seconds.
const READY_MAX_S: u64 = 180;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Ours as it comes.
    Ours,
    /// Ours, told not to clean.
    OursUnclean,
    /// `wasmtime serve` as it comes: a fresh instance for each request.
    Fresh,
    /// The same with the settings under which it isolates fastest.
    FreshBest,
    /// The same, told to reuse instances, which it never cleans.
    Reused,
    /// hyper alone, answering the same bytes.
    Hyper,
}

impl Kind {
    /// The words for it in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "usher",
            Self::OursUnclean => "usher, isolation none",
            Self::Fresh => "wasmtime serve",
            Self::FreshBest => "wasmtime serve, best isolated",
            Self::Reused => "wasmtime serve, reuse (not isolated)",
            Self::Hyper => "bare hyper",
        }
    }

    fn wasmtime_options(self) -> &'static [&'static str] {
        match self {
            Self::FreshBest => &[
                "-Opooling-memory-keep-resident=33554432",
                "-Opooling-table-keep-resident=1048576",
                "-Opooling-async-stack-keep-resident=65536",
                "-Opooling-pagemap-scan=y",
            ],
            Self::Reused => &["--max-instance-reuse-count", "1000000"],
            _ => &[],
        }
    }
}

/// What to start servers from.
pub(crate) struct Programs {
    /// The platform's binary.
    pub(crate) usher: PathBuf,
    /// The peer's.
    pub(crate) wasmtime: PathBuf,
    /// What a bare server answers.
    pub(crate) body: String,
}

/// A function in the forms that the servers take.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// The component.
    pub(crate) component: PathBuf,
    /// A folder with it and a manifest that says `isolation = "none"`.
    pub(crate) unclean: PathBuf,
    /// It as the peer compiled it.
    pub(crate) compiled: PathBuf,
}

/// A running server.
pub(crate) struct Server {
    watched: Watched,
    address: String,
    kind: Kind,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    pub(crate) fn start(kind: Kind, programs: &Programs, function: &Function) -> Result<Self> {
        let mut command = match kind {
            Kind::Ours => ours(&programs.usher, &function.component),
            Kind::OursUnclean => ours(&programs.usher, &function.unclean),
            Kind::Fresh | Kind::FreshBest | Kind::Reused => {
                let mut command = Command::new(&programs.wasmtime);
                // Interpreters in components import wasi:cli, though no handler needs it.
                command
                    .args([
                        "serve",
                        "--addr",
                        "127.0.0.1:0",
                        "--allow-precompiled",
                        "-Scli",
                    ])
                    .args(kind.wasmtime_options())
                    .arg(&function.compiled);
                command
            }
            Kind::Hyper => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["peer", "hyper", "--body", &programs.body]);
                command
            }
        };
        let mut watched = Watched::start(kind.name(), &mut command)?;
        let address = watched.wait_for(Duration::from_secs(READY_MAX_S), address_in)?;
        Ok(Self {
            watched,
            address,
            kind,
        })
    }

    /// What it is.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.watched.id()
    }

    /// The address of a path on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Fails if it has ended by itself.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        ensure!(
            !self.watched.has_ended(),
            "{} ended while it was measured",
            self.name()
        );
        Ok(())
    }
}

fn ours(usher: &Path, path: &Path) -> Command {
    let mut command = Command::new(usher);
    command
        .arg("serve")
        .arg(path)
        .args(["--listen", "127.0.0.1:0", "--json"]);
    command
}

/// The address that a server says it listens at: in a line of JSON, or in a sentence with a URL.
fn address_in(line: &str) -> Option<String> {
    if let Ok(ready) = serde_json::from_str::<serde_json::Value>(line) {
        let address = ready.get("gateway")?.as_str()?;
        return (ready.get("ready")? == true).then(|| address.to_owned());
    }
    let (_, address) = line.split_once("Serving HTTP on http://")?;
    Some(address.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_saying_the_address_are_understood() {
        let address = Some("127.0.0.1:7".to_owned());
        assert_eq!(
            address_in("{\"ready\":true,\"gateway\":\"127.0.0.1:7\"}"),
            address
        );
        assert_eq!(address_in("Serving HTTP on http://127.0.0.1:7/"), address);
        assert_eq!(address_in("{\"level\":\"info\"}"), None);
        assert_eq!(address_in("starting"), None);
    }
}
