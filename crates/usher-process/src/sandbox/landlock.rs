//! Landlock over the mounts: writing is for scratch, shared memory and a few devices only.
//!
//! A second fence: what it forbids is forbidden by the read-only mounts and the namespaces already.
//! Deliberately absent: network rules, as the network namespace has nowhere to go.

use std::io;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

/// The newest rules that are used where the kernel has them.
const RULES: ABI = ABI::V6;
/// Where a program may write.
const WRITABLE: [&str; 2] = ["/tmp", "/dev/shm"];
/// Devices that it may write to.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];

/// Restricts this thread and all that it becomes.
///
/// # Errors
///
/// If the kernel has no Landlock, or it is switched off.
pub(super) fn restrict() -> io::Result<()> {
    let status = enforce()?;
    if status == RulesetStatus::NotEnforced {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    Ok(())
}

fn enforce() -> io::Result<RulesetStatus> {
    let read = AccessFs::from_read(RULES);
    let device = AccessFs::WriteFile | AccessFs::ReadFile | AccessFs::IoctlDev;
    let failed = |error: RulesetError| io::Error::other(error);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))
        .and_then(|rules| rules.scope(Scope::from_all(RULES)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let all = AccessFs::from_all(RULES) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let readable = [("/", read)].into_iter();
    let writable = WRITABLE.iter().map(|place| (*place, all));
    let devices = DEVICES.iter().map(|place| (*place, device));
    for (place, access) in readable.chain(writable).chain(devices) {
        let rule = PathBeneath::new(open(place)?, access);
        rules = rules.add_rule(rule).map_err(failed)?;
    }
    Ok(rules.restrict_self().map_err(failed)?.ruleset)
}

fn open(path: &str) -> io::Result<PathFd> {
    PathFd::new(path).map_err(io::Error::other)
}
