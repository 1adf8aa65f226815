//! A process of its own: this test binary again, running one test that is ignored otherwise.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdout, Command, ExitStatus, Stdio};

use tokio::runtime::Runtime;

use super::{full, kill};

const MODE: &str = "USHER_BACKBONE_TEST_CHILD";
const FOLDER: &str = "USHER_BACKBONE_TEST_FOLDER";

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Writes until it is killed.
    Lasting,
    /// The same with a store that acknowledges too early.
    Forgetful,
    /// Works below a limit on the size of files.
    SmallFiles,
}

const MODES: [(Mode, &str); 3] = [
    (Mode::Lasting, "lasting"),
    (Mode::Forgetful, "forgetful"),
    (Mode::SmallFiles, "small-files"),
];

/// What [`Child::start`] runs; without its variables there is nothing to do.
#[test]
fn child() {
    let (Ok(name), Some(folder)) = (env::var(MODE), env::var_os(FOLDER)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let (mode, _) = MODES.into_iter().find(|(_, known)| *known == name).unwrap();
    Runtime::new().unwrap().block_on(async {
        match mode {
            Mode::SmallFiles => full::in_small_files(&folder).await,
            writing => kill::write_and_tell(&folder, writing).await,
        }
    });
}

/// A running child, killed at the latest when dropped.
pub(super) struct Child {
    process: process::Child,
    pub(super) lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(super) fn start(mode: Mode, folder: &Path) -> Self {
        let (_, name) = MODES.into_iter().find(|(known, _)| *known == mode).unwrap();
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::child::child", "--nocapture"])
            .env(MODE, name)
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Ends it at once, by a signal that cannot be caught.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> ExitStatus {
        for line in self.lines.by_ref() {
            println!("child: {}", line.unwrap());
        }
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}
