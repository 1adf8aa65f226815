//! A program whose memory is recorded and put back: `guest.c`, compiled once for all tests.

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Pid;
use usher_core::renewal::choice::Way;

use crate::renewal::memory::windows::Bounds;
use crate::renewal::memory::{Aside, Failed, Memory, PutBack, TakeError, Wanted, means, take};
use crate::renewal::stopped::{Agent, Alone, Batch, Registers, Stopped};
use crate::sys::pages::Means;

/// The program.
pub(super) struct Guest {
    pub(super) pid: Pid,
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What was recorded of it.
pub(super) struct Taken {
    pub(super) agent: Agent,
    pub(super) registers: Registers,
    pub(super) memory: Memory,
    /// How it is put back.
    pub(super) wanted: Wanted,
    /// The area that was used, after a swap.
    pub(super) aside: Option<Aside>,
}

impl Guest {
    /// Starts it; it waits for its first line.
    pub(super) fn start() -> Self {
        Self::of(program())
    }

    pub(super) fn of(program: &Path) -> Self {
        let mut command = Command::new(program);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut guest = Self {
            pid: Pid::from_child(&child),
            lines: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(guest.answer(), i64::from(guest.pid.as_raw_nonzero().get()));
        guest
    }

    pub(super) fn ask(&mut self, line: &str) -> i64 {
        writeln!(self.lines, "{line}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> i64 {
        let answer = crate::renewal::awaited::line(&mut self.answers);
        let number = answer.trim().parse();
        number.unwrap_or_else(|_| panic!("the guest answered {answer:?}"))
    }

    /// Records it and lets it go on.
    pub(super) fn taken(&self) -> Taken {
        self.taken_with(means()).unwrap()
    }

    /// The same; it copies every single page itself of which it can be shown the clean bytes.
    pub(super) fn taken_with_windows(&self) -> Taken {
        self.taken_by(means(), Bounds::none()).unwrap()
    }

    pub(super) fn taken_with(&self, means: Means) -> Result<Taken, TakeError> {
        self.taken_by(means, Bounds::default())
    }

    fn taken_by(&self, means: Means, bounds: Bounds) -> Result<Taken, TakeError> {
        crate::renewal::awaited::quiet(self.pid);
        let mut stopped = Stopped::stop(self.pid).unwrap();
        let registers = stopped.registers().unwrap();
        let agent = stopped.install().unwrap();
        let memory = take::take(&mut stopped, &agent, means, bounds);
        if memory.is_ok() || matches!(memory, Err(TakeError::Unfit(_))) {
            stopped.put_registers(&registers).unwrap();
            stopped.resume().unwrap();
        }
        Ok(Taken {
            agent,
            registers,
            memory: memory?,
            wanted: Wanted::Way(Way::InPlace),
            aside: None,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have been ended already, as some tests want it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Taken {
    /// From now on it is swapped.
    pub(super) fn swapped(mut self) -> Self {
        self.wanted = Wanted::Way(Way::Swap);
        self
    }

    /// Puts it back and lets it go on; anything wrong ends it.
    pub(super) fn try_put_back(&mut self, guest: &Guest) -> Result<PutBack, Failed> {
        let (stopped, put_back) = self.stopped_and_put_back(guest)?;
        stopped.resume().unwrap();
        Ok(put_back)
    }

    pub(super) fn put_back(&mut self, guest: &Guest) -> PutBack {
        self.try_put_back(guest).unwrap()
    }

    /// Puts it back, but does not let it go on.
    pub(super) fn stopped_and_put_back(
        &mut self,
        guest: &Guest,
    ) -> Result<(Stopped, PutBack), Failed> {
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        let ended = stopped.end_new_threads(&self.agent, &self.registers);
        assert_eq!(ended.unwrap(), 0);
        let mut batch = Batch::new();
        let (agent, wanted) = (&self.agent, self.wanted);
        let mut planned = self.memory.plan(&mut stopped, agent, &mut batch, wanted)?;
        let done = stopped.run(&self.agent, &batch);
        let answers = done.map_err(Failed::by_program("drop its pages"))?;
        let used = self
            .memory
            .swap(&mut stopped, agent, &mut planned, &answers, &Alone::seen());
        self.aside = used?;
        let put_back = self.memory.done(&stopped, planned)?;
        stopped.put_registers(&self.registers).unwrap();
        Ok((stopped, put_back))
    }
}

/// The path of the compiled guest.
pub(super) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("gcc", "memory"))
}

/// The path of the guest without shared libraries, whose C library is another one.
pub(super) fn alone() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("musl-gcc", "memory-alone"))
}

fn compiled(compiler: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::fs::create_dir_all(&folder).unwrap();
    let made = tempfile::NamedTempFile::new_in(&folder).unwrap();
    let made = made.into_temp_path();
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/renewal/memory/tests/guest.c"
    );
    let mut command = Command::new(compiler);
    let alone: &[&str] = if compiler == "gcc" { &[] } else { &["-static"] };
    let command = command.args(["-O1", "-pthread"]).args(alone);
    let command = command.arg("-o").arg(&made).arg(source);
    assert!(command.status().unwrap().success(), "{compiler} is needed");
    let program = folder.join(name);
    made.persist(&program).unwrap();
    program
}
