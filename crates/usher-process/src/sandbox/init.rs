//! The first process of a sandbox: makes it ready, starts the program, and outlives it by one
//! message.
//!
//! ```text
//! forked ─Settle→ shell ─Launch→ keeper of a program ─program ends→ gone, and all with it
//!                                  │ Socket: a socket of the sandbox's network
//! ```
//!
//! As pid 1 it is the one whose end the kernel makes the end of every process in here. It ends when
//! the platform's socket closes, when the spawner dies, and when the program has ended. Once the
//! program runs it has no capability and a user of its own. Deliberately absent: what the program
//! is confined by (`child`).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags, fsconfig_create, fsmount, fsopen, mount, mount_change, mount_remount, move_mount,
    unmount,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Signal, WaitOptions, chdir, pivot_root, wait};

use super::wire::{Failure, Note, Refusal, Settle, Start, Step as _, Task, receive, send};
use super::{child, generation, secrets, watch};
use crate::sys;
use crate::sys::alone::{Alone, Forked};
use crate::sys::signals;

/// The port of the Lambda Runtime API, inside.
pub(crate) const API_PORT: u16 = 9001;
/// The port of the outbound proxy, inside.
pub(super) const PROXY_PORT: u16 = 9002;
/// Where the function's folder is mounted, inside.
pub(super) const TASK_FOLDER: &str = "/var/task";
/// Where a program may write.
pub(super) const SCRATCH: &str = "/tmp";
/// Where the C library puts shared memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// Where files can be made at all.
pub(super) const WRITABLE: [&str; 2] = [SCRATCH, SHARED_MEMORY];
const SCRATCH_FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
/// Files in scratch, however few bytes it has.
const SCRATCH_FILES_MIN: u64 = 16;
/// The failure of every message to a process that has gone.
const LOST: &str = "the program's process was lost";
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
    settle: Settle,
    /// All processes of the sandbox, to be written to; mounted nowhere.
    processes: OwnedFd,
    seed: Seed,
}

/// The process that will become the program, confined already.
struct Seed {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
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
            Task::Settle(how) => match settle(self.alone, place, how) {
                Ok((shell, given, page)) => {
                    self.shell = Some(shell);
                    let given: Vec<_> = given.iter().map(|fd| fd.as_fd()).collect();
                    send(self.socket, &Note::Settled { page }, &given)
                }
                Err(failure) => send(self.socket, &Note::Failed(failure), &[]),
            },
            Task::Launch(start) => {
                let launched = match self.shell.take() {
                    Some(shell) => launch(shell, &start, beside),
                    None => Err(Refusal::Failed(Failure {
                        what: "a program was to be started before its sandbox was made".to_owned(),
                        errno: libc::EINVAL,
                    })),
                };
                match launched {
                    Ok((running, pidfd)) => {
                        self.program = Some(running);
                        send(self.socket, &Note::Launched, &[pidfd.as_fd()])
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

/// Makes a shell; returns it with what is beside [`Note::Settled`], and whether a page is.
fn settle(
    alone: &Alone,
    place: &Path,
    settle: Settle,
) -> Result<(Shell, Vec<OwnedFd>, bool), Failure> {
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
    let page = generation::mount(place)?;
    turn_root(place).step("the root could not be changed")?;
    for place in WRITABLE {
        scratch(place, settle.user)?;
    }
    let (seed, listener) = sow(alone, &processes, settle)?;
    let named = seed
        .pidfd
        .try_clone()
        .step("the program's process could not be named")?;
    let shell = Shell {
        settle,
        processes,
        seed,
    };
    let has_page = page.is_some();
    let given = [api.into(), proxy.into(), named].into_iter();
    Ok((shell, given.chain(page).chain(listener).collect(), has_page))
}

/// Forks the process that will become the program, and waits until it is confined.
fn sow(
    alone: &Alone,
    processes: &OwnedFd,
    settle: Settle,
) -> Result<(Seed, Option<OwnedFd>), Failure> {
    let (here, there) = super::wire::pair().step("no socket to the program")?;
    let namespaces = if settle.user_namespace {
        libc::CLONE_NEWUSER
    } else {
        0
    };
    match (alone.fork(namespaces)).step("no process for the program")? {
        Forked::Child => {
            drop(here);
            child::become_program(settle, there)
        }
        Forked::Parent { pid, pidfd } => {
            drop(there);
            if settle.user_namespace {
                map(processes, pid, settle.user).step("the program's user could not be mapped")?;
            }
            send(&here, &(), &[]).step(LOST)?;
            let socket = here;
            match receive(&socket).step(LOST)? {
                Some((child::Word::Confined, beside)) => {
                    let listener = beside.into_iter().next();
                    Ok((Seed { pid, pidfd, socket }, listener))
                }
                Some((child::Word::Refused(Refusal::Failed(failure)), _)) => Err(failure),
                _ => Err(Failure {
                    what: LOST.to_owned(),
                    errno: libc::ESRCH,
                }),
            }
        }
    }
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

fn launch(
    shell: Shell,
    start: &Start,
    beside: Vec<OwnedFd>,
) -> Result<(Running, OwnedFd), Refusal> {
    let mut beside = beside.into_iter();
    let output = beside.next();
    let errors = beside.next();
    let hook = start.hook.then(|| beside.next()).flatten();
    let secrets = start.secrets.then(|| beside.next()).flatten();
    if let Some(secrets) = secrets {
        secrets::mount(secrets, shell.settle.user).map_err(Refusal::Failed)?;
    }
    furnish(start, beside.next(), shell.settle).map_err(Refusal::Failed)?;
    retire(shell.settle).map_err(Refusal::Failed)?;
    let streams = output.iter().chain(&errors).chain(&hook);
    let streams: Vec<_> = streams.map(|fd| fd.as_fd()).collect();
    let Seed { pid, pidfd, socket } = shell.seed;
    let sent = send(&socket, start, &streams).step(LOST);
    sent.map_err(Refusal::Failed)?;
    drop((output, errors, hook));
    // When it is the program, its socket closes by itself.
    match receive(&socket).step(LOST).map_err(Refusal::Failed)? {
        Some((child::Word::Refused(refusal), _)) => Err(refusal),
        _ => {
            let running = Running {
                pid,
                processes: shell.processes,
                memory_max_bytes: (shell.settle.watch_memory).then_some(start.memory_max_bytes),
            };
            Ok((running, pidfd))
        }
    }
}

/// Gives this program what it has of its own: its folder, and as much scratch as it may fill.
fn furnish(start: &Start, folder: Option<OwnedFd>, settle: Settle) -> Result<(), Failure> {
    match folder {
        Some(tree) => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&tree, "", CWD, TASK_FOLDER, flags)
                .step("the function's folder could not be mounted")?;
        }
        // The probe shows on it that more than the mounts forbid writing.
        None => scratch(TASK_FOLDER, settle.user)?,
    }
    let shared = start.scratch_max_bytes.min(SHARED_MEMORY_MAX_BYTES);
    for (place, bytes) in [(SCRATCH, start.scratch_max_bytes), (SHARED_MEMORY, shared)] {
        let what = format!("{place} could not be bounded");
        mount_remount(
            place,
            SCRATCH_FLAGS,
            options(bytes, "").step(&what)?.as_c_str(),
        )
        .step(&what)?;
    }
    Ok(())
}

/// Files in memory for the program's user, a few bytes for now.
fn scratch(place: &str, user: u32) -> Result<(), Failure> {
    let what = format!("{place} could not be mounted");
    let owner = format!(",mode=1777,uid={user},gid={user}");
    let options = options(0, &owner).step(&what)?;
    mount("usher", place, "tmpfs", SCRATCH_FLAGS, options.as_c_str()).step(&what)
}

fn options(bytes: u64, more: &str) -> io::Result<CString> {
    let files = (bytes / SCRATCH_BYTES_PER_FILE).max(SCRATCH_FILES_MIN);
    // No bytes at all would mean that there is no bound.
    let bytes = bytes.max(SCRATCH_BYTES_PER_FILE);
    CString::new(format!("size={bytes},nr_inodes={files}{more}")).map_err(io::Error::other)
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
