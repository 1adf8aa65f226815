//! How one function becomes a component, language by language.
//!
//! A change in this file makes every component anew: it is part of their digest.
//! Deliberately absent: whether that is needed (`stamp`) and where the tools come from (`tools`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::command;
use super::hostile;
use super::http;
use super::program;
use super::service;
use super::source::{Guest, Language};
use super::tools::{self, Tools};

/// The world that Rust, C, WebAssembly text and Python are built for.
const WORLD: &str = "wasi:http/proxy@0.2.12";

/// The world that JavaScript is built for: componentize-js knows 0.2.10 and nothing else.
const JS_WORLD: &str = "package usher:guest;

world guest {
  import wasi:http/types@0.2.10;
  import wasi:http/outgoing-handler@0.2.10;
  export wasi:http/incoming-handler@0.2.10;
}
";

/// Bytes of the stack of a C function; zig lays it below the data, so that an overflow traps.
const C_STACK_BYTES: u32 = 64 * 1024;

/// Makes `guest` into the component `target`.
///
/// # Errors
/// The compiler's own words, if it refuses.
pub(super) fn build(root: &Path, guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    match guest.language {
        Language::Rust | Language::RustP3 => rust(root, guest, tools, target),
        Language::C => c(guest, tools, target),
        Language::Wat => {
            let text = guest.folder.join(format!("{}.wat", guest.name));
            component(tools, &text, target)
        }
        Language::Js => js(guest, tools, target),
        Language::Py => py(guest, tools, target),
        Language::JsP3 => service::js(guest, tools, target),
        Language::PyP3 => service::py(guest, tools, target),
        Language::Lambda => program::build(guest, tools, target),
        Language::Http => http::build(guest, tools, target),
        Language::Hostile | Language::Probe => hostile::build(guest, tools, target),
    }
}

/// Both generations of wasi:http share one build of the standard library.
fn rust(root: &Path, guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let workspace = root.join("examples").join(guest.language.folder());
    rust_in(&workspace, "rust", guest, tools, target)
}

/// Builds a Rust function of `workspace` in the scratch folder of that name. The standard library
/// is built along (its `.cargo/config.toml`): the distribution ships its source but not its binary
/// for this target.
///
/// # Errors
/// The compiler's own words, if it refuses.
pub(super) fn rust_in(
    workspace: &Path,
    scratch: &str,
    guest: &Guest,
    tools: &Tools,
    target: &Path,
) -> Result<()> {
    let folder = tools.scratch(scratch);
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", &guest.name]);
    cargo.current_dir(workspace);
    cargo
        .env("RUSTC", tools::RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &folder);
    cargo.env(
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
        tools.rust_linker(),
    );
    for ours in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(ours);
    }
    command::run(&mut cargo)?;
    let name = guest.name.replace('-', "_");
    let core = folder
        .join("wasm32-unknown-unknown/release")
        .join(format!("{name}.wasm"));
    let mut new = Command::new(tools.program("wasm-tools"));
    command::run(
        new.args(["component", "new"])
            .arg(core)
            .arg("-o")
            .arg(target),
    )
    .map(drop)
}

fn c(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let folder = tools.scratch("c");
    fs::create_dir_all(&folder)?;
    let cache = folder.join("zig-cache");
    let core = folder.join(format!("{}.wasm", guest.name));
    let mut zig = Command::new(tools.program("python"));
    zig.args([
        "-m",
        "ziglang",
        "cc",
        "-target",
        "wasm32-wasi",
        "-mexec-model=reactor",
    ]);
    zig.args(["-std=c17", "-O2", "-s", "-Wall", "-Wextra", "-Werror"]);
    zig.arg(format!("-Wl,-z,stack-size={C_STACK_BYTES}"));
    // Named without its folder, so that no path of this machine gets into the component.
    zig.arg(format!("{}.c", guest.name))
        .arg("-o")
        .arg(&core)
        .current_dir(&guest.folder);
    zig.env("ZIG_GLOBAL_CACHE_DIR", &cache)
        .env("ZIG_LOCAL_CACHE_DIR", &cache);
    command::run(&mut zig)?;
    component(tools, &core, target)
}

/// Makes a component of a core module, or of its text, that speaks the canonical ABI itself.
fn component(tools: &Tools, core: &Path, target: &Path) -> Result<()> {
    let name = target.file_stem().unwrap_or_default().to_string_lossy();
    let embedded = tools.scratch(&format!("{name}.embedded.wasm"));
    let mut embed = Command::new(tools.program("wasm-tools"));
    embed
        .args(["component", "embed"])
        .arg(tools.wit()?)
        .args(["--world", WORLD]);
    command::run(embed.arg(core).arg("-o").arg(&embedded))?;
    let mut new = Command::new(tools.program("wasm-tools"));
    command::run(
        new.args(["component", "new"])
            .arg(&embedded)
            .arg("-o")
            .arg(target),
    )
    .map(drop)
}

/// A function whose name ends with `fetch` answers fetch events; the others use wasi:http's types.
fn js(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let wit = js_wit(tools)?;
    let mut componentize = Command::new(tools.componentize_js());
    componentize
        .arg(format!("{}/app.js", guest.name))
        .arg("--wit")
        .arg(wit);
    componentize.args(["--world-name", "guest"]);
    if !guest.name.ends_with("fetch") {
        componentize.args(["--disable", "fetch-event"]);
    }
    let shared = guest
        .folder
        .parent()
        .context("a function has a folder above it")?;
    componentize.arg("--out").arg(target).current_dir(shared);
    command::run(&mut componentize).map(drop)
}

/// The WIT which the JavaScript engine itself was built with, and our world beside it.
fn js_wit(tools: &Tools) -> Result<PathBuf> {
    let folder = tools.scratch("js-wit");
    let _ = fs::remove_dir_all(&folder);
    let mut wit = Command::new(tools.program("wasm-tools"));
    wit.args(["component", "wit"])
        .arg(tools.starling_monkey())
        .arg("--out-dir")
        .arg(&folder);
    command::run(&mut wit)?;
    fs::remove_file(folder.join("root.wit")).context("the JavaScript engine's world")?;
    fs::write(folder.join("guest.wit"), JS_WORLD).context("writing JavaScript's world")?;
    Ok(folder)
}

/// Built from a copy, because the interpreter leaves its compiled files beside the sources.
fn py(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let shared = guest
        .folder
        .parent()
        .context("a function has a folder above it")?;
    let folder = tools.scratch("py").join(&guest.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for source in [shared.join("guest.py"), guest.folder.join("app.py")] {
        let copy = folder.join(source.file_name().unwrap_or_default());
        fs::copy(&source, copy).with_context(|| format!("copying {}", source.display()))?;
    }
    let mut componentize = Command::new(tools.program("componentize-py"));
    componentize
        .arg("-d")
        .arg(tools.wit()?)
        .args(["-w", WORLD, "componentize", "app"]);
    command::run(componentize.arg("-o").arg(target).current_dir(folder)).map(drop)
}
