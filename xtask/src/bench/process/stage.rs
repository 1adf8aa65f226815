//! What has to be there before programs are measured: the platform's build, the baselines' servers,
//! the programs in folders of their own.
//!
//! A program is made ready once for all its arms, under `target/bench/process/`. What the platform
//! is given is a copy of that folder with a manifest in it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::super::server::Server;
use super::super::stage::{Built, build, install, make};
use super::platform::Told;
use super::program::{Program, Runtimes};
use crate::{examples, workspace};

/// The distribution's interpreter. Others in `PATH` may be scripts that look for one, which would
/// make every process start slower.
const PYTHON: &str = "/usr/bin/python3";
/// What the official Lambda client for Node needs at run time; the rest is what it is built from.
const NODE_CLIENT: [&str; 3] = ["bin", "dist", "package.json"];
/// What it is built with.
const NODE_CLIENT_TOOLS: [(&str, &str); 5] = [
    ("g++", "g++"),
    ("make", "make"),
    ("cmake", "cmake"),
    ("autoconf", "autoconf"),
    ("libtoolize", "libtool"),
];

/// The programs that all arms are started from.
pub(super) struct Stage {
    /// The platform, and the servers that are compiled with it.
    pub(super) built: Built,
    /// The reverse proxy.
    pub(super) nginx: PathBuf,
    /// What starts a process for each request.
    pub(super) fcgiwrap: PathBuf,
    /// The interpreters.
    pub(super) runtimes: Runtimes,
    folder: PathBuf,
    ready: RefCell<BTreeSet<&'static str>>,
    refused: RefCell<BTreeSet<PathBuf>>,
}

impl Stage {
    /// Builds the platform, unless `usher` names another build, and installs the baselines.
    pub(super) fn prepare(usher: Option<&Path>) -> Result<Self> {
        install("wrk", "wrk")?;
        install("gcc", "gcc")?;
        if !Path::new(PYTHON).is_file() {
            examples::apt(&["python3"])?;
        }
        let node = fs::canonicalize(install("node", "nodejs")?)?;
        Ok(Self {
            built: build(usher)?,
            nginx: install("nginx", "nginx-light")?,
            fcgiwrap: install("fcgiwrap", "fcgiwrap")?,
            runtimes: Runtimes {
                python: PYTHON.to_owned(),
                node: node.display().to_string(),
            },
            folder: workspace::root().join("target/bench/process"),
            ready: RefCell::default(),
            refused: RefCell::default(),
        })
    }

    /// What the baselines are, for the record.
    pub(super) fn versions(&self) -> String {
        let say = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            Some(
                String::from_utf8_lossy(&text)
                    .lines()
                    .next()?
                    .trim()
                    .to_owned(),
            )
        };
        let nginx = say(&self.nginx, "-v").map(|text| text.replace("nginx version: ", ""));
        let python = say(Path::new(&self.runtimes.python), "--version");
        let node = say(Path::new(&self.runtimes.node), "--version");
        let node = node.map(|version| format!("Node {version}"));
        [python, node, nginx]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Makes a program's folder ready, and answers where it is.
    pub(super) fn program(&self, program: Program) -> Result<PathBuf> {
        let folder = self.folder.join(program.label());
        if self.ready.borrow().contains(program.label()) {
            return Ok(folder);
        }
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let sources = workspace::root()
            .join("bench/process")
            .join(program.sources());
        match program {
            Program::C => self.compile(&sources, &folder)?,
            Program::Python | Program::PythonBig | Program::PythonLambda => {
                copy_all(&sources, &folder)?;
                if program.is_lambda() {
                    self.python_client(&folder)?;
                }
                let mut compile = Command::new(&self.runtimes.python);
                // The platform shows programs a folder that they cannot write to.
                make(
                    "compileall",
                    compile.args(["-m", "compileall", "-q"]).arg(&folder),
                )?;
            }
            Program::Node | Program::NodeLambda => {
                copy_all(&sources, &folder)?;
                if program.is_lambda() {
                    self.node_client(&folder)?;
                }
            }
        }
        self.mark_cgi(program, &folder)?;
        self.ready.borrow_mut().insert(program.label());
        Ok(folder)
    }

    /// The folder of a program with a manifest in it.
    pub(super) fn deployment(&self, program: Program, told: &Told) -> Result<PathBuf> {
        let name = format!("{}-{}", program.label(), told.label());
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        copy_all(&self.program(program)?, &folder)?;
        let manifest = told.manifest(program, &self.runtimes);
        fs::write(folder.join("function.toml"), manifest)?;
        Ok(folder)
    }

    /// Starts ours, unless it has shown before that it cannot run this: why, is told once.
    pub(super) fn unless_refused(
        &self,
        folder: &Path,
        start: impl FnOnce() -> Result<Server>,
    ) -> Result<Server> {
        let mut refused = self.refused.borrow_mut();
        ensure!(
            !refused.contains(folder),
            "the platform could not run it, as told above"
        );
        let started = start();
        if started.is_err() {
            refused.insert(folder.to_path_buf());
        }
        started
    }

    fn compile(&self, sources: &Path, folder: &Path) -> Result<()> {
        for name in ["server", "as_cgi"] {
            let mut compile = Command::new("gcc");
            compile
                .args(["-O2", "-static", "-pthread", "-o"])
                .arg(folder.join(name));
            make("gcc", compile.arg(sources.join(name).with_extension("c")))?;
        }
        Ok(())
    }

    /// Makes the file that speaks CGI a program, with the same interpreter as all other arms.
    fn mark_cgi(&self, program: Program, folder: &Path) -> Result<()> {
        let interpreter = match program {
            Program::Python => &self.runtimes.python,
            Program::Node => &self.runtimes.node,
            _ => return Ok(()),
        };
        let Some(name) = program.cgi() else {
            return Ok(());
        };
        let path = folder.join(name);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, format!("#!{interpreter}\n{text}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn python_client(&self, folder: &Path) -> Result<()> {
        if folder.join("awslambdaric").is_dir() {
            return Ok(());
        }
        println!("installing the Lambda client for Python");
        let pip = [&self.runtimes.python, "-m", "pip"];
        let there = Command::new(pip[0])
            .args(&pip[1..])
            .arg("--version")
            .output();
        if !there.is_ok_and(|output| output.status.success()) {
            examples::apt(&["python3-pip"])?;
        }
        let mut install = Command::new(pip[0]);
        install
            .args(&pip[1..])
            .args(["install", "--quiet", "--target"])
            .arg(folder);
        make(
            "pip",
            install.arg("-r").arg(folder.join("requirements.txt")),
        )
    }

    fn node_client(&self, folder: &Path) -> Result<()> {
        let client = Path::new("node_modules/aws-lambda-ric");
        if folder.join(client).join("dist").is_dir() {
            return Ok(());
        }
        println!("building the Lambda client for Node; that takes minutes");
        install("npm", "npm")?;
        for (program, package) in NODE_CLIENT_TOOLS {
            install(program, package)?;
        }
        let built = self.folder.join("npm");
        fs::create_dir_all(&built)?;
        fs::copy(folder.join("package.json"), built.join("package.json"))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"]);
        make("npm", npm.current_dir(&built))?;
        for part in NODE_CLIENT {
            copy_all(
                &built.join(client).join(part),
                &folder.join(client).join(part),
            )?;
        }
        Ok(())
    }
}

/// Copies a file, or a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        let copied = fs::copy(from, to).map(drop);
        return copied.with_context(|| format!("copying {}", from.display()));
    }
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
