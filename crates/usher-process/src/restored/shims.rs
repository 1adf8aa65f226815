//! The shims that declare for a program what it does not know itself: that its generators are
//! seeded anew when it was put back. Their files, where a sandbox has them, and the variables that
//! make the interpreters load them.
//!
//! CPython loads `sitecustomize` from `PYTHONPATH`, Node what `NODE_OPTIONS` requires; both take
//! their variables out of the environment again, so that children do not speak in the program's
//! place. `restored.c` is the native part of both: OpenSSL's generator, which all handshakes and
//! keys come from, is reached from neither language alone.
//!
//! Deliberately absent: shims for other languages; `docs/restored.md` says how they declare it.

use super::page::{self, PAGE_VARIABLE};
use super::{DESCRIPTOR, VARIABLE};

/// Where the shims are in a sandbox.
pub(crate) const FOLDER: &str = "/opt/usher";
/// What Node is told to load first, below [`FOLDER`].
const NODE: &str = "node/restored.cjs";
/// What CPython looks for modules in first, below [`FOLDER`].
const PYTHON: &str = "python";

/// The files, by their paths below [`FOLDER`].
pub(crate) const FILES: [(&str, &[u8]); 5] = [
    // The place on which each sandbox mounts its own.
    (page::NAME, b""),
    (
        "python/sitecustomize.py",
        include_bytes!("shims/sitecustomize.py"),
    ),
    (
        "python/usher_restored.py",
        include_bytes!("shims/usher_restored.py"),
    ),
    (NODE, include_bytes!("shims/restored.cjs")),
    (
        "restored.so",
        include_bytes!(concat!(env!("OUT_DIR"), "/restored.so")),
    ),
];

/// Puts into a program's environment what the hook and the shims need; what the function itself
/// sets there is kept, behind ours. Only for a program that is given the hook's socket, in a
/// sandbox that has the shims ([`crate::sandbox::Sandboxes::has_shims`]): Node does not start
/// without what it is told to load.
pub fn restored_environment(environment: &mut Vec<(String, String)>) {
    set(environment, VARIABLE, |_| DESCRIPTOR.to_string());
    set(environment, PAGE_VARIABLE, |_| {
        format!("{FOLDER}/{}", page::NAME)
    });
    // An empty entry would be the folder that the program is in.
    set(environment, "PYTHONPATH", |own| {
        joined(&format!("{FOLDER}/{PYTHON}"), ":", own)
    });
    set(environment, "NODE_OPTIONS", |own| {
        joined(&format!("--require={FOLDER}/{NODE}"), " ", own)
    });
}

fn joined(ours: &str, between: &str, own: Option<&str>) -> String {
    match own {
        None | Some("") => ours.to_owned(),
        Some(own) => format!("{ours}{between}{own}"),
    }
}

/// Sets a variable to what is made of its former value, at the place that it had.
fn set(
    environment: &mut Vec<(String, String)>,
    name: &str,
    value: impl FnOnce(Option<&str>) -> String,
) {
    match environment.iter_mut().find(|(it, _)| it == name) {
        Some((_, old)) => *old = value(Some(old)),
        None => environment.push((name.to_owned(), value(None))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_own_variables_are_kept_behind_ours() {
        let own = [
            ("PYTHONPATH", "lib:more"),
            ("NODE_OPTIONS", ""),
            (VARIABLE, "7"),
            ("OTHER", "x"),
        ];
        let mut environment = own.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        restored_environment(&mut environment);
        let expected = [
            ("PYTHONPATH", "/opt/usher/python:lib:more"),
            ("NODE_OPTIONS", "--require=/opt/usher/node/restored.cjs"),
            (VARIABLE, "3"),
            ("OTHER", "x"),
            (PAGE_VARIABLE, "/opt/usher/generation"),
        ];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(environment, expected);

        let mut none = Vec::new();
        restored_environment(&mut none);
        let names: Vec<_> = none.iter().map(|(name, _)| name.as_str()).collect();
        let wanted = [VARIABLE, PAGE_VARIABLE, "PYTHONPATH", "NODE_OPTIONS"];
        assert_eq!(names, wanted);
    }
}
