//! What the node counts, per revision, and the sums per function that outlive a revision.
//!
//! Deliberately absent: ids of environments and areas, which would give a metric for each of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use usher_core::fault::Fault;
use usher_core::id::FunctionKey;
use usher_core::proof::{Proof, Renewal, Start};
use usher_core::start::Counts;

/// Functions whose sums outlive their last revision. Those of further ones end with it.
const PAST_FUNCTIONS_MAX: usize = 10_000;

/// Label of a request that got the function's own response.
pub const OUTCOME_OK: &str = "ok";

const STARTS: [Start; 3] = [Start::Warm, Start::Cold, Start::Joined];
const RENEWALS: [Renewal; 5] = [
    Renewal::Swap,
    Renewal::InPlace,
    Renewal::Fresh,
    Renewal::Replaced,
    Renewal::Kept,
];

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one revision.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    served: Counter,
    runs: [[Counter; RENEWALS.len()]; STARTS.len()],
    failed: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) renew_us: Counter,
    pub(crate) broken_off: Counter,
    pub(crate) started: Counter,
    pub(crate) starts_failed: Counter,
    pub(crate) compiled: Counter,
    pub(crate) loaded: Counter,
    pub(crate) leftovers: Counter,
    pub(crate) renewals_failed: Counter,
    pub(crate) quarantined: Counter,
    pub(crate) audits: Counter,
    pub(crate) audits_failed: Counter,
    pub(crate) keys_given_up: Counter,
    pub(crate) keys_expired: Counter,
    renewal_waits: Counter,
    renewal_wait_us: Counter,
    pub(crate) renewal_waits_spared: Counter,
    pub(crate) twins_started: Counter,
}

impl Counters {
    /// A request was served.
    pub(crate) fn served(&self, proof: &Proof) {
        self.served.add(1);
        self.renew_us.add(u64::from(proof.renew_us));
        let start = STARTS.iter().position(|start| *start == proof.start);
        let renewal = RENEWALS.iter().position(|kind| *kind == proof.renewal);
        if let (Some(start), Some(renewal)) = (start, renewal) {
            self.runs[start][renewal].add(1);
        }
    }

    /// A request got an environment, for whose renewal it had waited so long.
    pub(crate) fn renewal_waited(&self, wait_us: u64) {
        if wait_us > 0 {
            self.renewal_waits.add(1);
            self.renewal_wait_us.add(wait_us);
        }
    }

    /// A request failed before its response's head.
    pub(crate) fn failed(&self, fault: &Fault) {
        *self.failed.lock().entry(fault.judge().label).or_default() += 1;
    }

    /// Requests that got the function's response.
    pub(crate) fn served_total(&self) -> u64 {
        self.served.get()
    }

    /// What was counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut requests = self.failed.lock().clone();
        requests.insert(OUTCOME_OK, self.served.get());
        let mut runs = BTreeMap::new();
        for (start, row) in STARTS.iter().zip(&self.runs) {
            for (renewal, count) in RENEWALS.iter().zip(row) {
                if count.get() > 0 {
                    runs.insert((start.word(), renewal.word()), count.get());
                }
            }
        }
        Totals {
            requests,
            runs,
            renew_us: self.renew_us.get(),
            broken_off: self.broken_off.get(),
            started: self.started.get(),
            starts_failed: self.starts_failed.get(),
            compiled: self.compiled.get(),
            loaded: self.loaded.get(),
            leftovers: self.leftovers.get(),
            renewals_failed: self.renewals_failed.get(),
            quarantined: self.quarantined.get(),
            audits: self.audits.get(),
            audits_failed: self.audits_failed.get(),
            keys_given_up: self.keys_given_up.get(),
            keys_expired: self.keys_expired.get(),
            renewal_waits: self.renewal_waits.get(),
            renewal_wait_us: self.renewal_wait_us.get(),
            renewal_waits_spared: self.renewal_waits_spared.get(),
            twins_started: self.twins_started.get(),
        }
    }
}

/// Sums since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests by outcome: [`OUTCOME_OK`] or the label of a fault.
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests that were served, by how the environment was come by and how it had become clean.
    pub runs: BTreeMap<(&'static str, &'static str), u64>,
    /// What renewals took that requests were served after, in microseconds.
    pub renew_us: u64,
    /// Replies that broke off after their head.
    pub broken_off: u64,
    /// Environments started.
    pub started: u64,
    /// Starts that failed.
    pub starts_failed: u64,
    /// Artifacts compiled.
    pub compiled: u64,
    /// Images loaded.
    pub loaded: u64,
    /// Environments replaced because something was left in them that could not be put back.
    pub leftovers: u64,
    /// Environments lost because the engine could not renew them.
    pub renewals_failed: u64,
    /// Environments that could not be trusted any more.
    pub quarantined: u64,
    /// Renewals audited.
    pub audits: u64,
    /// Audits that found a difference.
    pub audits_failed: u64,
    /// Keys whose state was given up for another key.
    pub keys_given_up: u64,
    /// Keys whose state was given up because they had not been used for long.
    pub keys_expired: u64,
    /// Requests that waited for an environment which was being renewed.
    pub renewal_waits: u64,
    /// What they waited for that, in microseconds.
    pub renewal_wait_us: u64,
    /// Requests that found a clean environment while another one was being renewed.
    pub renewal_waits_spared: u64,
    /// Environments started so that no request waits for a renewal.
    pub twins_started: u64,
}

impl Totals {
    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        for (outcome, count) in &other.requests {
            *self.requests.entry(outcome).or_default() += count;
        }
        for (run, count) in &other.runs {
            *self.runs.entry(*run).or_default() += count;
        }
        for ((_, mine), (_, theirs)) in self.plain_mut().into_iter().zip(other.plain()) {
            *mine += theirs;
        }
    }

    fn plain(&self) -> [(&'static str, u64); PLAIN] {
        let mut copy = self.clone();
        copy.plain_mut().map(|(name, value)| (name, *value))
    }

    /// Every sum without labels of its own, with the name of its metric.
    fn plain_mut(&mut self) -> [(&'static str, &mut u64); PLAIN] {
        [
            ("usher_renew_microseconds_total", &mut self.renew_us),
            ("usher_replies_broken_off_total", &mut self.broken_off),
            ("usher_environments_started_total", &mut self.started),
            ("usher_starts_failed_total", &mut self.starts_failed),
            ("usher_artifacts_compiled_total", &mut self.compiled),
            ("usher_images_loaded_total", &mut self.loaded),
            ("usher_leftovers_total", &mut self.leftovers),
            ("usher_renewals_failed_total", &mut self.renewals_failed),
            ("usher_quarantined_total", &mut self.quarantined),
            ("usher_audits_total", &mut self.audits),
            ("usher_audits_failed_total", &mut self.audits_failed),
            ("usher_keys_given_up_total", &mut self.keys_given_up),
            ("usher_keys_expired_total", &mut self.keys_expired),
            ("usher_renewal_waits_total", &mut self.renewal_waits),
            (
                "usher_renewal_wait_microseconds_total",
                &mut self.renewal_wait_us,
            ),
            (
                "usher_renewal_waits_spared_total",
                &mut self.renewal_waits_spared,
            ),
            ("usher_twins_started_total", &mut self.twins_started),
        ]
    }
}

const PLAIN: usize = 17;

/// Environments and requests of one function as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Environments that could run a request now.
    pub clean: u64,
    /// Environments that run one.
    pub busy: u64,
    /// Environments that are being renewed.
    pub renewing: u64,
    /// Environments that are being started.
    pub starting: u64,
    /// Requests that wait for an environment.
    pub waiting: u64,
    /// Keys that have an environment, where state is kept by key.
    pub keys: u64,
    /// Environments beside those that requests needed at once lately.
    pub twins: u64,
}

/// One function's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionMetrics {
    /// Sums over all its revisions.
    pub totals: Totals,
    /// How it stands now, all its revisions together.
    pub standing: Standing,
}

/// What a node has counted, by function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every function that this node has seen.
    pub functions: BTreeMap<FunctionKey, FunctionMetrics>,
    /// Log lines that were dropped because the log could not keep up.
    pub log_lines_dropped: u64,
}

/// Sums of revisions that are gone.
#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<BTreeMap<FunctionKey, PastFunction>>);

#[derive(Debug, Default)]
struct PastFunction {
    totals: Totals,
    /// Of revisions that were given up and still have requests, which go on counting.
    leaving: Vec<Arc<Counters>>,
}

impl Past {
    /// A revision is given up.
    pub(crate) fn absorb(&self, function: &FunctionKey, counters: Arc<Counters>) {
        let mut past = self.0.lock();
        if past.len() < PAST_FUNCTIONS_MAX || past.contains_key(function) {
            let past = past.entry(function.clone()).or_default();
            past.settle();
            past.leaving.push(counters);
        }
    }

    /// A snapshot to which the revisions in service are still to be added.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut past = self.0.lock();
        let functions = past.iter_mut().map(|(function, past)| {
            let metrics = FunctionMetrics {
                totals: past.settle(),
                standing: Standing::default(),
            };
            (function.clone(), metrics)
        });
        Snapshot {
            functions: functions.collect(),
            log_lines_dropped: 0,
        }
    }
}

impl PastFunction {
    /// Adds up what cannot change any more; answers the sum of all.
    fn settle(&mut self) -> Totals {
        let (settled, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|counters| Arc::strong_count(counters) == 1);
        self.leaving = leaving;
        let settled: Vec<Arc<Counters>> = settled;
        for counters in settled {
            self.totals.add(&counters.totals());
        }
        let mut all = self.totals.clone();
        for counters in &self.leaving {
            all.add(&counters.totals());
        }
        all
    }
}

impl Standing {
    /// Adds a pool's environments and requests.
    pub(crate) fn add(&mut self, counts: Counts, keys: usize, twins: usize) {
        self.clean += counts.idle as u64;
        self.busy += counts.busy as u64;
        self.renewing += counts.renewing as u64;
        self.starting += counts.starting as u64;
        self.waiting += counts.waiting as u64;
        self.keys += keys as u64;
        self.twins += twins as u64;
    }
}

impl Snapshot {
    /// The text that Prometheus reads, one family of metrics after the other.
    pub fn prometheus(&self) -> String {
        let mut families: BTreeMap<&str, (&str, String)> = BTreeMap::new();
        for (function, metrics) in &self.functions {
            let labels = format!(
                "owner=\"{}\",function=\"{}\"",
                function.owner, function.name
            );
            let mut line = |name: &'static str, kind, more: &str, value: u64| {
                let (_, text) = families.entry(name).or_insert((kind, String::new()));
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{name}{{{labels}{more}}} {value}");
            };
            for (outcome, count) in &metrics.totals.requests {
                let more = format!(",outcome=\"{outcome}\"");
                line("usher_requests_total", "counter", &more, *count);
            }
            for ((start, renewal), count) in &metrics.totals.runs {
                let more = format!(",start=\"{start}\",renewal=\"{renewal}\"");
                line("usher_runs_total", "counter", &more, *count);
            }
            for (name, value) in metrics.totals.plain() {
                line(name, "counter", "", value);
            }
            let standing = &metrics.standing;
            for (state, count) in [
                ("clean", standing.clean),
                ("busy", standing.busy),
                ("renewing", standing.renewing),
                ("starting", standing.starting),
            ] {
                let more = format!(",state=\"{state}\"");
                line("usher_environments", "gauge", &more, count);
            }
            line("usher_requests_waiting", "gauge", "", standing.waiting);
            line("usher_keys", "gauge", "", standing.keys);
            line("usher_twins", "gauge", "", standing.twins);
        }
        let mut text = String::new();
        for (name, (kind, lines)) in families {
            let _ = write!(text, "# TYPE {name} {kind}\n{lines}");
        }
        let dropped = "usher_log_lines_dropped_total";
        let _ = writeln!(
            text,
            "# TYPE {dropped} counter\n{dropped} {}",
            self.log_lines_dropped
        );
        text
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::id::{AreaId, EnvironmentId, Generation};

    use super::*;

    #[test]
    fn sums_of_a_revision_that_is_gone_stay_with_its_function() {
        let counters = Arc::new(Counters::default());
        counters.served(&Proof {
            environment: EnvironmentId(1),
            area: AreaId(2),
            generation: Generation(3),
            start: Start::Warm,
            renewal: Renewal::Swap,
            renew_us: 2,
        });
        counters.failed(&Fault::Trap);
        counters.audits.add(4);
        let function = FunctionKey {
            owner: "ann".parse().unwrap(),
            name: "hello".parse().unwrap(),
        };
        let past = Past::default();
        past.absorb(&function, counters.clone());
        // What a request of it still counts is not lost.
        counters.audits.add(4);
        drop(counters);
        let text = past.snapshot().prometheus();
        for line in [
            "# TYPE usher_requests_total counter",
            "usher_requests_total{owner=\"ann\",function=\"hello\",outcome=\"ok\"} 1",
            "usher_requests_total{owner=\"ann\",function=\"hello\",outcome=\"trap\"} 1",
            "usher_runs_total{owner=\"ann\",function=\"hello\",start=\"warm\",renewal=\"swap\"} 1",
            "usher_audits_total{owner=\"ann\",function=\"hello\"} 8",
            "usher_renew_microseconds_total{owner=\"ann\",function=\"hello\"} 2",
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line}\nis not in\n{text}"
            );
        }
    }
}
