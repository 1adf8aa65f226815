//! Which world a component was written for, by the names of its exports.
//!
//! Deliberately absent: its imports. A missing host capability is found by the linker.

use wasmparser::ComponentExternalKind;

/// One export of the component.
#[derive(Clone, Copy, Debug)]
pub(super) struct Export<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ComponentExternalKind,
}

/// Which generation of wasi:http takes the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// `wasi:http/incoming-handler@0.2.x`
    Http02,
    /// `wasi:http/handler@0.3.x`
    Http03,
}

/// The exported interface that takes requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handler<'a> {
    /// The whole name of the export.
    pub(super) name: &'a str,
    /// Its version, `0.2.x` or `0.3.x`.
    pub(super) version: &'a str,
    pub(super) generation: Generation,
}

/// A component that does not take requests of wasi:http, and what it does instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongWorld {
    /// Built for a draft of wasi:http 0.3.
    #[error(
        "the component is for {version}, a draft of wasi:http 0.3 (it exports {found}); only \
         released versions 0.3.x are served: build it again with tools of June 2026 or later, in \
         Rust with the crate wasip3 0.10"
    )]
    Draft03 {
        /// The export.
        found: String,
        /// The version in it.
        version: String,
    },
    /// Built for a draft, or another version, of the interface.
    #[error("the component exports {found}; only released versions 0.2.x are served")]
    HandlerVersion {
        /// The export.
        found: String,
    },
    /// A command line program.
    #[error(
        "the component is a command (it exports {found}); \
         a function exports {WANTED_03}0.3.x or {WANTED_02}0.2.x"
    )]
    Command {
        /// The export.
        found: String,
    },
    /// Something else.
    #[error(
        "the component exports neither {WANTED_03}0.3.x nor {WANTED_02}0.2.x; it exports {found}"
    )]
    Other {
        /// All exports, or a word for none.
        found: String,
    },
}

const WANTED_02: &str = "wasi:http/incoming-handler@";
const WANTED_03: &str = "wasi:http/handler@";
/// Names shown of a component that exports something else.
const SHOWN_MAX: usize = 8;

/// Finds the handler among the exports. Of two generations it is the newer one: only an engine that
/// knows that one can compile the component.
pub(super) fn handler<'a>(exports: &[Export<'a>]) -> Result<Handler<'a>, WrongWorld> {
    let instances = exports.iter();
    let instances = instances.filter(|e| e.kind == ComponentExternalKind::Instance);
    let names: Vec<&'a str> = instances.map(|e| e.name).collect();
    let generations = [
        (WANTED_03, "0.3.", Generation::Http03),
        (WANTED_02, "0.2.", Generation::Http02),
    ];
    for (wanted, series, generation) in generations {
        let mut handlers = names.iter().filter_map(|name| {
            let version = name.strip_prefix(wanted)?;
            released(version, series).then_some(Handler {
                name,
                version,
                generation,
            })
        });
        if let Some(handler) = handlers.next() {
            return Ok(handler);
        }
    }
    let first = |prefix: &str| {
        let mut found = names.iter().filter(|name| name.starts_with(prefix));
        found.next().map(|name| (*name).to_owned())
    };
    Err(if let Some(found) = first("wasi:http/incoming-handler") {
        WrongWorld::HandlerVersion { found }
    } else if let Some(found) = first("wasi:http/handler@") {
        let version = found.trim_start_matches(WANTED_03).to_owned();
        WrongWorld::Draft03 { found, version }
    } else if let Some(found) = first("wasi:cli/run") {
        WrongWorld::Command { found }
    } else {
        let found = other(exports);
        WrongWorld::Other { found }
    })
}

/// Whether `version` is of `series` (such as `0.2.`), and neither a draft nor a build of one.
pub(super) fn released(version: &str, series: &str) -> bool {
    let patch = version.strip_prefix(series).unwrap_or_default();
    !patch.is_empty() && patch.bytes().all(|digit| digit.is_ascii_digit())
}

fn other(exports: &[Export<'_>]) -> String {
    let names: Vec<&str> = exports.iter().map(|e| e.name).take(SHOWN_MAX).collect();
    match (names.len(), exports.len() - names.len()) {
        (0, _) => "nothing".to_owned(),
        (_, 0) => names.join(", "),
        (_, more) => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(names: &[&str]) -> Result<String, WrongWorld> {
        let kind = ComponentExternalKind::Instance;
        let exports: Vec<_> = names.iter().map(|name| Export { name, kind }).collect();
        handler(&exports).map(|handler| handler.version.to_owned())
    }

    #[test]
    fn released_handlers_are_found_among_others() {
        assert_eq!(
            judge(&["x", "wasi:http/incoming-handler@0.2.12"]),
            Ok("0.2.12".into())
        );
        assert_eq!(judge(&["x", "wasi:http/handler@0.3.2"]), Ok("0.3.2".into()));
    }

    #[test]
    fn the_newer_of_two_generations_is_served() {
        let both = [
            "wasi:http/incoming-handler@0.2.12",
            "wasi:http/handler@0.3.0",
        ];
        assert_eq!(judge(&both), Ok("0.3.0".into()));
    }

    #[test]
    fn other_worlds_are_named() {
        let message = |names: &[&str]| judge(names).expect_err("is another world").to_string();
        assert!(message(&["wasi:cli/run@0.2.3"]).contains("is a command"));
        assert!(message(&[]).contains("it exports nothing"));
        for version in ["@0.2.0-rc-2023-11-10", "@0.2.", "@0.2.1+x", "@0.1.0", ""] {
            let name = format!("wasi:http/incoming-handler{version}");
            assert!(message(&[&name]).contains(&name), "{name}");
        }
        for version in ["0.3.0-rc-2026-03-15", "0.3.", "0.4.0", "0.3.0+x"] {
            let message = message(&[&format!("wasi:http/handler@{version}")]);
            let told = format!("is for {version}, a draft");
            assert!(message.contains(&told), "{message}");
            assert!(message.contains("build it again"), "{message}");
        }
    }
}
