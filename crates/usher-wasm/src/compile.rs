//! Compilation of the bytes that users send, in a process of its own.
//!
//! The bytes are hostile until they are compiled. They are parsed, judged, rewritten and compiled
//! in a child with bounds on its memory, its processor time and its life; if it crashes or hangs,
//! that is one clear error. Deliberately absent: where the code is kept (`cache`), what the child
//! does (`child`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;
use usher_core::fault::Blame;

use usher_api::node::PrepareFault;

use crate::rewrite::LiveExports;
use crate::settings::{CodeKind, FreshPool};

/// How long one compilation may take, in seconds.
const COMPILE_MAX_S: u64 = 300;
/// What a compiler may answer, in bytes.
const ANSWER_MAX_BYTES: u64 = 1 << 20;

/// Who compiles.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// A child process: this program with these arguments ends in [`crate::compile_child`].
    Child {
        /// The program, mostly this one.
        program: PathBuf,
        /// What makes it the compiler.
        args: Vec<String>,
    },
    /// This process, without bounds: for tests with components of their own.
    InProcess,
}

/// What is to be compiled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The folder that holds the artifact and takes the code.
    pub(crate) folder: PathBuf,
    /// Whether it is to be served live where it can be.
    pub(crate) live: bool,
    /// Bounds that the fresh engine is set to.
    pub(crate) pool: FreshPool,
}

/// Name of the artifact within a job's folder.
pub(crate) const ARTIFACT_FILE: &str = "component.wasm";

/// What a compiler answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The code stands in the job's folder.
    Compiled(Compiled),
    /// The artifact is at fault.
    Refused(String),
}

/// Compiled code, and how it is to be served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Compiled {
    /// Which engine it was compiled for.
    pub(crate) kind: CodeKind,
    /// What the rewriting added, where it is served live.
    pub(crate) exports: Option<LiveExports>,
    /// Why it is not, one sentence each.
    pub(crate) reasons: Vec<String>,
    /// Whether components with state of their own are nested in it.
    #[serde(default)]
    pub(crate) nested: bool,
    /// What rewriting and compiling took, in microseconds. It says nothing where the code was made
    /// before.
    #[serde(default)]
    pub(crate) took_us: [u64; 2],
    /// SHA-256 of each file of code, by name.
    pub(crate) sums: BTreeMap<String, usher_core::id::Digest>,
}

/// The name of a file of code.
pub(crate) fn code_file(kind: CodeKind) -> String {
    format!("{}.cwasm", kind.word())
}

impl Compiler {
    /// Compiles; the answer's files stand in the job's folder.
    pub(crate) async fn run(&self, job: Job) -> Result<Compiled, PrepareFault> {
        let answer = match self {
            Self::InProcess => {
                let done = tokio::task::spawn_blocking(move || crate::child::work(&job)).await;
                done.map_err(|_| crashed("it panicked"))?
            }
            Self::Child { program, args } => {
                let limit = Duration::from_secs(COMPILE_MAX_S);
                match timeout(limit, child(program, args, &job)).await {
                    Ok(answer) => answer?,
                    Err(_) => return Err(crashed(&format!("it took over {COMPILE_MAX_S} s"))),
                }
            }
        };
        match answer {
            Answer::Compiled(compiled) => Ok(compiled),
            Answer::Refused(message) => Err(PrepareFault {
                blame: Blame::Function,
                message,
            }),
        }
    }
}

async fn child(program: &Path, args: &[String], job: &Job) -> Result<Answer, PrepareFault> {
    let platform = |what: &str, error: &dyn std::fmt::Display| PrepareFault {
        blame: Blame::Platform,
        message: format!("the compiler could not be {what}: {error}"),
    };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| platform("started", &error))?;
    let job = serde_json::to_vec(job).map_err(|error| platform("told its job", &error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A compiler that died before it listened is reported by how it ended.
        let _heard = stdin.write_all(&job).await;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let heard = stdout.take(ANSWER_MAX_BYTES).read_to_end(&mut answer).await;
        heard.map_err(|error| platform("heard", &error))?;
    }
    let status = child.wait().await;
    let status = status.map_err(|error| platform("awaited", &error))?;
    serde_json::from_slice(&answer).map_err(|_| crashed(&format!("it ended with {status}")))
}

fn crashed(how: &str) -> PrepareFault {
    PrepareFault {
        blame: Blame::Function,
        message: format!(
            "the component could not be compiled: the compiler gave up on it ({how}); \
             a smaller or simpler component may compile"
        ),
    }
}
