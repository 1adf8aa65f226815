//! The first process of a sandbox: makes it ready, starts the program, and outlives it by one message.
//!
//! ```text
//! forked ─Settle→ shell ─Launch→ keeper of a program ─program ends→ gone, and all of the sandbox with it
//!                                  │ Socket: a socket of the sandbox's network
//! ```
//!
//! As pid 1 it is the one whose end the kernel makes the end of every process in here. It ends when
//! the platform's socket closes, when the spawner dies, and when the program has ended. Once the
//! program runs it has no capability and a user of its own. Deliberately absent: what the program
//! is confined by (`child`).

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags, fsconfig_create, fsmount, fsopen, mount, mount_change, move_mount, unmount,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Signal, WaitOptions, chdir, pivot_root, wait};

use super::wire::{Failure, Note, Refusal, Settle, Start, Step as _, Task, receive, send};
use super::{child, watch};
use crate::sys;
use crate::sys::alone::{Alone, Forked};
use crate::sys::signals;

/// The port of the Lambda Runtime API, inside.
pub(super) const API_PORT: u16 = 9001;
/// The port of the outbound proxy, inside.
pub(super) const PROXY_PORT: u16 = 9002;
/// Where the function's folder is mounted, inside.
pub(super) const TASK_FOLDER: &str = "/var/task";
/// Bytes of shared memory files at the most, besides the bound for scratch.
const SHARED_MEMORY_MAX_BYTES: u64 = 64 << 20;
/// Bytes of scratch for each file in it that may be made.
const SCRATCH_BYTES_PER_FILE: u64 = 4 << 10;
/// How often memory is looked at where no control group bounds it.
const WATCH_EVERY_MS: i64 = 20;

/// The life of a sandbox's first process. Returns when the sandbox is to end.
pub(super) fn main(alone: &Alone, socket: &OwnedFd, place: &Path) {
    let mut init = Init {
        alone,
        socket,
        shell: None,
        program: None,
    };
    if let Err(error) = init.serve(place) {
        let failure = Err::<(), _>(error).step("the sandbox's first process failed");
        if let Err(failure) = failure {
            // The platform may have gone, which is then the reason for all of this.
            let _ = send(socket, &Note::Failed(failure), &[]);
        }
    }
}

struct Init<'a> {
    alone: &'a Alone,
    socket: &'a OwnedFd,
    shell: Option<Shell>,
    program: Option<Running>,
}

/// What a shell keeps until the program starts.
struct Shell {
    /// All processes of the sandbox, to be written to; mounted nowhere.
    processes: OwnedFd,
}

struct Running {
    pid: Pid,
    processes: OwnedFd,
    /// Bytes, if they are to be watched.
    memory_max_bytes: Option<u64>,
}

impl Init<'_> {
    fn serve(&mut self, place: &Path) -> io::Result<()> {
        die_with_the_spawner()?;
        let deaths = signals::deaths()?;
        loop {
            let mut ready = [
                PollFd::new(self.socket, PollFlags::IN),
                PollFd::new(&deaths, PollFlags::IN),
            ];
            let watched = self.program.as_ref().and_then(|it| it.memory_max_bytes);
            let pause = watched.map(|_| Timespec {
                tv_sec: 0,
                tv_nsec: WATCH_EVERY_MS * 1_000_000,
            });
            match poll(&mut ready, pause.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let spoke = !ready[0].revents().is_empty();
            if !ready[1].revents().is_empty() {
                signals::drain(&deaths)?;
                if let Some(note) = self.reap()? {
                    return send(self.socket, &note, &[]);
                }
            }
            if let Some(program) = &self.program
                && let Some(most) = program.memory_max_bytes
                && watch::used_bytes(&program.processes)? > most
            {
                return send(self.socket, &Note::OutOfMemory, &[]);
            }
            if spoke {
                let Some((task, beside)) = receive(self.socket)? else {
                    return Ok(());
                };
                self.obey(task, beside, place)?;
            }
        }
    }

    /// Takes in the dead; says how the program ended if it is among them.
    fn reap(&self) -> io::Result<Option<Note>> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if self.program.as_ref().is_some_and(|it| it.pid == pid) {
                        let signal = status.terminating_signal().map(Note::Killed);
                        let code = status.exit_status().map(Note::Exited);
                        return Ok(signal.or(code));
                    }
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }

    fn obey(&mut self, task: Task, beside: Vec<OwnedFd>, place: &Path) -> io::Result<()> {
        match task {
            Task::Settle(_) => match settle(self.alone, place) {
                Ok((shell, api, proxy)) => {
                    self.shell = Some(shell);
                    send(self.socket, &Note::Settled, &[api.as_fd(), proxy.as_fd()])
                }
                Err(failure) => send(self.socket, &Note::Failed(failure), &[]),
            },
            Task::Launch(start) => {
                let launched = match self.shell.take() {
                    Some(shell) => launch(self.alone, shell, &start, beside),
                    None => Err(Refusal::Failed(Failure {
                        what: "a program was to be started before its sandbox was made".to_owned(),
                        errno: libc::EINVAL,
                    })),
                };
                match launched {
                    Ok((running, pidfd, listener)) => {
                        self.program = Some(running);
                        let given: Vec<BorrowedFd<'_>> = std::iter::once(pidfd.as_fd())
                            .chain(listener.iter().map(|fd| fd.as_fd()))
                            .collect();
                        send(self.socket, &Note::Launched, &given)
                    }
                    Err(refusal) => send(self.socket, &Note::Refused(refusal), &[]),
                }
            }
            Task::Socket => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                match socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
                    .step("a socket could not be made")
                {
                    Ok(made) => send(self.socket, &Note::Socket, &[made.as_fd()]),
                    Err(failure) => send(self.socket, &Note::Failed(failure), &[]),
                }
            }
        }
    }
}

/// The kernel forgets this wish whenever the user changes, so it is said again then.
fn die_with_the_spawner() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

fn settle(alone: &Alone, place: &Path) -> Result<(Shell, TcpListener, TcpListener), Failure> {
    // Only now, so that the group that this process was put into is the root of what it sees.
    let _ = alone.unshare(libc::CLONE_NEWCGROUP);
    rustix::system::sethostname(b"function").step("the host name could not be set")?;
    sys::loopback::switch_on().step("the loopback device could not be switched on")?;
    let api = listen(API_PORT)?;
    let proxy = listen(PROXY_PORT)?;
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", flags).step("the sandbox's mounts could not be set apart")?;
    let hidden = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount(
        "proc",
        place.join("proc"),
        "proc",
        hidden,
        c"hidepid=invisible,subset=pid",
    )
    .step("/proc could not be mounted")?;
    let processes = processes().step("the list of processes could not be opened")?;
    turn_root(place).step("the root could not be changed")?;
    Ok((Shell { processes }, api, proxy))
}

fn listen(port: u16) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.step(&format!("port {port} could not be listened on"))
}

/// A `/proc` that can be written to, mounted nowhere.
fn processes() -> io::Result<OwnedFd> {
    let made = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&made)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn turn_root(place: &Path) -> io::Result<()> {
    chdir(place)?;
    // Old and new root are stacked on one place, and the old one is taken off.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

type Launched = (Running, OwnedFd, Option<OwnedFd>);

fn launch(
    alone: &Alone,
    shell: Shell,
    start: &Start,
    beside: Vec<OwnedFd>,
) -> Result<Launched, Refusal> {
    let mut beside = beside.into_iter();
    let missing = || {
        Refusal::Failed(Failure {
            what: "a descriptor is missing".to_owned(),
            errno: libc::EBADF,
        })
    };
    let output = beside.next().ok_or_else(missing)?;
    let errors = beside.next().ok_or_else(missing)?;
    furnish(start, beside.next()).map_err(Refusal::Failed)?;
    let (here, there) = super::wire::pair()
        .step("no socket to the program")
        .map_err(Refusal::Failed)?;
    let namespaces = if start.settle.user_namespace {
        libc::CLONE_NEWUSER
    } else {
        0
    };
    let forked = alone.fork(namespaces).step("no process for the program");
    match forked.map_err(Refusal::Failed)? {
        Forked::Child => {
            drop(here);
            child::become_program(start, there, output, errors)
        }
        Forked::Parent { pid, pidfd } => {
            drop((there, output, errors));
            if start.settle.user_namespace {
                map(&shell.processes, pid, start.settle.user)
                    .step("the program's user could not be mapped")
                    .map_err(Refusal::Failed)?;
            }
            retire(start.settle).map_err(Refusal::Failed)?;
            let listener = await_program(&here)?;
            let running = Running {
                pid,
                processes: shell.processes,
                memory_max_bytes: start.watch_memory.then_some(start.memory_max_bytes),
            };
            Ok((running, pidfd, listener))
        }
    }
}

/// Lets the child go on, and waits until it is the program: then its socket closes by itself.
fn await_program(child: &OwnedFd) -> Result<Option<OwnedFd>, Refusal> {
    let lost = "the program's process was lost";
    send(child, &(), &[]).step(lost).map_err(Refusal::Failed)?;
    let mut listener = None;
    loop {
        match receive(child).step(lost).map_err(Refusal::Failed)? {
            None => return Ok(listener),
            Some((child::Word::Filtered, beside)) => listener = beside.into_iter().next(),
            Some((child::Word::Refused(refusal), _)) => return Err(refusal),
        }
    }
}

/// Mounts what this program has of its own: its folder, scratch, shared memory.
fn furnish(start: &Start, folder: Option<OwnedFd>) -> Result<(), Failure> {
    match folder {
        Some(tree) => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&tree, "", CWD, TASK_FOLDER, flags)
                .step("the function's folder could not be mounted")?;
        }
        // The probe shows on it that more than the mounts forbid writing.
        None => scratch(TASK_FOLDER, start, SHARED_MEMORY_MAX_BYTES)?,
    }
    scratch("/tmp", start, start.scratch_max_bytes)?;
    let shared = start.scratch_max_bytes.min(SHARED_MEMORY_MAX_BYTES);
    scratch("/dev/shm", start, shared)
}

fn scratch(path: &str, start: &Start, bytes: u64) -> Result<(), Failure> {
    let what = format!("{path} could not be mounted");
    let files = (bytes / SCRATCH_BYTES_PER_FILE).max(16);
    let user = start.settle.user;
    // No bytes at all would mean that there is no bound.
    let options = format!(
        "mode=1777,size={},nr_inodes={files},uid={user},gid={user}",
        bytes.max(4 << 10)
    );
    let options = std::ffi::CString::new(options)
        .map_err(io::Error::other)
        .step(&what)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("usher", path, "tmpfs", flags, options.as_c_str()).step(&what)
}

/// The one user and group that the program has, and nobody else.
fn map(processes: &OwnedFd, pid: Pid, user: u32) -> io::Result<()> {
    let id = child::USER;
    for name in ["uid_map", "gid_map"] {
        let path = format!("{}/{name}", pid.as_raw_nonzero());
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(processes, path, flags, Mode::empty())?;
        File::from(file).write_all(format!("{id} {user} 1").as_bytes())?;
    }
    Ok(())
}

/// From here on this process needs nothing that it could do to others.
fn retire(settle: Settle) -> Result<(), Failure> {
    let what = "the sandbox's first process could not give up its rights";
    child::drop_rights(settle.keeper, settle.user_namespace).step(what)?;
    let hidden = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(hidden).step(what)?;
    die_with_the_spawner().step(what)
}
