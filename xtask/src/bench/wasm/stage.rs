//! What has to be there before components are measured: the platform's build, the peer, the
//! functions.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::stage::{build, install, make};
use super::kind::{Function, Programs};
use crate::{examples, workspace};

/// What the function `rust-hello` answers, and so the bare server too.
const HELLO_BODY: &str = "Hello from Rust\n";

/// Builds the platform, unless `usher` names another build, and fetches the peers.
pub(super) fn programs(usher: Option<&Path>) -> Result<Programs> {
    install("wrk", "wrk")?;
    Ok(Programs {
        built: build(usher)?,
        wasmtime: examples::wasmtime()?,
        body: HELLO_BODY.to_owned(),
    })
}

/// Builds a function and gives it the forms that the servers take.
pub(super) fn function(programs: &Programs, name: &str) -> Result<Function> {
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
    let told = |word: &str, lines: &str| -> Result<_> {
        let told = folder.join(word);
        fs::create_dir_all(&told)?;
        fs::copy(&component, told.join("component.wasm"))?;
        let manifest = format!("name = \"{name}\"\ncomponent = \"component.wasm\"\n{lines}\n");
        fs::write(told.join("function.toml"), manifest)?;
        Ok(told)
    };
    Ok(Function {
        unclean: told("unclean", "isolation = \"none\"")?,
        warm: told("warm", "[[warm_up]]")?,
        component,
        compiled,
    })
}

fn is_older(file: &Path, than: &Path) -> Result<bool> {
    let source = fs::metadata(than).with_context(|| format!("{} is not there", than.display()))?;
    let made = fs::metadata(file).and_then(|file| file.modified());
    Ok(made.map_or(true, |made| {
        source.modified().is_ok_and(|source| source > made)
    }))
}
