//! The system call filter of every program.
//!
//! Three filters are laid over each other, and the kernel takes the sternest answer:
//!
//! ```text
//! call ─► known? ─no──► ENOSYS, as from a kernel that is older
//!           └─yes─► denied by number or arguments? ─no──► runs
//!                                     ├ a hint ─► 0, and nothing is done
//!                                     ├─yes─► EPERM, and told
//!                                     └ drops pages, moves them, forks ─► the platform answers
//! ```
//!
//! "Told" means that the call waits for the platform, which answers and reports it (`denials`);
//! where the kernel has no such listener, it just fails. Which calls those are is in `table` and
//! `arguments`. Deliberately absent: calls of other instruction sets; the first filter ends a
//! process that makes one.

mod arguments;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use self::arguments::{
    ANSWERED_ARGUMENTS, Arguments, DENIED_ARGUMENTS, HINTS, KNOWN_ARGUMENTS, When,
};
pub(super) use self::arguments::{NEW_ANY, SAME_MEMORY};
use self::table::{ALLOWED, ALLOWED_OLD, DENIED, DENIED_OLD, UNBOUNDED};
use crate::sys;

/// Marks the answer in a compiled filter that is exchanged for one that the compiler does not know.
const MARK: u16 = 0x7573;
/// The action of a filter is the upper half of its answer; this is "trace".
const TRACE: u32 = 0x7ff0_0000;
/// And this is "ask the listener".
const ASK: u32 = 0x7fc0_0000;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Lays the filter on this thread and all that it becomes. With `ask` the descriptor is returned on
/// which denied calls arrive. With `bounded` calls that make memory of no process are unknown.
pub(super) fn load(ask: bool, bounded: bool) -> io::Result<Option<OwnedFd>> {
    let (known, denied) = compile(ask, bounded).map_err(io::Error::other)?;
    sys::filter::load(&hints().map_err(io::Error::other)?, false)?;
    sys::filter::load(&known, false)?;
    sys::filter::load(&denied, ask)
}

/// What a call is named, for a person.
pub(super) fn name(call: i32) -> String {
    let mut all = allowed().chain(denied());
    let found = all.find(|(_, number)| *number == i64::from(call));
    found.map_or_else(|| format!("number {call}"), |(name, _)| (*name).to_owned())
}

/// Names and numbers of all calls that are denied whatever their arguments.
pub(super) fn denied() -> impl Iterator<Item = &'static (&'static str, i64)> {
    DENIED.iter().chain(DENIED_OLD)
}

fn allowed() -> impl Iterator<Item = &'static (&'static str, i64)> {
    ALLOWED.iter().chain(ALLOWED_OLD)
}

fn compile(ask: bool, bounded: bool) -> Result<(BpfProgram, BpfProgram), BackendError> {
    let mut known: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, call) in allowed().chain(denied()) {
        known.insert(*call, Vec::new());
    }
    for (call, rules) in KNOWN_ARGUMENTS {
        known.insert(*call, compiled(rules)?);
    }
    if bounded {
        for call in UNBOUNDED {
            known.remove(call);
        }
    }
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let known = SeccompFilter::new(known, unknown, SeccompAction::Allow, ARCH)?;

    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, call) in denied() {
        refused.insert(*call, Vec::new());
    }
    for (call, rules) in DENIED_ARGUMENTS {
        refused.insert(*call, compiled(rules)?);
    }
    let answered = ANSWERED_ARGUMENTS.iter().filter(|_| ask);
    for (call, rules) in answered {
        refused.entry(*call).or_default().extend(compiled(rules)?);
    }
    #[cfg(target_arch = "x86_64")]
    if ask {
        refused.insert(libc::SYS_fork, Vec::new());
    }
    let deny = if ask {
        SeccompAction::Trace(MARK.into())
    } else {
        SeccompAction::Errno(libc::EPERM.cast_unsigned())
    };
    let refused = SeccompFilter::new(refused, SeccompAction::Allow, deny, ARCH)?;
    let mut refused = BpfProgram::try_from(refused)?;
    refused.iter_mut().for_each(ask_and_not_trace);
    Ok((BpfProgram::try_from(known)?, refused))
}

/// The filter that answers hints.
fn hints() -> Result<BpfProgram, BackendError> {
    let mut hints: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, rules) in HINTS {
        hints.insert(*call, compiled(rules)?);
    }
    let done = SeccompAction::Errno(0);
    let hints = SeccompFilter::new(hints, SeccompAction::Allow, done, ARCH)?;
    BpfProgram::try_from(hints)
}

fn ask_and_not_trace(instruction: &mut sock_filter) {
    if instruction.code == RETURN && instruction.k == TRACE | u32::from(MARK) {
        instruction.k = ASK;
    }
}

fn compiled(rules: &[Arguments]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |arguments: &Arguments| {
        let conditions = arguments.iter().map(|(at, when)| {
            let (operator, value) = match *when {
                When::Is(value) => (SeccompCmpOp::Eq, value),
                When::Not(value) | When::NotWhole(value) => (SeccompCmpOp::Ne, value),
                When::Bits(mask, value) => (SeccompCmpOp::MaskedEq(mask), value),
            };
            // The kernel takes all of these arguments as 32 bits, and ignores what is above.
            let length = match when {
                When::NotWhole(_) => SeccompCmpArgLen::Qword,
                _ => SeccompCmpArgLen::Dword,
            };
            SeccompCondition::new(*at, length, operator, value)
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    };
    rules.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_equals_the_list_that_the_attacks_are_made_of() {
        let list = include_str!("../../tests/sandbox/denied.txt");
        let mut listed: Vec<&str> = list.lines().collect();
        let rows = denied().map(|(name, number)| format!("{name} {number}"));
        let table: Vec<String> = rows.collect();
        let mut table: Vec<&str> = table.iter().map(String::as_str).collect();
        listed.sort_unstable();
        table.sort_unstable();
        assert_eq!(table, listed);
    }

    /// `docs/renewal.md` is the law of renewal: a call that it does not know is not allowed.
    #[test]
    fn the_law_of_renewal_names_each_allowed_call_once() {
        let law = include_str!("../../../../docs/renewal.md");
        let rows = law.lines().filter(|line| line.starts_with("| `"));
        let named = rows.flat_map(|row| {
            let calls = row.split(" | ").next().unwrap_or_default();
            calls.split('`').skip(1).step_by(2)
        });
        let mut named: Vec<&str> = named.collect();
        let mut known: Vec<&str> = allowed().map(|(name, _)| *name).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn no_call_is_both_allowed_and_denied() {
        let both = allowed().filter(|(_, call)| denied().any(|(_, other)| call == other));
        assert_eq!(both.count(), 0);
    }

    #[test]
    fn the_denying_filter_asks_where_it_would_trace() {
        let answers = |ask| {
            let (_, denied) = compile(ask, false).expect("the table compiles");
            let returns = denied.iter().filter(|it| it.code == RETURN);
            returns.map(|it| it.k & 0xffff_0000).collect::<Vec<_>>()
        };
        let errno = 0x0005_0000;
        assert!(answers(true).contains(&ASK) && !answers(true).contains(&TRACE));
        assert!(answers(false).contains(&errno) && !answers(false).contains(&ASK));
    }
}
