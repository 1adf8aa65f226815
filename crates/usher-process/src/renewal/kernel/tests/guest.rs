//! A program to be put back: `guest.c`, compiled once for all tests.

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::renewal::kernel::{Difference, Kernel, Leftover, Surroundings, TakeError, Writable};
use crate::renewal::stopped::{Agent, Batch, Stopped};

pub(super) struct Guest {
    pub(super) pid: Pid,
    first: Pid,
    parent: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Guest {
    /// One with some of everything.
    pub(super) fn start() -> Self {
        Self::start_as(&[])
    }

    /// One with as little as an interpreter has that serves requests.
    pub(super) fn start_plain() -> Self {
        Self::start_as(&["plain"])
    }

    fn start_as(arguments: &[&str]) -> Self {
        let mut parent = Command::new(program())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(parent.stdout.take().unwrap());
        assert_eq!(line(&mut answers), "ready");
        let own = Pid::from_raw(parent.id().try_into().unwrap()).unwrap();
        let first = only_child(own);
        Self {
            pid: only_child(first),
            first,
            lines: parent.stdin.take().unwrap(),
            answers,
            parent,
        }
    }

    /// Lets the program do something, and waits until it has.
    pub(super) fn tell(&mut self, word: &str) {
        // At once, as the program takes what it reads for a line.
        let told = format!("{word}\n");
        self.lines.write_all(told.as_bytes()).unwrap();
        assert_eq!(line(&mut self.answers), "done", "{word}");
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        let path = format!("/proc/{}/root/tmp", self.pid);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Surroundings {
            group: None,
            first: Some(self.first),
            writable: vec![Writable {
                place: "/tmp",
                folder: rustix::fs::open(path, flags, Mode::empty()).unwrap(),
            }],
            room: None,
            ours: Vec::new(),
        }
    }

    pub(super) fn take(&self) -> Result<Renewed, TakeError> {
        // As a snapshot does: what a thread is in the midst of would be done again.
        crate::renewal::awaited::quiet(self.pid);
        Renewed::take(self.pid, self.surroundings())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The first process of its namespaces ends all that is in them.
        let _ = rustix::process::kill_process(self.first, rustix::process::Signal::KILL);
        let _ = self.parent.wait();
    }
}

/// A snapshot of the kernel's state, and what it needs to be put back.
pub(super) struct Renewed {
    kernel: Kernel,
    agent: Agent,
}

impl Renewed {
    /// Takes the state of a program, and lets it go on.
    pub(super) fn take(pid: Pid, surroundings: Surroundings) -> Result<Self, TakeError> {
        let mut stopped = Stopped::stop(pid).unwrap();
        let agent = stopped.install().unwrap();
        let registers = stopped.registers().unwrap();
        let kernel = Kernel::take(&mut stopped, &agent, surroundings)?;
        // As a snapshot does: calls that waited are made again.
        stopped.put_registers(&registers).unwrap();
        stopped.resume().unwrap();
        Ok(Self { kernel, agent })
    }

    pub(super) fn compare(&self, stopped: &mut Stopped) -> Result<(), Difference> {
        self.kernel.compare(stopped, &self.agent)
    }

    pub(super) fn put_back(&mut self, stopped: &mut Stopped) -> Result<(), Leftover> {
        let mut batch = Batch::new();
        self.kernel.plan(stopped, &self.agent, &mut batch)?;
        let answers = stopped.run(&self.agent, &batch)?;
        self.kernel.done(stopped, &self.agent, &answers)
    }

    pub(super) fn plan(&mut self, stopped: &mut Stopped) -> Result<Batch, Leftover> {
        let mut batch = Batch::new();
        self.kernel.plan(stopped, &self.agent, &mut batch)?;
        Ok(batch)
    }

    pub(super) fn run(
        &mut self,
        stopped: &mut Stopped,
        batch: &Batch,
    ) -> crate::renewal::stopped::Answers {
        stopped.run(&self.agent, batch).unwrap()
    }

    pub(super) fn done(
        &mut self,
        stopped: &mut Stopped,
        answers: &crate::renewal::stopped::Answers,
    ) -> Result<(), Leftover> {
        self.kernel.done(stopped, &self.agent, answers)
    }
}

/// An error with all of its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn line(answers: &mut BufReader<ChildStdout>) -> String {
    crate::renewal::awaited::line(answers)
}

fn only_child(of: Pid) -> Pid {
    let listed = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    Pid::from_raw(listed.trim().parse().unwrap()).unwrap()
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
        std::fs::create_dir_all(&folder).unwrap();
        let made = tempfile::NamedTempFile::new_in(&folder)
            .unwrap()
            .into_temp_path();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/renewal/kernel/tests/guest.c");
        let mut command = Command::new("gcc");
        let command = command.args(["-O1", "-pthread", "-o"]).arg(&made);
        assert!(
            command.arg(source).status().unwrap().success(),
            "gcc is needed"
        );
        let program = folder.join("kernel");
        made.persist(&program).unwrap();
        program
    })
}
