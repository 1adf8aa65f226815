//! The compiler's own process: judge, rewrite, compile, write, answer.
//!
//! Bounds on memory and processor time are laid on before the first byte of the artifact is read.

use std::fs;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use sha2::{Digest as _, Sha256};
use usher_core::id::Digest;
use wasmtime::{Engine, InstanceAllocationStrategy};

use crate::compile::{ARTIFACT_FILE, Answer, Compiled, Job, code_file};
use crate::rewrite::{Plan, Rewritten, Verdict, rewrite};
use crate::settings::{self, CodeKind};

/// Address space of the compiler, in bytes.
const ADDRESSES_MAX_BYTES: u64 = 12 << 30;
/// Processor time of the compiler, in seconds.
const PROCESSOR_MAX_S: u64 = 600;
/// What the compiler may write into one file, in bytes.
const FILE_MAX_BYTES: u64 = 2 << 30;

/// Components above this size are compiled with guard pages even if they can grow: explicit checks
/// slow all of their code down, and a language runtime's heap seldom grows.
const HEADROOM_CODE_MAX_BYTES: usize = 2 << 20;

/// Compiled code that any component may have, in bytes.
const CODE_FREE_BYTES: usize = 4 << 20;
/// Bytes of compiled code that it may have beyond that, for each of its own. Tool chains need three
/// to five; instances that instantiate instances need no bound.
const CODE_PER_BYTE_MAX: usize = 16;

/// Runs one compilation: a job on standard input, an answer on standard output.
///
/// To be called first thing in `main`, on a process that does nothing else.
pub fn compile_child() -> ExitCode {
    let bounds = [
        (Resource::As, ADDRESSES_MAX_BYTES),
        (Resource::Cpu, PROCESSOR_MAX_S),
        (Resource::Fsize, FILE_MAX_BYTES),
        (Resource::Core, 0),
    ];
    for (resource, bound) in bounds {
        let limit = Rlimit {
            current: Some(bound),
            maximum: Some(bound),
        };
        if setrlimit(resource, limit).is_err() {
            return ExitCode::FAILURE;
        }
    }
    let mut job = Vec::new();
    if std::io::stdin().read_to_end(&mut job).is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(job) = serde_json::from_slice::<Job>(&job) else {
        return ExitCode::FAILURE;
    };
    let answer = work(&job);
    let told = serde_json::to_vec(&answer).map(|answer| std::io::stdout().write_all(&answer));
    match told {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Does the job.
pub(crate) fn work(job: &Job) -> Answer {
    match attempt(job) {
        Ok(compiled) => Answer::Compiled(compiled),
        Err(message) => Answer::Refused(message),
    }
}

fn attempt(job: &Job) -> Result<Compiled, String> {
    let artifact = fs::read(job.folder.join(ARTIFACT_FILE))
        .map_err(|error| format!("the artifact could not be read: {error}"))?;
    let artifact_bytes = artifact.len();
    let begun = Instant::now();
    let Rewritten { bytes, plan } = rewrite(&artifact).map_err(|error| chain(&error))?;
    let (kind, exports, reasons, bytes) = match plan.verdict {
        Verdict::Live(ref exports) if job.live => (
            live_kind(&plan, artifact.len()),
            Some(exports.clone()),
            Vec::new(),
            bytes,
        ),
        Verdict::Live(_) => (CodeKind::Fresh, None, Vec::new(), artifact),
        Verdict::Fresh { ref reasons } => {
            let reasons = reasons.iter().map(ToString::to_string).collect();
            let kind = match plan.concurrent {
                true => CodeKind::Concurrent,
                false => CodeKind::Fresh,
            };
            (kind, None, reasons, bytes)
        }
    };
    let rewritten = Instant::now();
    let mut config = settings::config(kind, job.pool);
    // Nothing is instantiated here, and what a pool reserves is beyond the compiler's bounds.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    let engine = Engine::new(&config)
        .map_err(|error| format!("the compiler could not be set up: {error:#}"))?;
    let code = engine
        .precompile_component(&bytes)
        .map_err(|error| format!("the component could not be compiled: {error:#}"))?;
    let most = CODE_FREE_BYTES + CODE_PER_BYTE_MAX * artifact_bytes;
    if code.len() > most {
        return Err(format!(
            "the component of {artifact_bytes} bytes became {} bytes of code; at most {most} are \
             taken, since loading it would cost the platform too much",
            code.len()
        ));
    }
    let name = code_file(kind);
    fs::write(job.folder.join(&name), &code)
        .map_err(|error| format!("the compiled code could not be written: {error}"))?;
    Ok(Compiled {
        kind,
        exports,
        reasons,
        nested: plan.nested,
        took_us: [rewritten - begun, rewritten.elapsed()].map(microseconds),
        sums: [(name, Digest(Sha256::digest(&code).into()))].into(),
    })
}

fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Explicit checks and headroom for small components that can grow, guard pages for all others.
fn live_kind(plan: &Plan, bytes: usize) -> CodeKind {
    let grows = plan.modules.iter().any(|module| module.grows);
    if grows && bytes <= HEADROOM_CODE_MAX_BYTES {
        CodeKind::Headroom
    } else {
        CodeKind::Guarded
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
