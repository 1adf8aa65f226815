//! The processor time of a server's processes, whoever waited for them: a control group of its own.
//!
//! A process that nobody waits for, as children of fcgiwrap and of a closed sandbox, takes its time
//! with it, and `/proc` never tells. A group of the kernel's second hierarchy counts it without any
//! controller; groups that a server makes below it count too. Where none can be made, the tree of
//! processes has to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What groups are called, before the number of this process.
const PREFIX: &str = "usher-bench-";

/// How long the last processes of a group may take to end, and how often it is looked, in
/// milliseconds.
const EMPTY_MAX_MS: u64 = 5_000;
const LOOK_EACH_MS: u64 = 2;

/// Groups that were opened by this process.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// An open group; when it is dropped, what still lives in it is ended, and it is removed.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    /// A group below this process's own; none if the machine does not permit that.
    pub(super) fn open() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own_folder(&mounts, &groups)?;
        remove_leftovers(&own);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let folder = own.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let ledger = Self { folder };
        // A group that cannot be read would be no use.
        ledger.cpu_us()?;
        Some(ledger)
    }

    /// The same command, begun within the group.
    pub(super) fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.folder.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// What its processes have used so far, in microseconds.
    pub(super) fn cpu_us(&self) -> Option<u64> {
        cpu_us_in(&fs::read_to_string(self.folder.join("cpu.stat")).ok()?)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // What a server has left, as a process that it had just begun when it was ended itself.
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
        let deadline = Instant::now() + Duration::from_millis(EMPTY_MAX_MS);
        while is_populated(&self.folder) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
        }
        remove(&self.folder);
    }
}

fn is_populated(folder: &Path) -> bool {
    let events = fs::read_to_string(folder.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

/// Removes a group with those below it. The kernel refuses where a process lives.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Removes what a run that was killed has left.
fn remove_leftovers(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = number.and_then(|number| number.split_once('-'));
        if process.is_some_and(|(id, _)| !Path::new("/proc").join(id).exists()) {
            remove(&entry.path());
        }
    }
}

/// The folder of this process's group in the second hierarchy, from the texts of `/proc/self`.
fn own_folder(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        // Of a part of the hierarchy, the own group's place is not known.
        (kind.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(place))
    })?;
    Some(mount.join(own))
}

fn cpu_us_in(text: &str) -> Option<u64> {
    let usage = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    usage.trim().parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn the_own_group_is_found_in_the_second_hierarchy() {
        let mounts = "31 25 0:26 / /groups/memory rw - cgroup cgroup rw,memory\n\
            32 25 0:27 / /groups/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        let groups = "4:memory:/a\n0::/slice/own\n";
        let own = own_folder(mounts, groups);
        assert_eq!(own.unwrap(), Path::new("/groups/unified/slice/own"));
        assert_eq!(own_folder(mounts, "4:memory:/a\n"), None);
        assert_eq!(
            own_folder("31 25 0:26 / /g rw - cgroup c rw\n", groups),
            None
        );
    }

    #[test]
    fn usage_is_read() {
        assert_eq!(cpu_us_in("usage_usec 17\nuser_usec 9\n"), Some(17));
        assert_eq!(cpu_us_in(""), None);
    }

    #[test]
    fn a_command_in_a_group_keeps_its_arguments_folder_and_variables() {
        let ledger = Ledger {
            folder: "nowhere".into(),
        };
        let mut command = Command::new("program");
        command.args(["a b", "c"]).env("PORT", "7").current_dir("/");
        let inside = ledger.enter(&command);
        let args: Vec<_> = inside.get_args().skip(2).collect();
        assert_eq!(args, ["nowhere/cgroup.procs", "program", "a b", "c"]);
        assert_eq!(inside.get_current_dir(), Some(Path::new("/")));
        assert_eq!(inside.get_envs().count(), 1);
    }

    #[test]
    fn what_nobody_waits_for_is_counted_where_a_group_can_be_made() {
        // A machine without one is measured by the tree of processes, which other tests cover.
        let Some(ledger) = Ledger::open() else { return };
        let before = ledger.cpu_us().unwrap();
        // The shell below ignores its children's ends, so the kernel forgets them at once.
        let script = "trap '' CHLD; sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done' &\n\
            wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        assert!(ledger.enter(&command).status().unwrap().success());
        assert!(ledger.cpu_us().unwrap() > before);
        let folder = ledger.folder.clone();
        let script = "sh -c 'exec cat /dev/zero >/dev/null' & echo $!";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let left = ledger.enter(&command).stderr(Stdio::null()).output();
        let left: u32 = String::from_utf8(left.unwrap().stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let left = crate::proc::Process::find(left).unwrap();
        assert!(left.is_alive());
        drop(ledger);
        assert!(!folder.exists() && !left.is_alive());
    }
}
