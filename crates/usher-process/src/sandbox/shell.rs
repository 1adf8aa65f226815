//! Shells: sandboxes in which nothing has run yet, and the hold on a sandbox that ends all of it.
//!
//! ```text
//! forked by the spawner → in its group → Settle → Shell ─launch→ Program
//!                  └── from here on dropping the hold ends it: killed, waited for, removed
//! ```

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::sync::watch;

use super::channel::Channel;
use super::errors::{LaunchError, ShellError};
use super::groups::{Group, Resource};
use super::handle::{Gone, Handle};
use super::means::Modes;
use super::wire::{self, Note, Order, Settle, Task};
use super::{Inner, Launch, Program, program};
use crate::cause::chain;
use crate::restored::HookEnd;
use crate::restored::page::Page;
use crate::sys::ready::awaited;

/// How often an empty group's removal is tried, and how long between two tries.
const REMOVE_TRIES_MAX: u32 = 100;
const REMOVE_PAUSE_MS: u64 = 10;
/// How long a shell may take.
const SHELL_WAIT_MAX_MS: u64 = 10_000;
/// Sandboxes that can exist at once: each has a user of its own.
const SLOTS_MAX: u32 = 1 << 16;
/// The first of the users that programs have; above those that containers are given by custom.
const USERS_FROM: u32 = 0x7000_0000;
/// Users that the instance chooses among, so that two platforms of one machine differ.
const USERS_SPREAD: u32 = 1 << 12;

/// A sandbox in which nothing has run yet. Dropping it gives everything back.
#[derive(Debug)]
pub struct Shell {
    pub(super) hold: Hold,
    pub(super) channel: Channel,
    pub(super) api: Option<TcpListener>,
    pub(super) proxy: Option<TcpListener>,
    /// The process that will become the program.
    pub(super) seed: Option<OwnedFd>,
    /// Where denied calls arrive.
    pub(super) calls: Option<OwnedFd>,
    /// What the program gets at the hook's descriptor.
    pub(super) hook: Option<OwnedFd>,
    /// Where the program reads which generation it is of.
    pub(super) page: Option<Page>,
}

impl Shell {
    pub(super) async fn make(inner: &Arc<Inner>, modes: Modes) -> Result<Self, ShellError> {
        let wait = Duration::from_millis(SHELL_WAIT_MAX_MS);
        match tokio::time::timeout(wait, Self::made(inner, modes)).await {
            Ok(made) => made,
            Err(_) => Err(ShellError::TooLate(SHELL_WAIT_MAX_MS)),
        }
    }

    async fn made(inner: &Arc<Inner>, modes: Modes) -> Result<Self, ShellError> {
        let slot = Slot::take(inner)?;
        let (here, there) = wire::pair().map_err(ShellError::Socket)?;
        let channel = Channel::new(here).map_err(ShellError::Socket)?;
        let pidfd = inner.ask(Order::Make, Some(there)).await?;
        let pidfd = pidfd.ok_or(ShellError::Step("the process is missing".to_owned()))?;
        let pid = pid_of(&pidfd).map_err(ShellError::Socket)?;
        let settle = Settle {
            user_namespace: modes.user_namespace,
            user: inner.user(slot.number, modes),
            keeper: if modes.root { USERS_FROM - 1 } else { 0 },
            notify: modes.notify,
            landlock: modes.landlock,
            speculation: inner.speculation.guard(),
            watch_memory: !modes.bounds(&inner.groups, Resource::Memory),
        };
        // From here to the hold nothing waits, so that no group is left by one who gives up.
        let group = if modes.groups {
            inner.groups.group(slot.number).map_err(ShellError::Group)?
        } else {
            Group::default()
        };
        let hold = Hold::new(slot, group, pidfd);
        hold.group().put(pid).map_err(ShellError::Group)?;
        let settled = channel.send(&Task::Settle(settle), &[]).await;
        settled.map_err(ShellError::Socket)?;
        match channel.receive().await.map_err(ShellError::Socket)? {
            Some((Note::Settled { page }, beside)) => {
                let mut beside = beside.into_iter();
                let mut listener = || beside.next().map(TcpListener::from);
                let (api, proxy) = (listener(), listener());
                let seed = beside.next();
                let page = page.then(|| beside.next()).flatten().map(Page::of);
                // So that zeros never mean a generation.
                let turned = page.as_ref().map_or(Ok(()), Page::turn);
                turned.map_err(|error| ShellError::Step(chain(&error)))?;
                Ok(Self {
                    hold,
                    channel,
                    api,
                    proxy,
                    seed,
                    calls: beside.next(),
                    hook: None,
                    page,
                })
            }
            Some((Note::Failed(failure), _)) => Err(failure.into()),
            _ => Err(ShellError::Step("its first process ended".to_owned())),
        }
    }

    /// The listener at `127.0.0.1:9001` inside, for the Lambda Runtime API; once. It does not
    /// block. If it is not taken, it is closed at launch.
    pub fn take_api_listener(&mut self) -> Option<TcpListener> {
        self.api.take()
    }

    /// The listener at `127.0.0.1:9002` inside, for a proxy to the outside; once. It does not
    /// block. If it is not taken, it is closed at launch.
    pub fn take_proxy_listener(&mut self) -> Option<TcpListener> {
        self.proxy.take()
    }

    /// Has the program get the socket of the restored hook. The variables that tell it so are not
    /// set by this: [`crate::restored::restored_environment`] does that.
    pub fn give_hook(&mut self, end: HookEnd) {
        self.hook = Some(end.into_descriptor());
    }

    /// The process that will become the program: confined, and waiting.
    pub(crate) fn seed(&self) -> io::Result<Pid> {
        let missing = || io::Error::from_raw_os_error(libc::ESRCH);
        let pid = pid_of(self.seed.as_ref().ok_or_else(missing)?)?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(missing)
    }

    /// Runs a program in it.
    ///
    /// # Errors
    ///
    /// If the folder, the command or the bounds are not such; if the program cannot be executed; if
    /// the sandbox has gone. The sandbox is gone in each case.
    pub async fn launch(self, launch: Launch) -> Result<Program, LaunchError> {
        program::launch(self, launch).await
    }

    /// Whether its first process still lives, as far as is known.
    pub(super) fn lives(&self) -> bool {
        self.hold.lives()
    }
}

impl Inner {
    /// Asks the spawner; starts it again if it has gone.
    pub(super) async fn ask(
        &self,
        order: Order,
        beside: Option<OwnedFd>,
    ) -> Result<Option<OwnedFd>, ShellError> {
        if self.counts.borrow().closed {
            return Err(ShellError::Closed);
        }
        let handle = {
            let mut spawner = self.spawner.lock().await;
            match &*spawner {
                Some(handle) if !handle.is_gone() => handle.clone(),
                _ => {
                    let groups = self.groups.folders();
                    let started = Handle::start(&self.options, &self.state, &groups).await;
                    let started = started.map_err(|error| ShellError::Spawner(Box::new(error)))?;
                    spawner.insert(started).clone()
                }
            }
        };
        match handle.ask(order, beside).await {
            Ok(answer) => Ok(answer?),
            Err(Gone) => Err(ShellError::Step("the spawner was killed".to_owned())),
        }
    }

    /// The user of the sandbox in `slot`, as the spawner sees it.
    fn user(&self, slot: u32, modes: Modes) -> u32 {
        if modes.root {
            USERS_FROM + (modes.instance % USERS_SPREAD) * SLOTS_MAX + slot
        } else {
            0
        }
    }
}

/// A number that no other sandbox of this platform has.
#[derive(Debug)]
pub(super) struct Slot {
    inner: Arc<Inner>,
    number: u32,
}

impl Slot {
    fn take(inner: &Arc<Inner>) -> Result<Self, ShellError> {
        if inner.counts.borrow().closed {
            return Err(ShellError::Closed);
        }
        let mut slots = inner.slots.lock();
        let free = (0..SLOTS_MAX).find(|number| !slots.contains(number));
        let number = free.ok_or(ShellError::TooMany(SLOTS_MAX))?;
        slots.insert(number);
        drop(slots);
        inner.counts.send_modify(|counts| counts.sandboxes += 1);
        Ok(Self {
            inner: Arc::clone(inner),
            number,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.inner.slots.lock().remove(&self.number);
        (self.inner.counts).send_modify(|counts| counts.sandboxes -= 1);
    }
}

/// A sandbox's first process; dropping this ends it, and with it all that is in the sandbox.
#[derive(Debug)]
pub(super) struct Hold {
    held: Arc<Held>,
    gone: watch::Sender<bool>,
}

#[derive(Debug)]
struct Held {
    slot: Slot,
    group: Group,
    pidfd: OwnedFd,
    /// A program was launched, and counts.
    counts: AtomicBool,
}

impl Hold {
    fn new(slot: Slot, group: Group, pidfd: OwnedFd) -> Self {
        let held = Held {
            slot,
            group,
            pidfd,
            counts: AtomicBool::new(false),
        };
        Self {
            held: Arc::new(held),
            gone: watch::Sender::new(false),
        }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.held.slot.inner
    }

    /// The sandbox's first process.
    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.held.pidfd
    }

    pub(super) fn group(&self) -> &Group {
        &self.held.group
    }

    /// Counts as a program from now on.
    pub(super) fn count(&self) {
        if !self.held.counts.swap(true, Ordering::Relaxed) {
            (self.inner().counts).send_modify(|counts| counts.programs += 1);
        }
    }

    /// True once nothing of the sandbox is left.
    pub(super) fn gone(&self) -> watch::Receiver<bool> {
        self.gone.subscribe()
    }

    /// Ends all that is in the sandbox.
    pub(super) fn end(&self) {
        // One that has ended already needs no signal.
        let _ = pidfd_send_signal(&self.held.pidfd, Signal::KILL);
    }

    fn lives(&self) -> bool {
        let mut state = [PollFd::new(&self.held.pidfd, PollFlags::IN)];
        poll(&mut state, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end();
        let held = Arc::clone(&self.held);
        let gone = self.gone.clone();
        let runtime = self.inner().runtime.clone();
        runtime.spawn(async move {
            held.clear_away().await;
            drop(held);
            gone.send_replace(true);
        });
    }
}

impl Held {
    /// Waits for the end of all processes, and removes the group.
    async fn clear_away(&self) {
        let pidfd = self.pidfd.try_clone();
        let ended = pidfd.and_then(|fd| awaited(fd, Interest::READABLE));
        if let Ok(ended) = ended {
            // The kernel ends and reaps all others of the sandbox before this one counts as ended.
            let _ = ended.readable().await;
        }
        for _ in 0..REMOVE_TRIES_MAX {
            match self.group.remove() {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    // The kernel takes the last process out of its group a little later.
                    tokio::time::sleep(Duration::from_millis(REMOVE_PAUSE_MS)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a control group could not be removed");
                    break;
                }
                Ok(()) => break,
            }
        }
        if self.counts.load(Ordering::Relaxed) {
            (self.slot.inner.counts).send_modify(|counts| counts.programs -= 1);
        }
    }
}

/// The process that `pidfd` names, as this process sees it.
pub(super) fn pid_of(pidfd: &OwnedFd) -> io::Result<u32> {
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = told.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = pid.and_then(|pid| pid.trim().parse().ok());
    pid.ok_or_else(|| io::Error::other("the process has ended"))
}
