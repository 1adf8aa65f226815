//! The words of `usher new`.

use clap::{Args, ValueEnum};
use usher_core::id::Name;

/// `usher new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The function's name, and its folder's
    pub(crate) name: Name,
    /// The language
    #[arg(long)]
    pub(crate) lang: Lang,
    /// A WebAssembly component or a Linux program [default: what needs the fewest tools]
    #[arg(long)]
    pub(crate) kind: Option<Kind>,
}

/// What a function is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    /// Rust: a component by default, built by cargo.
    Rust,
    /// JavaScript: a Node program by default, which is not built.
    Js,
    /// Python: a program by default, which is not built.
    Py,
    /// C: a program by default, built by the system's compiler.
    C,
}

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A WebAssembly component, of wasi:http.
    Component,
    /// A Linux program.
    Program,
}
