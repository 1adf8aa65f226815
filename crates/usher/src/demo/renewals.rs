//! How the runs of a program became clean: always as its deployment said.
//!
//! A program that is put back is one process for all requests. Where the machine does not permit
//! that, each request meets another one, and a finding says why.
//!
//! Deliberately absent: what programs answer.

use std::collections::BTreeSet;

use super::finding::Finding;
use crate::call::RunFacts;

/// What the findings about one program are called.
pub(super) struct Names {
    /// It is put back: how many processes there were.
    pub(super) processes: &'static str,
    /// And how many runs were in one that was put back.
    pub(super) put_back: &'static str,
    /// It is not: why.
    pub(super) replaced_because: &'static str,
    /// And how many processes there were.
    pub(super) replaced: &'static str,
}

/// Judges the runs of a program that were one after the other. `replaced`: why it is not put back.
pub(super) fn judge(names: &Names, runs: &[RunFacts], replaced: Option<&str>) -> [Finding; 2] {
    let processes: BTreeSet<_> = runs.iter().map(|run| run.environment).collect();
    let processes = processes.len();
    let Some(why) = replaced else {
        let put_back = runs.iter();
        let put_back = put_back.filter(|run| ["in-place", "swap"].contains(&run.renewal.as_str()));
        let put_back = put_back.count();
        // Nobody had used it before its very first run, which may have been another one.
        let fresh = runs.iter().filter(|run| run.renewal == "fresh").count();
        let held = put_back > 0 && put_back + fresh == runs.len();
        return [
            Finding::new(
                names.processes,
                processes,
                "for all requests",
                processes == 1,
            ),
            Finding::new(names.put_back, put_back, "times", held),
        ];
    };
    // One that was started before anybody needed it takes nobody's place.
    let others = runs.iter();
    let others = others.filter(|run| ["replaced", "fresh"].contains(&run.renewal.as_str()));
    let held = processes == runs.len() && others.count() == runs.len();
    [
        Finding::new(names.replaced_because, why, "", true),
        Finding::new(names.replaced, processes, "processes", held),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        processes: "processes",
        put_back: "put-back",
        replaced_because: "because",
        replaced: "replaced",
    };

    fn held(runs: &[(u64, &str)], replaced: Option<&str>) -> [bool; 2] {
        let runs = runs.iter().map(|(environment, renewal)| RunFacts {
            environment: *environment,
            area: *environment,
            renewal: (*renewal).to_owned(),
        });
        let runs: Vec<_> = runs.collect();
        judge(&NAMES, &runs, replaced).map(|finding| finding.held)
    }

    #[test]
    fn a_program_that_is_put_back_stays() {
        let stays = [(1, "fresh"), (1, "in-place"), (1, "swap")];
        assert_eq!(held(&stays, None), [true, true]);
        // One that was replaced is seen, and so is one that was kept.
        let replaced = [(1, "fresh"), (2, "replaced"), (2, "in-place")];
        assert_eq!(held(&replaced, None), [false, false]);
        assert_eq!(held(&[(1, "fresh"), (1, "kept")], None), [true, false]);
    }

    #[test]
    fn a_program_that_is_replaced_does_not() {
        let others = [(1, "fresh"), (2, "replaced"), (3, "fresh")];
        assert_eq!(held(&others, Some("no ptrace")), [true, true]);
        let stays = [(1, "fresh"), (1, "in-place")];
        assert_eq!(held(&stays, Some("no ptrace")), [true, false]);
    }
}
