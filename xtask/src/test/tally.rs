//! How many tests passed and failed, read from what cargo's test programs print.

use std::fmt;

/// Sums over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Reads one line; any that is no program's closing line changes nothing.
    pub(crate) fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else {
            return;
        };
        for part in counts.split(['.', ';']) {
            let Some((Ok(number), what)) =
                (part.trim().split_once(' ')).map(|(number, what)| (number.parse::<u64>(), what))
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Some passed, and no other thing happened.
    pub(crate) fn all_well(&self) -> bool {
        self.passed > 0 && self.failed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        match self.ignored {
            0 => Ok(()),
            ignored => write!(out, ", {ignored} ignored"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed() {
        let mut tally = Tally::default();
        tally.read("running 3 tests");
        tally.read("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; finished in 0.02s");
        assert!(tally.all_well());
        tally.read("test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured");
        assert_eq!(tally.to_string(), "7 passed, 1 failed, 2 ignored");
        assert!(!tally.all_well());
    }

    #[test]
    fn no_test_at_all_is_not_well() {
        assert!(!Tally::default().all_well());
    }
}
