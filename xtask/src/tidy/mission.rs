//! Rules for the checklist in `docs/mission.md`: every row stands there, with a test that exists or
//! the word *open*.
//!
//! A row is a line of a table; its first cell holds the row's ids (`A7`, `A8–A12`, `A16, A21`), its
//! last one names tests in backticks by the end of their path (`life::renewing_cannot_be_claimed`)
//! or says `open`. The cases that a contract suite lists are tests too.

use std::collections::BTreeSet;
use std::path::Path;

use super::Finding;
use super::source::is_test_file;
use super::tree::Tree;

/// Where the checklist is.
const MISSION: &str = "docs/mission.md";
/// Every row of the checklist: letter, first and last number. Numbers between them were never
/// given.
const ROWS: [(char, u8, u8); 13] = [
    ('A', 1, 28),
    ('A', 32, 41),
    ('B', 1, 15),
    ('B', 18, 20),
    ('B', 22, 22),
    ('B', 24, 35),
    ('C', 1, 14),
    ('C', 16, 17),
    ('C', 19, 28),
    ('C', 30, 30),
    ('N', 1, 10),
    ('P', 1, 12),
    ('X', 1, 6),
];

type Row = (char, u8);

/// All findings.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let path = Path::new(MISSION);
    let Some(text) = tree.text(MISSION) else {
        return vec![Finding::new(
            path,
            0,
            "missing; it holds the checklist with its tests",
        )];
    };
    let tests = tests(tree);
    let mut missing: BTreeSet<Row> = all_rows().collect();
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let Some((ids, proof)) = row(text) else {
            continue;
        };
        for id in &ids {
            missing.remove(id);
        }
        let wrong = judge(proof, &tests, tree);
        findings.extend(wrong.into_iter().map(|text| Finding::new(path, line, text)));
    }
    findings.extend(missing.into_iter().map(|(letter, number)| {
        let text = format!("row {letter}{number} is missing; name its test or say `open`");
        Finding::new(path, 0, text)
    }));
    findings
}

fn all_rows() -> impl Iterator<Item = Row> {
    let numbers = |(letter, first, last): &(char, u8, u8)| {
        let letter = *letter;
        (*first..=*last).map(move |number| (letter, number))
    };
    ROWS.iter().flat_map(numbers)
}

/// Ids and last cell of a row of the checklist; none for any other line.
fn row(line: &str) -> Option<(Vec<Row>, &str)> {
    let mut cells = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|');
    let ids = ids(cells.next()?)?;
    Some((ids, cells.next_back()?))
}

/// Reads `A7`, `A8–A12`, `A16, A21` and mixtures; none where anything else stands.
fn ids(cell: &str) -> Option<Vec<Row>> {
    let plain: String = cell.chars().filter(|it| !"*`".contains(*it)).collect();
    let mut found = Vec::new();
    for part in plain.split([',', '·']) {
        let mut ends = part.split(['–', '-']).map(|end| id(end.trim()));
        let (letter, first) = ends.next()??;
        let last = match ends.next() {
            Some(end) => end.filter(|(of, _)| *of == letter)?.1,
            None => first,
        };
        found.extend((first..=last).map(|number| (letter, number)));
    }
    Some(found)
}

fn id(text: &str) -> Option<Row> {
    let letter = text.chars().next().filter(char::is_ascii_uppercase)?;
    Some((letter, text[1..].parse().ok()?))
}

/// What is wrong with a row's last cell.
fn judge(proof: &str, tests: &BTreeSet<&str>, tree: &Tree) -> Vec<String> {
    let quoted = proof.split('`').skip(1).step_by(2);
    let is_file = |name: &str| name.contains('/') && tree.texts.contains_key(Path::new(name));
    let mut wrong = Vec::new();
    let mut proven = false;
    // A command is shown, not named as a test.
    for name in quoted.filter(|name| !name.contains(' ')) {
        let end = name.rsplit("::").next().unwrap_or(name);
        match tests.contains(end) {
            true => proven = true,
            false if end == "open" || is_file(name) => {}
            false => wrong.push(format!(
                "`{name}` is no test of this tree; name the right one"
            )),
        }
    }
    let open = proof
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| word == "open");
    if !proven && !open && wrong.is_empty() {
        wrong.push("names no test; name one in backticks, or say `open`".to_owned());
    }
    wrong
}

fn tests(tree: &Tree) -> BTreeSet<&str> {
    (tree.sources.iter())
        .flat_map(|(path, source)| {
            let whole = is_test_file(path);
            let cases = cases(tree, path);
            source.functions.iter().filter(move |function| {
                whole || function.test || cases.contains(function.name.as_str())
            })
        })
        .map(|function| function.name.as_str())
        .collect()
}

/// The words of the list of a contract suite, where `path` is a part of one: every implementer runs
/// what stands in it as tests.
fn cases<'a>(tree: &'a Tree, path: &Path) -> BTreeSet<&'a str> {
    let folder = path.parent().filter(|folder| folder.ends_with("contract"));
    let list = folder.and_then(|folder| tree.texts.get(&folder.with_extension("rs")));
    list.map_or("", String::as_str)
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    /// Findings for a checklist in which every row is open but those given, which come first.
    fn found(rows: &str) -> Vec<String> {
        let named: BTreeSet<Row> = rows
            .lines()
            .filter_map(row)
            .flat_map(|(ids, _)| ids)
            .collect();
        let open = all_rows().filter(|row| !named.contains(row));
        let open: String = open
            .map(|(letter, number)| format!("| {letter}{number} | open |\n"))
            .collect();
        let files = [
            (MISSION, &*format!("{rows}{open}")),
            (
                "crates/a/src/b.rs",
                "fn code() {}\n#[test]\nfn proves_it() {}\n",
            ),
            ("crates/a/tests/c.rs", "fn proves_more() {}\n"),
            (
                "crates/a/src/contract.rs",
                "macro_rules! suite { () => { suite!(@cases d: a_case;) }; }\n",
            ),
            (
                "crates/a/src/contract/d.rs",
                "fn a_case() {}\nfn not_listed() {}\n",
            ),
        ];
        check(&tree(&files))
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn rows_with_a_test_or_open_are_no_findings() {
        let rows = "| A1 | is | `a::b::proves_it`, see `cargo xtask test` |\n\
            | A8–A12 | is | `proves_more` in `crates/a/tests/c.rs` |\n\
            | **A16, A21** | is | *open* |\n| A17 | is | `a_case` |\n";
        assert_eq!(found(rows), [""; 0]);
    }

    #[test]
    fn a_row_that_names_no_test_of_the_tree_is_found() {
        let rows = "| A1 | is | `code` |\n| A2 | is | by inspection |\n\
            | A3 | is | `proves_it`, `gone` |\n| A4 | is | `not_listed` |\n";
        let found = found(rows);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("docs/mission.md:1: `code` is no test"));
        assert!(found[1].starts_with("docs/mission.md:2: names no test"));
        assert!(found[2].starts_with("docs/mission.md:3: `gone` is no test"));
        assert!(found[3].starts_with("docs/mission.md:4: `not_listed` is no test"));
    }

    #[test]
    fn a_missing_row_is_found() {
        let all: String = all_rows()
            .map(|(letter, number)| format!("| {letter}{number} | open |\n"))
            .collect();
        let without = all.replace("| X6 | open |\n", "");
        let findings = check(&tree(&[(MISSION, &without)]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().contains("row X6 is missing"));
        assert_eq!(check(&tree(&[])).len(), 1);
    }

    #[test]
    fn ids_are_read_in_all_their_forms() {
        assert_eq!(ids(" A7 ").unwrap(), [('A', 7)]);
        assert_eq!(ids("B18–B19").unwrap(), [('B', 18), ('B', 19)]);
        assert_eq!(ids("B26-B28, B30").unwrap().len(), 4);
        assert_eq!(ids("id"), None);
        assert_eq!(ids("---"), None);
    }
}
