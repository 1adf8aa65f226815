//! What the machine gives for sandboxes, and which way each part of them goes because of it.

use std::fmt;

use super::groups::{Groups, Resource};

/// The ways that were found to work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modes {
    /// The platform is root.
    pub(super) root: bool,
    /// Programs get a user namespace of their own.
    pub(super) user_namespace: bool,
    /// Denied calls are handed to the platform.
    pub(super) notify: bool,
    pub(super) landlock: bool,
    /// Control groups bound what they can.
    pub(super) groups: bool,
    /// A number that another platform of the machine hardly has.
    pub(super) instance: u32,
}

impl Modes {
    /// Whether a control group bounds this resource.
    pub(super) fn bounds(&self, groups: &Groups, resource: Resource) -> bool {
        self.groups && groups.bounds(resource).is_some()
    }
}

/// What the machine gives, as a table for a person.
#[derive(Clone, Debug)]
pub struct Means(Vec<Mean>);

/// One line of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mean {
    /// What it is about, such as `memory`.
    pub what: &'static str,
    /// The way that was chosen, and why if it is not the best one.
    pub way: String,
    /// Whether it is the best one.
    pub full: bool,
}

impl Means {
    /// Its lines.
    pub fn rows(&self) -> &[Mean] {
        &self.0
    }

    /// Writes them to the log, as a warning where it is not the best way.
    pub(super) fn log(&self) {
        for Mean { what, way, full } in &self.0 {
            if *full {
                tracing::info!(what, way, "how sandboxes are made here");
            } else {
                tracing::warn!(what, way, "how sandboxes are made here");
            }
        }
    }

    pub(super) fn told(modes: &Modes, groups: &Groups) -> Self {
        let row = |what, full, best: &str, other: &str| Mean {
            what,
            way: if full { best } else { other }.to_owned(),
            full,
        };
        let mut rows = vec![
            row(
                "users",
                modes.user_namespace && modes.root,
                "a user namespace and a user of its own for each program",
                if modes.user_namespace {
                    "a user namespace for each program; all are the platform's user outside, as it \
                     is not root"
                } else {
                    "a user of its own for each program, without a user namespace: the kernel \
                     permits none"
                },
            ),
            row(
                "system calls",
                modes.notify,
                "filtered; what is denied is told",
                "filtered; what is denied fails without being told, as the kernel has no listener",
            ),
            row(
                "Landlock",
                modes.landlock,
                "laid over the read-only mounts",
                "none in this kernel: the read-only mounts suffice",
            ),
        ];
        let others = [
            (
                Resource::Memory,
                "bounded for each process, and its sum is watched: no control group can be made",
            ),
            (
                Resource::Tasks,
                "bounded by the number that each user may have: no control group can be made",
            ),
            (Resource::Cpu, "not bounded: no control group can be made"),
        ];
        for (resource, other) in others {
            let version = groups.bounds(resource).unwrap_or_default();
            let best = format!("control group, version {version}");
            let full = modes.bounds(groups, resource);
            rows.push(row(resource.name(), full, &best, other));
        }
        Self(rows)
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mean in &self.0 {
            writeln!(f, "{:<14}{}", mean.what, mean.way)?;
        }
        Ok(())
    }
}
