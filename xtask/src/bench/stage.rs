//! What has to be there before anything is measured: the platform's build, the peers, the
//! functions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::server::{Function, Programs};
use crate::child::{Watched, cargo};
use crate::{examples, workspace};

/// Building the platform or the functions, and compiling one for the peer, each; in seconds.
const MAKE_MAX_S: u64 = 45 * 60;
/// What the function `rust-hello` answers, and so the bare server too.
const HELLO_BODY: &str = "Hello from Rust\n";

/// Builds the platform, unless `usher` names another build, and fetches the peers.
pub(crate) fn programs(usher: Option<&Path>) -> Result<Programs> {
    install_wrk()?;
    let usher = match usher {
        Some(other) => other.to_path_buf(),
        None => build_usher()?,
    };
    Ok(Programs {
        usher,
        wasmtime: examples::wasmtime()?,
        body: HELLO_BODY.to_owned(),
    })
}

/// Builds a function and gives it the forms that the servers take.
pub(crate) fn function(programs: &Programs, name: &str) -> Result<Function> {
    let mut build = Command::new(std::env::current_exe()?);
    make("examples", build.args(["examples", "--filter", name]))?;
    let root = workspace::root();
    let folder = root.join("target/bench").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let component = root.join(format!("target/examples/{name}.wasm"));
    let compiled = folder.join("component.cwasm");
    if is_older(&compiled, &component)? {
        let mut compile = Command::new(&programs.wasmtime);
        make(
            "wasmtime compile",
            compile
                .arg("compile")
                .arg(&component)
                .arg("-o")
                .arg(&compiled),
        )?;
    }
    let unclean = folder.join("unclean");
    fs::create_dir_all(&unclean)?;
    fs::copy(&component, unclean.join("component.wasm"))?;
    let manifest =
        format!("name = \"{name}\"\ncomponent = \"component.wasm\"\nisolation = \"none\"\n");
    fs::write(unclean.join("function.toml"), manifest)?;
    Ok(Function {
        component,
        unclean,
        compiled,
    })
}

fn build_usher() -> Result<PathBuf> {
    println!("building the platform; from nothing that takes minutes");
    let root = workspace::root();
    let mut build = Command::new(cargo());
    build.args(["build", "--release", "--locked", "--package", "usher"]);
    make("building the platform", build.current_dir(&root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/usher"))
}

fn install_wrk() -> Result<()> {
    let there = Command::new("wrk").arg("-v").output().is_ok();
    if there {
        Ok(())
    } else {
        examples::apt(&["wrk"])
    }
}

fn is_older(file: &Path, than: &Path) -> Result<bool> {
    let source = fs::metadata(than).with_context(|| format!("{} is not there", than.display()))?;
    let made = fs::metadata(file).and_then(|file| file.modified());
    Ok(made.map_or(true, |made| {
        source.modified().is_ok_and(|source| source > made)
    }))
}

/// Runs a command to its end; what it said is shown only if it failed.
fn make(name: &str, command: &mut Command) -> Result<()> {
    let mut said = Vec::new();
    let limit = Duration::from_secs(MAKE_MAX_S);
    let status = Watched::start(name, command)?.finish(limit, |line| said.push(line.to_owned()))?;
    let last = said.len().saturating_sub(40);
    ensure!(
        status.success(),
        "{name} failed ({status}):\n{}",
        said[last..].join("\n")
    );
    Ok(())
}
