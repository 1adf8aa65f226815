//! How the parts of an arm are begun: a program in its folder, copies of it, the Runtime API that
//! Lambda functions ask.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::client::{Http, runtime};
use super::super::ledger::Ledger;
use super::super::server::Server;
use super::program::{Program, lambda_variables};
use super::stage::Stage;
use crate::child::Watched;

/// How long copies may take until all are ready, in seconds, and how often they are asked, in
/// milliseconds.
const READY_MAX_S: u64 = 60;
const ASK_EACH_MS: u64 = 5;

/// Begins the processes of one arm.
pub(super) struct Launch<'a> {
    /// What they are begun from.
    pub(super) stage: &'a Stage,
    /// What is measured.
    pub(super) program: Program,
    ledger: Option<Ledger>,
}

/// Copies of a program without a platform.
pub(super) struct Copies {
    /// Their processes, those of a Runtime API first.
    pub(super) parts: Vec<Watched>,
    /// Where the first of several servers, or the Runtime API in front of all, answers.
    pub(super) address: String,
    /// The port of each, where they serve HTTP.
    pub(super) ports: Vec<u16>,
    api: Option<String>,
}

impl<'a> Launch<'a> {
    /// Counts all processor time that is used from now on.
    pub(super) fn counted(stage: &'a Stage, program: Program) -> Self {
        Self {
            ledger: Ledger::open(),
            ..Self::plain(stage, program)
        }
    }

    /// Without a count, and so without anything in front of a start.
    pub(super) fn plain(stage: &'a Stage, program: Program) -> Self {
        Self {
            stage,
            program,
            ledger: None,
        }
    }

    /// Begins one process.
    pub(super) fn watch(&self, name: &str, command: &mut Command) -> Result<Watched> {
        match &self.ledger {
            Some(ledger) => Watched::start(name, &mut ledger.enter(command)),
            None => Watched::start(name, command),
        }
    }

    /// The count, for the server that is made of the processes.
    pub(super) fn into_ledger(self) -> Option<Ledger> {
        self.ledger
    }

    /// The program's folder as working directory, `$PORT` and these variables set.
    pub(super) fn at(
        &self,
        command: &[String],
        port: u16,
        variables: &[(&str, &str)],
    ) -> Result<Watched> {
        let mut command = self.in_folder(command)?;
        command
            .env("PORT", port.to_string())
            .envs(variables.iter().copied());
        self.watch(self.program.name(), &mut command)
    }

    /// So many copies of the program.
    pub(super) fn copies(&self, count: usize) -> Result<Copies> {
        let command = self.program.command(&self.stage.runtimes);
        if self.program.is_lambda() {
            return self.lambda_copies(&command, count);
        }
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect::<Result<_>>()?;
        let first = ports.first().context("no copies")?;
        Ok(Copies {
            address: format!("127.0.0.1:{first}"),
            parts: (ports.iter())
                .map(|port| self.at(&command, *port, &[]))
                .collect::<Result<_>>()?,
            ports,
            api: None,
        })
    }

    fn lambda_copies(&self, command: &[String], count: usize) -> Result<Copies> {
        let mut api = Command::new(&self.stage.built.xtask);
        let mut api = self.watch("runtime API", api.args(["peer", "runtime-api"]))?;
        let addresses = Server::wait_for_addresses(&mut api)?;
        let to = addresses
            .api
            .context("the runtime API does not say where it is")?;
        let folder = self.stage.program(self.program)?;
        let mut parts = vec![api];
        for _ in 0..count {
            let mut command = self.in_folder(command)?;
            command
                .env("AWS_LAMBDA_RUNTIME_API", &to)
                .envs(lambda_variables(&folder));
            parts.push(self.watch(self.program.name(), &mut command)?);
        }
        Ok(Copies {
            parts,
            address: addresses.gateway,
            ports: Vec::new(),
            api: Some(to),
        })
    }

    fn in_folder(&self, command: &[String]) -> Result<Command> {
        let folder = self.stage.program(self.program)?;
        let (first, rest) = command.split_first().context("an empty command")?;
        let mut command = Command::new(first);
        command.args(rest).current_dir(folder);
        Ok(command)
    }
}

impl Copies {
    /// Waits until every copy could take a request, though none has come.
    pub(super) fn until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(READY_MAX_S);
        let runtime = runtime()?;
        let are_ready = || match &self.api {
            Some(api) => {
                let url = format!("http://{api}/waiting");
                let waiting = runtime.block_on(Http::new().get(&url))?;
                let clients = self.parts.len().saturating_sub(1);
                anyhow::Ok(waiting.body == clients.to_string())
            }
            None => Ok(self.ports.iter().all(|port| accepts(*port))),
        };
        while !are_ready()? {
            ensure!(
                Instant::now() < deadline,
                "not all copies were ready after {READY_MAX_S} s"
            );
            std::thread::sleep(Duration::from_millis(ASK_EACH_MS));
        }
        Ok(())
    }
}

/// A port that was free a moment ago, for programs that cannot say which one they took.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Processors of this machine: so many copies use all of it.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
