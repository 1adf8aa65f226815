//! The contract of all engines, for programs: put back in place after each request, and swapped.
//!
//! Needs the right to make sandboxes, and the server of `examples/http/c` (`cargo xtask examples`).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tempfile::TempDir;
use usher_core::function::{Contract, Lint, LintChoice, Process, RenewalChoice, Settings};
use usher_core::proof::Renewal;
use usher_engine::contract::ContractHarness;
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{Injection, ProcessConfig, ProcessEngine, Step};

/// What sockets of this machine may hold between a reader that stands still and its writer, with
/// what the program and the platform hold themselves, in bytes.
const BUFFERED_MAX_BYTES: u64 = 32 << 20;

/// An engine with folders of its own.
struct Harness {
    engine: ProcessEngine,
    choice: RenewalChoice,
    _folder: TempDir,
}

impl Harness {
    fn new(choice: RenewalChoice) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = ProcessEngine::new(ProcessConfig {
            bundles_folder: folder.path().join("bundles"),
            sandboxes: SandboxOptions {
                program: spawner(),
                args: Vec::new(),
                state_folder: folder.path().join("sandboxes"),
                stock: 2,
                root: Root::Host,
                predictors_apart: true,
            },
            areas: Default::default(),
        });
        Self {
            engine,
            choice,
            _folder: folder,
        }
    }
}

impl Harness {
    fn inject(&self, what: Injection, on: bool) {
        self.engine.inject(on.then_some((Step::Swap, what)));
    }
}

/// The program beside this test that makes sandboxes.
fn spawner() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    built.join("examples/sandbox-spawner")
}

/// The folder of the C server with the name of the guest that it is to be.
fn folder(guest: &str) -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let server = root.join("target/examples/http-c/server");
    let shown = server.display();
    assert!(
        server.exists(),
        "{shown} is not there; `cargo xtask examples` builds it"
    );
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("server");
    fs::copy(&server, &own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("guest"), guest).unwrap();
    folder
}

impl ContractHarness for Harness {
    type Engine = ProcessEngine;

    fn engine(&self) -> &ProcessEngine {
        &self.engine
    }

    fn artifact(&self, guest: &str) -> Bytes {
        pack(folder(guest).path(), Default::default())
            .unwrap()
            .bytes
    }

    fn settings(&self) -> Settings {
        let command = ["/bin/sh", "-c", "GUEST=$(cat guest) exec ./server"];
        Settings {
            process: Some(Process {
                contract: Contract::Http,
                command: command.map(str::to_owned).to_vec(),
                handler: None,
                environment: Default::default(),
                reuse: true,
                areas: Vec::new(),
                snap_start: false,
            }),
            // Some of the guests wait to be let go on.
            lint: Lint {
                freshness: LintChoice::Off,
                requests: Vec::new(),
            },
            renewal: self.choice,
            ..Settings::default()
        }
    }

    fn renewal(&self) -> Renewal {
        match self.choice {
            RenewalChoice::Swap => Renewal::Swap,
            _ => Renewal::InPlace,
        }
    }

    fn compiled(&self) -> u64 {
        0
    }

    fn loaded(&self) -> u64 {
        self.engine.counters().loaded.load(Ordering::SeqCst)
    }

    fn alive(&self) -> u64 {
        self.engine.counters().alive.load(Ordering::SeqCst)
    }

    fn buffered_max_bytes(&self) -> u64 {
        BUFFERED_MAX_BYTES
    }

    fn skip_swap(&self, on: bool) -> bool {
        self.inject(Injection::Skip, on);
        self.choice == RenewalChoice::Swap
    }

    fn spoil_renewal(&self, on: bool) -> bool {
        self.inject(Injection::Spoil, on);
        true
    }
}

mod in_place {
    use super::{Harness, RenewalChoice};
    usher_engine::contract_suite!(Harness::new(RenewalChoice::InPlace));
}

mod swapped {
    use super::{Harness, RenewalChoice};
    usher_engine::contract_suite!(Harness::new(RenewalChoice::Swap));
}
