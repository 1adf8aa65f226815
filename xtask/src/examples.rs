//! `cargo xtask examples`: every function of `examples/` made into a component, or a program's
//! folder, under `target/examples/`.
//!
//! ```text
//! discover (source) → up to date? (stamp) → tool chain there? (tools) → build (recipe) → stamp
//!                                                              └─ --bundle / --verify (bundle)
//! ```
//!
//! Deliberately absent: how each language is built (`recipe`) and where its tools come from
//! (`tools`).

mod bundle;
mod command;
mod given;
mod hostile;
mod http;
mod program;
mod recipe;
mod service;
mod source;
mod stamp;
mod tools;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use source::{Guest, Language};
use tools::Tools;
pub(crate) use tools::apt;

/// What `cargo xtask examples` is asked for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these languages: rust, c, wat, js, py; rust-p3, js-p3, py-p3 for components of
    /// wasi:http 0.3; lambda and http for programs, by contract;
    /// hostile and probe for those of tests.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Language>,
    /// Only functions whose file name (such as rust-hello) contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// Where the components go; target/examples if it is left out.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only the functions which are committed under examples/bundled; then refresh them there.
    #[arg(long)]
    bundle: bool,
    /// Only the functions which are committed under examples/bundled; then compare them.
    #[arg(long, conflicts_with = "bundle")]
    verify: bool,
}

impl Args {
    /// Whether `guest` is asked for.
    fn wants(&self, guest: &Guest) -> bool {
        if self.bundle || self.verify {
            return bundle::holds(guest);
        }
        let only = self.only.is_empty() || self.only.contains(&guest.language);
        only && guest.file_name().contains(&self.filter)
    }
}

/// Builds what was asked for and prints a line for each function.
///
/// # Errors
/// The first tool that cannot be installed, or the first function that cannot be built.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace();
    let out = match &args.out {
        // The tools run in other folders than ours.
        Some(out) => std::path::absolute(out).context("--out")?,
        None => root.join("target/examples"),
    };
    build(&root, |guest| args.wants(guest), &out)?;
    let peer = wasmtime()?;
    println!(
        "wasmtime (a peer, for tests and benchmarks): {}",
        peer.display()
    );
    if args.bundle {
        bundle::refresh(&root, &out)?;
    }
    if args.verify {
        bundle::verify(&root, &out)?;
    }
    Ok(())
}

/// The prebuilt `wasmtime` which tests and benchmarks take as a peer; installed if it is missing.
///
/// # Errors
/// No Python 3, or its packages could not be installed.
pub(crate) fn wasmtime() -> Result<PathBuf> {
    let root = workspace();
    let _alone = alone(&root)?;
    Tools::new(&root).wasmtime()
}

/// The folder of the workspace.
fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Held while tools or components are written, so that two chores at a time do not mix their files.
fn alone(root: &Path) -> Result<File> {
    let folder = tools::folder(root);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let file = File::create(folder.join("lock")).context("making the lock file")?;
    file.lock()
        .context("waiting for another `cargo xtask examples`")?;
    Ok(file)
}

fn build(root: &Path, wanted: impl Fn(&Guest) -> bool, out: &Path) -> Result<()> {
    let _alone = alone(root)?;
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let mut tools = Tools::new(root);
    let all = source::discover(root)?
        .into_iter()
        .chain(given::discover(root)?);
    let guests: Vec<Guest> = all.filter(wanted).collect();
    ensure!(
        !guests.is_empty(),
        "no function in examples/ is called so; see `ls examples/*`"
    );
    for guest in &guests {
        build_one(root, guest, &mut tools, out)
            .with_context(|| format!("building {}", guest.file_name()))?;
    }
    Ok(())
}

fn build_one(root: &Path, guest: &Guest, tools: &mut Tools, out: &Path) -> Result<()> {
    let target = out.join(guest.file_name());
    let digest = || match given::holds(root, guest) {
        true => given::digest(root, guest),
        false => stamp::digest(root, guest),
    };
    if stamp::is_current(&target, &digest()?) {
        println!("{:<24} up to date", guest.file_name());
        return Ok(());
    }
    tools.ensure(guest.language)?;
    let begun = Instant::now();
    match given::holds(root, guest) {
        true => given::build(root, guest, tools, &target)?,
        false => recipe::build(root, guest, tools, &target)?,
    }
    stamp::write(&target, &digest()?)?;
    let made = match guest.language.is_program() {
        true => source::tree(&target)?,
        false => vec![target],
    };
    let mut bytes = 0;
    for file in &made {
        bytes += fs::metadata(file)
            .context("what was built is not there")?
            .len();
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{:<24} {seconds:6.1} s  {:>8} KiB",
        guest.file_name(),
        bytes.div_ceil(1024)
    );
    Ok(())
}
