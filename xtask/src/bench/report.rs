//! Results as files and tables: `bench/results/NAME.json`, a table for the terminal, one in the
//! README.
//!
//! The README's table stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::row::{Latency, Row};
use crate::workspace;

/// The columns of a table; the last one only where there are latencies.
const HEAD: [&str; 9] = [
    "row",
    "measured",
    "ours",
    "baseline",
    "ratio",
    "goal",
    "held",
    "CPU µs/request",
    "p50, p99 µs",
];

/// Where a reader can see what the figures were measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    peer: String,
}

/// A recorded run.
#[derive(Serialize)]
struct Record<'a> {
    machine: &'a Machine,
    rows: &'a [Row],
}

impl Machine {
    /// This one; `peer` is the baseline's version.
    pub(crate) fn here(peer: String) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                Some(
                    line.strip_prefix("model name")?
                        .split_once(':')?
                        .1
                        .trim()
                        .to_owned(),
                )
            })
            .unwrap_or_default();
        Self {
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            peer,
        }
    }

    fn sentence(&self) -> String {
        format!(
            "{} cores of {}, Linux {}, {}; load generator on the same cores.",
            self.cores, self.processor, self.kernel, self.peer
        )
    }
}

/// Writes the rows alone, as an array.
pub(crate) fn write_rows(path: &Path, rows: &[Row]) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)? + "\n";
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Writes rows and machine to `bench/results/`. Answers where.
pub(crate) fn record(name: &str, machine: &Machine, rows: &[Row]) -> Result<PathBuf> {
    let folder = workspace::root().join("bench/results");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&Record { machine, rows })? + "\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Puts the judged rows and the headlines into the README.
pub(crate) fn publish(name: &str, machine: &Machine, rows: &[Row]) -> Result<()> {
    let path = workspace::root().join("README.md");
    let readme = fs::read_to_string(&path).context("reading README.md")?;
    let judged: Vec<Row> = rows
        .iter()
        .filter(|row| row.goal.is_some() || row.headline)
        .cloned()
        .collect();
    let text = format!("{}\n{}", table(&judged), machine.sentence());
    let readme = between_marks(&readme, name, &text)?;
    fs::write(&path, readme).context("writing README.md")
}

fn between_marks(text: &str, name: &str, new: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->"),
        format!("<!-- /bench:{name} -->"),
    );
    let at = text.find(&begin).map(|at| at + begin.len());
    let till = text.find(&end);
    let (Some(at), Some(till)) = (at, till) else {
        anyhow::bail!("README.md has no place for the table: add {begin} and {end}");
    };
    ensure!(at <= till, "README.md has {end} before {begin}");
    Ok(format!("{}\n{new}\n{}", &text[..at], &text[till..]))
}

/// The rows as a table in Markdown, which can be read in a terminal too.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut cells = vec![HEAD.map(str::to_owned)];
    cells.extend(rows.iter().map(line));
    let latencies = rows
        .iter()
        .any(|row| row.ours_latency.is_some() || row.baseline_latency.is_some());
    let columns = if latencies {
        HEAD.len()
    } else {
        HEAD.len() - 1
    };
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (nth, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            // A String takes whatever is written.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if nth == 0 {
            for width in &widths {
                let _ = write!(text, "| {:-<width$} ", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

fn line(row: &Row) -> [String; HEAD.len()] {
    let figure = |figure: Option<f64>, spread: Option<[f64; 2]>| match (figure, spread) {
        (Some(figure), Some([min, max])) if min < max => {
            format!("{} ({} to {})", number(figure), number(min), number(max))
        }
        (Some(figure), _) => number(figure),
        (None, _) => "–".to_owned(),
    };
    let mut measured = format!("{}, {}", row.metric, row.unit);
    if let Some(baseline) = &row.baseline_name {
        let _ = write!(measured, " / {baseline}");
    }
    let cpu = match (row.ours_cpu_us, row.baseline_cpu_us) {
        (Some(ours), Some(baseline)) => format!("{} / {}", number(ours), number(baseline)),
        (Some(ours), None) => number(ours),
        (None, Some(baseline)) => format!("– / {}", number(baseline)),
        (None, None) => String::new(),
    };
    let both = |latency: Option<Latency>| {
        latency.map_or("–".to_owned(), |latency| {
            format!("{}, {}", number(latency.p50_us), number(latency.p99_us))
        })
    };
    let latency = match (row.ours_latency, row.baseline_latency) {
        (None, None) => String::new(),
        (ours, baseline) => format!("{} / {}", both(ours), both(baseline)),
    };
    let held = row.held.map_or("", |held| if held { "yes" } else { "no" });
    [
        row.id.clone(),
        measured,
        figure(row.ours, row.ours_spread),
        figure(row.baseline, row.baseline_spread),
        row.ratio.map(number).unwrap_or_default(),
        row.goal.map(number).unwrap_or_default(),
        held.to_owned(),
        cpu,
        latency,
    ]
}

/// Three digits are more than the noise allows.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::row::{Figure, Goal};
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let row = Row::new("W1", "rust-hello, 16 connections", "requests/s")
            .ours(Figure::of([100.0, 200.0, 300.0]))
            .baseline("other", Figure::of([50.0]))
            .judged(Goal::TimesAtLeast(6.0));
        let table = table(&[row]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("| ---"));
        assert!(
            lines[2].contains("| 200 (100 to 300) | 50 "),
            "{}",
            lines[2]
        );
        assert!(lines[2].contains("| 4     | 6    | no   |"), "{}", lines[2]);
    }

    #[test]
    fn the_table_replaces_what_stood_between_its_marks() {
        let text = "a\n<!-- bench:wasm -->\nold\n<!-- /bench:wasm -->\nb\n";
        let new = between_marks(text, "wasm", "new").unwrap();
        assert_eq!(
            new,
            "a\n<!-- bench:wasm -->\nnew\n<!-- /bench:wasm -->\nb\n"
        );
        assert_eq!(between_marks(&new, "wasm", "new").unwrap(), new);
        assert!(between_marks("a", "wasm", "new").is_err());
    }

    #[test]
    fn numbers_have_three_digits() {
        let all = [12345.6, 12.34, 1.234, 0.5, 3.0].map(number);
        assert_eq!(all, ["12346", "12.3", "1.23", "0.50", "3"]);
    }
}
