//! Finding out what the machine permits, by doing it: a sandbox is made, attacked from inside, and
//! made in the next weaker way if that failed.
//!
//! ```text
//! best way ─works→ chosen
//!    └─fails→ without Landlock → without a listener → without user namespaces → … → refused
//! ```
//!
//! Deliberately absent: trust in version numbers and in what is configured.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::runtime;
use tokio::sync::watch;

use super::errors::OpenError;
use super::groups::{Groups, Resource};
use super::handle::Handle;
use super::init::SCRATCH;
use super::means::Modes;
use super::shell::pid_of;
use super::state::State;
use super::wire::{Settle, Start};
use super::{Bounds, Counts, Exit, Inner, Program, SandboxOptions, Shell, program, speculation};
use crate::cause::chain;
use crate::renewal;

/// What the probe may use.
const BOUNDS: Bounds = Bounds {
    memory_max_bytes: 32 << 20,
    tasks_max: 8,
    cpu_max_millis: None,
    scratch_max_bytes: 1 << 20,
    files_max: 64,
};
/// How long it may take.
const PROBE_WAIT_MAX_MS: u64 = 10_000;
/// The code with which it ends if all memory was given.
const GIVEN: i32 = 3;
/// The call that it makes although it is denied.
const DENIED: &str = "chroot";
/// What it must not write to.
const WRITES: [(&str, &str); 3] = [
    ("/usr/usher-probe", "which is the host's"),
    ("/dev/usher-probe", "which all sandboxes share"),
    ("/proc/self/mem", "which is a way around write protection"),
];
/// What the kernel must say of it.
const STATUS: [&str; 5] = [
    "CapPrm: 0000000000000000",
    "CapEff: 0000000000000000",
    "CapBnd: 0000000000000000",
    "NoNewPrivs: 1",
    "Seccomp: 2",
];
/// And what it tries to use.
const HOG_BYTES: usize = 64 << 20;
/// What the probe says when all of its attacks have failed.
const HELD: &str = "held";

/// Takes the folder, starts the spawner, and chooses the ways.
pub(super) async fn open(options: SandboxOptions) -> Result<(Arc<Inner>, Modes), OpenError> {
    let state = State::take(&options.state_folder).await?;
    let failed = |source| OpenError::State {
        folder: options.state_folder.clone(),
        source,
    };
    let instance = state.instance().map_err(failed)?;
    let groups = Groups::make(&instance);
    state.note(&groups.folders()).map_err(failed)?;
    let handle = Handle::start(&options, &state, &groups.folders()).await?;
    let best = Modes {
        root: rustix::process::geteuid().is_root(),
        user_namespace: true,
        notify: true,
        landlock: true,
        groups: true,
        instance: number(&instance),
    };
    let inner = Arc::new(Inner {
        speculation: speculation::Found::out(options.predictors_apart),
        options,
        state,
        groups,
        spawner: tokio::sync::Mutex::new(Some(handle)),
        slots: Mutex::new(HashSet::new()),
        counts: watch::Sender::new(Counts::default()),
        runtime: runtime::Handle::current(),
    });
    let mut why = None;
    for modes in ways(best) {
        match attempt(&inner, modes).await {
            Ok(()) => return Ok((inner, modes)),
            Err(failure) => {
                tracing::debug!(
                    ?modes,
                    failure,
                    "a way to make sandboxes does not work here"
                );
                why.get_or_insert(failure);
            }
        }
    }
    Err(OpenError::Refused {
        why: why.unwrap_or_default(),
    })
}

/// Finds out what of putting programs back works here, on the process of an empty sandbox that
/// would have become its program.
pub(super) async fn renewal(inner: &Arc<Inner>, modes: Modes) -> renewal::Means {
    let shell = match Shell::make(inner, modes).await {
        Ok(shell) => shell,
        Err(error) => return renewal::Means::none(&chain(&error)),
    };
    let seed = match seed(&shell) {
        Ok(seed) => seed,
        Err(error) => return renewal::Means::none(&format!("it cannot be tried: {error}")),
    };
    let tried = tokio::task::spawn_blocking(move || renewal::Means::of(seed)).await;
    let mut gone = shell.hold.gone();
    drop(shell);
    // The sender lives in the task that clears away.
    let _ = gone.wait_for(|gone| *gone).await;
    tried.unwrap_or_else(|lost| renewal::Means::none(&format!("the trial was lost: {lost}")))
}

/// The one child of a shell's first process, as this process sees it.
fn seed(shell: &Shell) -> io::Result<Pid> {
    let first = pid_of(shell.hold.pidfd())?;
    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
    let seed = children.split_whitespace().next();
    let seed = seed.and_then(|seed| Pid::from_raw(seed.parse().ok()?));
    seed.ok_or_else(|| io::Error::other("an empty sandbox has no process to become a program"))
}

/// All ways, the better ones first: what is given up least willingly is given up last.
fn ways(best: Modes) -> impl Iterator<Item = Modes> {
    (0..1_u8 << 4).filter_map(move |without| {
        let has = |bit: u8| without & (1 << bit) == 0;
        let modes = Modes {
            landlock: has(0),
            notify: has(1),
            groups: has(2),
            user_namespace: has(3),
            ..best
        };
        // Without both, programs would be the user that runs the platform.
        (modes.root || modes.user_namespace).then_some(modes)
    })
}

/// Makes a sandbox in this way, and has it attacked from inside.
async fn attempt(inner: &Arc<Inner>, modes: Modes) -> Result<(), String> {
    let shell = Shell::make(inner, modes).await;
    let shell = shell.map_err(|error| chain(&error))?;
    let bounds = BOUNDS;
    (shell.hold.group().bound(&bounds))
        .map_err(|error| format!("bounds could not be set: {error}"))?;
    let start = Start {
        command: Vec::new(),
        environment: Vec::new(),
        memory_max_bytes: bounds.memory_max_bytes,
        tasks_max: bounds.tasks_max,
        scratch_max_bytes: bounds.scratch_max_bytes,
        files_max: bounds.files_max,
        hook: false,
        secrets: false,
        probe: true,
    };
    let watched = !modes.bounds(&inner.groups, Resource::Memory);
    let launched = program::launched(shell, start, None, None);
    let launched = tokio::time::timeout(Duration::from_millis(PROBE_WAIT_MAX_MS), launched).await;
    let launched = launched.map_err(|_| "the probe did not start".to_owned())?;
    let mut program = launched.map_err(|error| chain(&error))?;
    let judged = judge(&mut program, watched, modes);
    let judged = tokio::time::timeout(Duration::from_millis(PROBE_WAIT_MAX_MS), judged).await;
    program.kill().await;
    judged.unwrap_or_else(|_| Err("the probe did not end".to_owned()))
}

async fn judge(program: &mut Program, watched: bool, modes: Modes) -> Result<(), String> {
    let (mut output, _errors) = (program.take_output()).ok_or("the probe has no output")?;
    let mut told = String::new();
    let read = output.read_to_string(&mut told).await;
    read.map_err(|error| format!("the probe cannot be read: {error}"))?;
    if told != HELD {
        return Err(format!("inside, {told}"));
    }
    let exit = program.exited().await;
    let refused = watched && matches!(exit, Exit::Signal(_) | Exit::Code(_));
    if exit != Exit::OutOfMemory && !refused {
        return Err(format!("memory beyond the bound was given ({exit:?})"));
    }
    if modes.notify {
        let mut denials = program.take_denials().ok_or("there is no listener")?;
        let denial = denials.recv().await;
        if denial.is_none_or(|denial| denial.call != DENIED) {
            return Err("a denied system call was not told".to_owned());
        }
    }
    Ok(())
}

/// The probe itself: it runs where a program would, with all that a program is confined by.
pub(super) fn inside(settle: Settle) -> ! {
    let told = attacks(settle).err().unwrap_or_else(|| HELD.to_owned());
    let held = told == HELD;
    // The platform sees it if this fails: it says nothing then.
    let _ = io::stdout().write_all(told.as_bytes());
    let _ = io::stdout().flush();
    if held {
        hog();
    }
    std::process::exit(1)
}

/// Takes more memory than it may; returns if that was given.
fn hog() {
    let mut hog = vec![0_u8; HOG_BYTES];
    for byte in hog.iter_mut().step_by(1 << 12) {
        *byte = 1;
    }
    std::hint::black_box(&hog);
    std::process::exit(GIVEN);
}

/// Tries what must not be possible; says what was.
fn attacks(settle: Settle) -> Result<(), String> {
    let denied = rustix::process::chroot("/tmp");
    if denied != Err(rustix::io::Errno::PERM) {
        return Err(format!("a denied system call was answered: {denied:?}"));
    }
    for (path, why) in WRITES {
        let made = std::fs::File::create(path);
        match made.map_err(|error| error.raw_os_error()) {
            Err(Some(libc::EACCES | libc::EROFS | libc::ENOENT)) => {}
            _ => return Err(format!("{path} could be written to, {why}")),
        }
    }
    // It is writable as far as the mounts are concerned.
    let kept = std::fs::File::create("/var/task/usher-probe").is_err();
    if kept != settle.landlock {
        return Err("Landlock does not keep what it says".to_owned());
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let has = |line: &str| {
        status
            .lines()
            .any(|it| it.split_whitespace().eq(line.split(' ')))
    };
    for line in STATUS {
        if !has(line) {
            return Err(format!("the kernel does not say `{line}`"));
        }
    }
    speculation::holds(settle.speculation).map_err(|error| error.to_string())?;
    if std::path::Path::new("/proc/1").exists() {
        return Err("a process of others can be seen".to_owned());
    }
    let scratch = std::path::Path::new(SCRATCH).join("usher-probe");
    std::fs::write(scratch, "").map_err(|error| format!("{SCRATCH} is not writable: {error}"))
}

/// A name as a number.
fn number(name: &str) -> u32 {
    (name.bytes()).fold(0x811c_9dc5, |sum: u32, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
