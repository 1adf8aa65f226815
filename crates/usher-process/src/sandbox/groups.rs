//! Control groups: bounds for all processes of a sandbox together, in version 1 and 2.
//!
//! ```text
//! <the platform's own group>/usher-<instance>/<slot>      v2: in one hierarchy
//!                                                         v1: in those of memory, pids and cpu
//! ```
//!
//! A group that cannot be made is not an error here: [`Groups::means`] tells what there is, and the
//! platform chooses what stands in for it. Deliberately absent: moving a process out of a group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Bounds;

/// How the folders of a platform's groups begin.
const PREFIX: &str = "usher-";
/// The kernel's usual period for processor time, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Processes of a sandbox besides those of the program: its first.
const OWN_TASKS: u32 = 1;
/// The group that the platform moves to in version 2, where a group with processes has none below.
const LEAF: &str = "usher-platform";

/// A resource that groups bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resource {
    Memory,
    Tasks,
    Cpu,
}

impl Resource {
    const ALL: [Self; 3] = [Self::Memory, Self::Tasks, Self::Cpu];

    /// The kernel's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tasks => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Where the groups of this platform are.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// Folder, version, and the resources that it bounds.
    folders: Vec<(PathBuf, Version, Vec<Resource>)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    One,
    Two,
}

/// The group of one sandbox; it is removed by [`Group::remove`], once it is empty.
#[derive(Debug, Default)]
pub(super) struct Group {
    folders: Vec<(PathBuf, Version, Vec<Resource>)>,
}

impl Groups {
    /// Makes the folders of the platform `instance`, as far as the machine lets it.
    pub(super) fn make(instance: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut groups = Self::default();
        for resource in Resource::ALL {
            let Some(parent) = version_one(&own, &mounts, resource.name()) else {
                continue;
            };
            let folder = parent.join(format!("{PREFIX}{instance}"));
            if fs::create_dir(&folder).is_ok() || folder.is_dir() {
                groups.add(folder, Version::One, resource);
            }
        }
        if groups.folders.is_empty()
            && let Some(parent) = version_two(&own, &mounts)
        {
            groups.delegate(&parent, instance);
        }
        groups
    }

    fn add(&mut self, folder: PathBuf, version: Version, resource: Resource) {
        // Two resources may share a hierarchy, as `cpu` and `cpuacct` do.
        match self.folders.iter_mut().find(|(known, ..)| *known == folder) {
            Some((_, _, resources)) => resources.push(resource),
            None => self.folders.push((folder, version, vec![resource])),
        }
    }

    /// Version 2: hands the resources down to a folder for the sandboxes.
    fn delegate(&mut self, parent: &Path, instance: &str) {
        let offered = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        let offered: Vec<_> = offered.split_whitespace().collect();
        let wanted = Resource::ALL.map(|resource| (resource, resource.name()));
        let given: Vec<_> = wanted
            .iter()
            .filter(|(_, name)| offered.contains(name))
            .collect();
        if given.is_empty() {
            return;
        }
        let folder = parent.join(format!("{PREFIX}{instance}"));
        let handed = given.iter().all(|(_, name)| {
            let hand = || fs::write(parent.join("cgroup.subtree_control"), format!("+{name}"));
            hand().is_ok() || (leave(parent).is_ok() && hand().is_ok())
        });
        if !handed || !(fs::create_dir(&folder).is_ok() || folder.is_dir()) {
            return;
        }
        let below = folder.join("cgroup.subtree_control");
        for (resource, name) in given {
            if fs::write(&below, format!("+{name}")).is_ok() {
                self.add(folder.clone(), Version::Two, *resource);
            }
        }
    }

    /// The folders, to be removed when the platform has gone.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.folders
            .iter()
            .map(|(folder, ..)| folder.clone())
            .collect()
    }

    /// Whether this resource is bounded by a group, and by which version.
    pub(super) fn bounds(&self, resource: Resource) -> Option<u8> {
        let found = self
            .folders
            .iter()
            .find(|(_, _, of)| of.contains(&resource));
        found.map(|(_, version, _)| match version {
            Version::One => 1,
            Version::Two => 2,
        })
    }

    /// A new group for the sandbox in `slot`.
    pub(super) fn group(&self, slot: u32) -> io::Result<Group> {
        let mut group = Group::default();
        for (parent, version, resources) in &self.folders {
            let folder = parent.join(slot.to_string());
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            group.folders.push((folder, *version, resources.clone()));
        }
        Ok(group)
    }
}

impl Group {
    /// Puts a process into the group; what it forks later is in it too.
    pub(super) fn put(&self, pid: u32) -> io::Result<()> {
        for (folder, ..) in &self.folders {
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Sets the bounds.
    pub(super) fn bound(&self, bounds: &Bounds) -> io::Result<()> {
        for (folder, version, resources) in &self.folders {
            for resource in resources {
                bound(folder, *version, *resource, bounds)?;
            }
        }
        Ok(())
    }

    /// The folder in which its tasks are counted.
    pub(super) fn tasks(&self) -> Option<&Path> {
        let of_tasks = self
            .folders
            .iter()
            .find(|(.., of)| of.contains(&Resource::Tasks));
        of_tasks.map(|(folder, ..)| folder.as_path())
    }

    /// The files that say how many bytes of memory it has taken, and may take.
    pub(super) fn memory_room(&self) -> Option<[PathBuf; 2]> {
        let found = self.folders.iter();
        let mut found = found.filter(|(.., of)| of.contains(&Resource::Memory));
        let (folder, version, _) = found.next()?;
        let names = match version {
            Version::One => ["memory.usage_in_bytes", "memory.limit_in_bytes"],
            Version::Two => ["memory.current", "memory.max"],
        };
        Some(names.map(|name| folder.join(name)))
    }

    /// How many processes were ended because the group was out of memory.
    pub(super) fn memory_kills(&self) -> u64 {
        let of_memory =
            |(_, _, of): &&(PathBuf, Version, Vec<Resource>)| of.contains(&Resource::Memory);
        let Some((folder, version, _)) = self.folders.iter().find(of_memory) else {
            return 0;
        };
        let file = match version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let told = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let count = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Removes the group, which must be empty.
    pub(super) fn remove(&self) -> io::Result<()> {
        for (folder, ..) in &self.folders {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

fn bound(folder: &Path, version: Version, resource: Resource, to: &Bounds) -> io::Result<()> {
    let write = |name: &str, value: String| fs::write(folder.join(name), value);
    // Files that depend on how the kernel was built.
    let write_if_there = |name: &str, value: String| match write(name, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let memory = to.memory_max_bytes.to_string();
    let tasks = to.tasks_max.saturating_add(OWN_TASKS).to_string();
    let quota = to
        .cpu_max_millis
        .map(|millis| u64::from(millis).saturating_mul(PERIOD_US) / 1_000);
    match (version, resource) {
        (Version::One, Resource::Memory) => {
            write("memory.limit_in_bytes", memory.clone())?;
            write_if_there("memory.memsw.limit_in_bytes", memory)?;
            write_if_there("memory.swappiness", "0".to_owned())
        }
        (Version::Two, Resource::Memory) => {
            write("memory.max", memory)?;
            write_if_there("memory.swap.max", "0".to_owned())
        }
        (_, Resource::Tasks) => write("pids.max", tasks),
        (Version::One, Resource::Cpu) => match quota {
            Some(quota) => {
                write("cpu.cfs_period_us", PERIOD_US.to_string())?;
                write("cpu.cfs_quota_us", quota.to_string())
            }
            None => Ok(()),
        },
        (Version::Two, Resource::Cpu) => match quota {
            Some(quota) => write("cpu.max", format!("{quota} {PERIOD_US}")),
            None => Ok(()),
        },
    }
}

/// Removes the groups of a platform that has gone, with all that may be left in them.
pub(super) fn remove(folder: &Path) {
    let named = folder.file_name().and_then(|name| name.to_str());
    if !named.is_some_and(|name| name.starts_with(PREFIX)) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            end_processes(&path);
            // What does not go now goes at the next start.
            let _ = fs::remove_dir(&path);
        }
    }
    let _ = fs::remove_dir(folder);
}

fn end_processes(folder: &Path) {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in listed.lines().filter_map(|line| line.parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Moves all processes of `parent` into a group below it.
fn leave(parent: &Path) -> io::Result<()> {
    let leaf = parent.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let own = std::process::id().to_string();
    fs::write(leaf.join("cgroup.procs"), own)
}

/// The folder of this process's own group in the hierarchy of `controller`.
fn version_one(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let path = fields.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })?;
    mounted(mounts, path, |kind, options| {
        kind == "cgroup" && options.split(',').any(|option| option == controller)
    })
}

fn version_two(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = mounted(mounts, path, |kind, _| kind == "cgroup2")?;
    // This process may have moved there before.
    if folder.ends_with(LEAF) {
        folder.parent().map(Path::to_owned)
    } else {
        Some(folder)
    }
}

/// Where the group `path` can be seen, on the first mount that is `wanted` by its kind and options.
fn mounted(mounts: &str, path: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let root = fields.next()?;
        let place = fields.next()?;
        let mut after = after.split(' ');
        let kind = after.next()?;
        let options = after.nth(1)?;
        let below = Path::new(path).strip_prefix(root).ok()?;
        let folder = Path::new(place).join(below);
        (wanted(kind, options) && folder.is_dir()).then_some(folder)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_what_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        fs::create_dir(folder.path().join("own")).unwrap();
        let own = "4:memory:/outer/own\n1:cpu,cpuacct:/\n0::/own\n";
        let mounts = format!(
            "30 1 0:25 /outer {place} rw - cgroup cgroup rw,memory\n\
             31 1 0:26 / {place} rw - cgroup2 cgroup2 rw\n\
             32 1 0:27 / {place} rw - cgroup cgroup rw,cpu,cpuacct\n"
        );
        let found = Some(folder.path().join("own"));
        assert_eq!(version_one(own, &mounts, "memory"), found);
        assert_eq!(version_two(own, &mounts), found);
        assert_eq!(
            version_one(own, &mounts, "cpu").as_deref(),
            Some(folder.path())
        );
        assert_eq!(version_one(own, &mounts, "pids"), None);
        fs::create_dir_all(folder.path().join("own").join(LEAF)).unwrap();
        let moved = format!("0::/own/{LEAF}\n");
        assert_eq!(version_two(&moved, &mounts), found);
    }

    #[test]
    fn bounds_of_version_two_are_written_where_the_kernel_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds {
            memory_max_bytes: 1 << 20,
            tasks_max: 7,
            cpu_max_millis: Some(250),
            scratch_max_bytes: 1,
            files_max: 1,
        };
        for resource in Resource::ALL {
            bound(folder.path(), Version::Two, resource, &bounds).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("pids.max"), "8");
        assert_eq!(read("cpu.max"), "25000 100000");
    }

    #[test]
    fn nothing_but_groups_of_platforms_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        let ours = folder.path().join("usher-1");
        for path in [&other, &ours] {
            fs::create_dir_all(path.join("3")).unwrap();
            remove(path);
        }
        assert!(other.is_dir() && !ours.exists());
    }
}
