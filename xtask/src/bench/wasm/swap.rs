//! Row W8: how long the change of the area takes, and that it does not grow with the state.
//!
//! Measured inside of the engine by `usher bench swap --json`, which prints for each size of state
//! an object with `state_bytes` and the median `swap_us`, as an array or one object a line.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::super::Plan;
use super::super::row::{Figure, Goal, Row};
use super::kind::Programs;
use crate::child::Watched;

/// The row.
pub(crate) const ID: &str = "W8";
/// One change, in microseconds.
const GOAL_US: f64 = 3.0;
/// The largest state over the smallest.
const GOAL_GROWTH: f64 = 1.2;
/// All sizes together, in seconds.
const SWAP_MAX_S: u64 = 120;

/// Asks the platform's binary.
pub(crate) fn measure(_: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    println!("-- swap");
    let mut command = Command::new(&programs.built.usher);
    command.args(["bench", "swap", "--json"]);
    let mut text = String::new();
    let limit = Duration::from_secs(SWAP_MAX_S);
    let status = Watched::start("usher bench swap", &mut command)?.finish(limit, |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    ensure!(
        status.success(),
        "usher bench swap failed ({status}):\n{text}"
    );
    rows(&text)
}

fn rows(text: &str) -> Result<Vec<Row>> {
    let mut sizes = read(text);
    sizes.sort_by_key(|(bytes, _)| *bytes);
    let (Some((least, small)), Some((most, large))) = (sizes.first(), sizes.last()) else {
        anyhow::bail!("usher bench swap gave no figures:\n{text}");
    };
    let each = sizes.iter().map(|(bytes, figure)| {
        let metric = format!("change of the area, {} of state", size(*bytes));
        Row::new(ID, metric, "µs")
            .ours(Some(*figure))
            .judged(Goal::AtMost(GOAL_US))
    });
    let metric = format!("change of the area, {} of state", size(*most));
    let growth = Row::new(ID, metric, "µs")
        .ours(Some(*large))
        .baseline(&format!("the same, {}", size(*least)), Some(*small))
        .judged(Goal::TimesAtMost(GOAL_GROWTH));
    Ok(each.chain([growth]).collect())
}

fn read(text: &str) -> Vec<(u64, Figure)> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let flat = values.map_while(Result::ok).flat_map(|value| match value {
        Value::Array(rows) => rows,
        row => vec![row],
    });
    flat.filter_map(|row| {
        let number = |name: &str| row.get(name).and_then(Value::as_f64);
        let median = number("swap_us")?;
        let (min, max) = (number("swap_us_min"), number("swap_us_max"));
        let figure = Figure {
            median,
            min: min.unwrap_or(median),
            max: max.unwrap_or(median),
        };
        Some((row.get("state_bytes")?.as_u64()?, figure))
    })
    .collect()
}

fn size(bytes: u64) -> String {
    match bytes >> 10 {
        kib if kib < 1 << 10 => format!("{kib} KiB"),
        kib if kib < 1 << 20 => format!("{} MiB", kib >> 10),
        kib => format!("{} GiB", kib >> 20),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_size_and_the_growth_are_judged() {
        let text = "[{\"state_bytes\":1073741824,\"swap_us\":2.6},\
            {\"state_bytes\":65536,\"swap_us\":2.0,\"swap_us_min\":1.0,\"swap_us_max\":9.0}]";
        let rows = rows(text).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].metric, "change of the area, 64 KiB of state");
        assert_eq!(rows[0].ours_spread, Some([1.0, 9.0]));
        assert_eq!((rows[1].held, rows[2].ratio), (Some(true), Some(1.3)));
        assert_eq!(rows[2].held, Some(false));
    }

    #[test]
    fn one_object_a_line_will_do_and_nothing_will_not() {
        assert_eq!(
            rows("{\"state_bytes\":65536,\"swap_us\":3.5}\n").unwrap()[0].held,
            Some(false)
        );
        assert!(rows("no such command").is_err());
    }
}
