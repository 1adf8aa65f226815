//! Attacks, each of which is seen to succeed outside and to fail inside.
//!
//! Outside they run as root: on the host where they harm nothing, and else in namespaces that the
//! test makes. Deliberately absent: attacks on the platform's own code, which programs cannot
//! reach.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use usher_process::sandbox::{Denial, Exit};

use crate::rig::{Ran, Rig};

/// Where an attack is harmless outside.
#[derive(Clone, Copy)]
enum Outside {
    Host,
    /// In namespaces of its own, as root.
    Apart,
    /// As a user without rights.
    Nobody,
}
use Outside::{Apart, Host, Nobody};

/// Name and arguments, where it is seen to succeed, the errors that are right inside, and the
/// system call that is reported as denied.
type Attack = (
    &'static [&'static str],
    Outside,
    &'static [&'static str],
    Option<&'static str>,
);

/// In arguments: `{secret}` a file of the host, `{tmp}` a folder to write to, `{victim}` a process
/// of the host, `{port}` a port of the host, `{socket}` an abstract socket of the host.
const ATTACKS: &[Attack] = &[
    // Files of the host.
    (&["read", "{secret}"], Host, &["ENOENT"], None),
    (&["read", "/etc/shadow"], Host, &["ENOENT"], None),
    (&["write", "/dev/kmsg"], Host, &["ENOENT"], None),
    (
        &["read", "/proc/{victim}/root/etc/shadow"],
        Host,
        &["ENOENT"],
        None,
    ),
    (&["read", "/proc/{victim}/exe"], Host, &["ENOENT"], None),
    (&["read", "/proc/{victim}/environ"], Host, &["ENOENT"], None),
    (
        &["make", "/usr/share/usher-test"],
        Apart,
        &["EROFS", "EACCES"],
        None,
    ),
    (
        &["make", "/dev/usher-test"],
        Apart,
        &["EROFS", "EACCES"],
        None,
    ),
    (
        &["write", "/proc/sys/kernel/core_pattern"],
        Host,
        &["ENOENT"],
        None,
    ),
    (
        &["write", "/proc/sys/kernel/hostname"],
        Host,
        &["ENOENT"],
        None,
    ),
    (
        &["write", "/sys/fs/cgroup/memory/release_agent"],
        Host,
        &["ENOENT"],
        None,
    ),
    (
        &["write", "/proc/self/oom_score_adj"],
        Host,
        &["EROFS", "EACCES"],
        None,
    ),
    (&["text"], Host, &["EROFS", "EACCES"], None),
    (&["link-read", "{tmp}", "{secret}"], Host, &["ENOENT"], None),
    (
        &["link-write", "{tmp}", "/usr/share/usher-test"],
        Apart,
        &["EROFS", "EACCES"],
        None,
    ),
    (
        &["handle", "{secret}"],
        Host,
        &["EPERM"],
        Some("name_to_handle_at"),
    ),
    (&["chroot", "{tmp}"], Host, &["EPERM"], Some("chroot")),
    (
        &["mknod-block", "{tmp}/disk"],
        Host,
        &["EPERM"],
        Some("mknodat"),
    ),
    (
        &["mknod-memory", "{tmp}/mem"],
        Host,
        &["EPERM"],
        Some("mknodat"),
    ),
    // Mounts and namespaces.
    (&["mount", "{tmp}"], Apart, &["EPERM"], Some("mount")),
    (&["remount", "/proc"], Apart, &["EPERM"], Some("mount")),
    (&["unmount", "/proc"], Apart, &["EPERM"], Some("umount2")),
    (&["unshare"], Host, &["EPERM"], Some("unshare")),
    (&["clone"], Host, &["EPERM"], Some("clone")),
    (&["clone3"], Host, &["ENOSYS"], None),
    (&["hostname"], Apart, &["EPERM"], Some("sethostname")),
    // Other processes.
    (&["read", "/proc/1/comm"], Host, &["ENOENT"], None),
    (&["signal", "{victim}"], Host, &["ESRCH"], None),
    (&["read", "/proc/{victim}/cmdline"], Host, &["ENOENT"], None),
    (&["trace"], Host, &["EPERM"], Some("ptrace")),
    (&["peek"], Host, &["EPERM"], Some("process_vm_readv")),
    // Network.
    (
        &["connect", "127.0.0.1", "{port}"],
        Host,
        &["ECONNREFUSED"],
        None,
    ),
    (
        &["connect", "127.1.2.3", "{port}"],
        Host,
        &["ECONNREFUSED"],
        None,
    ),
    (
        &["abstract", "{socket}"],
        Host,
        &["ECONNREFUSED", "EPERM"],
        None,
    ),
    (&["socket", "17", "3"], Host, &["EPERM"], Some("socket")),
    (&["socket", "40", "1"], Host, &["EPERM"], Some("socket")),
    (&["socket", "2", "3", "1"], Host, &["EPERM"], Some("socket")),
    (
        &["socket", "16", "3", "12"],
        Host,
        &["EPERM"],
        Some("socket"),
    ),
    // The kernel.
    (&["userfaultfd"], Host, &["EPERM"], Some("userfaultfd")),
    (&["io_uring"], Host, &["EPERM"], Some("io_uring_setup")),
    (&["keyctl"], Host, &["EPERM"], Some("keyctl")),
    (&["bpf"], Host, &["EPERM"], Some("bpf")),
    (&["personality"], Host, &["EPERM"], Some("personality")),
    (&["input"], Host, &["EPERM"], Some("ioctl")),
    // State that could not be put back: the slack of timers, sizes of segments, other signals.
    (&["process-option", "29"], Host, &["EPERM"], Some("prctl")),
    (
        &["socket-option", "6", "2"],
        Host,
        &["EPERM"],
        Some("setsockopt"),
    ),
    (
        &["descriptor-option", "10"],
        Host,
        &["EPERM"],
        Some("fcntl"),
    ),
    (&["own-table"], Host, &["EPERM"], Some("close_range")),
    // More than its share.
    (&["fork", "200"], Host, &["EAGAIN"], None),
    (&["fill", "{tmp}", "32"], Host, &["ENOSPC"], None),
    (&["files", "{tmp}", "9000"], Host, &["ENOSPC"], None),
    (&["descriptors", "4000"], Host, &["EMFILE"], None),
    (&["limit"], Host, &["EPERM"], None),
    // More rights.
    (&["./setuid", "euid"], Nobody, &["EPERM"], None),
];

/// What the attacks are aimed at.
struct Targets {
    secret: PathBuf,
    scratch: PathBuf,
    hostile: PathBuf,
    victim: Child,
    listener: std::net::TcpListener,
    name: String,
    _socket: UnixListener,
}

impl Targets {
    fn new(rig: &Rig) -> Self {
        let secret = rig.folder.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let scratch = rig.folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let hostile = rig.code().join("hostile");
        compile(&hostile);
        let setuid = rig.code().join("setuid");
        std::fs::copy(&hostile, &setuid).unwrap();
        std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755)).unwrap();
        // One that no other test has, in this process or another.
        let name = rig.folder.path().to_str().unwrap().to_owned();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixListener::bind_addr(&address).unwrap();
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let mut victim = Command::new("sleep");
        victim
            .arg("1000")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            secret,
            scratch,
            hostile,
            victim: victim.spawn().unwrap(),
            listener,
            name,
            _socket: socket,
        }
    }

    fn words(&self, words: &[&str], tmp: &str) -> Vec<String> {
        let port = self.listener.local_addr().unwrap().port().to_string();
        let filled = words.iter().map(|word| {
            word.replace("{secret}", self.secret.to_str().unwrap())
                .replace("{tmp}", tmp)
                .replace("{victim}", &self.victim.id().to_string())
                .replace("{port}", &port)
                .replace("{socket}", &self.name)
        });
        filled.collect()
    }

    fn outside(&self, words: &[&str], place: Outside) -> String {
        let words = self.words(words, self.scratch.to_str().unwrap());
        let mut command = match place {
            Host => Command::new(&self.hostile),
            Apart => {
                let mut command = Command::new("unshare");
                command.args([
                    "--mount",
                    "--pid",
                    "--fork",
                    "--mount-proc",
                    "--uts",
                    "--net",
                ]);
                // What is made on the host's disk goes with these namespaces.
                let script =
                    "mount -t tmpfs none /usr/share && mount -t tmpfs none /dev && exec \"$@\"";
                command.args(["sh", "-c", script, "sh"]).arg(&self.hostile);
                command
            }
            Nobody => {
                let mut command = Command::new(&self.hostile);
                command.arg("nobody");
                command
            }
        };
        let folder = self.hostile.parent().unwrap();
        let ran = command.args(words).current_dir(folder).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        // It may have been killed, which a test has found by then.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

pub(crate) fn compile(to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/hostile.c");
    let compiled = Command::new("gcc")
        .args(["-static", "-O1", "-o"])
        .arg(to)
        .arg(source)
        .stderr(Stdio::inherit())
        .status();
    assert!(compiled.unwrap().success(), "gcc is needed");
}

async fn inside(rig: &Rig, words: &[String]) -> Ran {
    let mut command = vec!["./hostile"];
    command.extend(words.iter().map(String::as_str));
    if command[1].starts_with("./") {
        command.remove(0);
    }
    rig.run(rig.launch(&command)).await
}

#[tokio::test]
async fn each_attack_succeeds_outside_and_fails_inside() {
    let rig = Rig::new(2).await;
    let targets = Targets::new(&rig);
    // The attacker outside has to reach its program too.
    std::fs::set_permissions(rig.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut wrong = Vec::new();
    for (words, place, errors, denied) in ATTACKS {
        let outside = targets.outside(words, *place);
        if !outside.ends_with("open\n") {
            wrong.push(format!("{words:?} does not succeed outside: {outside}"));
        }
        let ran = inside(&rig, &targets.words(words, "/tmp")).await;
        let said = ran
            .output
            .trim_end()
            .rsplit("shut ")
            .next()
            .unwrap_or_default();
        if ran.exit != Exit::Code(1) || !errors.contains(&said) {
            wrong.push(format!("{words:?} is not shut inside: {ran:?}"));
        }
        let told: Vec<&str> = ran
            .denials
            .iter()
            .map(|denial| denial.call.as_str())
            .collect();
        if told.first() != denied.as_ref() {
            wrong.push(format!("{words:?} is told as {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let line = Denial {
        call: "mount".to_owned(),
        pid: 7,
        count: 2,
    };
    assert_eq!(
        line.to_string(),
        "the system call `mount` is not permitted (process 7, 2 times)"
    );
}

#[tokio::test]
async fn memory_is_bounded_in_every_shape() {
    let rig = Rig::new(2).await;
    let targets = Targets::new(&rig);
    assert_eq!(targets.outside(&["memory", "400"], Host), "open\n");
    let ran = inside(&rig, &targets.words(&["memory", "400"], "")).await;
    assert_eq!(ran.exit, Exit::OutOfMemory, "{ran:?}");
    // Files in memory count, also those that have no name.
    let hidden = "import os
f = os.memfd_create('x')
for _ in range(400): os.write(f, b'x' * (1 << 20))";
    let ran = rig.run(rig.launch(&["python3", "-c", hidden])).await;
    assert_eq!(ran.exit, Exit::OutOfMemory, "{ran:?}");
    let mut filled = rig.launch(&["./hostile", "fill", "/tmp", "400"]);
    filled.bounds.scratch_max_bytes = 1 << 30;
    let ran = rig.run(filled).await;
    assert_eq!(ran.exit, Exit::OutOfMemory, "{ran:?}");
}

#[tokio::test]
async fn killing_everything_kills_nothing_outside() {
    let rig = Rig::new(2).await;
    let mut targets = Targets::new(&rig);
    let mut neighbour = rig.start(rig.launch(&["sleep", "1000"])).await;
    let ran = inside(&rig, &targets.words(&["kill-all"], "")).await;
    // Nobody is there to be killed: its first process is no target, and it spares itself.
    assert!(
        ran.exit == Exit::Code(1) || ran.exit == Exit::Code(0),
        "{ran:?}"
    );
    assert!(targets.victim.try_wait().unwrap().is_none());
    neighbour.terminate();
    assert_eq!(neighbour.exited().await, Exit::Signal(15));
    drop(neighbour.take_output());
    // Outside the same call ends what it finds.
    let script = "sleep 1000 & \"$0\" kill-all; wait $!; echo $?";
    let outside = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", script])
        .arg(&targets.hostile)
        .output()
        .unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    assert_eq!(outside, "open\n137\n");
}

#[tokio::test]
async fn calls_of_another_instruction_set_end_the_program() {
    let rig = Rig::new(1).await;
    let targets = Targets::new(&rig);
    assert_eq!(targets.outside(&["i386"], Host), "open\n");
    let ran = inside(&rig, &targets.words(&["i386"], "")).await;
    assert_eq!(ran.exit, Exit::Signal(31), "{ran:?}");
}

#[tokio::test]
async fn no_descriptor_is_inherited() {
    let rig = Rig::new(1).await;
    let targets = Targets::new(&rig);
    let outside = Command::new("sh")
        .args(["-c", "exec \"$0\" inherited 5</"])
        .arg(&targets.hostile)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(outside.stdout).unwrap(), "open\n");
    let ran = inside(&rig, &targets.words(&["inherited"], "")).await;
    assert_eq!(ran.output, "shut EBADF\n");
}

#[tokio::test]
async fn the_filter_denies_what_the_list_says_and_nothing_else() {
    let rig = Rig::new(1).await;
    let targets = Targets::new(&rig);
    let list = include_str!("denied.txt");
    let denied: Vec<(&str, &str)> = (list.lines())
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    // One of another instruction set's numbers, one of a kernel to come, and one that leads around
    // argument rules.
    let unknown = ["0x40000000", "600", "435"];
    // Ordinary ones: they fail for their arguments, or are done.
    let ordinary = ["0", "1", "3", "9", "39", "102", "257"];
    let numbers = denied.iter().map(|(_, number)| *number);
    let mut words = vec!["./hostile", "call"];
    words.extend(numbers.clone().chain(unknown).chain(ordinary));
    let outside = Command::new(&targets.hostile)
        .arg("call")
        .args(ordinary)
        .output()
        .unwrap();
    let ordinary_outside = String::from_utf8(outside.stdout).unwrap();
    let ran = rig.run(rig.launch(&words)).await;
    let expected: String = (numbers.map(|number| format!("{number} EPERM\n")))
        .chain(unknown.map(|number| format!("{number} ENOSYS\n")))
        .chain([ordinary_outside])
        .collect();
    assert_eq!(ran.output, expected);
    let told: Vec<&str> = ran
        .denials
        .iter()
        .map(|denial| denial.call.as_str())
        .collect();
    let named: Vec<&str> = denied.iter().map(|(name, _)| *name).collect();
    let (told, named) = (&told[..told.len().min(64)], &named[..named.len().min(64)]);
    assert_eq!(told, named);
}

#[tokio::test]
async fn a_program_that_goes_on_asking_is_answered_by_the_kernel() {
    let rig = Rig::new(1).await;
    let targets = Targets::new(&rig);
    let mut words = vec!["./hostile".to_owned(), "call".to_owned()];
    words.extend((0..1_000).map(|_| "165".to_owned()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = rig.run(rig.launch(&words)).await;
    drop(targets);
    assert_eq!(ran.exit, Exit::Code(0));
    let refused = ran.output.matches("165 EPERM\n").count();
    assert_eq!(refused, 256);
    assert_eq!(ran.output.matches("165 ENOSYS\n").count(), 1_000 - refused);
    assert!(ran.denials.len() <= 64, "{}", ran.denials.len());
}
