//! The ways in which a program is run: without a platform, by the baselines, by ours.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::super::client::{Http, runtime};
use super::super::server::Server;
use super::front::{self, Behind, free_port};
use super::program::{Program, lambda_variables};
use super::stage::Stage;
use crate::child::Watched;

/// Requests by which an arm shows what it isolates: more than there are copies.
const SHOWN: usize = 6;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Arm {
    /// The program itself; a Lambda function: one copy for each processor on a bare Runtime API.
    Bare,
    /// One copy for each processor behind nginx.
    Copies,
    /// Ours, told to keep the process.
    OursKept,
    /// Ours as it comes.
    Ours,
    /// A fork for each request from a parent that has imported everything.
    Zygote,
    /// A process for each request, by fcgiwrap behind nginx.
    Cgi,
}

impl Arm {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::Bare,
        Self::Copies,
        Self::OursKept,
        Self::Ours,
        Self::Zygote,
        Self::Cgi,
    ];

    /// The words for it in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Copies => "copies behind nginx",
            Self::OursKept => "usher, isolation none",
            Self::Ours => "usher",
            Self::Zygote => "fork per request, warm parent",
            Self::Cgi => "process per request (CGI)",
        }
    }

    /// Whether it can run a program.
    pub(super) fn runs(self, program: Program) -> bool {
        match self {
            Self::Bare | Self::OursKept | Self::Ours => true,
            Self::Copies => !program.is_lambda(),
            Self::Zygote => matches!(program, Program::Python | Program::PythonBig),
            Self::Cgi => program.cgi().is_some(),
        }
    }

    /// Whether it is the platform.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursKept)
    }

    /// Whether no request sees another one's state.
    pub(super) fn isolates(self) -> bool {
        matches!(self, Self::Ours | Self::Zygote | Self::Cgi)
    }

    /// Starts it, waits until it answers, and sees whether it isolates as it should.
    pub(super) fn start(self, stage: &Stage, program: Program) -> Result<Server> {
        let server = match self {
            Self::Bare => copies(stage, program, 1)?,
            Self::Copies => {
                let ports = ports(processors())?;
                let front = front::start(stage, &Behind::Copies(&ports))?;
                let mut parts = front.parts;
                for port in ports {
                    parts.push(run_at(stage, program, port)?);
                }
                Server::of(self.name(), parts, front.address).keeping(front.folder)
            }
            Self::OursKept => self.ours(stage, program, 0)?,
            Self::Ours => self.ours(stage, program, 0)?.settling(),
            Self::Zygote => {
                let command = program.zygote(&stage.runtimes);
                let command = command.context("no such server for this program")?;
                let port = free_port()?;
                let part = at(stage, program, &command, port)?;
                Server::of(self.name(), vec![part], format!("127.0.0.1:{port}")).settling()
            }
            Self::Cgi => {
                let name = program.cgi().context("this program does not speak CGI")?;
                let file = stage.program(program)?.join(name);
                let front = front::start(stage, &Behind::Cgi(&file))?;
                Server::of(self.name(), front.parts, front.address)
                    .keeping(front.folder)
                    .settling()
            }
        };
        let server = server.until_it_answers()?;
        self.must_isolate(&server)?;
        Ok(server)
    }

    /// Starts the platform, with so many environments that stay.
    pub(super) fn ours(self, stage: &Stage, program: Program, ready_min: u32) -> Result<Server> {
        let isolation = if self.isolates() { "request" } else { "none" };
        let folder = stage.deployment(program, isolation, ready_min)?;
        Server::start(self.name(), &mut Server::ours(&stage.usher, &folder))
    }

    /// What is compared has to be what it says it is.
    fn must_isolate(self, server: &Server) -> Result<()> {
        let http = Http::new();
        let runtime = runtime()?;
        let mut most = 0_u64;
        for _ in 0..SHOWN {
            let answer = runtime.block_on(http.get(&server.url("/?count")))?;
            let text = String::from_utf8_lossy(&answer.body);
            let count = text.trim().parse::<u64>();
            most = most.max(count.with_context(|| format!("{} answered {text}", self.name()))?);
        }
        let isolated = most == 1;
        ensure!(
            isolated == self.isolates(),
            "{}: the same state served {most} requests, which is not what it is measured for",
            self.name()
        );
        Ok(())
    }
}

/// A program without a platform: `count` copies. Only for Lambda functions do several share the
/// requests; of servers the first is asked.
pub(super) fn copies(stage: &Stage, program: Program, count: usize) -> Result<Server> {
    let name = Arm::Bare.name();
    if !program.is_lambda() {
        let ports = ports(count)?;
        let parts = ports.iter().map(|port| run_at(stage, program, *port));
        let address = format!("127.0.0.1:{}", ports[0]);
        return Ok(Server::of(name, parts.collect::<Result<_>>()?, address));
    }
    let mut api = Command::new(std::env::current_exe()?);
    let mut api = Watched::start("runtime API", api.args(["peer", "runtime-api"]))?;
    let addresses = Server::wait_for_addresses(&mut api)?;
    let to = addresses
        .api
        .context("the runtime API does not say where it is")?;
    let folder = stage.program(program)?;
    let mut parts = vec![api];
    for _ in 0..count.max(processors()) {
        let mut command = in_folder(stage, program, &program.command(&stage.runtimes))?;
        command
            .env("AWS_LAMBDA_RUNTIME_API", &to)
            .envs(lambda_variables(&folder));
        parts.push(Watched::start(program.name(), &mut command)?);
    }
    Ok(Server::of(name, parts, addresses.gateway))
}

/// Processors of this machine: so many copies use all of it.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn ports(count: usize) -> Result<Vec<u16>> {
    (0..count).map(|_| free_port()).collect()
}

fn run_at(stage: &Stage, program: Program, port: u16) -> Result<Watched> {
    at(stage, program, &program.command(&stage.runtimes), port)
}

fn at(stage: &Stage, program: Program, command: &[String], port: u16) -> Result<Watched> {
    let mut command = in_folder(stage, program, command)?;
    Watched::start(program.name(), command.env("PORT", port.to_string()))
}

fn in_folder(stage: &Stage, program: Program, command: &[String]) -> Result<Command> {
    let folder = stage.program(program)?;
    let (first, rest) = command.split_first().context("an empty command")?;
    let mut command = Command::new(first);
    command.args(rest).current_dir(folder);
    Ok(command)
}
