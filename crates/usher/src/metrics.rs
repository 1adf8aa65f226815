//! The gateway's figures, and what the machine gives programs, as the text that Prometheus reads,
//! to follow the node's own.
//!
//! Deliberately absent: counting, which the gateway does.

use std::fmt::Write;

use usher_core::id::FunctionKey;
use usher_gateway::GatewayFigures;
use usher_process::sandbox::Mean;

/// One family of metrics; writing to a string cannot fail.
struct Family<'t> {
    name: &'static str,
    text: &'t mut String,
}

impl<'t> Family<'t> {
    fn begin(text: &'t mut String, name: &'static str, kind: &str) -> Self {
        let _ = writeln!(text, "# TYPE {name} {kind}");
        Self { name, text }
    }

    fn line(&mut self, suffix: &str, labels: &str, value: impl std::fmt::Display) {
        let name = self.name;
        let _ = match labels {
            "" => writeln!(self.text, "{name}{suffix} {value}"),
            labels => writeln!(self.text, "{name}{suffix}{{{labels}}} {value}"),
        };
    }
}

/// Appends which of the machine's means for programs go the best way (1), and which a weaker one.
pub(crate) fn means(rows: &[Mean], text: &mut String) {
    let mut means = Family::begin(text, "usher_programs_means", "gauge");
    for row in rows {
        means.line("", &format!("mean=\"{}\"", row.what), u8::from(row.full));
    }
}

/// Appends the figures of a gateway.
pub(crate) fn gateway(figures: &GatewayFigures, text: &mut String) {
    let mut replies = Family::begin(text, "usher_gateway_requests_total", "counter");
    for function in &figures.functions {
        for (outcome, count) in &function.outcomes {
            let labels = format!("{},outcome=\"{outcome}\"", labels(&function.function));
            replies.line("", &labels, count);
        }
    }
    let mut unrouted = Family::begin(text, "usher_gateway_unrouted_total", "counter");
    for (outcome, count) in &figures.unrouted {
        unrouted.line("", &format!("outcome=\"{outcome}\""), count);
    }
    let mut served = Family::begin(text, "usher_gateway_served_total", "counter");
    for function in &figures.functions {
        for way in &function.served {
            let labels = format!(
                "{},start=\"{}\",renewal=\"{}\"",
                labels(&function.function),
                way.start.word(),
                way.renewal.word()
            );
            served.line("", &labels, way.count);
        }
    }
    latencies(figures, text);
    for (name, value) in [
        ("usher_gateway_connections", figures.connections),
        ("usher_gateway_running", figures.running),
        ("usher_gateway_waiting", figures.waiting),
    ] {
        Family::begin(text, name, "gauge").line("", "", value);
    }
    let mut accepted = Family::begin(text, "usher_gateway_accepted_total", "counter");
    accepted.line("", "", figures.accepted);
}

fn latencies(figures: &GatewayFigures, text: &mut String) {
    let mut heads = Family::begin(text, "usher_gateway_head_microseconds", "histogram");
    for function in &figures.functions {
        let labels = labels(&function.function);
        let latency = &function.head_latency;
        for (bound, count) in &latency.buckets {
            heads.line("_bucket", &format!("{labels},le=\"{bound}\""), count);
        }
        heads.line("_bucket", &format!("{labels},le=\"+Inf\""), latency.count);
        heads.line("_sum", &labels, latency.sum_us);
        heads.line("_count", &labels, latency.count);
    }
}

fn labels(function: &FunctionKey) -> String {
    format!(
        "owner=\"{}\",function=\"{}\"",
        function.owner, function.name
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::proof::{Renewal, Start};
    use usher_gateway::{FunctionFigures, Latency, ServedCount};

    use super::*;

    #[test]
    fn every_figure_has_its_line_and_every_family_one_type() {
        let figures = GatewayFigures {
            functions: vec![FunctionFigures {
                function: FunctionKey {
                    owner: "ann".parse().unwrap(),
                    name: "hello".parse().unwrap(),
                },
                revision: 1,
                outcomes: vec![("2xx", 3)],
                served: vec![ServedCount {
                    start: Start::Warm,
                    renewal: Renewal::Swap,
                    count: 2,
                }],
                running: 0,
                waiting: 0,
                head_latency: Latency {
                    buckets: vec![(50, 1), (100, 2)],
                    count: 3,
                    sum_us: 400,
                },
            }],
            unrouted: vec![("no-such-function", 4)],
            connections: 5,
            accepted: 6,
            running: 0,
            waiting: 0,
        };
        let mut text = String::new();
        gateway(&figures, &mut text);
        let weaker = Mean {
            what: "branch predictors",
            way: "not kept apart".to_owned(),
            full: false,
        };
        means(&[weaker], &mut text);
        let of = "owner=\"ann\",function=\"hello\"";
        for line in [
            format!("usher_gateway_requests_total{{{of},outcome=\"2xx\"}} 3"),
            format!("usher_gateway_served_total{{{of},start=\"warm\",renewal=\"swap\"}} 2"),
            format!("usher_gateway_head_microseconds_bucket{{{of},le=\"100\"}} 2"),
            format!("usher_gateway_head_microseconds_bucket{{{of},le=\"+Inf\"}} 3"),
            format!("usher_gateway_head_microseconds_sum{{{of}}} 400"),
            "usher_gateway_unrouted_total{outcome=\"no-such-function\"} 4".to_owned(),
            "usher_programs_means{mean=\"branch predictors\"} 0".to_owned(),
            "usher_gateway_connections 5".to_owned(),
            "usher_gateway_accepted_total 6".to_owned(),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        let mut types: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
        let all = types.len();
        types.dedup();
        assert_eq!(types.len(), all);
    }
}
