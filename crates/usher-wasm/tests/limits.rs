//! Hostile artifacts and failing compilers end in one clear error; the cache trusts only what is
//! whole.
//!
//! Deliberately absent: what guests do when they run, and the two bounds that only time can show:
//! how long a compiler may take, and how much processor time.
#![expect(clippy::unwrap_used, reason = "tests")]

mod guests;
#[path = "limits/hostile.rs"]
mod hostile;
#[path = "limits/kept.rs"]
mod kept;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use guests::Bench;
use usher_api::node::PrepareFault;
use usher_core::fault::Blame;
use usher_core::function::Settings;
use usher_wasm::{Compiler, FreshPool, WasmConfig, WasmEngine, WasmImage};

/// An engine over a cache of its own, and that cache's folder.
struct Place {
    bench: Bench,
    folder: tempfile::TempDir,
}

impl Place {
    fn new(compiler: Compiler) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = bench(folder.path(), compiler);
        Self { bench, folder }
    }

    /// Another engine over the same folder.
    fn restarted(self) -> Self {
        let Self { bench: old, folder } = self;
        drop(old);
        let bench = bench(folder.path(), Compiler::InProcess);
        Self { bench, folder }
    }

    async fn load(&self, artifact: &[u8]) -> Result<Arc<WasmImage>, PrepareFault> {
        let artifact = Bytes::copy_from_slice(artifact);
        self.bench.try_load(artifact, Settings::default()).await
    }

    async fn refusal(&self, artifact: &[u8]) -> PrepareFault {
        self.load(artifact).await.err().expect("should be refused")
    }

    /// Shows that the engine is as good as before: it takes a component, and starts it.
    async fn still_works(&self) {
        let image = self.load(&guests::silent("")).await.unwrap();
        self.bench.start(&image).await;
    }
}

fn bench(folder: &Path, compiler: Compiler) -> Bench {
    let config = WasmConfig {
        cache_folder: folder.to_owned(),
        compiler,
        pool: FreshPool::default(),
    };
    Bench {
        engine: WasmEngine::new(config).unwrap(),
        heard: Arc::default(),
    }
}

/// The compiler as the platform runs it, by the example `compile-child`.
fn child() -> Compiler {
    let program = built("compile-child");
    assert!(
        program.exists(),
        "{} is not there; `cargo test` without `--test` builds it",
        program.display()
    );
    let args = Vec::new();
    Compiler::Child { program, args }
}

/// Where an example was built, beside the folder of this test.
fn built(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    profile.join("examples").join(example)
}

#[track_caller]
fn assert_fault(fault: &PrepareFault, blame: Blame, why: &str) {
    assert_eq!(fault.blame, blame, "{fault}");
    assert!(fault.message.contains(why), "{why:?} in {fault}");
    assert!(!fault.message.contains('\n'), "one line: {fault}");
}
