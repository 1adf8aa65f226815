//! The engines of the platform: components and programs, as one engine, and the processes that the
//! binary starts of itself for them.
//!
//! This is the only file of the binary that names an engine. Deliberately absent: which function
//! goes to which, which its revision says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use usher_engine::pair::Pair;
use usher_process::sandbox::{Mean, Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine};
use usher_wasm::{Compiler, FreshPool, WasmConfig, WasmEngine};

pub(crate) use usher_wasm::{measure_swap, measure_throughput};

use crate::cli::Tuning;

/// The hidden command by which the platform starts itself to compile a component.
const COMPILE_COMMAND: &str = "compile-component";
/// The hidden command by which the platform starts itself to make sandboxes.
const SANDBOX_COMMAND: &str = "make-sandboxes";
/// Empty sandboxes that are kept ready.
const SHELLS_READY: usize = 4;

/// The engines as one.
pub(crate) type Engines = Pair<WasmEngine, ProcessEngine>;

/// Makes both engines. `data` is the platform's own, `cache` may be shared with others.
pub(crate) fn make(data: &Path, cache: &Path, tuning: &Tuning) -> anyhow::Result<Arc<Engines>> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let components = WasmEngine::new(WasmConfig {
        cache_folder: cache.join("compiled"),
        compiler: Compiler::Child {
            program: program.clone(),
            args: vec![COMPILE_COMMAND.to_owned()],
        },
        pool: FreshPool::default(),
    })
    .context("the engine was not made")?;
    Ok(Arc::new(Pair {
        first: components,
        second: programs(data, program, SHELLS_READY, tuning),
    }))
}

fn programs(data: &Path, program: PathBuf, stock: usize, tuning: &Tuning) -> ProcessEngine {
    ProcessEngine::new(ProcessConfig {
        bundles_folder: data.join("bundles"),
        sandboxes: SandboxOptions {
            program,
            args: vec![SANDBOX_COMMAND.to_owned()],
            state_folder: data.join("sandboxes"),
            stock,
            root: Root::Host,
            predictors_apart: !tuning.shared_predictors,
        },
        areas: tuning.areas.iter().cloned().collect(),
    })
}

/// What this machine gives sandboxes, found out now; or why there can be none.
pub(crate) async fn sandboxes() -> anyhow::Result<Result<Vec<Mean>, String>> {
    let folder = tempfile::tempdir().context("no folder could be made")?;
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let engine = programs(folder.path(), program, 0, &Tuning::default());
    let found = match engine.means().await {
        Ok(means) => Ok(means.rows().to_vec()),
        Err(why) => Err(why.to_owned()),
    };
    engine.close().await;
    Ok(found)
}

/// The body of the hidden command that compiles; to be called before there is any runtime.
pub(crate) fn compile_child() -> ExitCode {
    usher_wasm::compile_child()
}

/// The body of the hidden command that makes sandboxes; to be called before there is any thread.
pub(crate) fn sandbox_child() -> ExitCode {
    usher_process::sandbox::spawner_main()
}
