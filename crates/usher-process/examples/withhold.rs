//! Runs a command on a machine that permits less: `withhold WHAT… -- COMMAND…`, for the tests.
//!
//! What is withheld fails for the command and all that it starts, as on a kernel that lacks it or
//! denies it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// `CLONE_NEWUSER`
const NEW_USERS: u64 = 0x1000_0000;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
const NEW_LISTENER: u64 = 8;
/// `PR_SET_SPECULATION_CTRL`
const SET_SPECULATION: u64 = 53;
/// `PAGEMAP_SCAN`
const PAGE_SCAN: u64 = 0xc060_6610;
/// `PROCMAP_QUERY`
const ONE_MAPPING: u64 = 0xc068_6611;

/// Calls that fail if these rules hold, or always if there are none.
type Calls = BTreeMap<i64, Vec<SeccompRule>>;

fn main() {
    let mut args = std::env::args().skip(1);
    for what in args.by_ref().take_while(|word| word != "--") {
        withhold(&what);
    }
    let command = args.next().unwrap();
    let error = Command::new(command).args(args).exec();
    panic!("{error}");
}

/// Takes something away from this process and all that it becomes.
fn withhold(what: &str) {
    let (calls, errno) = calls(what);
    let denied = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, denied, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn calls(what: &str) -> (Calls, i32) {
    let all = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect();
    let some = |call: i64, at: u8, value: u64| {
        Calls::from([(call, vec![rule(at, SeccompCmpOp::Eq, value)])])
    };
    match what {
        "users" => {
            let users = || vec![rule(0, SeccompCmpOp::MaskedEq(NEW_USERS), NEW_USERS)];
            let calls = [libc::SYS_clone, libc::SYS_unshare];
            (calls.map(|call| (call, users())).into(), libc::EPERM)
        }
        "filters" => (all(&[libc::SYS_seccomp]), libc::EPERM),
        "listeners" => (some(libc::SYS_seccomp, 1, NEW_LISTENER), libc::EINVAL),
        "landlock" => {
            let calls = [
                libc::SYS_landlock_create_ruleset,
                libc::SYS_landlock_add_rule,
                libc::SYS_landlock_restrict_self,
            ];
            (all(&calls), libc::ENOSYS)
        }
        "tracing" => (all(&[libc::SYS_ptrace]), libc::EPERM),
        "page-scan" => (some(libc::SYS_ioctl, 1, PAGE_SCAN), libc::ENOTTY),
        "one-mapping" => (some(libc::SYS_ioctl, 1, ONE_MAPPING), libc::ENOTTY),
        "comparing" => (all(&[libc::SYS_kcmp]), libc::ENOSYS),
        "holding" => (all(&[libc::SYS_pidfd_getfd]), libc::EPERM),
        // Both ways in which changed memory is found begin with a memory file of ours.
        "images" => (all(&[libc::SYS_memfd_create]), libc::ENOSYS),
        // Answered as if it were done.
        "branches" => (some(libc::SYS_prctl, 0, SET_SPECULATION), 0),
        other => panic!("{other} cannot be withheld"),
    }
}

fn rule(at: u8, operator: SeccompCmpOp, value: u64) -> SeccompRule {
    let condition = SeccompCondition::new(at, SeccompCmpArgLen::Dword, operator, value);
    SeccompRule::new(vec![condition.unwrap()]).unwrap()
}
