//! Rules for Rust files: a header, sizes, `unsafe` in its rooms only, nothing unfinished, no
//! waiting by the clock.

use std::path::{Path, PathBuf};

use super::Finding;
use super::source::{Source, Word, is_test_file};
use super::tree::Tree;

/// Lines of a file, tests not counted.
const FILE_MAX_LINES: usize = 600;
/// From here on a file deserves another look.
const FILE_LOOK_LINES: usize = 400;
/// Lines of a function.
const FUNCTION_MAX_LINES: usize = 70;
/// Characters of a line.
pub(crate) const LINE_MAX_CHARS: usize = 100;
/// The crates that have a room for `unsafe`: their module `sys`, and nothing else of them.
const UNSAFE_CRATES: [&str; 3] = ["usher-wasm", "usher-process", "usher-capture"];
/// Functions that run inside a sandbox are no part of the platform: a leak probe reads all it can
/// address.
const GUESTS: &str = "examples";

/// All findings.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &tree.sources {
        let text = tree.texts.get(path).map_or("", String::as_str);
        findings.extend(header(path, text));
        findings.extend(lines(path, text));
        findings.extend(size(path, text, source));
        findings.extend(functions(path, source));
        findings.extend(words(path, source));
    }
    findings
}

fn header(path: &Path, text: &str) -> Option<Finding> {
    let missing = !text.starts_with("//!");
    missing.then(|| {
        Finding::new(
            path,
            1,
            "begin with `//!`: what the file owns, what is absent",
        )
    })
}

fn lines<'a>(path: &'a Path, text: &'a str) -> impl Iterator<Item = Finding> + 'a {
    let lines = (1..).zip(text.lines());
    lines.filter_map(move |(at, line)| {
        // An address cannot be broken.
        let long = line.chars().count() > LINE_MAX_CHARS && !line.contains("://");
        long.then(|| Finding::new(path, at, format!("longer than {LINE_MAX_CHARS} characters")))
    })
}

fn size(path: &Path, text: &str, source: &Source) -> Option<Finding> {
    if is_test_file(path) {
        return None;
    }
    match text.lines().count().saturating_sub(source.test_lines()) {
        lines if lines > FILE_MAX_LINES => Some(Finding::new(
            path,
            0,
            format!("{lines} lines without tests, more than {FILE_MAX_LINES}; split it"),
        )),
        lines if lines > FILE_LOOK_LINES => Some(Finding::warning(
            path,
            0,
            format!("{lines} lines without tests; does it own one thing only?"),
        )),
        _ => None,
    }
}

fn functions<'a>(path: &'a Path, source: &'a Source) -> impl Iterator<Item = Finding> + 'a {
    let long = (source.functions.iter()).filter(|function| function.lines > FUNCTION_MAX_LINES);
    long.map(move |function| {
        let what = format!(
            "`{}` has {} lines, more than {FUNCTION_MAX_LINES}; split it",
            function.name, function.lines
        );
        Finding::new(path, function.line, what)
    })
}

fn words(path: &Path, source: &Source) -> Vec<Finding> {
    let found = source.words.iter().filter_map(|(word, line)| {
        let text = match word {
            Word::Unsafe if may_be_unsafe(path) => return None,
            Word::Unsafe => "`unsafe` outside of its rooms; call one of their safe wrappers",
            Word::Unfinished => "finish it, or return an error that says what is missing",
            Word::Ignored => "a test that does not run proves nothing; run it or remove it",
            Word::Sleep if is_test_file(path) || source.in_test(*line) => {
                "a test does not wait by the clock; wait for the event"
            }
            Word::Sleep => return None,
        };
        Some(Finding::new(path, *line, text))
    });
    found.collect()
}

fn may_be_unsafe(path: &Path) -> bool {
    let in_room = unsafe_room(path).is_some_and(|room| path.starts_with(&room))
        || unsafe_room(path).is_some_and(|room| path == room.with_extension("rs"));
    in_room || path.starts_with(GUESTS)
}

/// The folder in which the crate of `path` may be unsafe, if it is one that has such a room.
pub(crate) fn unsafe_room(path: &Path) -> Option<PathBuf> {
    let crates = UNSAFE_CRATES
        .iter()
        .map(|name| Path::new("crates").join(name));
    let own = crates.into_iter().find(|folder| path.starts_with(folder))?;
    Some(own.join("src/sys"))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{places, tree};
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        places(&check(&tree(files)))
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(
            found(&[("a.rs", "//! A.\n"), ("b.rs", "fn b() {}\n")]),
            ["b.rs:1"]
        );
    }

    #[test]
    fn long_lines_are_found_by_characters_and_addresses_spared() {
        let fits = format!("//! {}\n", "ä".repeat(96));
        let long = format!("//! {}\n", "a".repeat(97));
        let address = format!("//! https://{}\n", "a".repeat(97));
        let files = [("a.rs", &*fits), ("b.rs", &*long), ("c.rs", &*address)];
        assert_eq!(found(&files), ["b.rs:1"]);
    }

    #[test]
    fn long_files_are_found_and_tests_not_counted() {
        let of = |lines: usize| format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(lines - 1));
        let tests = |lines: usize| {
            format!(
                "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
                of(400),
                "use a;\n".repeat(lines)
            )
        };
        let tree = tree(&[
            ("a.rs", &of(601)),
            ("b.rs", &of(600)),
            ("c.rs", &tests(300)),
            ("tests/d.rs", &of(700)),
        ]);
        let findings = check(&tree);
        assert_eq!(places(&findings), ["a.rs:0", "b.rs:0"]);
        assert_eq!([findings[0].warning, findings[1].warning], [false, true]);
    }

    #[test]
    fn long_functions_are_found() {
        let of = |lines: usize| format!("//! A.\nfn a() {{\n{}}}\n", "b();\n".repeat(lines - 2));
        assert_eq!(found(&[("a.rs", &of(71)), ("b.rs", &of(70))]), ["a.rs:2"]);
    }

    #[test]
    fn unsafe_is_found_outside_of_its_rooms() {
        let text = "//! A.\nfn a() { unsafe { b() } }\n";
        let files = [
            ("crates/usher-core/src/sys/a.rs", text),
            ("crates/usher-capture/src/sys/a.rs", text),
            ("crates/usher-wasm/src/sys.rs", text),
            ("crates/usher-wasm/src/system.rs", text),
            ("examples/rust/leak-probe/src/lib.rs", text),
        ];
        let expected = [
            "crates/usher-core/src/sys/a.rs:2",
            "crates/usher-wasm/src/system.rs:2",
        ];
        assert_eq!(found(&files), expected);
    }

    #[test]
    fn unfinished_and_ignored_things_and_sleeping_tests_are_found() {
        let text = "//! A.\nfn a() { todo!() }\nfn b() { thread::sleep(c) }\n\
            #[cfg(test)]\nmod tests {\n#[ignore]\nfn d() { tokio::time::sleep(e) }\n}\n";
        assert_eq!(found(&[("a.rs", text)]), ["a.rs:2", "a.rs:6", "a.rs:7"]);
        let text = "//! A.\nfn b() { thread::sleep(c) }\n";
        assert_eq!(found(&[("tests/a.rs", text)]), ["tests/a.rs:2"]);
    }
}
