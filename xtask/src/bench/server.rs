//! A server that is measured: the processes that it consists of, where it listens, and that it
//! ends.
//!
//! All listen on the loopback device. A server ends when it is dropped, front first.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use tempfile::TempDir;

use super::client::{self, Http};
use super::ledger::Ledger;
use super::load;
use crate::child::Watched;
use crate::proc::{self, Process, Usage};

/// How long a server may take until it is ready, compilation of a component included, in seconds.
const READY_MAX_S: u64 = 180;

/// How often one that says nothing is asked whether it is ready, in microseconds.
const ASK_EACH_US: u64 = 500;
/// How long a server may go on working for requests that nobody waits for any more, in seconds.
const SETTLE_MAX_S: u64 = 20;
/// It has settled when it does next to nothing for so long, in milliseconds …
const SETTLE_MS: u64 = 40;
/// … which is at most so many microseconds of processor time, a clock tick.
const SETTLE_US: f64 = 10_000.0;

/// A running server.
pub(crate) struct Server {
    parts: Vec<Watched>,
    address: String,
    api: Option<String>,
    name: String,
    settles: bool,
    // Dropped after the processes.
    folder: Option<TempDir>,
    ledger: Option<Ledger>,
}

/// What a server's processes have used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Processor time, in microseconds.
    pub(crate) cpu_us: f64,
    /// Page faults that needed no reading from a disk.
    pub(crate) minor_faults: u64,
}

/// What a server says of itself when it is ready.
#[derive(Debug, PartialEq)]
pub(crate) struct Addresses {
    /// Where it answers requests.
    pub(crate) gateway: String,
    /// Where it answers other things, if it does.
    pub(crate) api: Option<String>,
}

impl Server {
    /// Starts a server that is one command, and waits until it says where it listens.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        Self::ready(name, Watched::start(name, command)?)
    }

    /// The same with a process that was begun already.
    pub(crate) fn ready(name: &str, mut watched: Watched) -> Result<Self> {
        let addresses = Self::wait_for_addresses(&mut watched)?;
        let mut server = Self::of(name, vec![watched], addresses.gateway);
        server.api = addresses.api;
        Ok(server)
    }

    /// Waits until a process says where it listens.
    pub(crate) fn wait_for_addresses(watched: &mut Watched) -> Result<Addresses> {
        watched.wait_for(Duration::from_secs(READY_MAX_S), addresses_in)
    }

    /// One that was started already and will listen at `address`; the front is the first of its
    /// parts.
    pub(crate) fn of(name: &str, parts: Vec<Watched>, address: String) -> Self {
        Self {
            parts,
            address,
            api: None,
            name: name.to_owned(),
            settles: false,
            folder: None,
            ledger: None,
        }
    }

    /// Waits until it answers `/`.
    pub(crate) fn until_it_answers(mut self) -> Result<Self> {
        let runtime = client::runtime()?;
        let deadline = Instant::now() + Duration::from_secs(READY_MAX_S);
        let url = self.url("/");
        while !runtime.block_on(async {
            let answer = Http::new().get(&url).await;
            answer.is_ok_and(|answer| answer.status == 200)
        }) {
            let late = Instant::now() > deadline;
            if late || self.parts.iter_mut().any(Watched::has_ended) {
                let said = self.parts.iter().map(Watched::said);
                let said = said.collect::<Vec<_>>().join("\n");
                bail!("{} did not become ready; it said:\n{said}", self.name);
            }
            std::thread::sleep(Duration::from_micros(ASK_EACH_US));
        }
        self.parts.iter_mut().for_each(Watched::mute);
        Ok(self)
    }

    /// It lives in this folder, which goes when it goes.
    pub(crate) fn keeping(mut self, folder: TempDir) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Its processes were begun within this group.
    pub(crate) fn counted_by(mut self, ledger: Option<Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// It goes on working when its load has gone, so each round waits for it.
    pub(crate) fn settling(mut self) -> Self {
        self.settles = true;
        self
    }

    /// Waits until a server that goes on working has come to rest.
    pub(crate) fn settle(&self) {
        if self.settles {
            self.rest();
        }
    }

    /// Waits until it does nothing, within bounds.
    pub(crate) fn rest(&self) {
        let deadline = Instant::now() + Duration::from_secs(SETTLE_MAX_S);
        let mut before = self.usage().cpu_us;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(SETTLE_MS));
            let now = self.usage().cpu_us;
            // Less than before: a process ended and nobody waited for it.
            if (0.0..=SETTLE_US).contains(&(now - before)) {
                return;
            }
            before = now;
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

    /// Where it answers other things than requests.
    pub(crate) fn api(&self) -> Option<&str> {
        self.api.as_deref()
    }

    /// The processes of each of its parts.
    pub(crate) fn processes(&self) -> Vec<Vec<Process>> {
        self.parts
            .iter()
            .map(|part| proc::tree(part.id()))
            .collect()
    }

    /// What all its processes have used so far: by their group if they have one, else by the tree
    /// of processes.
    pub(crate) fn usage(&self) -> Used {
        let each = self.parts.iter().map(|part| proc::usage(part.id()));
        let tree = each.fold(Usage::default(), |sum, part| Usage {
            cpu_ticks: sum.cpu_ticks + part.cpu_ticks,
            minor_faults: sum.minor_faults + part.minor_faults,
        });
        let group = self.ledger.as_ref().and_then(Ledger::cpu_us);
        Used {
            cpu_us: group.map_or_else(|| proc::ticks_us(tree.cpu_ticks), load::whole),
            minor_faults: tree.minor_faults,
        }
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

/// The addresses that a server says it listens at: in a line of JSON, or in a sentence with a URL.
fn addresses_in(line: &str) -> Option<Addresses> {
    if let Ok(ready) = serde_json::from_str::<serde_json::Value>(line) {
        let address = |name: &str| Some(ready.get(name)?.as_str()?.to_owned());
        let (gateway, api) = (address("gateway")?, address("api"));
        return (ready.get("ready")? == true).then_some(Addresses { gateway, api });
    }
    let (_, address) = line.split_once("Serving HTTP on http://")?;
    let gateway = address.trim_end_matches('/').to_owned();
    Some(Addresses { gateway, api: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_saying_the_address_are_understood() {
        let addresses = |api: Option<&str>| {
            Some(Addresses {
                gateway: "127.0.0.1:7".to_owned(),
                api: api.map(str::to_owned),
            })
        };
        let json = "{\"ready\":true,\"gateway\":\"127.0.0.1:7\",\"api\":\"127.0.0.1:8\"}";
        assert_eq!(addresses_in(json), addresses(Some("127.0.0.1:8")));
        let sentence = "Serving HTTP on http://127.0.0.1:7/";
        assert_eq!(addresses_in(sentence), addresses(None));
        assert_eq!(addresses_in("{\"level\":\"info\"}"), None);
        assert_eq!(addresses_in("starting"), None);
    }
}
