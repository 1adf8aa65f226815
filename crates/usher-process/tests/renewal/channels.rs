//! What each channel of the hostile programs comes to where nothing is put back. The programs
//! themselves know how it is planted and seen (`examples/hostile`).

use Kept::{Denied, Ends, Perhaps, Raced, Seen, Shut};

/// What becomes of a plant where state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The next run sees it.
    Seen,
    /// The next run sees it, or this machine has no such thing, and says so by one of these errors.
    Perhaps(&'static [&'static str]),
    /// The sandbox denies it, by one of these errors.
    Denied(&'static [&'static str]),
    /// It happens, and the platform or the sandbox keeps it from the next run in any case.
    Shut,
    /// It is a race: mostly the platform sees it in time.
    Raced,
    /// The next run is ended by it.
    Ends,
}

/// A channel of the program in C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub(crate) name: &'static str,
    /// Whether it can misuse something that was made ahead of every run.
    pub(crate) before: bool,
    pub(crate) kept: Kept,
}

/// Counters that only rise. A program that is put back in place shows them to the next run, which
/// can learn from them how much was done before, and nothing else. A new process does not.
pub(crate) const COUNTERS: [&str; 4] = [
    "process-numbers",
    "peak-memory",
    "time-used",
    "packet-count",
];

/// Channels of all hostile programs after which the platform finds what it cannot put back, and
/// replaces the program.
pub(crate) const REPLACED: [&str; 16] = [
    "text",
    "stdin-closed",
    "stdin-replaced",
    "listener-option",
    "listener-backlog",
    "child",
    "zombie",
    "grandchild",
    "detached",
    "sysv-shm",
    "sysv-message",
    "sysv-semaphore",
    "hard-limit",
    "unqueued-trap",
    "membarrier",
    "rseq",
];

/// Those that are so only where what they misuse was there ahead of every run.
pub(crate) const REPLACED_BEFORE: [&str; 4] = ["file-renamed", "socketpair", "passed", "tcp"];

/// Channels whose things, if they are there ahead of every run, keep a program from being put back:
/// shared memory, and files in memory that can still be sealed for good.
pub(crate) const NOT_RENEWABLE: [&str; 3] = ["shared", "memfd", "memfd-seals"];

/// Channels that leave nothing which the scanner sees: the program's own look is all there is.
pub(crate) const UNSCANNED: [&str; 27] = [
    "brk-shrunk",
    "rounding",
    "x87",
    "gs-base",
    "memfd-seals",
    "pipe",
    "pipe-room",
    "socketpair",
    "listener-option",
    "listener-ttl",
    "listener-backlog",
    "half-read",
    "other-handler",
    "alternate-stack",
    "itimer",
    "itimer-cpu",
    "subreaper",
    "dumpable",
    "membarrier",
    "robust-list",
    "tid-address",
    "rseq",
    "process-numbers",
    "peak-memory",
    "time-used",
    "passed",
    "huge-off",
];

const fn of(name: &'static str, before: bool, kept: Kept) -> Channel {
    Channel { name, before, kept }
}

/// All channels of the program in C.
pub(crate) const C: &[Channel] = &[
    // Memory, and how it is mapped.
    of("heap", false, Seen),
    of("freed", false, Seen),
    of("static", false, Seen),
    of("stack", false, Seen),
    of("thread-local", false, Seen),
    of("setenv", false, Seen),
    of("environ", false, Seen),
    of("brk", false, Seen),
    of("brk-shrunk", false, Seen),
    of("mmap", false, Seen),
    of("moved", true, Seen),
    of("unmapped", false, Seen),
    of("remapped", false, Seen),
    of("shut", false, Seen),
    of("guard", false, Denied(&["ENOSYS"])),
    of("cold-for-hot", false, Seen),
    of("lazily-freed", false, Seen),
    of("shared", true, Seen),
    of("memfd-map", false, Seen),
    of("growsdown", false, Seen),
    of("mlock", false, Seen),
    of("mlockall", false, Denied(&["EPERM"])),
    of("dont-fork", false, Shut),
    of("wipe-on-fork", false, Denied(&["ENOSYS"])),
    of("map-name", false, Denied(&["ENOSYS"])),
    of("mseal", false, Denied(&["ENOSYS"])),
    of("text", false, Seen),
    of("text-forced", false, Denied(&["EROFS", "EACCES"])),
    // Registers.
    of("xmm", false, Seen),
    of("ymm", false, Perhaps(&["ENOSYS"])),
    of("rounding", false, Seen),
    of("x87", false, Seen),
    of("gs-base", false, Seen),
    of("parked", true, Denied(&["ENOENT"])),
    of("thread", false, Seen),
    of("writing-thread", false, Seen),
    // Files, and descriptors of them.
    of("file-content", true, Seen),
    of("file-grown", true, Seen),
    of("file-offset", true, Seen),
    of("file-append", true, Seen),
    of("file-lock", true, Seen),
    of("record-lock", true, Seen),
    of("xattr", true, Seen),
    of("file-mode", true, Seen),
    of("file-time", true, Seen),
    of("file-renamed", true, Seen),
    of("tmp-file", false, Seen),
    of("posix-shm", false, Seen),
    of("own-folder", false, Denied(&["EROFS"])),
    of("tmp-folder", false, Seen),
    of("tmp-link", false, Seen),
    of("unlinked", false, Seen),
    of("descriptor", false, Seen),
    of("stdin-closed", false, Seen),
    of("stdin-replaced", false, Seen),
    of("close-on-exec", false, Seen),
    of("output-flags", false, Seen),
    of("memfd", true, Seen),
    of("memfd-seals", true, Seen),
    // What only a descriptor names.
    of("pipe", true, Seen),
    of("pipe-room", true, Seen),
    of("socketpair", true, Seen),
    of("passed", true, Seen),
    of("tcp", true, Seen),
    of("datagram", true, Seen),
    of("backlog", true, Seen),
    of("own-backlog", false, Seen),
    of("listener-option", false, Seen),
    of("listener-ttl", false, Seen),
    of("listener-flags", false, Seen),
    of("listener-backlog", false, Seen),
    of("abstract-name", false, Seen),
    of("eventfd", true, Seen),
    of("timerfd", true, Seen),
    of("epoll", true, Seen),
    of("inotify", false, Seen),
    of("signalfd", false, Seen),
    of("half-read", false, Seen),
    // Signals and timers.
    of("handler", false, Seen),
    of("other-handler", false, Seen),
    of("ignored", false, Seen),
    of("blocked", false, Seen),
    of("pending", false, Seen),
    of("thread-pending", false, Seen),
    of("unqueued", true, Seen),
    of("unqueued-trap", true, Seen),
    of("alternate-stack", false, Seen),
    of("itimer", false, Seen),
    of("itimer-cpu", false, Seen),
    of("alarm", false, Ends),
    of("posix-timer", false, Seen),
    of("timer-signal", false, Seen),
    // The process, other processes, and what processes share.
    of("child", false, Seen),
    of("zombie", false, Seen),
    of("grandchild", false, Seen),
    of("sysv-shm", false, Seen),
    of("sysv-message", false, Seen),
    of("sysv-semaphore", false, Seen),
    of("posix-queue", false, Denied(&["EPERM"])),
    of("cwd", false, Seen),
    of("umask", false, Seen),
    of("limit", false, Seen),
    of("hard-limit", false, Seen),
    of("name", false, Seen),
    of("affinity", false, Seen),
    of("nice", false, Seen),
    of("policy", false, Denied(&["EPERM"])),
    of("io-class", false, Denied(&["EPERM"])),
    of("memory-policy", false, Denied(&["EPERM"])),
    of("session", false, Denied(&["EPERM"])),
    of("timer-slack", false, Denied(&["EPERM"])),
    of("subreaper", false, Seen),
    of("death-signal", false, Shut),
    of("dumpable", false, Seen),
    of("keep-rights", false, Denied(&["EPERM"])),
    of("huge-off", false, Seen),
    of(
        "speculation",
        false,
        Perhaps(&["ENXIO", "ENODEV", "EPERM", "EINVAL"]),
    ),
    of("branches-free", false, Denied(&["EPERM"])),
    of("branches-bound", false, Denied(&["EPERM"])),
    of("merging", false, Denied(&["EPERM"])),
    of("time-counter", false, Denied(&["EPERM"])),
    of("membarrier", false, Seen),
    of("robust-list", false, Seen),
    of("tid-address", false, Seen),
    of("rseq", false, Seen),
    of("pkey", false, Denied(&["ENOSYS"])),
    // What the sandbox is to deny, and counters.
    of("personality", false, Denied(&["EPERM"])),
    of("oom-score", false, Denied(&["EROFS", "EACCES"])),
    of("seccomp-prctl", false, Denied(&["EPERM"])),
    of("seccomp", false, Denied(&["EPERM"])),
    of("ptrace", false, Denied(&["EPERM"])),
    of("io-uring", false, Denied(&["EPERM"])),
    of("userfaultfd", false, Denied(&["EPERM"])),
    of("keyring", false, Denied(&["EPERM"])),
    of("unshare", false, Denied(&["EPERM"])),
    of("ldt", false, Denied(&["EPERM"])),
    of("landlock", false, Denied(&["EPERM"])),
    of("dispatch", false, Denied(&["EPERM"])),
    of("no-new-code", false, Denied(&["EPERM"])),
    of("memfd-secret", false, Denied(&["EPERM"])),
    of("process-numbers", false, Seen),
    of("peak-memory", false, Seen),
    of("time-used", false, Seen),
    of("packet-count", false, Shut),
    // Replies, and output.
    of("late-reply", false, Raced),
    of("late-bytes", false, Raced),
    of("smuggled", false, Raced),
    of("output", false, Shut),
];

/// What a channel of a program that tells its channels itself comes to.
pub(crate) fn kept_of_told(name: &str) -> Kept {
    match name {
        "own-code" => Denied(&["EROFS", "EACCES"]),
        _ => Seen,
    }
}

impl Channel {
    /// What it comes to where what it misuses was, or was not, there ahead of every run.
    pub(crate) fn kept(&self, before: bool) -> Kept {
        match self.name {
            // Without the thread there is nothing to plant in.
            "parked" if before => Seen,
            _ => self.kept,
        }
    }

    /// With and without what it misuses.
    pub(crate) fn ways(&self) -> &'static [bool] {
        match self.before {
            true => &[false, true],
            false => &[false],
        }
    }
}
