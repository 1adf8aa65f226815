//! Sandboxes: any Linux program, unmodified, where it can touch nothing but what is its own.
//!
//! ```text
//! platform ──► spawner ──forks──► init, pid 1 of a sandbox ──forks──► program
//!    │          └ one thread,      └ a shell: namespaces, mounts,      └ no rights, Landlock,
//!    │            no secrets         control group, nothing run yet      filter; then executed
//!    └─ open ─► stock of shells ─shell→ Shell ─launch→ Program ─drop→ nothing of it is left
//! ```
//!
//! What the machine permits is found at [`Sandboxes::open`] by making a sandbox and attacking it
//! from inside; what is missing leads to a weaker way that is still safe, or to a refusal, and both
//! are told in [`Means`]. Deliberately absent: what programs are for, HTTP, and how many sandboxes
//! there should be.

mod channel;
mod child;
mod denials;
mod errors;
mod filter;
mod generation;
mod groups;
mod handle;
mod init;
mod landlock;
mod means;
mod probe;
mod program;
mod root;
mod secrets;
mod shell;
mod sockets;
mod spawner;
mod speculation;
mod state;
mod stock;
mod watch;
mod wire;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime;
use tokio::sync::watch as changes;
use usher_core::secret::Secret;

pub use self::denials::Denial;
pub use self::errors::{LaunchError, OpenError, ShellError};
pub(crate) use self::init::API_PORT;
pub use self::means::{Mean, Means};
pub use self::program::{Exit, Program};
pub use self::secrets::SECRETS_FOLDER;
pub use self::shell::Shell;
pub use self::spawner::spawner_main;
pub use self::wire::Fault;

use self::groups::Groups;
use self::handle::Handle;
use self::means::Modes;
use self::state::State;
use self::stock::Stock;

/// How sandboxes are made.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The program that calls [`spawner_main`]: this one, as a rule.
    pub program: PathBuf,
    /// The arguments that make it do so.
    pub args: Vec<String>,
    /// A folder that outlives this process, and that no other platform uses.
    pub state_folder: PathBuf,
    /// Shells that are kept ready.
    pub stock: usize,
    /// What programs see as their root.
    pub root: Root,
    /// Whether processors are to keep apart what they learn of the branches of programs, where the
    /// kernel can have them do so. It costs time at each change between a program and others.
    pub predictors_apart: bool,
}

/// The root that programs see, always read-only.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Root {
    /// The host's programs and libraries, and of `/etc` what programs look up.
    Host,
    /// A folder that holds a root of its own, with empty folders `proc`, `tmp`, `dev` and
    /// `var/task`; empty folders `opt/usher` and `run/secrets` besides if programs are to have the
    /// shims of [`crate::restored`], and secrets.
    Folder(PathBuf),
}

/// A function's folder, what to run in it, and within which bounds.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Read-only at `/var/task`, where the program starts. Users other than its owner must be able
    /// to read it.
    pub folder: PathBuf,
    /// The program and its arguments; a name without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Files in memory below [`SECRETS_FOLDER`], which only the program reads.
    pub secrets: Vec<(String, Secret)>,
    /// What it may use.
    pub bounds: Bounds,
}

/// What all processes of a program may use together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Memory, files in memory included.
    pub memory_max_bytes: u64,
    /// Processes and threads.
    pub tasks_max: u32,
    /// Thousandths of a processor's time; none: as much as there is.
    pub cpu_max_millis: Option<u32>,
    /// Files in `/tmp`.
    pub scratch_max_bytes: u64,
    /// Open descriptors of each process.
    pub files_max: u32,
}

/// What makes sandboxes; cheap to clone. When the last clone, shell and program are dropped, the
/// spawner ends.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    inner: Arc<Inner>,
    modes: Modes,
    means: Arc<Means>,
    stock: Arc<Stock>,
}

/// What shells and programs need of the whole.
#[derive(Debug)]
struct Inner {
    options: SandboxOptions,
    state: State,
    groups: Groups,
    speculation: speculation::Found,
    spawner: tokio::sync::Mutex<Option<Handle>>,
    slots: Mutex<HashSet<u32>>,
    counts: changes::Sender<Counts>,
    runtime: runtime::Handle,
}

/// What exists.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Sandboxes, shells among them.
    sandboxes: u64,
    /// Those with a program.
    programs: u64,
    /// No more are made.
    closed: bool,
}

impl Sandboxes {
    /// Finds out what the machine permits, removes what a killed platform has left, starts the
    /// spawner, and has the stock filled.
    ///
    /// # Errors
    ///
    /// If the folder is in use, the spawner cannot be started, or no sandbox is safe here.
    pub async fn open(options: SandboxOptions) -> Result<Self, OpenError> {
        let (inner, modes) = probe::open(options).await?;
        let renewal = probe::renewal(&inner, modes).await;
        let means = Arc::new(Means::told(&modes, &inner, &renewal));
        means.log();
        let stock = Arc::new(Stock::fill(&inner, modes));
        Ok(Self {
            inner,
            modes,
            means,
            stock,
        })
    }

    /// Whether programs can load the shims of [`crate::restored`]: where they see the host's root,
    /// or a folder that has an empty folder `opt/usher` for them.
    pub fn has_shims(&self) -> bool {
        match &self.inner.options.root {
            Root::Host => true,
            Root::Folder(path) => root::takes_shims(path),
        }
    }

    /// What the machine gives, and which way was chosen because of it.
    pub fn means(&self) -> &Means {
        &self.means
    }

    /// A shell out of the stock, or else one that is made now.
    ///
    /// # Errors
    ///
    /// If none could be made.
    pub async fn shell(&self) -> Result<Shell, ShellError> {
        match self.stock.take().await {
            Some(shell) => Ok(shell),
            None => Shell::make(&self.inner, self.modes).await,
        }
    }

    /// Programs that exist: launched, and not yet gone with all of their sandbox.
    pub fn alive(&self) -> u64 {
        self.inner.counts.borrow().programs
    }

    /// Makes no more sandboxes, drops the stock, waits for programs to be gone, and ends the
    /// spawner. Programs are not ended by this; drop them before.
    pub async fn close(&self) {
        self.inner.counts.send_modify(|counts| counts.closed = true);
        self.stock.empty().await;
        let mut counts = self.inner.counts.subscribe();
        // The sender is owned by `self`.
        let _ = counts.wait_for(|counts| counts.sandboxes == 0).await;
        let spawner = self.inner.spawner.lock().await.take();
        if let Some(spawner) = spawner {
            spawner.end().await;
        }
    }
}
