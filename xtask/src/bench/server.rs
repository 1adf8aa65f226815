//! A server that is measured: the processes that it consists of, where it listens, and that it
//! ends.
//!
//! All listen on the loopback device. A server ends when it is dropped, front first.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::child::Watched;
use crate::proc::{self, Usage};

/// How long a server may take until it is ready, compilation of a component included, in seconds.
const READY_MAX_S: u64 = 180;

/// A running server.
pub(crate) struct Server {
    parts: Vec<Watched>,
    address: String,
    name: String,
}

impl Server {
    /// Starts a server that is one command, and waits until it says where it listens.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut watched = Watched::start(name, command)?;
        let address = watched.wait_for(Duration::from_secs(READY_MAX_S), address_in)?;
        Ok(Self::of(name, vec![watched], address))
    }

    /// One that runs already and listens at `address`; the front is the first of its parts.
    pub(crate) fn of(name: &str, parts: Vec<Watched>, address: String) -> Self {
        Self {
            parts,
            address,
            name: name.to_owned(),
        }
    }

    /// How ours is started on a component or on the folder of a function.
    pub(crate) fn ours(usher: &Path, path: &Path) -> Command {
        let mut command = Command::new(usher);
        command
            .arg("serve")
            .arg(path)
            .args(["--listen", "127.0.0.1:0", "--json"]);
        command
    }

    /// What it is.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What all its processes have used so far.
    pub(crate) fn usage(&self) -> Usage {
        let each = self.parts.iter().map(|part| proc::usage(part.id()));
        each.fold(Usage::default(), |sum, part| Usage {
            cpu_ticks: sum.cpu_ticks + part.cpu_ticks,
            minor_faults: sum.minor_faults + part.minor_faults,
        })
    }

    /// The address of a path on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Fails if a part of it has ended by itself.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        let ended = self.parts.iter_mut().any(Watched::has_ended);
        ensure!(!ended, "{} ended while it was measured", self.name);
        Ok(())
    }
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
