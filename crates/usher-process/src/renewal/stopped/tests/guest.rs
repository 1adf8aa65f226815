//! A program to be stopped: `guest.c`, compiled once for all tests.

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

use crate::renewal::stopped::patience::state;
use crate::renewal::stopped::{Answers, Argument, Batch, Call, Expect, Stopped};

/// What a shell says of a program that was killed.
pub(crate) const KILLED: i32 = 128 + 9;

pub(crate) struct Guest {
    pub(crate) pid: Pid,
    parent: Child,
    lines: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Guest {
    pub(crate) fn start(mode: &str, number: usize) -> Self {
        let mut command = Command::new(program());
        let command = command.args([mode, &number.to_string()]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut parent = piped.spawn().unwrap();
        let mut guest = Self {
            pid: Pid::INIT,
            lines: parent.stdin.take(),
            answers: BufReader::new(parent.stdout.take().unwrap()),
            parent,
        };
        guest.pid = Pid::from_raw(guest.answer().try_into().unwrap()).unwrap();
        guest
    }

    pub(crate) fn ask(&mut self, line: &str) -> i64 {
        self.tell(line);
        self.answer()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.lines.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn answer(&mut self) -> i64 {
        let answer = crate::renewal::awaited::line(&mut self.answers);
        let number = answer.trim().parse();
        number.unwrap_or_else(|_| panic!("the guest answered {answer:?}"))
    }

    /// Asks again and again until the answer is right.
    pub(crate) fn ask_until(&mut self, line: &str, right: impl Fn(i64) -> bool) {
        while !right(self.ask(line)) {}
    }

    /// Kills it; it may have been killed before.
    pub(crate) fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Waits until its main thread is in the state of this letter.
    pub(crate) fn until(&self, letter: char) {
        while state(self.pid).unwrap() != letter {
            std::thread::yield_now();
        }
    }

    /// Waits for its end; how it ended, as a shell says it.
    pub(crate) fn ended(mut self) -> i32 {
        self.lines = None;
        self.parent.wait().unwrap().code().unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Its child goes with it. It may have ended, as most tests want it to.
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
        std::fs::create_dir_all(&folder).unwrap();
        let made = tempfile::NamedTempFile::new_in(&folder)
            .unwrap()
            .into_temp_path();
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/renewal/stopped/tests/guest.c"
        );
        let mut command = Command::new("gcc");
        let command = command
            .args(["-O1", "-pthread", "-o"])
            .arg(&made)
            .arg(source);
        assert!(command.status().unwrap().success(), "gcc is needed");
        let program = folder.join("stopped");
        made.persist(&program).unwrap();
        program
    })
}

/// A batch of `getpid`, as many as wanted.
pub(crate) fn getpids(count: usize, pid: Pid) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..count {
        let call = Call::new::<0>(libc::SYS_getpid, []);
        batch.call(call, Expect::Value(pid.as_raw_nonzero().get().into()));
    }
    batch
}

/// Makes one call in a program, whatever it answers.
pub(crate) fn one<const N: usize>(
    stopped: &mut Stopped,
    agent: &crate::renewal::stopped::Agent,
    number: i64,
    arguments: [Argument; N],
) -> i64 {
    let mut batch = Batch::new();
    let place = batch.call(Call::new(number, arguments), Expect::Any);
    let answers: Answers = stopped.run(agent, &batch).unwrap();
    answers.value(place).unwrap()
}
