//! `usher top`: the busiest functions of a running platform, again and again.
//!
//! On a terminal each look is painted over the one before; the last one stays when a signal ends
//! it. Deliberately absent: sorting and counting, which the platform does.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use usher_api::top::{Standing, Top, TopQuery, TopRow};

use crate::cli;
use crate::output;
use crate::signals::Signals;

/// Back to the first line, and all below it cleared.
const PAINT_OVER: &str = "\x1b[H\x1b[J";
/// The whole screen, once.
const CLEAR: &str = "\x1b[2J";
/// Functions that are shown where nothing else is said: with what stands around them they fit on
/// the smallest of usual terminals.
const ROWS_DEFAULT: usize = 20;

const COLUMNS: [&str; 13] = [
    "FUNCTION", "REQ/S", "ERR/S", "P50", "P99", "RUNNING", "WAITING", "CLEAN", "BUSY", "RENEWING",
    "MEMORY", "COLD", "REQUESTS",
];

/// Looks until a signal ends it, or once.
pub(crate) async fn run(top: cli::Top, json: bool) -> anyhow::Result<()> {
    let client = top.remote.client()?;
    let painted = !json && !top.once && io::stdout().is_terminal();
    let mut signals = Signals::listen()?;
    if painted {
        write!(io::stdout(), "{CLEAR}")?;
    }
    loop {
        let query = TopQuery {
            owner: top.owner.clone(),
            sort: top.sort,
            limit: Some(top.limit.unwrap_or(ROWS_DEFAULT)),
            offset: 0,
            window_ms: Some(top.window_ms),
        };
        let look = tokio::select! {
            look = client.top(&query) => look?,
            () = signals.next() => return Ok(()),
        };
        match json {
            true => output::json(&look)?,
            false if painted => {
                output::line(format!("{PAINT_OVER}{}", told(&look)))?;
            }
            false => output::line(told(&look))?,
        }
        if top.once {
            return Ok(());
        }
    }
}

/// One look as text.
fn told(top: &Top) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(COLUMNS.iter().enumerate().map(|(at, name)| cell(at, name)));
    for TopRow { function, standing } in &top.rows {
        let cells = cells(function.dotted(), standing);
        table.add_row(cells.iter().enumerate().map(|(at, text)| cell(at, text)));
    }
    let hidden = top.functions.saturating_sub(top.rows.len());
    let all = cells("all".to_owned(), &top.all);
    table.add_row(all.iter().enumerate().map(|(at, text)| cell(at, text)));
    let seconds = top.window_ms as f64 / 1_000.0;
    let more = match hidden {
        0 => String::new(),
        hidden => format!(", {hidden} of them not shown"),
    };
    format!(
        "{} functions{more}; the last {seconds:.1} s\n{table}",
        top.functions
    )
}

fn cell(at: usize, text: &str) -> Cell {
    match at {
        0 => Cell::new(text),
        _ => Cell::new(text).set_alignment(CellAlignment::Right),
    }
}

fn cells(name: String, it: &Standing) -> [String; COLUMNS.len()] {
    [
        name,
        format!("{:.1}", it.requests_per_s),
        format!("{:.1}", it.errors_per_s),
        it.p50_us.map_or_else(|| "-".to_owned(), time),
        it.p99_us.map_or_else(|| "-".to_owned(), time),
        it.running.to_string(),
        it.waiting.to_string(),
        it.clean.to_string(),
        it.busy.to_string(),
        it.renewing.to_string(),
        bytes(it.memory_bytes),
        it.cold.to_string(),
        it.requests.to_string(),
    ]
}

/// A time in the unit that fits it.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        _ => format!("{:.1}s", us as f64 / 1e6),
    }
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes}B"),
        _ => format!("{value:.1}{}", UNITS[unit]),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::id::FunctionKey;

    use super::*;

    #[test]
    fn a_look_has_a_line_for_each_function_and_one_for_all() {
        let standing = Standing {
            requests_per_s: 12.345,
            p50_us: Some(85),
            p99_us: Some(1_500),
            memory_bytes: 3 << 20,
            ..Standing::default()
        };
        let function = FunctionKey {
            owner: "ann".parse().unwrap(),
            name: "hello".parse().unwrap(),
        };
        let text = told(&Top {
            window_ms: 1_004,
            functions: 7,
            all: standing.clone(),
            rows: vec![TopRow { function, standing }],
        });
        assert!(text.starts_with("7 functions, 6 of them not shown; the last 1.0 s"));
        let line = text
            .lines()
            .find(|line| line.contains("hello.ann"))
            .unwrap();
        for word in ["12.3", "85us", "1.5ms", "3.0MiB"] {
            assert!(line.contains(word), "{word}\n{text}");
        }
        assert!(text.lines().last().unwrap().contains("all"), "{text}");
    }

    #[test]
    fn amounts_are_told_in_the_unit_that_fits() {
        assert_eq!(bytes(1_023), "1023B");
        assert_eq!(bytes(1 << 40), "1.0TiB");
        assert_eq!(time(2_500_000), "2.5s");
    }
}
