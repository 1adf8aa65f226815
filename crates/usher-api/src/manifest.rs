//! The manifest: `function.toml` beside the code, and the same settings as JSON in the API.
//!
//! ```toml
//! name = "hello"                 # one DNS label
//! component = "hello.wasm"       # inside the manifest's folder
//! isolation = "request"          # or "none", or { key = "header:x-tenant" }
//! renewal = "auto"               # or "live", "fresh"; for programs "swap", "in-place"
//! renew = "after-run"            # or "before-run"
//! outbound = ["https://api.example.com"]
//! invoke = "public"              # or "key": callers need a key of the owner
//! hide_proof = false
//! [limits]                       # see `usher_core::function::Limits`
//! [keep]                         # see `usher_core::function::Keep`
//! [build]                        # see `Build`
//! command = ["make"]
//! [cors]                         # see `usher_core::cors::Cors`
//! [events]                       # see `usher_core::function::Events`
//! ```
//!
//! A Linux program has a table in the place of the component:
//!
//! ```toml
//! [process]
//! contract = "http"              # or "lambda"
//! command = ["python3", "app.py", "--port", "$PORT"]
//! folder = "."                   # what is shipped, inside the manifest's folder
//! [process.environment]
//! COLOUR = "blue"
//! ```
//!
//! Both kinds may have requests that the platform makes itself:
//!
//! ```toml
//! [[warm_up]]                    # what it serves before its state is taken
//! path = "/"
//! [lint]                         # see `usher_core::function::Lint`
//! freshness = "on"
//! ```
//!
//! Only `name` and one of the two are required. A text is checked whole: all mistakes are told at
//! once, each with its line and with what to write instead. One checker reads both forms, so that
//! neither accepts what the other refuses.
//!
//! Deliberately absent: files. The caller reads them.

mod build;
mod check;
mod cors;
mod events;
mod process;
mod sample;
mod section;
mod tree;

use std::fmt;

use usher_core::function::Settings;
use usher_core::id::Name;

use crate::http::DeployRequest;

pub use build::Build;

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "function.toml";
/// The largest manifest that is read, in bytes.
pub const MANIFEST_MAX_BYTES: usize = 64 * 1024;
/// How many mistakes are told of one text; a text with more has no use for the rest.
pub const MISTAKES_MAX: usize = 100;

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The function's name.
    pub name: Name,
    /// Where what it runs is found.
    pub content: Content,
    /// How the function is run.
    pub settings: Settings,
    /// How its artifact is made, where the manifest says it.
    pub build: Option<Build>,
}

/// Where a manifest says that the function's artifact is found; each path is relative to the
/// manifest's folder and inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The component, a file.
    Component(String),
    /// What a program is shipped with, a folder; `.` is the manifest's own. The settings have a
    /// `process` then.
    Folder(String),
}

impl Manifest {
    /// Reads a manifest, or tells all its mistakes.
    pub fn read(text: &str) -> Result<Self, Mistakes> {
        if text.len() > MANIFEST_MAX_BYTES {
            return Err(Mistakes(vec![Mistake {
                line: None,
                at: String::new(),
                text: format!("a manifest has at most {MANIFEST_MAX_BYTES} bytes"),
            }]));
        }
        let (root, broken) = tree::read_toml(text);
        check::manifest(&root, broken)
    }
}

/// Reads the body of `POST /v1/functions`, or tells all its mistakes.
pub fn deploy_request(json: &serde_json::Value) -> Result<DeployRequest, Mistakes> {
    check::deploy_request(&tree::read_json(json))
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line it stands in, from 1; none in JSON and for what is missing.
    pub line: Option<usize>,
    /// The setting it is about, such as `limits.idle_max_ms`; empty where it is about the text
    /// itself.
    pub at: String,
    /// What is wrong, and what to write instead.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.text)
    }
}

/// All mistakes of one text, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// The mistakes, in the order of their lines.
    pub fn list(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                write!(f, "{} mistakes:", many.len())?;
                many.iter().try_for_each(|one| write!(f, "\n  {one}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
