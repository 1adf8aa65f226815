//! What the tests share: sandboxes of a test's own, and programs that are run to their end.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use usher_process::sandbox::{
    Bounds, Denial, Exit, Launch, Program, Root, SandboxOptions, Sandboxes,
};

/// Bounds that no well-behaved program of a test meets.
pub(crate) const BOUNDS: Bounds = Bounds {
    memory_max_bytes: 256 << 20,
    tasks_max: 64,
    cpu_max_millis: None,
    scratch_max_bytes: 16 << 20,
    files_max: 256,
};

/// Sandboxes with a state folder of their own.
pub(crate) struct Rig {
    pub(crate) sandboxes: Sandboxes,
    pub(crate) folder: TempDir,
}

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) denials: Vec<Denial>,
}

/// An example of this crate, which cargo builds with its tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let path = folder.join("examples").join(name);
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

pub(crate) fn options(state_folder: &Path, stock: usize) -> SandboxOptions {
    SandboxOptions {
        program: example("sandbox-spawner"),
        args: Vec::new(),
        state_folder: state_folder.to_owned(),
        stock,
        root: Root::Host,
        predictors_apart: true,
    }
}

impl Rig {
    pub(crate) async fn new(stock: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The function's user is nobody's, and has to get to its folder.
        let code = folder.path().join("code");
        std::fs::create_dir(&code).unwrap();
        let state = folder.path().join("state");
        let sandboxes = Sandboxes::open(options(&state, stock)).await.unwrap();
        Self { sandboxes, folder }
    }

    /// The function's folder.
    pub(crate) fn code(&self) -> PathBuf {
        self.folder.path().join("code")
    }

    pub(crate) fn launch(&self, command: &[&str]) -> Launch {
        Launch {
            folder: self.code(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            secrets: Vec::new(),
            bounds: BOUNDS,
        }
    }

    pub(crate) async fn start(&self, launch: Launch) -> Program {
        let shell = self.sandboxes.shell().await.unwrap();
        shell.launch(launch).await.unwrap()
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, launch: Launch) -> Ran {
        ran(self.start(launch).await).await
    }
}

/// Waits for the end of a program, and until nothing of it is left.
pub(crate) async fn ran(mut program: Program) -> Ran {
    let (mut out, mut err) = program.take_output().unwrap();
    let mut denied = program.take_denials();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (exit, read, read_too) = tokio::join!(
        program.exited(),
        out.read_to_end(&mut output),
        err.read_to_end(&mut errors)
    );
    read.unwrap();
    read_too.unwrap();
    let mut denials = Vec::new();
    while let Some(denial) = denied.as_mut().and_then(|it| it.try_recv().ok()) {
        denials.push(denial);
    }
    program.kill().await;
    Ran {
        exit,
        output: String::from_utf8_lossy(&output).into_owned(),
        errors: String::from_utf8_lossy(&errors).into_owned(),
        denials,
    }
}
