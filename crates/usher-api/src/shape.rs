//! What a folder without a manifest is: the program in it and how it is started, told by the names
//! of the files and how the small ones begin.
//!
//! ```text
//! Procfile with a web line · bootstrap            said outright: these go before all others
//! lambda_function.py · handler.py                 Lambda, with awslambdaric in the folder
//! index.js · handler.js exporting a handler       Lambda, with aws-lambda-ric in node_modules
//! package.json                                    Node, its start script or its main file
//! app.py · main.py · server.py                    Python: Flask, ASGI, or a script
//! one ELF program                                 HTTP
//! ```
//!
//! Where two of them fit, nobody guesses: the error says what was found, and what a manifest would
//! have to say.
//!
//! Deliberately absent: reading files, which the caller does, and whether the machine has an
//! interpreter.

mod node;
mod other;
mod python;

use std::collections::BTreeMap;

use usher_core::function::{Contract, Process};

/// How much of a file is looked at, in bytes.
pub const HEAD_MAX_BYTES: usize = 64 << 10;

/// The files of a program, by path from its folder, with slashes.
#[derive(Clone, Debug, Default)]
pub struct Files(BTreeMap<String, File>);

/// What is known of a file.
#[derive(Clone, Debug, Default)]
struct File {
    executable: bool,
    head: Vec<u8>,
}

impl Files {
    /// Adds a file. `head` is how it begins, at most [`HEAD_MAX_BYTES`]; only for files in the
    /// folder itself it has to be given ([`Self::wants_head`]).
    pub fn add(&mut self, path: &str, executable: bool, head: Vec<u8>) {
        let file = File { executable, head };
        self.0.insert(path.to_owned(), file);
    }

    /// Whether a file's head may decide something.
    pub fn wants_head(path: &str) -> bool {
        !path.contains('/')
    }

    fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The first path that begins and ends so.
    fn find(&self, begin: &str, end: &str) -> Option<&str> {
        let from = self
            .0
            .range(begin.to_owned()..)
            .map(|(path, _)| path.as_str());
        let mut under = from.take_while(|path| path.starts_with(begin));
        under.find(|path| path.ends_with(end))
    }

    /// How a file begins, as text; what is no UTF-8 in it is replaced.
    fn text(&self, path: &str) -> Option<String> {
        let file = self.0.get(path)?;
        Some(String::from_utf8_lossy(&file.head).into_owned())
    }

    /// The files of the folder itself.
    fn top(&self) -> impl Iterator<Item = (&str, &File)> {
        let top = self.0.iter().filter(|(path, _)| Self::wants_head(path));
        top.map(|(path, file)| (path.as_str(), file))
    }
}

/// A program that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What it is, such as "a Flask application, app.py".
    pub what: String,
    /// How it is started.
    pub process: Process,
}

impl Shape {
    fn new(what: impl Into<String>, contract: Contract, command: &[&str]) -> Self {
        let process = Process {
            contract,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            handler: None,
            environment: BTreeMap::new(),
            reuse: false,
            areas: Vec::new(),
            snap_start: false,
        };
        let what = what.into();
        Self { what, process }
    }
}

/// Something that a folder may be: a program, or one that lacks something, which is told if there
/// is nothing else.
type Candidate = Result<Shape, String>;

/// Why no program was recognised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Nothing fits.
    #[error(
        "no program was recognised; looked for: a web line in Procfile, bootstrap, \
         lambda_function.py, handler.py, index.js or handler.js with aws-lambda-ric, package.json, \
         app.py, main.py, server.py, and one ELF program.\n{MANIFEST}"
    )]
    Unknown,
    /// More than one fits.
    #[error("it may be several programs: {}.\n{MANIFEST}", .0.join("; "))]
    Several(Vec<String>),
    /// One would fit if it did not lack something.
    #[error("{0}")]
    Lacks(String),
}

/// What to write where nothing is recognised.
const MANIFEST: &str = "A function.toml in the folder says which one:\n  \
     name = \"my-function\"\n  [process]\n  contract = \"http\"    # or \"lambda\"\n  \
     command = [\"python3\", \"app.py\"]    # it is to listen at 127.0.0.1, port $PORT";

/// Recognises the program in a folder.
pub fn recognise(files: &Files) -> Result<Shape, ShapeError> {
    let outright = [other::procfile(files), other::bootstrap(files)];
    let outright: Vec<Candidate> = outright.into_iter().flatten().collect();
    if !outright.is_empty() {
        return choose(outright);
    }
    let mut candidates = python::lambdas(files);
    candidates.extend(node::lambdas(files));
    candidates.extend(node::package(files));
    candidates.extend(python::servers(files));
    candidates.extend(other::programs(files));
    choose(candidates)
}

/// Recognises a program of one file, which is shipped alone.
pub fn recognise_file(name: &str, files: &Files) -> Result<Shape, ShapeError> {
    let known = match name.rsplit_once('.') {
        Some((_, "py")) => Some(python::one_file(name, files)),
        Some((_, "js" | "mjs" | "cjs")) => Some(Ok(node::script(name))),
        _ => None,
    };
    let candidates = known.into_iter().chain(other::programs(files));
    choose(candidates.collect())
}

fn choose(candidates: Vec<Candidate>) -> Result<Shape, ShapeError> {
    let (mut whole, mut lacking) = (Vec::new(), Vec::new());
    for candidate in candidates {
        match candidate {
            Ok(shape) => whole.push(shape),
            Err(lacks) => lacking.push(lacks),
        }
    }
    match (whole.len(), lacking.into_iter().next()) {
        (0, None) => Err(ShapeError::Unknown),
        (0, Some(lacks)) => Err(ShapeError::Lacks(lacks)),
        (1, _) => whole.pop().ok_or(ShapeError::Unknown),
        _ => Err(ShapeError::Several(
            whole.into_iter().map(|shape| shape.what).collect(),
        )),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
