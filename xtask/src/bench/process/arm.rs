//! The ways in which a program is run: without a platform, by the baselines, by ours.

use anyhow::{Context, Result, ensure};

use super::super::client::{Http, runtime};
use super::super::server::Server;
use super::front::{self, Behind};
use super::launch::{Launch, free_port, processors};
use super::platform::Told;
use super::program::Program;
use super::stage::Stage;

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
    /// The same without warm-up requests.
    OursUnwarmed,
    /// A fork for each request from a parent that has imported everything.
    Zygote,
    /// A process for each request, by fcgiwrap behind nginx.
    Cgi,
}

impl Arm {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::Bare,
        Self::Copies,
        Self::OursKept,
        Self::Ours,
        Self::OursUnwarmed,
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
            Self::OursUnwarmed => "usher, no warm-up",
            Self::Zygote => "fork per request, warm parent",
            Self::Cgi => "process per request (CGI)",
        }
    }

    /// Whether it can run a program.
    pub(super) fn runs(self, program: Program) -> bool {
        match self {
            Self::Bare | Self::OursKept | Self::Ours => true,
            // A compiled program and its ballast have nothing to warm.
            Self::OursUnwarmed => !matches!(program, Program::C | Program::PythonBig),
            Self::Copies => !program.is_lambda(),
            Self::Zygote => matches!(program, Program::Python | Program::PythonBig),
            Self::Cgi => program.cgi().is_some(),
        }
    }

    /// Whether it is the platform.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursUnwarmed | Self::OursKept)
    }

    /// Whether no request sees another one's state.
    pub(super) fn isolates(self) -> bool {
        matches!(
            self,
            Self::Ours | Self::OursUnwarmed | Self::Zygote | Self::Cgi
        )
    }

    /// Starts it, waits until it answers, and sees whether it isolates as it should. What can be
    /// warmed is by requests for these paths.
    pub(super) fn start(
        self,
        stage: &Stage,
        program: Program,
        warm_up: &[String],
    ) -> Result<Server> {
        let launch = Launch::counted(stage, program);
        let server = match self {
            Self::Bare if program.is_lambda() => self.bare(&launch, processors())?,
            Self::Bare => self.bare(&launch, 1)?,
            Self::Copies => {
                let copies = launch.copies(processors())?;
                let front = front::start(&launch, &Behind::Copies(&copies.ports))?;
                let parts = front.parts.into_iter().chain(copies.parts).collect();
                Server::of(self.name(), parts, front.address).keeping(front.folder)
            }
            Self::OursKept => {
                let told = Told::kept().warmed_by(warm_up);
                told.start(&launch, self.name(), &[])?
            }
            Self::Ours => {
                let told = Told::renewed().warmed_by(warm_up);
                told.start(&launch, self.name(), &[])?.settling()
            }
            Self::OursUnwarmed => {
                let told = Told::renewed().warmed_by(&[]);
                told.start(&launch, self.name(), &[])?.settling()
            }
            Self::Zygote => {
                let command = program.zygote(&stage.runtimes);
                let command = command.context("no such server for this program")?;
                let port = free_port()?;
                let warm_up = warm_up.join(" ");
                let parts = vec![launch.at(&command, port, &[("WARM_UP", &warm_up)])?];
                Server::of(self.name(), parts, format!("127.0.0.1:{port}")).settling()
            }
            Self::Cgi => {
                let name = program.cgi().context("this program does not speak CGI")?;
                let file = stage.program(program)?.join(name);
                let front = front::start(&launch, &Behind::Cgi(&file))?;
                let server = Server::of(self.name(), front.parts, front.address);
                server.keeping(front.folder).settling()
            }
        };
        let server = server.counted_by(launch.into_ledger()).until_it_answers()?;
        self.must_isolate(&server, self.served_before(warm_up))?;
        Ok(server)
    }

    /// Requests that a clean state of it has served already.
    fn served_before(self, warm_up: &[String]) -> usize {
        match self {
            Self::Ours | Self::Zygote => warm_up.len(),
            _ => 0,
        }
    }

    fn bare(self, launch: &Launch<'_>, count: usize) -> Result<Server> {
        let copies = launch.copies(count)?;
        Ok(Server::of(self.name(), copies.parts, copies.address))
    }

    /// What is compared has to be what it says it is.
    fn must_isolate(self, server: &Server, served_before: usize) -> Result<()> {
        let http = Http::new();
        let runtime = runtime()?;
        let mut counts = Vec::new();
        for _ in 0..SHOWN {
            let answer = runtime.block_on(http.get(&server.url("/?count")))?;
            let text = String::from_utf8_lossy(&answer.body);
            let count = text.trim().parse::<usize>();
            counts.push(count.with_context(|| format!("{} answered {text}", self.name()))?);
        }
        let isolated = counts.iter().all(|count| *count == served_before + 1);
        ensure!(
            isolated == self.isolates(),
            "{}: its states say that they served {counts:?} requests, {served_before} of them \
             before the first, which is not what it is measured for",
            self.name()
        );
        Ok(())
    }
}
