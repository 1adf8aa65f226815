//! From a change of the source to the revision that serves it, again and again.
//!
//! ```text
//!  changed ─quiet→ looked at ─┬ the same ──────────────────────────► handled
//!                             └ another ─► read ─► built ─► deployed ─► handled: serving or failed
//!                                  ▲                │ a newer change: the build is ended
//!                                  └────────────────┘
//! ```
//!
//! A deployment that was overtaken is finished behind the next one, as any that nobody waits for.
//!
//! Deliberately absent: what is shown meanwhile (`terminal`, `page`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::Instant;
use usher_api::manifest::{MANIFEST_FILE, Manifest};

use super::attempt::Attempt;
use super::report::Report;
use super::rules::Rules;
use super::stage::{Outcome, Stage};
use super::terminal::Terminal;
use super::tree::{ScanError, Tree};
use super::watch::Watcher;

/// Where the source is.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// A file or a folder; absolute.
    pub(crate) path: PathBuf,
}

/// The source as it was last looked at.
struct Looked {
    tree: Arc<Tree>,
    /// The last change that this takes into account.
    seen: u64,
    /// What was another one than the time before; nothing where all of it is new.
    changed: Vec<PathBuf>,
    /// When the change was noticed.
    at: Instant,
}

/// Serves the source, and what becomes of it. Never ends but by an error of the terminal.
pub(crate) struct Cycle<'p> {
    pub(crate) project: Project,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) terminal: Terminal,
    pub(crate) attempt: Attempt<'p>,
}

impl Project {
    /// What is at a path; it must be there.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        let path = fs::canonicalize(path)
            .with_context(|| format!("{} cannot be read; is the path right?", path.display()))?;
        // A manifest stands for its folder.
        let is_manifest = path.file_name().is_some_and(|name| name == MANIFEST_FILE);
        let path = match (is_manifest, path.parent()) {
            (true, Some(folder)) => folder.to_owned(),
            _ => path,
        };
        Ok(Self { path })
    }

    /// The folder that the source is in.
    pub(crate) fn folder(&self) -> &Path {
        match self.path.is_file() {
            true => self.path.parent().unwrap_or(&self.path),
            false => &self.path,
        }
    }

    /// What the manifest says, where there is one. Blocks.
    pub(crate) fn manifest(&self) -> anyhow::Result<Option<Manifest>> {
        let at = self.path.join(MANIFEST_FILE);
        let text = match fs::read_to_string(&at) {
            Ok(text) => text,
            Err(_) if !at.exists() => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", at.display()));
            }
        };
        let said = Manifest::read(&text).with_context(|| at.display().to_string())?;
        Ok(Some(said))
    }
}

impl Cycle<'_> {
    /// Serves the source as it changes.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut looked = Looked {
            tree: Arc::default(),
            seen: 0,
            changed: Vec::new(),
            at: Instant::now(),
        };
        let mut is_new = true;
        loop {
            match look(&self.project, &self.watcher, &mut looked).await {
                Ok(changed) if changed || is_new => {
                    if std::mem::take(&mut is_new) {
                        looked.changed.clear();
                    }
                    self.serve(&mut looked).await?;
                }
                Ok(_) => {}
                Err(error) => {
                    // As soon as it can be looked at again, all of it is new.
                    is_new = true;
                    self.publish(looked.seen, Err(error.into()))?;
                }
            }
            let seen = looked.seen;
            self.stage.send_modify(|stage| stage.handled = seen);
            self.watcher.after(seen).await;
            looked.at = Instant::now();
            self.watcher.settle().await;
        }
    }

    /// Attempts to serve what was looked at, anew with every change that comes meanwhile.
    async fn serve(&mut self, looked: &mut Looked) -> anyhow::Result<()> {
        loop {
            let (begun, changed) = (looked.at, std::mem::take(&mut looked.changed));
            let attempt = self.attempt.make(&self.project, &self.terminal, begun);
            let newer = newer(&self.project, &self.watcher, looked);
            tokio::select! {
                made = attempt => {
                    let times = made.as_ref().ok().copied();
                    self.publish(looked.seen, made.map(drop))?;
                    if let Some(times) = times {
                        let number = self.stage.borrow().number;
                        self.terminal.reloaded(number, &changed, times)?;
                    }
                    return Ok(());
                }
                () = newer => self.terminal.overtaken(&looked.changed),
            }
        }
    }

    fn publish(&self, handled: u64, made: Result<(), Report>) -> anyhow::Result<()> {
        let outcome = match made {
            Ok(()) => Outcome::Serving,
            Err(report) => Outcome::Failed(Arc::new(report)),
        };
        self.stage.send_modify(|stage| {
            stage.handled = handled;
            stage.number += 1;
            stage.served |= matches!(outcome, Outcome::Serving);
            stage.outcome = outcome.clone();
        });
        if let Outcome::Failed(report) = &outcome {
            let number = self.stage.borrow().number;
            self.terminal.failed(number, report)?;
        }
        Ok(())
    }
}

/// Waits for a change that matters. Dropping the future loses none.
async fn newer(project: &Project, watcher: &Arc<Watcher>, looked: &mut Looked) {
    loop {
        watcher.after(looked.seen).await;
        let at = Instant::now();
        watcher.settle().await;
        match look(project, watcher, looked).await {
            Ok(false) => {}
            // Where it cannot be looked at, the next attempt will tell why.
            Ok(true) | Err(_) => {
                looked.at = at;
                return;
            }
        }
    }
}

/// Looks at the source; whether it is another one. What is noticed from now on comes after. A look
/// that is dropped has changed nothing.
async fn look(
    project: &Project,
    watcher: &Arc<Watcher>,
    looked: &mut Looked,
) -> Result<bool, ScanError> {
    let seen = watcher.drain();
    let (project, watcher) = (project.clone(), Arc::clone(watcher));
    let before = Arc::clone(&looked.tree);
    let scanned = tokio::task::spawn_blocking(move || {
        // One that is wrong is told by the attempt; until then all of the folder counts.
        let manifest = project.manifest().unwrap_or_default();
        let rules = Rules::of(&project.path, manifest.as_ref());
        watcher.obey(&rules);
        let tree = Tree::scan(&rules, &before, |folder| watcher.add(folder, None))?;
        let changed = tree.differing(&before);
        Ok((tree, changed))
    });
    let scanned = match scanned.await {
        Ok(scanned) => scanned,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    };
    looked.seen = seen;
    let (tree, changed) = match scanned {
        Ok(scanned) => scanned,
        Err(error) => {
            looked.tree = Arc::default();
            return Err(error);
        }
    };
    looked.tree = Arc::new(tree);
    let is_another = !changed.is_empty();
    if is_another {
        looked.changed = changed;
    }
    Ok(is_another)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_stands_for_its_folder_and_tells_its_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        let file = path.join(MANIFEST_FILE);
        assert!(Project::at(&file).is_err());
        fs::write(&file, "name = 1\n").unwrap();
        let project = Project::at(&file).unwrap();
        assert_eq!(project.path, path);
        assert_eq!(project.folder(), path);
        let error = format!("{:#}", project.manifest().unwrap_err());
        assert!(error.contains("line 1: name: "), "{error}");
        fs::remove_file(file).unwrap();
        assert_eq!(project.manifest().unwrap(), None);
        let script = path.join("app.py");
        fs::write(&script, "").unwrap();
        let project = Project::at(&script).unwrap();
        assert_eq!(project.folder(), path);
        assert_eq!(project.manifest().unwrap(), None);
    }
}
