//! What is told of given figures, and how much.

use std::collections::BTreeSet;

use usher_core::id::FunctionKey;
use usher_core::proof::{Renewal, Start};
use usher_gateway::{FunctionFigures, GatewayFigures, Latency, ServedCount};

use super::*;

fn key(owner: &str, name: &str) -> FunctionKey {
    FunctionKey {
        owner: owner.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn gateway_figures() -> GatewayFigures {
    let figures = usher_gateway::Figures {
        begun: 4,
        active: 1,
        outcomes: [("2xx", 3)].into(),
        served: vec![ServedCount {
            start: Start::Warm,
            renewal: Renewal::Swap,
            count: 2,
        }],
        head_latency: Latency {
            buckets: vec![(50, 1), (100, 2)],
            count: 3,
            sum_us: 400,
        },
        ..usher_gateway::Figures::default()
    };
    let unrouted = usher_gateway::Figures {
        outcomes: [("no-such-function", 4)].into(),
        ..usher_gateway::Figures::default()
    };
    GatewayFigures {
        functions: vec![
            FunctionFigures {
                function: Some(key("ann", "hello")),
                figures: figures.clone(),
            },
            FunctionFigures {
                function: None,
                figures,
            },
        ],
        known: std::collections::HashSet::new(),
        unrouted,
        connections: 5,
        accepted: 6,
        running: 0,
        waiting: 0,
    }
}

fn totals() -> Totals {
    Totals {
        requests: [("ok", 7), ("trap", 1), ("time-out", 2)].into(),
        runs: [(("warm", "swap"), 5), (("cold", "fresh"), 2)].into(),
        renew_us: 2,
        audits: 8,
        ..Totals::default()
    }
}

/// Every line's family was introduced once, with help and type.
fn is_well_formed(text: &str) {
    let mut types = BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("#"), Some("TYPE")) => {
                family = words.next().unwrap();
                assert!(types.insert(family), "{family} twice");
            }
            (Some("#"), _) => {}
            (Some(sample), _) => {
                let name = sample.split('{').next().unwrap();
                let mut suffixes = ["", "_bucket", "_sum", "_count"].iter();
                let fits = suffixes.any(|suffix| name == format!("{family}{suffix}"));
                assert!(fits, "{line} below {family}");
            }
            (None, _) => panic!("an empty line"),
        }
    }
}

fn holds(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line}\n{text}");
    }
}

#[test]
fn every_figure_of_the_gateway_has_its_line() {
    let mut text = Text::new(Format::Prometheus);
    gateway::append(&gateway_figures(), &mut text);
    let weaker = Mean {
        what: "branch predictors",
        way: "not kept apart".to_owned(),
        full: false,
    };
    append_means(&[weaker], &mut text);
    let text = text.end();
    is_well_formed(&text);
    let of = "owner=\"ann\",function=\"hello\"";
    let other = "owner=\"_other\",function=\"_other\"";
    holds(
        &text,
        &[
            &format!("usher_gateway_requests_total{{{of},outcome=\"2xx\"}} 3"),
            &format!("usher_gateway_requests_total{{{other},outcome=\"2xx\"}} 3"),
            &format!("usher_gateway_served_total{{{of},start=\"warm\",renewal=\"swap\"}} 2"),
            &format!("usher_gateway_head_seconds_bucket{{{of},le=\"0.0001\"}} 2"),
            &format!("usher_gateway_head_seconds_bucket{{{of},le=\"+Inf\"}} 3"),
            &format!("usher_gateway_head_seconds_sum{{{of}}} 0.0004"),
            &format!("http_server_active_requests{{{of},http_route=\"/fn/hello.ann\"}} 1"),
            "usher_gateway_unrouted_total{outcome=\"no-such-function\"} 4",
            "usher_programs_means{mean=\"branch predictors\"} 0",
            "usher_gateway_connections 5",
            "usher_gateway_accepted_total 6",
        ],
    );
}

#[test]
fn every_figure_of_the_node_has_its_line() {
    let metrics = FunctionMetrics {
        totals: totals(),
        ..FunctionMetrics::default()
    };
    let key = key("ann", "hello");
    let rows = [(Some(&key), &metrics), (None, &metrics)];
    let mut text = Text::new(Format::Prometheus);
    node::append(&rows, &Snapshot::default(), &mut text);
    node::faas(&rows, &mut text);
    let text = text.end();
    is_well_formed(&text);
    let of = "owner=\"ann\",function=\"hello\"";
    let faas = format!("{of},faas_name=\"hello.ann\",faas_trigger=\"http\"");
    holds(
        &text,
        &[
            &format!("usher_requests_total{{{of},outcome=\"ok\"}} 7"),
            &format!("usher_runs_total{{{of},start=\"warm\",renewal=\"swap\"}} 5"),
            &format!("usher_audits_total{{{of}}} 8"),
            &format!("usher_renew_seconds_total{{{of}}} 0.000002"),
            &format!("faas_invocations_total{{{faas}}} 7"),
            &format!("faas_errors_total{{{faas}}} 1"),
            &format!("faas_timeouts_total{{{faas}}} 2"),
            &format!("faas_coldstarts_total{{{faas}}} 2"),
            "usher_audits_total{owner=\"_other\",function=\"_other\"} 8",
        ],
    );
}
