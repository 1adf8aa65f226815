//! How a JavaScript or Python function becomes a component of wasi:http 0.3.
//!
//! Rust's are made as those of 0.2 (`recipe`), from a workspace of their own.
//! A change in this file makes these components anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::command;
use super::source::Guest;
use super::tools::Tools;

/// The world that Python is built for.
const PY_WORLD: &str = "include wasi:http/service@0.3.0;";

/// The world that JavaScript is built for: componentize-qjs cannot import `wasi:http/client`.
const JS_WORLD: &str = "import wasi:http/types@0.3.0;
  export wasi:http/handler@0.3.0;";

/// Makes a JavaScript function into the component `target`.
///
/// # Errors
/// The words of componentize-qjs, if it refuses.
pub(super) fn js(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let wit = wit(tools, "js-p3-wit", JS_WORLD)?;
    let mut componentize = Command::new(tools.componentize_qjs());
    componentize.arg("--wit").arg(wit);
    componentize.args(["--world", "guest", "--module-root", ".", "--js"]);
    componentize.arg(format!("{}/app.js", guest.name));
    componentize.arg("--output").arg(target);
    command::run(componentize.current_dir(shared(guest)?)).map(drop)
}

/// Makes a Python function into the component `target`, from a copy, because the interpreter leaves
/// its compiled files beside the sources.
///
/// # Errors
/// The words of componentize-py, if it refuses.
pub(super) fn py(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let wit = wit(tools, "py-p3-wit", PY_WORLD)?;
    let folder = tools.scratch("py-p3").join(&guest.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for source in [shared(guest)?.join("guest.py"), guest.folder.join("app.py")] {
        let copy = folder.join(source.file_name().unwrap_or_default());
        fs::copy(&source, copy).with_context(|| format!("copying {}", source.display()))?;
    }
    let mut componentize = Command::new(tools.program("componentize-py"));
    componentize.arg("-d").arg(wit);
    componentize.args(["-w", "guest", "componentize", "app"]);
    command::run(componentize.arg("-o").arg(target).current_dir(folder)).map(drop)
}

/// The WIT of WASI 0.3, and a world of ours beside it.
fn wit(tools: &Tools, name: &str, world: &str) -> Result<PathBuf> {
    let folder = tools.scratch(name);
    let _ = fs::remove_dir_all(&folder);
    let packages = fs::read_dir(tools.wit_p3()).context("reading the WIT of WASI 0.3")?;
    for package in packages {
        let package = package?;
        let copy = folder.join("deps").join(package.file_name());
        fs::create_dir_all(&copy).with_context(|| format!("making {}", copy.display()))?;
        let file = package.path().join("package.wit");
        fs::copy(&file, copy.join("package.wit"))
            .with_context(|| format!("copying {}", file.display()))?;
    }
    let world = format!("package usher:guest;\n\nworld guest {{\n  {world}\n}}\n");
    fs::write(folder.join("guest.wit"), world).context("writing a world")?;
    Ok(folder)
}

fn shared(guest: &Guest) -> Result<PathBuf> {
    let shared = guest.folder.parent();
    Ok(shared
        .context("a function has a folder above it")?
        .to_owned())
}
