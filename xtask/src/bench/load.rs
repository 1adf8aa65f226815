//! Load on one address: a round of wrk, and what it and the kernel say about it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::server::Server;
use crate::child::Watched;
use crate::proc;

/// How long wrk may take to give its summary after it was told to stop, in milliseconds.
const SUMMARY_MAX_MS: u64 = 10_000;
/// How long an answer may take before it counts as an error: a slow one is not a failed one.
const ANSWER_MAX: &str = "20s";
/// More threads than this only take processor time from the servers.
const THREADS_MAX: u32 = 2;

/// What one round showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Requests per second.
    pub(crate) rps: f64,
    /// The middle latency, in microseconds.
    pub(crate) p50_us: f64,
    /// The latency which one request in a hundred exceeds, in microseconds.
    pub(crate) p99_us: f64,
    /// Processor time of the server per request, in microseconds.
    pub(crate) cpu_us: f64,
    /// The same of the whole machine without the load generator: more than the server's where a
    /// process ended and nobody waited for it, and where others used the machine.
    pub(crate) machine_us: f64,
    /// Minor page faults of the server per request.
    pub(crate) faults: f64,
    /// Answers other than 2xx and 3xx, and errors of sockets.
    pub(crate) errors: f64,
}

/// What wrk's summary says.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    requests: f64,
    rps: f64,
    p50_us: f64,
    p99_us: f64,
    errors: f64,
}

/// One round: `connections` send requests for `path` as fast as they are answered.
pub(crate) fn round(
    server: &Server,
    path: &str,
    connections: u32,
    length: Duration,
) -> Result<Sample> {
    let (before, machine_before) = (server.usage(), proc::machine());
    let (summary, generator) = wrk(&server.url(path), connections, length)?;
    let (after, machine_after) = (server.usage(), proc::machine());
    ensure!(summary.requests > 0.0, "{} answered nothing", server.name());
    let machine = machine_after.saturating_sub(machine_before);
    let machine_us = proc::ticks_us(machine.saturating_sub(generator));
    server.settle();
    let faults = whole(after.minor_faults.saturating_sub(before.minor_faults));
    Ok(Sample {
        rps: summary.rps,
        p50_us: summary.p50_us,
        p99_us: summary.p99_us,
        cpu_us: (after.cpu_us - before.cpu_us).max(0.0) / summary.requests,
        machine_us: machine_us / summary.requests,
        faults: faults / summary.requests,
        errors: summary.errors,
    })
}

/// What wrk says, and the processor time that it took itself, in clock ticks.
///
/// It knows whole seconds only; told to stop earlier, it gives its summary as well.
fn wrk(url: &str, connections: u32, length: Duration) -> Result<(Summary, u64)> {
    let threads = connections.min(THREADS_MAX);
    let before = proc::ended_children();
    let mut command = Command::new("wrk");
    command
        .arg(format!("-t{threads}"))
        .arg(format!("-c{connections}"))
        .args(["-d60s", "--timeout", ANSWER_MAX, "--latency", url]);
    let wrk = Watched::start("wrk", &mut command)?;
    std::thread::sleep(length);
    wrk.signal(Signal::INT);
    let mut text = String::new();
    wrk.finish(Duration::from_millis(SUMMARY_MAX_MS), |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    let summary =
        parse(&text).with_context(|| format!("wrk's summary is not what was expected:\n{text}"))?;
    Ok((summary, proc::ended_children().saturating_sub(before)))
}

fn parse(text: &str) -> Option<Summary> {
    let mut summary = Summary::default();
    let mut complete = false;
    for line in text.lines().map(str::trim) {
        if let Some((requests, _)) = line.split_once(" requests in ") {
            summary.requests = requests.parse().ok()?;
        } else if let Some(rps) = line.strip_prefix("Requests/sec:") {
            summary.rps = rps.trim().parse().ok()?;
            complete = true;
        } else if let Some(latency) = line.strip_prefix("50%") {
            summary.p50_us = microseconds(latency.trim())?;
        } else if let Some(latency) = line.strip_prefix("99%") {
            summary.p99_us = microseconds(latency.trim())?;
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            summary.errors += count.trim().parse::<f64>().ok()?;
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            let numbers = counts
                .split([',', ' '])
                .filter_map(|word| word.parse::<f64>().ok());
            summary.errors += numbers.sum::<f64>();
        }
    }
    complete.then_some(summary)
}

/// `123.45us`, `1.20ms`, `3.00s`.
fn microseconds(text: &str) -> Option<f64> {
    let (number, factor) = match text {
        _ if text.ends_with("us") => (text.strip_suffix("us")?, 1.0),
        _ if text.ends_with("ms") => (text.strip_suffix("ms")?, 1e3),
        _ => (text.strip_suffix('s')?, 1e6),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// A count as a number to reckon with; counts here are far below where that loses anything.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "  Latency Distribution\n     50%    0.89ms\n     99%    1.19ms\n\
            \x20 10367 requests in 600.30ms, 1.50MB read\n\
            \x20 Socket errors: connect 0, read 2, write 0, timeout 1\n\
            \x20 Non-2xx or 3xx responses: 7\nRequests/sec:  17269.58\n";
        let expected = Summary {
            requests: 10367.0,
            rps: 17269.58,
            p50_us: 890.0,
            p99_us: 1190.0,
            errors: 10.0,
        };
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("unable to connect"), None);
    }

    #[test]
    fn latencies_come_in_three_units() {
        assert_eq!(microseconds("84.00us"), Some(84.0));
        assert_eq!(microseconds("1.50ms"), Some(1500.0));
        assert_eq!(microseconds("2.00s"), Some(2e6));
    }
}
