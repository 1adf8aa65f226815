//! What the kernel holds for a program: processes, threads, descriptors, files, sockets, objects of
//! the namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Needles, digest, inner_pid, numbers, processes, text};

type All = BTreeMap<String, String>;

/// Where programs listen.
const PORT: &str = ":1F90";
/// States of TCP sockets: open, and listening. All others pass by themselves.
const OPEN: [&str; 2] = ["01", "0A"];
/// Lines of a process's status that tell nothing but what it used.
const USED: [&str; 18] = [
    "State",
    "FDSize",
    "VmPeak",
    "VmSize",
    "VmHWM",
    "VmRSS",
    "RssAnon",
    "RssFile",
    "RssShmem",
    "VmData",
    "VmPTE",
    "VmSwap",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
    "SigQ",
    "HugetlbPages",
    "VmStk",
    "VmExe",
];
/// Folders in which a program can write.
const WRITABLE: [&str; 2] = ["tmp", "dev/shm"];
/// Fields of `stat` that stay, by their place behind the name: group, session, terminal, nice,
/// number of threads, start of brk and of arguments and environment, priority and policy.
const STAT: [(usize, &str); 10] = [
    (2, "group"),
    (3, "session"),
    (4, "terminal"),
    (15, "priority"),
    (16, "nice"),
    (17, "threads"),
    (37, "real-time"),
    (38, "policy"),
    (44, "brk"),
    (45, "arguments"),
];

/// Notes what belongs to the process as a whole.
pub(super) fn process(pid: u32, all: &mut All) {
    for name in ["cwd", "root", "exe"] {
        let link = fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
        all.insert(name.to_owned(), link.display().to_string());
    }
    for name in [
        "limits",
        "timers",
        "timerslack_ns",
        "comm",
        "cmdline",
        "environ",
        "oom_score_adj",
        "personality",
        "coredump_filter",
    ] {
        all.insert(name.to_owned(), text(pid, name));
    }
    lines(&text(pid, "status"), "status", all);
    stat(&text(pid, "stat"), "stat", all);
}

fn lines(status: &str, what: &str, all: &mut All) {
    for line in status.lines() {
        if let Some((name, value)) = line.split_once(':')
            && !USED.contains(&name)
        {
            all.insert(format!("{what} {name}"), value.trim().to_owned());
        }
    }
}

fn stat(line: &str, what: &str, all: &mut All) {
    let behind = line.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let fields: Vec<&str> = behind.split(' ').collect();
    for (place, name) in STAT {
        let field = fields.get(place).copied().unwrap_or_default();
        all.insert(format!("{what} {name}"), field.to_owned());
    }
}

/// Notes each thread.
pub(super) fn threads(pid: u32, all: &mut All) {
    for thread in numbers(Path::new(&format!("/proc/{pid}/task"))) {
        let of = |name: &str| text(pid, &format!("task/{thread}/{name}"));
        all.insert(format!("thread {thread}"), of("comm"));
        lines(&of("status"), &format!("thread {thread}"), all);
        stat(&of("stat"), &format!("thread {thread}"), all);
    }
}

/// Notes what is shared by the processes of the sandbox: which they are, and System V's objects.
pub(super) fn shared(pid: u32, all: &mut All) {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(pid);
    let beside = processes()
        .into_iter()
        .filter(|&other| namespace(other) == own);
    let beside: BTreeSet<_> = beside.filter_map(inner_pid).collect();
    all.insert("processes".to_owned(), format!("{beside:?}"));
    for kind in ["shm", "msg", "sem"] {
        let list = in_namespace(pid, &format!("/proc/sysvipc/{kind}"));
        all.insert(
            format!("objects {kind}"),
            list.lines().skip(1).collect::<Vec<_>>().join("; "),
        );
    }
}

/// Reads a list that is about the reader's own namespace of shared objects, in a process's one: by
/// a thread that ends then.
fn in_namespace(pid: u32, list: &str) -> String {
    let reading = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let namespace = fs::File::open(format!("/proc/{pid}/ns/ipc"))?;
            let kind = Some(LinkNameSpaceType::InterProcessCommunication);
            move_into_link_name_space(namespace.as_fd(), kind)?;
            fs::read_to_string(list)
        });
        reader.join().unwrap()
    });
    // A process that has gone has nothing.
    reading.unwrap_or_default()
}

/// Notes every file in the folders where it can write.
pub(super) fn files(pid: u32, all: &mut All) {
    for folder in WRITABLE {
        let root = format!("/proc/{pid}/root/{folder}");
        walk(Path::new(&root), &mut |path| {
            let Ok(about) = path.symlink_metadata() else {
                return;
            };
            let name = path.strip_prefix(&root).unwrap().display();
            let content = content(path);
            let link = fs::read_link(path).unwrap_or_default();
            let told = format!(
                "mode {:o} of {}, {} bytes {:x}, {} names, changed {}.{:09}, {} {:?}",
                about.mode(),
                about.uid(),
                if about.is_file() { about.size() } else { 0 },
                digest(&content),
                about.nlink(),
                if about.is_file() { about.mtime() } else { 0 },
                if about.is_file() {
                    about.mtime_nsec()
                } else {
                    0
                },
                link.display(),
                attributes(path),
            );
            all.insert(format!("file /{folder}/{name}"), told);
        });
    }
}

fn walk(folder: &Path, each: &mut impl FnMut(&Path)) {
    each(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => walk(&path, each),
            false => each(&path),
        }
    }
}

/// What stands in a regular file; others would make a reader wait, or lose what they hold.
fn content(path: &Path) -> Vec<u8> {
    match path.symlink_metadata().is_ok_and(|about| about.is_file()) {
        true => fs::read(path).unwrap_or_default(),
        false => Vec::new(),
    }
}

fn attributes(path: &Path) -> String {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or_default();
    String::from_utf8_lossy(&names[..length]).into_owned()
}

/// One row of the kernel's list of TCP sockets.
struct Row {
    local: String,
    remote: String,
    state: String,
    queues: String,
    inode: String,
}

fn rows(pid: u32) -> Vec<Row> {
    let both = text(pid, "net/tcp") + &text(pid, "net/tcp6");
    let parsed = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some(Row {
            local: (*fields.get(1)?).to_owned(),
            remote: (*fields.get(2)?).to_owned(),
            state: (*fields.get(3)?).to_owned(),
            queues: (*fields.get(4)?).to_owned(),
            inode: (*fields.get(9)?).to_owned(),
        })
    };
    both.lines()
        .filter_map(parsed)
        .filter(|row| OPEN.contains(&row.state.as_str()))
        .collect()
}

/// Inodes of the sockets among a program's descriptors.
fn own_sockets(pid: u32) -> BTreeSet<String> {
    let folder = format!("/proc/{pid}/fd");
    let links = numbers(Path::new(&folder)).into_iter().filter_map(|fd| {
        let link = fs::read_link(format!("{folder}/{fd}")).ok()?;
        let link = link.to_str()?;
        Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    });
    links.collect()
}

/// Notes the sockets of its network but for the platform's own connections to it.
pub(super) fn network(pid: u32, all: &mut All) {
    let own = own_sockets(pid);
    for row in rows(pid) {
        let platforms = row.remote.ends_with(PORT) && !own.contains(&row.inode);
        let answers = row.local.ends_with(PORT) && row.state == OPEN[0] && row.inode != "0";
        if !platforms && !answers {
            let name = format!("socket {} to {}", row.local, row.remote);
            all.insert(name, format!("{} {}", row.state, row.queues));
        }
    }
    for name in ["udp", "udp6", "unix", "netlink"] {
        let list = text(pid, &format!("net/{name}"));
        let mut list: Vec<String> = list.lines().skip(1).map(without_address).collect();
        list.sort_unstable();
        all.insert(format!("sockets {name}"), list.join("; "));
    }
}

/// Without the first word, which is an address or a row's number, and without blanks.
fn without_address(line: &str) -> String {
    line.split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Notes each descriptor: what it leads to, flags, place, and whatever else the kernel tells.
/// Without `connections` those at which the platform's requests come are left out.
pub(super) fn descriptors(pid: u32, connections: bool, all: &mut All) {
    let answering = rows(pid).into_iter();
    let answering = answering.filter(|row| row.local.ends_with(PORT) && row.state == OPEN[0]);
    let answering: BTreeSet<_> = answering
        .map(|row| format!("socket:[{}]", row.inode))
        .collect();
    let folder = format!("/proc/{pid}/fd");
    for fd in numbers(Path::new(&folder)) {
        let link = fs::read_link(format!("{folder}/{fd}")).unwrap_or_default();
        let link = link.display().to_string();
        if !connections && answering.contains(&link) {
            continue;
        }
        let info = text(pid, &format!("fdinfo/{fd}"));
        // How long it is until a timer goes off changes without anybody's doing.
        let kept = info.lines().filter(|line| !line.starts_with("it_value"));
        let kept: Vec<_> = kept
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        all.insert(
            format!("descriptor {fd}"),
            format!("{link} {}", kept.join(", ")),
        );
    }
}

/// Files and names in which a needle stands.
pub(super) fn hits(pid: u32, needles: &Needles) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["comm", "cmdline", "environ", "cwd", "net/unix", "maps"] {
        let bytes = match name {
            "cwd" => fs::read_link(format!("/proc/{pid}/cwd"))
                .unwrap_or_default()
                .into_os_string()
                .into_encoded_bytes(),
            _ => fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default(),
        };
        if needles.find(&bytes).is_some() {
            found.push(name.to_owned());
        }
    }
    for folder in WRITABLE {
        walk(
            Path::new(&format!("/proc/{pid}/root/{folder}")),
            &mut |path| {
                let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
                bytes.extend(content(path));
                bytes.extend(
                    fs::read_link(path)
                        .unwrap_or_default()
                        .into_os_string()
                        .into_encoded_bytes(),
                );
                if needles.find(&bytes).is_some() {
                    found.push(format!("file {}", path.display()));
                }
            },
        );
    }
    let folder = format!("/proc/{pid}/fd");
    for fd in numbers(Path::new(&folder)) {
        let path = format!("{folder}/{fd}");
        // Files only: reading of a pipe or a socket would take away what it holds.
        if fs::metadata(&path).is_ok_and(|about| about.is_file())
            && needles.find(&fs::read(&path).unwrap_or_default()).is_some()
        {
            found.push(format!("descriptor {fd}"));
        }
    }
    found
}
