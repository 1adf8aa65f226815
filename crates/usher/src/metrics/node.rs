//! The node's figures: what environments, renewals, audits and logs came to.

use std::collections::BTreeMap;

use usher_core::histogram::{Reading, gather};
use usher_core::id::FunctionKey;
use usher_node::metrics::{FunctionMetrics, Snapshot, Totals};

use super::text::{Kind, MICROSECONDS, NANOSECONDS, Scaled, Text, faas_name, labels};

/// A function, or all others together, with its figures.
pub(crate) type Row<'f> = (Option<&'f FunctionKey>, &'f FunctionMetrics);

/// A sum: its name, its help, and where it stands.
type Sum = (&'static str, &'static str, fn(&Totals) -> u64);

/// Sums that have no labels of their own: name, help, and where they stand.
const SUMS: [Sum; 15] = [
    (
        "usher_replies_broken_off_total",
        "Replies that broke off after their head.",
        |it| it.broken_off,
    ),
    (
        "usher_environments_started_total",
        "Environments that were started.",
        |it| it.started,
    ),
    ("usher_starts_failed_total", "Starts that failed.", |it| {
        it.starts_failed
    }),
    (
        "usher_artifacts_compiled_total",
        "Artifacts that were compiled.",
        |it| it.compiled,
    ),
    (
        "usher_images_loaded_total",
        "Images that were loaded.",
        |it| it.loaded,
    ),
    (
        "usher_leftovers_total",
        "Environments that were replaced because what was left in them cannot be put back.",
        |it| it.leftovers,
    ),
    (
        "usher_renewals_failed_total",
        "Renewals that failed.",
        |it| it.renewals_failed,
    ),
    (
        "usher_quarantined_total",
        "Environments that were taken out because something could not be proven.",
        |it| it.quarantined,
    ),
    (
        "usher_audits_total",
        "Renewals that were compared whole with the clean image.",
        |it| it.audits,
    ),
    (
        "usher_audits_failed_total",
        "Audits that found a difference.",
        |it| it.audits_failed,
    ),
    (
        "usher_keys_given_up_total",
        "Keys whose state was given up for another key.",
        |it| it.keys_given_up,
    ),
    (
        "usher_keys_expired_total",
        "Keys whose state was given up because they had not been used for long.",
        |it| it.keys_expired,
    ),
    (
        "usher_renewal_waits_total",
        "Requests that waited for an environment which was being renewed.",
        |it| it.renewal_waits,
    ),
    (
        "usher_renewal_waits_spared_total",
        "Requests that found a clean environment while another one was being renewed.",
        |it| it.renewal_waits_spared,
    ),
    (
        "usher_twins_started_total",
        "Environments that were started so that no request waits for a renewal.",
        |it| it.twins_started,
    ),
];

/// Sums of times, in microseconds.
const TIMES: [Sum; 2] = [
    (
        "usher_renew_seconds_total",
        "What the renewals took that requests were served after.",
        |it| it.renew_us,
    ),
    (
        "usher_renewal_wait_seconds_total",
        "What requests waited for environments which were being renewed.",
        |it| it.renewal_wait_us,
    ),
];

/// Appends the figures of a node.
pub(crate) fn append(rows: &[Row<'_>], snapshot: &Snapshot, text: &mut Text) {
    outcomes(rows, text);
    for (name, help, of) in SUMS {
        let mut family = text.family(name, Kind::Counter, help);
        for (function, metrics) in rows {
            family.line(&labels(*function), of(&metrics.totals));
        }
    }
    for (name, help, of) in TIMES {
        let mut family = text.family(name, Kind::Counter, help);
        for (function, metrics) in rows {
            let value = Scaled(of(&metrics.totals), MICROSECONDS);
            family.line(&labels(*function), value);
        }
    }
    renewals(rows, text);
    standing(rows, text);
    logs(snapshot, text);
}

fn outcomes(rows: &[Row<'_>], text: &mut Text) {
    let mut requests = text.family(
        "usher_requests_total",
        Kind::Counter,
        "Requests that reached the node, by the label of the fault or ok.",
    );
    for (function, metrics) in rows {
        let of = labels(*function);
        for (outcome, count) in &metrics.totals.requests {
            requests.line(&format!("{of},outcome=\"{outcome}\""), count);
        }
    }
    let mut runs = text.family(
        "usher_runs_total",
        Kind::Counter,
        "Requests that were served, by how the environment was come by and had become clean.",
    );
    for (function, metrics) in rows {
        let of = labels(*function);
        for ((start, renewal), count) in &metrics.totals.runs {
            let labels = format!("{of},start=\"{start}\",renewal=\"{renewal}\"");
            runs.line(&labels, count);
        }
    }
}

fn renewals(rows: &[Row<'_>], text: &mut Text) {
    let mut all = BTreeMap::<&str, Option<Reading>>::new();
    for (_, metrics) in rows {
        for (renewal, times) in &metrics.totals.renewal_times {
            gather(all.entry(renewal).or_default(), Some(times.clone()));
        }
    }
    let mut family = text.family(
        "usher_renewal_seconds",
        Kind::Histogram,
        "What the renewals took that requests were served after, by how they were done.",
    );
    for (renewal, times) in all {
        if let Some(times) = times {
            let labels = format!("renewal=\"{renewal}\"");
            family.histogram(&labels, &times, NANOSECONDS, None);
        }
    }
}

fn standing(rows: &[Row<'_>], text: &mut Text) {
    let mut environments = text.family(
        "usher_environments",
        Kind::Gauge,
        "Environments by what they do.",
    );
    for (function, metrics) in rows {
        let (of, it) = (labels(*function), &metrics.standing);
        for (state, count) in [
            ("clean", it.clean),
            ("busy", it.busy),
            ("renewing", it.renewing),
            ("starting", it.starting),
        ] {
            environments.line(&format!("{of},state=\"{state}\""), count);
        }
    }
    type Gauge = fn(&FunctionMetrics) -> u64;
    let gauges: [(&str, &str, Gauge); 3] = [
        (
            "usher_requests_waiting",
            "Requests that wait for an environment.",
            |it| it.standing.waiting,
        ),
        (
            "usher_keys",
            "Keys that have an environment, where state is kept by key.",
            |it| it.standing.keys,
        ),
        (
            "usher_twins",
            "Environments beside those that requests needed at once lately.",
            |it| it.standing.twins,
        ),
    ];
    for (name, help, of) in gauges {
        let mut family = text.family(name, Kind::Gauge, help);
        for (function, metrics) in rows {
            family.line(&labels(*function), of(metrics));
        }
    }
}

fn logs(snapshot: &Snapshot, text: &mut Text) {
    text.counter(
        "usher_log_lines_dropped_total",
        "Lines of functions' logs that were dropped because the log could not keep up.",
        snapshot.log_lines_dropped,
    );
    text.counter(
        "usher_log_lines_lost_total",
        "Lines of functions' logs that the disk did not take.",
        snapshot.log_lines_lost,
    );
    text.counter(
        "usher_logs_removed_bytes_total",
        "Old logs that were removed because those of all functions had become too large.",
        snapshot.log_bytes_removed,
    );
    text.gauge(
        "usher_logs_bytes",
        "The files of all functions' logs.",
        snapshot.log_bytes,
    );
}

/// Appends what OpenTelemetry's metrics of functions ask for.
pub(crate) fn faas(rows: &[Row<'_>], text: &mut Text) {
    let mut invoke = text.family(
        "faas_invoke_duration_seconds",
        Kind::Histogram,
        "How long functions ran, to the last byte of the reply.",
    );
    for (function, metrics) in rows {
        if let Some(times) = &metrics.totals.run_times {
            invoke.histogram(&trigger(*function), times, NANOSECONDS, None);
        }
    }
    let mut init = None;
    for (_, metrics) in rows {
        gather(&mut init, metrics.totals.start_times.clone());
    }
    let mut family = text.family(
        "faas_init_duration_seconds",
        Kind::Histogram,
        "How long it took to start environments whose image was there.",
    );
    if let Some(init) = init {
        family.histogram("", &init, NANOSECONDS, None);
    }
    let counters: [Sum; 4] = [
        (
            "faas_coldstarts_total",
            "Requests that waited for an environment to be started.",
            cold,
        ),
        (
            "faas_invocations_total",
            "Requests that got the function's response.",
            |totals| of(totals, &["ok"]),
        ),
        (
            "faas_errors_total",
            "Requests that the function failed.",
            |totals| of(totals, &["trap", "out-of-memory", "start-failed"]),
        ),
        (
            "faas_timeouts_total",
            "Requests for which a time limit ran out.",
            |totals| of(totals, &["time-out"]),
        ),
    ];
    for (name, help, of) in counters {
        let mut family = text.family(name, Kind::Counter, help);
        for (function, metrics) in rows {
            family.line(&trigger(*function), of(&metrics.totals));
        }
    }
}

fn cold(totals: &Totals) -> u64 {
    let runs = totals.runs.iter();
    let cold = runs.filter(|((start, _), _)| *start != "warm");
    cold.map(|(_, count)| count).sum()
}

fn of(totals: &Totals, outcomes: &[&str]) -> u64 {
    let requests = outcomes.iter().map(|outcome| totals.requests.get(outcome));
    requests.flatten().sum()
}

fn trigger(function: Option<&FunctionKey>) -> String {
    let (name, of) = (faas_name(function), labels(function));
    format!("{of},{name},faas_trigger=\"http\"")
}
