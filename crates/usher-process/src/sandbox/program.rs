//! A program that runs in its sandbox, and how it ended.
//!
//! ```text
//! Shell ─launch→ runs ─exits, is killed, out of memory→ Exit
//!                  └──────────── dropped ─────────────► all of the sandbox has gone
//! ```

use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::channel::Channel;
use super::denials::{self, Answering, Denial};
use super::errors::LaunchError;
use super::init::WRITABLE;
use super::secrets;
use super::shell::{Hold, pid_of};
use super::sockets::{Asked, Give, Spare, connect};
use super::wire::{MESSAGE_MAX_BYTES, Note, Order, Refusal, Start, Task};
use super::{Launch, Shell, ShellError};
use crate::renewal::{Given, Room, Surroundings, Writable};
use crate::restored::DESCRIPTOR;
use crate::restored::page::Page;

/// How long it may take until the program is executed.
const LAUNCH_WAIT_MAX_MS: u64 = 10_000;
/// Connections that may wait for their socket.
pub(super) const CONNECTS_MAX: usize = 64;
/// Bytes that command and environment may take, with the rest of their message.
const WORDS_MAX_BYTES: usize = MESSAGE_MAX_BYTES - 4096;

/// How a program ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It used more memory than it may.
    OutOfMemory,
    /// Its sandbox was ended from outside; the text says what is known.
    Lost(String),
}

/// A program that runs, or ran. Dropping it ends all of its processes, surely, and gives everything
/// back.
#[derive(Debug)]
pub struct Program {
    pid: u32,
    pidfd: OwnedFd,
    output: Option<(pipe::Receiver, pipe::Receiver)>,
    denials: Option<mpsc::Receiver<Denial>>,
    /// None: the reserve has become empty.
    sockets: mpsc::Sender<Option<Give>>,
    spare: Spare,
    exit: watch::Receiver<Option<Exit>>,
    answering: Option<Answering>,
    page: Option<Arc<Page>>,
    given: Vec<Given>,
    _keeping: Keeping,
    hold: Arc<Hold>,
}

/// The task that listens to the sandbox.
#[derive(Debug)]
struct Keeping(JoinHandle<()>);

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn launch(shell: Shell, launch: Launch) -> Result<Program, LaunchError> {
    let tree = tree(&shell, &launch.folder).await?;
    let start = start(&launch, shell.hook.is_some())?;
    let wait = Duration::from_millis(LAUNCH_WAIT_MAX_MS);
    let bounds = shell.hold.group().bound(&launch.bounds);
    bounds.map_err(LaunchError::Bounds)?;
    let secrets = secrets::packed(&launch.secrets)
        .map_err(|error| LaunchError::Step(format!("its secrets could not be passed: {error}")))?;
    let launched = launched(shell, start, secrets, Some(tree));
    match tokio::time::timeout(wait, launched).await {
        Ok(launched) => launched,
        Err(_) => Err(LaunchError::TooLate(LAUNCH_WAIT_MAX_MS)),
    }
}

async fn tree(shell: &Shell, folder: &Path) -> Result<OwnedFd, LaunchError> {
    let failed = |source| LaunchError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let path = tokio::fs::canonicalize(folder).await.map_err(failed)?;
    if !path.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    match shell.hold.inner().ask(Order::Tree(path), None).await {
        Ok(Some(tree)) => Ok(tree),
        Ok(None) => Err(failed(io::Error::other("the spawner gave none"))),
        Err(ShellError::Step(step)) => Err(LaunchError::Step(step)),
        Err(other) => Err(LaunchError::Step(other.to_string())),
    }
}

fn start(launch: &Launch, hook: bool) -> Result<Start, LaunchError> {
    let words = launch.command.iter().map(String::as_str);
    let pairs = launch.environment.iter();
    let words = words.chain(pairs.flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    if words.clone().any(|word| word.contains('\0')) {
        let what = "command and environment must not contain a zero byte";
        return Err(LaunchError::Invalid(what));
    }
    if (launch.environment.iter()).any(|(name, _)| name.is_empty() || name.contains('=')) {
        let what = "a name in the environment must not be empty, nor contain `=`";
        return Err(LaunchError::Invalid(what));
    }
    if launch.command.first().is_none_or(String::is_empty) {
        return Err(LaunchError::Invalid("the command is empty"));
    }
    let start = Start {
        command: launch.command.clone(),
        environment: launch.environment.clone(),
        memory_max_bytes: launch.bounds.memory_max_bytes,
        tasks_max: launch.bounds.tasks_max,
        scratch_max_bytes: launch.bounds.scratch_max_bytes,
        files_max: launch.bounds.files_max,
        hook,
        secrets: !launch.secrets.is_empty(),
        probe: false,
    };
    let bytes = serde_json::to_vec(&start).map(|bytes| bytes.len());
    if bytes.is_ok_and(|bytes| bytes <= WORDS_MAX_BYTES) {
        Ok(start)
    } else {
        Err(LaunchError::TooLong {
            most: WORDS_MAX_BYTES,
        })
    }
}

/// Starts what is checked; without a folder it is the probe.
pub(super) async fn launched(
    shell: Shell,
    start: Start,
    secrets: Option<OwnedFd>,
    tree: Option<OwnedFd>,
) -> Result<Program, LaunchError> {
    let Shell {
        hold,
        channel,
        calls,
        hook,
        page,
        ..
    } = shell;
    let program = start.command.first().cloned().unwrap_or_default();
    // Before it is on its way, for its filter holds calls by then.
    let answering = calls.map(denials::answer).transpose();
    let (answering, denials) = answering.map_err(LaunchError::Socket)?.unzip();
    let pipe = || {
        let (here, there) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok::<_, io::Error>((pipe::Receiver::from_owned_fd(here)?, there))
    };
    let (output, output_end) = pipe().map_err(LaunchError::Socket)?;
    let (errors, errors_end) = pipe().map_err(LaunchError::Socket)?;
    let mut beside = vec![output_end.as_fd(), errors_end.as_fd()];
    beside.extend(
        hook.iter()
            .chain(&secrets)
            .chain(&tree)
            .map(|it| it.as_fd()),
    );
    let given = [
        (1, Some(&output_end)),
        (2, Some(&errors_end)),
        (DESCRIPTOR, hook.as_ref()),
    ];
    let given = given
        .into_iter()
        .filter_map(|(number, file)| given_as(number, file?));
    let given = given.collect();
    let sent = channel.send(&Task::Launch(Box::new(start)), &beside).await;
    sent.map_err(LaunchError::Socket)?;
    drop((output_end, errors_end, hook, secrets, tree));
    let told = channel.receive().await.map_err(LaunchError::Socket)?;
    let pidfd = begun(told, program)?;
    hold.count();
    let hold = Arc::new(hold);
    let (exit, exited) = watch::channel(None);
    let (sockets, wanted) = mpsc::channel(CONNECTS_MAX);
    let spare = Spare::default();
    let asked = Asked::with(spare.clone());
    let keeping = keep(channel, Arc::downgrade(&hold), wanted, asked, exit);
    let keeping = tokio::spawn(keeping);
    Ok(Program {
        // A program that has ended by now has no number any more.
        pid: pid_of(&pidfd).unwrap_or(0),
        pidfd,
        output: Some((output, errors)),
        denials,
        sockets,
        spare,
        exit: exited,
        answering,
        page: page.map(Arc::new),
        given,
        _keeping: Keeping(keeping),
        hold,
    })
}

/// The descriptor of the program that a sandbox says that it has begun.
fn begun(told: Option<(Note, Vec<OwnedFd>)>, program: String) -> Result<OwnedFd, LaunchError> {
    match told {
        Some((Note::Launched, beside)) => beside.into_iter().next().ok_or(LaunchError::Lost),
        Some((Note::Refused(Refusal::Program(fault)), _)) => {
            Err(LaunchError::Program { program, fault })
        }
        Some((Note::Refused(Refusal::Failed(failure)) | Note::Failed(failure), _)) => {
            Err(LaunchError::Step(failure.to_string()))
        }
        _ => Err(LaunchError::Lost),
    }
}

/// What a program is given by this number.
fn given_as(number: RawFd, file: &OwnedFd) -> Option<Given> {
    let about = fstat(file).ok()?;
    let file = (about.st_dev, about.st_ino);
    Some(Given { number, file })
}

impl Program {
    /// What it writes to standard output and standard error; once.
    pub fn take_output(&mut self) -> Option<(pipe::Receiver, pipe::Receiver)> {
        self.output.take()
    }

    /// System calls that were denied to it; once. `None` too where the kernel does not tell.
    pub fn take_denials(&mut self) -> Option<mpsc::Receiver<Denial>> {
        self.denials.take()
    }

    /// Connects to `127.0.0.1:port` inside.
    ///
    /// # Errors
    ///
    /// Those of the connection; `ConnectionReset` if the sandbox has ended.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let ended = || io::Error::from(io::ErrorKind::ConnectionReset);
        if self.sockets.is_closed() {
            return Err(ended());
        }
        let socket = match self.spare.take() {
            Some((socket, last)) => {
                // Where so many are wanted that there is no room, the next one waits for its own.
                if last {
                    let _ = self.sockets.try_send(None);
                }
                socket
            }
            None => {
                let (give, given) = oneshot::channel();
                self.sockets.send(Some(give)).await.map_err(|_| ended())?;
                given.await.map_err(|_| ended())??
            }
        };
        // A socket belongs to the network that it was made in, wherever it is used.
        connect(socket, ([127, 0, 0, 1], port).into()).await
    }

    /// Waits until it has ended, and says how. Any number may wait, and give up waiting.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await.ok();
        exit.and_then(|exit| exit.clone())
            .unwrap_or_else(|| Exit::Lost("nobody listens to its sandbox any more".to_owned()))
    }

    /// From now on its memory lies on an image, and what it drops of that becomes zero by our
    /// doing. False: the kernel does not tell of it, so that its memory must not lie on one.
    pub(crate) fn lay(&self) -> bool {
        if let Some(answering) = &self.answering {
            answering.lay();
        }
        self.is_answered()
    }

    /// From now on its memory may lie on a device, where a child would share it: it cannot fork.
    pub(crate) fn share(&self) {
        if let Some(answering) = &self.answering {
            answering.share();
        }
    }

    /// Nobody else changes its memory from outside while this is held. None: nobody ever does.
    pub(crate) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.answering.as_ref().map(Answering::turn)
    }

    /// Whether calls that its filter hands to the platform are answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.answering.as_ref().is_some_and(Answering::is_open)
    }

    /// What of its sandbox is looked at when it is put back.
    ///
    /// # Errors
    ///
    /// If it has gone, or its sandbox cannot be looked into.
    pub(crate) fn surroundings(&self) -> io::Result<Surroundings> {
        let first = pid_of(self.hold.pidfd())?;
        let first = i32::try_from(first).ok().and_then(Pid::from_raw);
        let within = PathBuf::from(format!("/proc/{}/root", self.pid));
        let writable = WRITABLE.iter().map(|place| {
            let path = within.join(place.trim_start_matches('/'));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let folder = open(path, flags, Mode::empty())?;
            Ok(Writable { place, folder })
        });
        let room = self.hold.group().memory_room();
        Ok(Surroundings {
            group: self.hold.group().tasks().map(Path::to_owned),
            first,
            writable: writable.collect::<io::Result<_>>()?,
            room: room
                .map(|[used, max]| Room::open(&used, &max))
                .transpose()?,
            ours: Vec::new(),
        })
    }

    /// The memory that the kernel counts for its sandbox, in bytes; 0 without a control group.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let used = self.hold.group().memory_room().map(|[used, _]| used);
        let used = used.and_then(|used| std::fs::read_to_string(used).ok());
        used.and_then(|used| used.trim().parse().ok()).unwrap_or(0)
    }

    /// Where it reads which generation it is of; none if its root has no place for that.
    pub(crate) fn page(&self) -> Option<Arc<Page>> {
        self.page.clone()
    }

    /// The descriptors that it was given, besides its standard input.
    pub(crate) fn given(&self) -> &[Given] {
        &self.given
    }

    /// Ends it, and all of its sandbox, at once; dropping it gives back what it held.
    pub(crate) fn end(&self) {
        self.hold.end();
    }

    /// Asks it to end: SIGTERM to its main process.
    pub fn terminate(&self) {
        // One that has ended needs to be asked no more.
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
    }

    /// Its main process, as the host sees it; 0 if it had ended when it was first asked for.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it; when this returns, nothing of it is left.
    pub async fn kill(self) {
        let mut gone = self.hold.gone();
        drop(self);
        // The sender lives in the task that clears away.
        let _ = gone.wait_for(|gone| *gone).await;
    }
}

/// Listens to the sandbox until its program has ended.
async fn keep(
    channel: Channel,
    hold: std::sync::Weak<Hold>,
    mut wanted: mpsc::Receiver<Option<Give>>,
    mut asked: Asked,
    exit: watch::Sender<Option<Exit>>,
) {
    let ended = loop {
        tokio::select! {
            told = channel.receive() => match told {
                Ok(Some((Note::Socket, beside))) => asked.came(beside.into_iter().next()),
                Ok(Some((Note::Failed(failure), _))) => {
                    if !asked.failed(failure.errno) {
                        break Exit::Lost(failure.to_string());
                    }
                }
                Ok(Some((Note::Exited(code), _))) => break Exit::Code(code),
                Ok(Some((Note::Killed(signal), _))) => break Exit::Signal(signal),
                Ok(Some((Note::OutOfMemory, _))) => break Exit::OutOfMemory,
                Ok(Some(_)) => {}
                Ok(None) => break Exit::Lost("its sandbox was ended from outside".to_owned()),
                Err(error) => break Exit::Lost(error.to_string()),
            },
            Some(give) = wanted.recv(), if asked.has_room() => {
                for give in asked.wanted(give) {
                    if channel.send(&Task::Socket, &[]).await.is_ok() {
                        asked.coming.push_back(give);
                    }
                }
            }
        }
    };
    let killed = matches!(ended, Exit::Signal(libc::SIGKILL) | Exit::Lost(_));
    let kills = hold.upgrade().map_or(0, |hold| hold.group().memory_kills());
    let ended = if killed && kills > 0 {
        Exit::OutOfMemory
    } else {
        ended
    };
    exit.send_replace(Some(ended));
}
