//! What the machine gives for sandboxes, and which way each part of them goes because of it.

use std::fmt;

use super::Inner;
use super::groups::{Groups, Resource};
use crate::renewal;

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
pub struct Means {
    rows: Vec<Mean>,
    never_put_back: Option<String>,
    never_swapped: Option<String>,
}

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
        &self.rows
    }

    /// Why no program can be put back here after a request, so that each is replaced; none: they
    /// can.
    pub fn never_put_back(&self) -> Option<&str> {
        self.never_put_back.as_deref()
    }

    /// Why no program's memory can be swapped here, so that it is put back in place; none: it can.
    pub fn never_swapped(&self) -> Option<&str> {
        self.never_swapped.as_deref()
    }

    /// Writes them to the log, as a warning where it is not the best way.
    pub(super) fn log(&self) {
        for Mean { what, way, full } in &self.rows {
            if *full {
                tracing::info!(what, way, "how sandboxes are made here");
            } else {
                tracing::warn!(what, way, "how sandboxes are made here");
            }
        }
    }

    pub(super) fn told(modes: &Modes, inner: &Inner, found: &renewal::Means) -> Self {
        let groups = &inner.groups;
        let row = |what, full, best: &str, other: &str| Mean {
            what,
            way: if full { best } else { other }.to_owned(),
            full,
        };
        let mut rows = vec![
            users(modes),
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
        let (way, full) = inner.speculation.way();
        rows.push(Mean {
            what: "branch predictors",
            way,
            full,
        });
        let needed = put_back(modes, found);
        let missing = needed.iter().find(|need| need.missing.is_some());
        let never_put_back = missing.map(|need| {
            let why = need.missing.as_deref().unwrap_or_default();
            let what = need.what.trim_start_matches(PUT_BACK);
            format!("this machine does not permit to put programs back, for want of {what}: {why}")
        });
        rows.extend(needed.into_iter().map(Need::row));
        rows.push(swapped(found));
        let why = found.swapped.as_ref().err();
        Self {
            rows,
            never_put_back,
            never_swapped: why.map(|why| {
                format!("this machine does not permit to swap the memory of programs: {why}")
            }),
        }
    }
}

/// As whom programs run.
fn users(modes: &Modes) -> Mean {
    let full = modes.user_namespace && modes.root;
    let way = match (full, modes.user_namespace) {
        (true, _) => "a user namespace and a user of its own for each program",
        (false, true) => {
            "a user namespace for each program; all are the platform's user outside, as it is not \
             root"
        }
        (false, false) => {
            "a user of its own for each program, without a user namespace: the kernel permits none"
        }
    };
    Mean {
        what: "users",
        way: way.to_owned(),
        full,
    }
}

/// How programs come to another area.
fn swapped(found: &renewal::Means) -> Mean {
    let way = match &found.swapped {
        Ok(()) => "pages are given other frames (ptrace without the filter, pagemap)".to_owned(),
        Err(why) => format!("memory is put back in the same frames instead: {why}"),
    };
    Mean {
        what: "put back: another area",
        way,
        full: found.swapped.is_ok(),
    }
}

/// How the lines begin that are about putting programs back.
const PUT_BACK: &str = "put back: ";

/// A means without which no program is put back after a request.
struct Need {
    what: &'static str,
    /// What is done by it, and whether that is the best way.
    way: (&'static str, bool),
    missing: Option<String>,
}

impl Need {
    fn row(self) -> Mean {
        let Self { what, way, missing } = self;
        let full = missing.is_none() && way.1;
        let way = match missing {
            None => way.0.to_owned(),
            Some(why) => format!("programs are replaced after each request instead: {why}"),
        };
        Mean { what, way, full }
    }
}

fn put_back(modes: &Modes, found: &renewal::Means) -> Vec<Need> {
    let need = |what, way, missing: Option<&String>| Need {
        what,
        way: (way, true),
        missing: missing.cloned(),
    };
    let written = found.written.as_ref().ok();
    let mut pages = need(
        "put back: finding written memory",
        "found by the kernel's scan (PAGEMAP_SCAN)",
        found.written.as_ref().err(),
    );
    if written.is_some_and(|written| !written.scanned) {
        pages.way = (
            "found by reading a word for each page, which is slower; Linux 6.7 has a scan",
            false,
        );
    }
    let mut mappings = need(
        "put back: finding mappings",
        "asked for one by one (PROCMAP_QUERY)",
        found.written.as_ref().err(),
    );
    if written.is_some_and(|written| !written.mappings_asked) {
        mappings.way = (
            "read as a list, which is slower; Linux 6.11 answers for one",
            false,
        );
    }
    let untold = "the filter has no listener, by which the platform learns of dropped memory";
    let untold = (!modes.notify).then(|| untold.to_owned());
    vec![
        need(
            "put back: tracing",
            "a program is stopped between two requests, and makes calls for the platform (ptrace)",
            found.tracing.as_ref().err(),
        ),
        pages,
        mappings,
        need(
            "put back: holding open files",
            "descriptors are duplicated (pidfd_getfd)",
            found.held.as_ref().err(),
        ),
        need(
            "put back: comparing open files",
            "open files are told apart (kcmp)",
            found.compared.as_ref().err(),
        ),
        need(
            "put back: news of dropped memory",
            "told by the filter's listener",
            untold.as_ref(),
        ),
    ]
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mean in &self.rows {
            writeln!(f, "{:<34}{}", mean.what, mean.way)?;
        }
        Ok(())
    }
}
