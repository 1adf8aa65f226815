//! From a forked process to the program: everything is taken away, then it is executed.
//!
//! ```text
//! forked ─go (user mapped)→ rights → Landlock → filter ─told which→ streams, limits → program
//!        └─────────────── with the shell ─────────────┘
//! ```
//!
//! The order matters: each step needs what a later one takes away. Deliberately absent: namespaces
//! and mounts, which the first process of the sandbox has made.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, Rlimit, chdir, getrlimit, setrlimit, setsid, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};
use serde::{Deserialize, Serialize};

use super::init::TASK_FOLDER;
use super::wire::{Failure, Fault, Refusal, Settle, Start, Step as _, receive, send};
use super::{filter, landlock, probe, speculation};
use crate::restored::DESCRIPTOR;
use crate::sys;

/// The program's user and group, as it sees them.
pub(super) const USER: u32 = 1000;
/// Where a program without a slash in its name is looked for if the environment does not say.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
/// Capabilities are numbered below this, today and for long.
const CAPABILITIES_END: u32 = 64;
/// Bytes that a program may lock in memory.
const LOCKED_MAX_BYTES: u64 = 8 << 20;
/// Bytes of a thread's stack, where the program does not say.
const STACK_BYTES: u64 = 8 << 20;
/// Signals that may wait.
const SIGNALS_MAX: u64 = 1024;
/// Bytes of a core dump: less than any has, and the one number at which the kernel does not start a
/// handler of dumps either, which it does at zero.
const CORE_MAX_BYTES: u64 = 1;
/// Bytes of POSIX message queues.
const QUEUES_MAX_BYTES: u64 = 64 << 10;

/// The code with which the process ends if it cannot become the program.
const FAILED: i32 = 127;

/// What the process says on its way to the program.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Word {
    /// All is taken away, and the filter is loaded; its listener is beside this if it has one.
    Confined,
    /// It ends here.
    Refused(Refusal),
}

/// Becomes the program that it is told to, or says why it cannot.
pub(super) fn become_program(settle: Settle, socket: OwnedFd) -> ! {
    let socket = aside(socket);
    let refusal = match confine(settle, &socket).and_then(|()| awaited(&socket)) {
        Ok(Some((start, streams))) => match furnish(&start, streams, settle) {
            Ok(()) if start.probe => {
                // As it would be closed by an execution.
                drop(socket);
                probe::inside(settle)
            }
            Ok(()) => Refusal::Program(execute(&start)),
            Err(failure) => Refusal::Failed(failure),
        },
        // The shell is not needed any more.
        Ok(None) => std::process::exit(0),
        Err(failure) => Refusal::Failed(failure),
    };
    // Nobody is left to hear of it if this fails.
    let _ = send(&socket, &Word::Refused(refusal), &[]);
    std::process::exit(FAILED)
}

/// Takes away all that does not depend on the program.
fn confine(settle: Settle, socket: &OwnedFd) -> Result<(), Failure> {
    let go: Option<((), _)> = receive(socket).step("the way to the program was lost")?;
    go.ok_or(Failure {
        what: "the sandbox ended before its program started".to_owned(),
        errno: libc::ECANCELED,
    })?;
    setsid().step("no session of its own")?;
    let user = if settle.user_namespace {
        USER
    } else {
        settle.user
    };
    drop_rights(user, settle.user_namespace).step("rights could not be given up")?;
    umask(Mode::WGRP | Mode::WOTH);
    speculation::restrict(settle.speculation)
        .step("the processor's guesses were not kept apart")?;
    if settle.landlock {
        landlock::restrict().step("Landlock could not be laid on")?;
    }
    sys::signals::reset().step("the signals could not be reset")?;
    sys::descriptors::close_on_exec_from(3).step("the descriptors could not be closed")?;
    let listener = filter::load(settle.notify, settle.watch_memory)
        .step("the system call filter could not be loaded")?;
    let given: Vec<_> = listener.iter().map(|fd| fd.as_fd()).collect();
    send(socket, &Word::Confined, &given).step("the way to the platform was lost")
}

type Told = Option<(Start, Vec<OwnedFd>)>;

/// Waits to be told which program it is.
fn awaited(socket: &OwnedFd) -> Result<Told, Failure> {
    receive(socket).step("the way to the program was lost")
}

/// Takes what is this program's own: its streams, its limits, its folder.
fn furnish(start: &Start, mut streams: Vec<OwnedFd>, settle: Settle) -> Result<(), Failure> {
    let hook = start.hook.then(|| streams.pop()).flatten();
    standard_streams(streams).step("the standard streams could not be set up")?;
    if let Some(hook) = hook {
        sys::descriptors::give(hook, DESCRIPTOR).step("the hook's socket could not be set up")?;
    }
    limits(start, settle.watch_memory).step("the limits could not be set")?;
    chdir(TASK_FOLDER).step("the program's user must not enter the function's folder")
}

/// The socket at a number that the program is given nothing at.
fn aside(socket: OwnedFd) -> OwnedFd {
    // If there is no other number, the socket will do until the program needs this one.
    rustix::io::fcntl_dupfd_cloexec(&socket, DESCRIPTOR + 1).unwrap_or(socket)
}

fn standard_streams(given: Vec<OwnedFd>) -> io::Result<()> {
    let [output, errors] =
        <[OwnedFd; 2]>::try_from(given).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let input = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(errors)?;
    Ok(())
}

fn limits(start: &Start, watch_memory: bool) -> io::Result<()> {
    let mut limits = vec![
        (Resource::Core, CORE_MAX_BYTES),
        (Resource::Nofile, start.files_max.into()),
        (Resource::Nproc, start.tasks_max.into()),
        (Resource::Memlock, LOCKED_MAX_BYTES),
        (Resource::Sigpending, SIGNALS_MAX),
        (Resource::Msgqueue, QUEUES_MAX_BYTES),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
    ];
    if watch_memory {
        limits.push((Resource::Data, start.memory_max_bytes));
    }
    for (resource, wanted) in limits {
        // More than the platform has itself cannot be had.
        let most = getrlimit(resource).maximum;
        let bound = Some(most.map_or(wanted, |most| most.min(wanted)));
        let limit = Rlimit {
            current: bound,
            maximum: bound,
        };
        setrlimit(resource, limit)?;
    }
    let most = getrlimit(Resource::Stack).maximum;
    let stack = Rlimit {
        current: Some(most.map_or(STACK_BYTES, |most| most.min(STACK_BYTES))),
        maximum: most,
    };
    Ok(setrlimit(Resource::Stack, stack)?)
}

/// Becomes `user`, in no other group, with no capability and no way to get one.
///
/// With `namespace` it may be that the groups cannot be left; they are then those of the person who
/// runs the platform.
pub(super) fn drop_rights(user: u32, namespace: bool) -> io::Result<()> {
    for number in 0..CAPABILITIES_END {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // There are no more.
            Err(rustix::io::Errno::INVAL) => break,
            other => other?,
        }
    }
    match rustix::thread::set_thread_groups(&[]) {
        Err(rustix::io::Errno::PERM) if namespace => {}
        other => other?,
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    rustix::thread::clear_ambient_capability_set()?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Executes the command; returns only if that fails.
fn execute(start: &Start) -> Fault {
    let text = |text: &str| CString::new(text).ok();
    let arguments: Option<Vec<_>> = start.command.iter().map(|it| text(it)).collect();
    let pairs = (start.environment.iter()).map(|(name, value)| text(&format!("{name}={value}")));
    let environment: Option<Vec<_>> = pairs.collect();
    let (Some(arguments), Some(environment)) = (arguments, environment) else {
        return Fault::Other(libc::EINVAL);
    };
    let mut fault = Fault::NotFound;
    for path in candidates(start) {
        let Some(there) = text(&path) else {
            return Fault::NotFound;
        };
        let error = sys::exec::execute(&there, &arguments, &environment);
        let exists = std::path::Path::new(&path).exists();
        match error.raw_os_error().unwrap_or(libc::EIO) {
            libc::ENOENT | libc::ENOTDIR if !exists => {}
            libc::ENOENT => return Fault::NoInterpreter,
            libc::EACCES => fault = Fault::NotExecutable,
            libc::ENOEXEC => return Fault::WrongFormat,
            libc::E2BIG => return Fault::TooLong,
            other => return Fault::Other(other),
        }
    }
    fault
}

/// Where the program may be: at its path, or in the folders of the environment's `PATH`.
fn candidates(start: &Start) -> Vec<String> {
    let Some(program) = start.command.first() else {
        return Vec::new();
    };
    if program.contains('/') {
        return vec![program.clone()];
    }
    let told = start.environment.iter().find(|(name, _)| name == "PATH");
    let folders = told.map_or(PATH_DEFAULT, |(_, folders)| folders);
    let folders = folders.split(':').map(|folder| match folder {
        "" => ".",
        other => other,
    });
    folders
        .map(|folder| format!("{folder}/{program}"))
        .collect()
}
