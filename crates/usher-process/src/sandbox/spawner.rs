//! The spawner: a small process with one thread and no secrets, of which all sandboxes are
//! children.
//!
//! It forks, the platform with its many threads does not. It lives as long as the platform's
//! socket; after that it ends what it has made, removes the control groups, and goes. If it is
//! killed itself, the kernel kills its children. Deliberately absent: what happens inside of a
//! sandbox.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::wire::{Done, Failure, Order, Step as _, receive, send};
use super::{groups, init, root};
use crate::sys::alone::{Alone, Forked};
use crate::sys::signals;

/// What a new sandbox has of its own from its first moment on.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Which kinds of memory a core dump holds.
const NOTHING_IS_DUMPED: &str = "0";

/// Runs the spawner: to be called first thing in `main`, on a process that does nothing else and
/// whose standard input is the platform's socket.
pub fn spawner_main() -> ExitCode {
    let Ok(mut spawner) = Spawner::begin() else {
        return ExitCode::FAILURE;
    };
    match spawner.serve() {
        Ok(Served::Ended) => {
            spawner.end();
            ExitCode::SUCCESS
        }
        Ok(Served::Child(socket)) => {
            // The child must not speak for the spawner; the lock it does hold on to.
            let Spawner {
                alone, place, lock, ..
            } = spawner;
            init::main(&alone, &socket, &place);
            drop(lock);
            ExitCode::SUCCESS
        }
        Err(_) => {
            spawner.end();
            ExitCode::FAILURE
        }
    }
}

/// Why the spawner's loop has ended.
enum Served {
    /// The platform has gone.
    Ended,
    /// This is a new process, the first of a sandbox, with its socket.
    Child(OwnedFd),
}

/// What an order led to.
enum Obeyed {
    Nothing,
    Given(OwnedFd),
    Child(OwnedFd),
}

struct Spawner {
    alone: Alone,
    platform: OwnedFd,
    deaths: OwnedFd,
    place: PathBuf,
    groups: Vec<PathBuf>,
    /// Held until the last process of this spawner has gone.
    lock: Option<OwnedFd>,
    children: Vec<Pid>,
}

impl Spawner {
    fn begin() -> io::Result<Self> {
        // What a terminal sends to all of the platform's processes is the platform's to obey, which
        // lets its programs finish. In a session of its own already, it has nothing to leave.
        let _ = rustix::process::setsid();
        // What is made here inherits it, programs too. Where there is no such file, no process's
        // memory is ever dumped.
        let _ = std::fs::write("/proc/self/coredump_filter", NOTHING_IS_DUMPED);
        let platform = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(null)?;
        Ok(Self {
            alone: Alone::prove()?,
            platform,
            deaths: signals::deaths()?,
            place: PathBuf::new(),
            groups: Vec::new(),
            lock: None,
            children: Vec::new(),
        })
    }

    fn serve(&mut self) -> io::Result<Served> {
        loop {
            let mut ready = [
                PollFd::new(&self.platform, PollFlags::IN),
                PollFd::new(&self.deaths, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let spoke = !ready[0].revents().is_empty();
            if !ready[1].revents().is_empty() {
                self.reap()?;
            }
            if spoke {
                let Some((order, beside)) = receive(&self.platform)? else {
                    return Ok(Served::Ended);
                };
                match self.obey(order, beside) {
                    Ok(Obeyed::Child(socket)) => return Ok(Served::Child(socket)),
                    Ok(Obeyed::Given(given)) => {
                        send(&self.platform, &Done::Done, &[given.as_fd()])?;
                    }
                    Ok(Obeyed::Nothing) => send(&self.platform, &Done::Done, &[])?,
                    Err(failure) => send(&self.platform, &Done::Failed(failure), &[])?,
                }
            }
        }
    }

    fn obey(&mut self, order: Order, beside: Vec<OwnedFd>) -> Result<Obeyed, Failure> {
        let first = beside.into_iter().next();
        match order {
            Order::Open {
                place,
                root,
                groups,
            } => {
                self.lock = first;
                self.groups = groups;
                self.place = place;
                own_view(&self.alone)?;
                root::make(&root, &self.place)?;
                Ok(Obeyed::Nothing)
            }
            Order::Make => {
                let socket = first.ok_or(Failure {
                    what: "a sandbox was asked for without a socket".to_owned(),
                    errno: libc::EINVAL,
                })?;
                self.make(socket)
            }
            Order::Tree(path) => {
                let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
                let tree = root::tree(&path, attributes);
                tree.step(&format!("{} could not be mounted", path.display()))
                    .map(Obeyed::Given)
            }
        }
    }

    fn make(&mut self, socket: OwnedFd) -> Result<Obeyed, Failure> {
        let forked = self.alone.fork(NAMESPACES);
        match forked.step("a process with namespaces of its own could not be made")? {
            Forked::Parent { pid, pidfd } => {
                self.children.push(pid);
                Ok(Obeyed::Given(pidfd))
            }
            Forked::Child => Ok(Obeyed::Child(socket)),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        signals::drain(&self.deaths)?;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => self.children.retain(|child| *child != pid),
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Ends all that it has made, and removes the control groups.
    fn end(&mut self) {
        for child in &self.children {
            // It has died of itself, or does now.
            let _ = kill_process(*child, Signal::KILL);
        }
        while !matches!(wait(WaitOptions::empty()), Err(rustix::io::Errno::CHILD)) {}
        for folder in &self.groups {
            groups::remove(folder);
        }
    }
}

/// Leaves the host's view of the mounts; what the host mounts later is still seen.
fn own_view(alone: &Alone) -> Result<(), Failure> {
    let what = "the spawner got no namespaces of its own";
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        alone.unshare(libc::CLONE_NEWNS).step(what)?;
    } else {
        alone
            .unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
            .step(what)?;
        let maps = [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {} 1", user.as_raw())),
            ("gid_map", format!("0 {} 1", group.as_raw())),
        ];
        for (name, map) in maps {
            let path = Path::new("/proc/self").join(name);
            std::fs::write(path, map).step("the spawner could not map its user")?;
        }
    }
    let flags = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    mount_change("/", flags).step("the spawner's mounts could not be set apart")
}
