//! What is done where the machine permits less: each means is taken away in turn, and the sandbox
//! is weaker but safe, or refused.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::attacks::compile;
use crate::rig::example;

/// A platform in a process of its own.
pub(crate) struct Platform {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// What it said of its means.
    pub(crate) said: Vec<String>,
}

impl Platform {
    /// Starts it, with this before its command, and with these withheld from it.
    pub(crate) fn start(folder: TempDir, before: &[&str], withheld: &[&str]) -> Self {
        let here = folder.path();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(here, open.clone()).unwrap();
        for name in ["state", "code"] {
            std::fs::create_dir_all(here.join(name)).unwrap();
            std::fs::set_permissions(here.join(name), open.clone()).unwrap();
        }
        // Where other users reach them too.
        for name in ["sandbox-platform", "sandbox-spawner", "withhold"] {
            if !here.join(name).exists() {
                std::fs::copy(example(name), here.join(name)).unwrap();
            }
        }
        if !here.join("code/hostile").exists() {
            compile(&here.join("code/hostile"));
        }
        let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
        let withhold = path("withhold");
        let own = ["sandbox-platform", "state", "code", "sandbox-spawner"].map(path);
        let mut words: Vec<&str> = before.to_vec();
        words.push(&withhold);
        words.extend(withheld);
        words.push("--");
        words.extend(own.iter().map(String::as_str));
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut platform = Self {
            to: child.stdin.take(),
            from,
            child,
            folder,
            said: Vec::new(),
        };
        loop {
            let line = platform.line();
            if line == "ready" || line.starts_with("refused") || line.is_empty() {
                platform.said.push(line);
                return platform;
            }
            platform.said.push(line);
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has it run this command, and says what came of it.
    pub(crate) fn run(&mut self, command: &str) -> String {
        writeln!(self.to.as_ref().unwrap(), "{command}").unwrap();
        self.line()
    }

    /// Lets it end.
    fn end(mut self) {
        drop(self.to.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Attacks for all of which one means or another is needed, and what may be said of them.
const ATTACKS: [(&str, &[&str]); 12] = [
    ("./hostile read {secret}", &["Code(1) shut ENOENT"]),
    ("./hostile read /proc/1/comm", &["Code(1) shut ENOENT"]),
    (
        "./hostile make /usr/share/usher-test",
        &["Code(1) shut EROFS", "Code(1) shut EACCES"],
    ),
    (
        "./hostile text",
        &["Code(1) shut EROFS", "Code(1) shut EACCES"],
    ),
    (
        "./hostile connect 127.0.0.1 {port}",
        &["Code(1) shut ECONNREFUSED"],
    ),
    ("./hostile signal {victim}", &["Code(1) shut ESRCH"]),
    ("./hostile unshare", &["Code(1) shut EPERM"]),
    ("./hostile mount /tmp", &["Code(1) shut EPERM"]),
    ("./hostile keyctl", &["Code(1) shut EPERM"]),
    ("./hostile fill /tmp 32", &["Code(1) shut ENOSPC"]),
    (
        "./hostile memory 300",
        &["OutOfMemory", "Code(1) shut ENOMEM"],
    ),
    ("./hostile fork 200", &["Code(1) made 6"]),
];

/// Attacks it, and says what did not fail.
fn attack(platform: &mut Platform) -> Vec<String> {
    let secret = platform.folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let own = std::process::id().to_string();
    let mut wrong = Vec::new();
    for (words, expected) in ATTACKS {
        let words = words
            .replace("{secret}", secret.to_str().unwrap())
            .replace("{port}", &port)
            .replace("{victim}", &own);
        let told = platform.run(&words);
        if !expected.iter().any(|start| told.starts_with(start)) {
            wrong.push(format!("{words}: {told}"));
        }
    }
    wrong
}

/// The lines of the table that are not at their best.
fn weaker(platform: &Platform) -> Vec<&str> {
    let lines = platform.said.iter();
    // These are about the processor, and about a filter of the platform's; they have own tests.
    let lines = lines.filter(|line| !line.starts_with("branch predictors"));
    let lines = lines.filter(|line| !line.starts_with("put back: another area"));
    let weaker = lines.filter_map(|line| line.strip_suffix(": false"));
    weaker.collect()
}

fn starts(before: &[&str], withheld: &[&str]) -> Platform {
    Platform::start(tempfile::tempdir().unwrap(), before, withheld)
}

fn holds(mut platform: Platform, expected: &[&str]) {
    assert_eq!(
        platform.said.last().unwrap(),
        "ready",
        "{:?}",
        platform.said
    );
    assert_eq!(weaker(&platform), expected);
    let wrong = attack(&mut platform);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    platform.end();
}

#[test]
fn with_everything_there_it_is_at_its_best() {
    holds(starts(&[], &[]), &[]);
}

#[test]
fn without_user_namespaces_a_root_gives_each_program_a_user() {
    holds(starts(&[], &["users"]), &["users"]);
}

#[test]
fn without_a_listener_calls_are_denied_untold() {
    let weaker = ["system calls", "put back: news of dropped memory"];
    holds(starts(&[], &["listeners"]), &weaker);
}

#[test]
fn without_landlock_the_mounts_suffice() {
    holds(starts(&[], &["landlock"]), &["Landlock"]);
}

#[test]
fn without_control_groups_memory_is_watched() {
    let hidden = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
    let before = ["unshare", "--mount", "sh", "-c", hidden, "sh"];
    holds(starts(&before, &[]), &["memory", "pids", "cpu"]);
}

#[test]
fn what_programs_are_put_back_by_is_told_where_it_is_missing() {
    let cases: [(&str, &[&str]); 5] = [
        ("tracing", &["put back: tracing"]),
        ("page-scan", &["put back: finding written memory"]),
        ("one-mapping", &["put back: finding mappings"]),
        ("comparing", &["put back: comparing open files"]),
        (
            "holding",
            &[
                "put back: holding open files",
                "put back: comparing open files",
            ],
        ),
    ];
    for (withheld, weaker) in cases {
        holds(starts(&[], &[withheld]), weaker);
    }
}

/// A kernel that says it has restricted branches, and has not, unless it does so for all.
#[test]
fn an_answer_that_changes_nothing_is_not_believed() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let for_all = ["always disabled", "not affected"];
    let for_all = for_all.iter().any(|said| {
        let line = format!("SpeculationIndirectBranch:\t{said}");
        status.lines().any(|it| it == line)
    });
    let platform = starts(&[], &["branches"]);
    let row = format!("branch predictors: {for_all}");
    assert!(platform.said.contains(&row), "{:?}", platform.said);
    holds(platform, &[]);
}

/// The kernel lets nobody call past a filter who has one himself.
#[test]
fn a_platform_that_has_a_filter_swaps_no_memory() {
    let ways: [(&[&str], bool); 2] = [(&[], true), (&["landlock"], false)];
    for (withheld, swaps) in ways {
        let platform = starts(&[], withheld);
        let row = format!("put back: another area: {swaps}");
        assert!(platform.said.contains(&row), "{:?}", platform.said);
        platform.end();
    }
}

#[test]
fn without_filters_it_refuses() {
    let mut platform = starts(&[], &["filters"]);
    let said = platform.said.pop().unwrap();
    assert!(
        said.starts_with("refused: this machine permits no safe sandbox"),
        "{said}"
    );
    let why = "the system call filter could not be loaded: Operation not permitted";
    assert!(said.contains(why), "{said}");
    platform.end();
}

#[test]
fn a_platform_that_is_not_root_has_its_user_namespace() {
    let before = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    holds(starts(&before, &[]), &["users", "memory", "pids", "cpu"]);
    // Without either, programs would be the user that runs the platform.
    let mut platform = starts(&before, &["users"]);
    let said = platform.said.pop().unwrap();
    assert!(said.starts_with("refused: "), "{said}");
    platform.end();
}
