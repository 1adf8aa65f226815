//! The servers that serve a component: how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::super::server::Server;
use super::super::stage::Built;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Ours as it comes.
    Ours,
    /// Ours, told what warms it up.
    OursWarm,
    /// Ours, told not to clean.
    OursUnclean,
    /// `wasmtime serve` as it comes: a fresh instance for each request.
    Fresh,
    /// The same with the settings under which it isolates fastest.
    FreshBest,
    /// The same, told to reuse instances, which it never cleans.
    Reused,
    /// hyper alone, answering the same bytes.
    Hyper,
}

/// What to start servers from.
pub(super) struct Programs {
    /// The platform, and the servers that are compiled with it.
    pub(super) built: Built,
    /// The peer's.
    pub(super) wasmtime: PathBuf,
    /// What a bare server answers.
    pub(super) body: String,
}

/// A function in the forms that the servers take.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// The component.
    pub(super) component: PathBuf,
    /// A folder with it and a manifest that says `isolation = "none"`.
    pub(super) unclean: PathBuf,
    /// The same with a manifest that names a warm-up request.
    pub(super) warm: PathBuf,
    /// It as the peer compiled it.
    pub(super) compiled: PathBuf,
}

impl Kind {
    /// The words for it in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "usher",
            Self::OursWarm => "usher, with warm-up",
            Self::OursUnclean => "usher, isolation none",
            Self::Fresh => "wasmtime serve",
            Self::FreshBest => "wasmtime serve, best isolated",
            Self::Reused => "wasmtime serve, reuse (not isolated)",
            Self::Hyper => "bare hyper",
        }
    }

    /// Starts a server of this kind and waits until it says where it listens.
    pub(super) fn start(self, programs: &Programs, function: &Function) -> Result<Server> {
        let mut command = match self {
            Self::Ours => Server::ours(&programs.built.usher, &function.component),
            Self::OursWarm => Server::ours(&programs.built.usher, &function.warm),
            Self::OursUnclean => Server::ours(&programs.built.usher, &function.unclean),
            Self::Fresh | Self::FreshBest | Self::Reused => wasmtime(
                &programs.wasmtime,
                self.wasmtime_options(),
                &function.compiled,
            ),
            Self::Hyper => {
                let mut command = Command::new(&programs.built.xtask);
                command.args(["peer", "hyper", "--body", &programs.body]);
                command
            }
        };
        Server::start(self.name(), &mut command)
    }

    fn wasmtime_options(self) -> &'static [&'static str] {
        match self {
            Self::FreshBest => &[
                "-Opooling-memory-keep-resident=33554432",
                "-Opooling-table-keep-resident=1048576",
                "-Opooling-async-stack-keep-resident=65536",
                "-Opooling-pagemap-scan=y",
            ],
            Self::Reused => &["--max-instance-reuse-count", "1000000"],
            _ => &[],
        }
    }
}

fn wasmtime(program: &Path, options: &[&str], compiled: &Path) -> Command {
    let mut command = Command::new(program);
    // Interpreters in components import wasi:cli, though no handler needs it.
    command
        .args(["serve", "--addr", "127.0.0.1:0"])
        .args(["--allow-precompiled", "-Scli"])
        .args(options)
        .arg(compiled);
    command
}
