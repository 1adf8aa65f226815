//! What the kernel keeps once for the whole program: its folder, the mask of new files, limits, and
//! what `prctl` and its like have set.
//!
//! ```text
//! set each time, as asking costs as much:  mask of new files, dumpable, subreaper, huge pages,
//!                                          locked memory (none)
//! looked at, and set if another:           the folder, limits
//! looked at, and the program replaced:     registrations of membarrier, permitted registers
//! ```
//!
//! Deliberately absent: what is kept for each thread (`threads`).

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::Stat;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::renewal::stopped::{Agent, Answers, Batch, Call, Expect, Pointer, Stopped};
use crate::sys::handles::limit;

use super::errors::{About as _, Difference, Leftover, TakeError, same};
use super::proc::{Proc, Text, field};

/// All limits there are.
const LIMITS: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];
/// `MEMBARRIER_CMD_GET_REGISTRATIONS`
const REGISTRATIONS: u64 = 512;
/// `ARCH_GET_XCOMP_PERM`: which large registers the program may use.
#[cfg(target_arch = "x86_64")]
const PERMITTED: Option<(i64, u64)> = Some((libc::SYS_arch_prctl, 0x1022));
#[cfg(not(target_arch = "x86_64"))]
const PERMITTED: Option<(i64, u64)> = None;
/// Lines of a program's status that an audit compares.
const STATUS: [&str; 12] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "VmLck",
    "ShdPnd",
    "SigIgn",
    "SigCgt",
    "CapPrm",
    "NoNewPrivs",
    "Seccomp",
    "THP_enabled",
];

/// What was so at the snapshot.
#[derive(Debug)]
pub(super) struct Process {
    folder: (u64, u64),
    path: CString,
    mask: u64,
    limits: Vec<Rlimit>,
    /// The limits as `/proc` tells them, all at once.
    limits_told: (Text, String),
    flags: Flags,
    locks_memory: bool,
    status: Vec<Option<String>>,
    asked: Option<Asked>,
    moved: bool,
}

/// What only the program itself can ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Flags {
    dumpable: i64,
    no_huge_pages: i64,
    subreaper: [u8; 4],
    registrations: i64,
    permitted: [u8; 8],
}

/// Places of what has to be looked at among the answers.
#[derive(Clone, Copy, Debug)]
struct Asked {
    registrations: usize,
    permitted: Option<Pointer>,
    /// None if it was set.
    dumpable: Option<usize>,
}

impl Process {
    pub(super) fn take(
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<Self, TakeError> {
        let path = proc.link("cwd").taking("the folder")?;
        let about = proc.behind("cwd").taking("the folder")?;
        if about.st_nlink == 0 {
            return Err(TakeError::State("is in a folder that is gone".to_owned()));
        }
        let path = CString::new(path.as_os_str().as_bytes()).map_err(std::io::Error::other);
        let status = proc.text("status").taking("the status")?;
        let mask = field(&status, "Umask").and_then(|mask| u64::from_str_radix(mask, 8).ok());
        let mask = mask.ok_or_else(|| TakeError::State("does not tell its mask".to_owned()))?;
        let limits_told = proc.file("limits").taking("the limits")?;
        let limits_told = (limits_told.read()).map(|text| (limits_told, text));
        let limits_told = limits_told.taking("the limits")?;
        let limits = LIMITS.map(|which| limit(proc.pid(), which));
        let limits: Result<Vec<_>, _> = limits.into_iter().collect();
        Ok(Self {
            folder: identity(&about),
            path: path.taking("the folder")?,
            mask,
            limits: limits.taking("the limits")?,
            limits_told,
            flags: flags(stopped, agent)?,
            locks_memory: field(&status, "VmLck").is_some_and(|locked| locked != "0 kB"),
            status: told(&status),
            asked: None,
            moved: false,
        })
    }

    pub(super) fn plan(&mut self, proc: &Proc, batch: &mut Batch) -> Result<(), Leftover> {
        self.put_limits(proc)?;
        let about = proc.behind("cwd").putting("the folder")?;
        self.moved = identity(&about) != self.folder;
        if self.moved {
            let path = batch.bytes(self.path.as_bytes_with_nul())?;
            batch.call(Call::new(libc::SYS_chdir, [path.into()]), Expect::Value(0));
        }
        batch.call(Call::new(libc::SYS_umask, [self.mask.into()]), Expect::Ok);
        if self.locks_memory {
            let status = proc.text("status").putting("the status")?;
            let locked = self.status_of("VmLck");
            if field(&status, "VmLck") != locked {
                return Err(Leftover::State("other memory is locked"));
            }
        } else {
            batch.call(Call::new(libc::SYS_munlockall, []), Expect::Value(0));
        }
        self.asked = Some(self.set_flags(batch)?);
        Ok(())
    }

    /// One text is read sooner than sixteen limits are set.
    fn put_limits(&self, proc: &Proc) -> Result<(), Leftover> {
        let (told, then) = &self.limits_told;
        if told.read().putting("the limits")? == *then {
            return Ok(());
        }
        for (limit, value) in LIMITS.iter().zip(&self.limits) {
            match prlimit(Some(proc.pid()), *limit, *value) {
                // Only a platform with the capability may raise what a program has lowered.
                Err(rustix::io::Errno::PERM) => {
                    return Err(Leftover::State("a limit was lowered for good"));
                }
                other => other.putting("a limit")?,
            };
        }
        Ok(())
    }

    fn set_flags(&self, batch: &mut Batch) -> Result<Asked, Leftover> {
        self.flags.plan(batch);
        let dumpable = (!self.flags.sets_dumpable()).then(|| {
            let ask = Call::new(libc::SYS_prctl, [libc::PR_GET_DUMPABLE.into()]);
            batch.call(ask, Expect::Any)
        });
        let ask = [REGISTRATIONS.into()];
        let registrations = batch.call(Call::new(libc::SYS_membarrier, ask), Expect::Any);
        let permitted = match PERMITTED {
            None => None,
            Some((number, option)) => {
                let place = batch.space(8)?;
                let ask = [option.into(), place.into()];
                batch.call(Call::new(number, ask), Expect::Any);
                Some(place)
            }
        };
        Ok(Asked {
            registrations,
            permitted,
            dumpable,
        })
    }

    pub(super) fn done(&self, proc: &Proc, answers: &Answers) -> Result<(), Leftover> {
        let Some(asked) = self.asked else {
            return Err(Leftover::State("nothing was planned for the process"));
        };
        let is = |place, value| answers.value(place) == Some(value);
        if !is(asked.registrations, self.flags.registrations) {
            return Err(Leftover::State("a registration of membarrier was made"));
        }
        let dumpable = asked.dumpable;
        if dumpable.is_some_and(|place| !is(place, self.flags.dumpable)) {
            return Err(Leftover::State("whether it may be dumped has changed"));
        }
        if asked
            .permitted
            .is_some_and(|at| answers.bytes(at) != self.flags.permitted)
        {
            return Err(Leftover::State("the use of large registers was permitted"));
        }
        if self.moved {
            let about = proc.behind("cwd").putting("the folder")?;
            if identity(&about) != self.folder {
                return Err(Leftover::State(
                    "the folder is another one by the same name",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn compare(
        &self,
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<(), Difference> {
        let status = proc.text("status").comparing("status")?;
        let status = told(&status);
        for ((line, then), now) in STATUS.iter().zip(&self.status).zip(&status) {
            same(line, then, now)?;
        }
        let limits = proc.text("limits").comparing("limits")?;
        same("limits", &self.limits_told.1, &limits)?;
        let path = proc.link("cwd").comparing("folder")?;
        let path = path.as_os_str().as_bytes();
        same("folder", &self.path.as_bytes(), &path)?;
        match flags(stopped, agent) {
            Ok(now) => same("flags", &self.flags, &now),
            Err(TakeError::Inject(error)) => Err(error.into()),
            Err(other) => Err(Difference::Found {
                piece: "flags",
                what: other.to_string(),
            }),
        }
    }

    /// What another process is given to be like this one; an error says why it cannot be.
    pub(super) fn settings(&self) -> Result<Settings, &'static str> {
        if self.locks_memory {
            return Err("has locked memory");
        }
        if self.flags.registrations > 0 {
            return Err("has registered for membarrier");
        }
        Ok(Settings {
            path: self.path.clone(),
            mask: self.mask,
            limits: self.limits.clone(),
            flags: self.flags,
        })
    }

    fn status_of(&self, line: &str) -> Option<&str> {
        let at = STATUS.iter().position(|known| *known == line)?;
        self.status.get(at)?.as_deref()
    }
}

impl Flags {
    /// What else the kernel has chosen cannot be set again, only asked for.
    fn sets_dumpable(&self) -> bool {
        matches!(self.dumpable, 0 | 1)
    }

    /// Appends the calls that set them.
    fn plan(&self, batch: &mut Batch) {
        let mut prctl = |option: i32, value: i64| {
            let set = [option.into(), value.into()];
            batch.call(Call::new(libc::SYS_prctl, set), Expect::Value(0))
        };
        if self.sets_dumpable() {
            prctl(libc::PR_SET_DUMPABLE, self.dumpable);
        }
        prctl(libc::PR_SET_THP_DISABLE, self.no_huge_pages.max(0));
        let subreaper = i32::from_ne_bytes(self.subreaper);
        prctl(libc::PR_SET_CHILD_SUBREAPER, subreaper.into());
    }
}

/// What a process is given that is to be like another one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    path: CString,
    mask: u64,
    limits: Vec<Rlimit>,
    flags: Flags,
}

impl Settings {
    /// Appends the calls that the process makes itself.
    pub(super) fn plan(&self, batch: &mut Batch) -> Result<(), Leftover> {
        let path = batch.bytes(self.path.as_bytes_with_nul())?;
        batch.call(Call::new(libc::SYS_chdir, [path.into()]), Expect::Value(0));
        batch.call(Call::new(libc::SYS_umask, [self.mask.into()]), Expect::Ok);
        self.flags.plan(batch);
        Ok(())
    }

    /// Sets the rest from outside.
    pub(super) fn put(&self, pid: Pid) -> Result<(), Leftover> {
        for (which, then) in LIMITS.iter().zip(&self.limits) {
            if limit(pid, *which).putting("a limit")? != *then {
                prlimit(Some(pid), *which, *then).putting("a limit")?;
            }
        }
        Ok(())
    }
}

fn identity(about: &Stat) -> (u64, u64) {
    (about.st_dev, about.st_ino)
}

fn told(status: &str) -> Vec<Option<String>> {
    let lines = STATUS.iter().map(|line| field(status, line));
    lines.map(|value| value.map(str::to_owned)).collect()
}

fn flags(stopped: &mut Stopped, agent: &Agent) -> Result<Flags, TakeError> {
    let mut batch = Batch::new();
    let ask = |batch: &mut Batch, option: i32| {
        batch.call(Call::new(libc::SYS_prctl, [option.into()]), Expect::Any)
    };
    let dumpable = ask(&mut batch, libc::PR_GET_DUMPABLE);
    let no_huge_pages = ask(&mut batch, libc::PR_GET_THP_DISABLE);
    let subreaper = batch.space(4)?;
    let question = [libc::PR_GET_CHILD_SUBREAPER.into(), subreaper.into()];
    batch.call(Call::new(libc::SYS_prctl, question), Expect::Value(0));
    let question = Call::new(libc::SYS_membarrier, [REGISTRATIONS.into()]);
    let registrations = batch.call(question, Expect::Any);
    let permitted = batch.space(8)?;
    if let Some((number, option)) = PERMITTED {
        let question = [option.into(), permitted.into()];
        batch.call(Call::new(number, question), Expect::Any);
    }
    let answers = stopped.run(agent, &batch)?;
    let value = |place| answers.value(place).unwrap_or(i64::MIN);
    Ok(Flags {
        dumpable: value(dumpable),
        no_huge_pages: value(no_huge_pages),
        subreaper: answers.bytes(subreaper).try_into().unwrap_or_default(),
        registrations: value(registrations),
        permitted: answers.bytes(permitted).try_into().unwrap_or_default(),
    })
}
