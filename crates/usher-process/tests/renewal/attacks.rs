
use usher_core::function::Isolation;
use crate::rig::*;
const C: &[(&str, bool)] = &[("heap",false),("freed",false),("static",false),("stack",false),("thread-local",false),("setenv",false),("environ",false),("brk",false),("brk-shrunk",false),("mmap",false),("moved",true),("unmapped",false),("remapped",false),("shut",false),("guard",false),("cold-for-hot",false),("lazily-freed",false),("shared",true),("memfd-map",false),("growsdown",false),("mlock",false),("mlockall",false),("dont-fork",false),("wipe-on-fork",false),("map-name",false),("mseal",false),("text",false),("text-forced",false),("xmm",false),("ymm",false),("rounding",false),("x87",false),("gs-base",false),("parked",true),("thread",false),("file-content",true),("file-grown",true),("file-offset",true),("file-append",true),("file-lock",true),("record-lock",true),("xattr",true),("file-mode",true),("file-time",true),("file-renamed",true),("tmp-file",false),("posix-shm",false),("own-folder",false),("tmp-folder",false),("tmp-link",false),("unlinked",false),("descriptor",false),("stdin-closed",false),("stdin-replaced",false),("close-on-exec",false),("output-flags",false),("memfd",true),("memfd-seals",true),("pipe",true),("pipe-room",true),("socketpair",true),("passed",true),("tcp",true),("backlog",true),("own-backlog",false),("listener-option",false),("listener-ttl",false),("listener-flags",false),("listener-backlog",false),("abstract-name",false),("eventfd",true),("timerfd",true),("epoll",true),("inotify",false),("signalfd",false),("half-read",false),("handler",false),("other-handler",false),("ignored",false),("blocked",false),("pending",false),("thread-pending",false),("alternate-stack",false),("itimer",false),("itimer-cpu",false),("alarm",false),("posix-timer",false),("timer-signal",false),("child",false),("zombie",false),("grandchild",false),("sysv-shm",false),("sysv-message",false),("sysv-semaphore",false),("posix-queue",false),("cwd",false),("umask",false),("limit",false),("hard-limit",false),("name",false),("affinity",false),("nice",false),("policy",false),("io-class",false),("memory-policy",false),("session",false),("timer-slack",false),("subreaper",false),("death-signal",false),("dumpable",false),("keep-rights",false),("huge-off",false),("speculation",false),("merging",false),("time-counter",false),("membarrier",false),("robust-list",false),("tid-address",false),("rseq",false),("pkey",false),("personality",false),("oom-score",false),("seccomp-prctl",false),("seccomp",false),("ptrace",false),("io-uring",false),("userfaultfd",false),("keyring",false),("unshare",false),("ldt",false),("landlock",false),("dispatch",false),("no-new-code",false),("memfd-secret",false),("process-numbers",false),("peak-memory",false),("time-used",false),("packet-count",false),("late-reply",false),("late-bytes",false),("smuggled",false),("output",false)];
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing() {
    let rig = Rig::new();
    let mut chance = Chance::new();
    for guest in [Guest::C, Guest::Python, Guest::Node] {
        let image = rig.hostile(guest, Isolation::None, "").await;
        let names: Vec<(String, bool)> = if guest == Guest::C { C.iter().map(|(n,b)| (n.to_string(), *b)).collect() } else {
            let mut seat = image.seat().await;
            seat.ask("/channels").await.told.split(' ').map(|n| (n.to_owned(), false)).collect()
        };
        for (name, before) in names {
            for before in if before { vec![false, true] } else { vec![false] } {
                let own = if before { rig.hostile(guest, Isolation::None, &name).await } else { image.clone() };
                let mut seat = own.seat().await;
                let secret = Secret::new(&mut chance);
                let one = seat.look(&name).await.map(|t| t.told);
                let two = seat.plant(&name, &secret).await.map(|t| t.told);
                let three = seat.look(&name).await.map(|t| t.told);
                let log = seat.output.of(3).contains(&secret.hex());
                println!("LIST {guest:?} {name} {before} | {one:?} | {two:?} | {three:?} | {log} {:?}", seat.served);
            }
        }
    }
}
