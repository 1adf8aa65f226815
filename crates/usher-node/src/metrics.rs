//! What the node counts, per revision, and the sums per function that outlive a revision.
//!
//! Deliberately absent: ids of environments and areas, which would give a metric for each of them,
//! and the text that Prometheus reads, which the binary makes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use usher_core::fault::Fault;
use usher_core::histogram::{Lazy, RENEWALS_NS, Reading, TIMES_NS, gather};
use usher_core::id::FunctionKey;
use usher_core::proof::{Proof, Renewal, Start};
use usher_core::start::Counts;
use usher_engine::phases::Phase;

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
    run_times: Lazy,
    start_times: Lazy,
    /// By the way in which it was done.
    renewal_times: [Lazy; RENEWALS.len()],
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
            // A first use was renewed from nothing.
            if proof.renew_us > 0 {
                let took_ns = u64::from(proof.renew_us) * 1_000;
                self.renewal_times[renewal].add(&RENEWALS_NS, took_ns);
            }
        }
    }

    /// A run is over, to the last byte of its reply.
    pub(crate) fn ran(&self, took: Duration) {
        self.run_times.add(&TIMES_NS, nanoseconds(took));
    }

    /// An environment was started.
    pub(crate) fn initialised(&self, took: Duration) {
        self.start_times.add(&TIMES_NS, nanoseconds(took));
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
        let renewal_times = RENEWALS.iter().zip(&self.renewal_times);
        let renewal_times = renewal_times
            .filter_map(|(renewal, times)| Some((renewal.word(), times.reading()?)))
            .collect();
        Totals {
            requests,
            runs,
            run_times: self.run_times.reading(),
            start_times: self.start_times.reading(),
            renewal_times,
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
    /// How long runs took, to the last byte of the reply; none: there were none.
    pub run_times: Option<Reading>,
    /// How long it took to start environments; none: none was started.
    pub start_times: Option<Reading>,
    /// How long renewals took that requests were served after, by the way in which they were done.
    pub renewal_times: BTreeMap<&'static str, Reading>,
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
        gather(&mut self.run_times, other.run_times.clone());
        gather(&mut self.start_times, other.start_times.clone());
        for (renewal, times) in &other.renewal_times {
            let empty = || Reading::empty(times.bounds);
            let mine = self.renewal_times.entry(renewal).or_insert_with(empty);
            mine.add(times);
        }
        let theirs = other.clone().plain_mut().map(|theirs| *theirs);
        for (mine, theirs) in self.plain_mut().into_iter().zip(theirs) {
            *mine += theirs;
        }
    }

    /// Raises each figure that is below what it was before. A sum over functions that come and go
    /// must not fall, since whoever reads it would take that for a restart.
    pub fn raise_to(&mut self, before: &Self) {
        for (outcome, count) in &before.requests {
            let mine = self.requests.entry(outcome).or_default();
            *mine = (*mine).max(*count);
        }
        for (run, count) in &before.runs {
            let mine = self.runs.entry(*run).or_default();
            *mine = (*mine).max(*count);
        }
        raise(&mut self.run_times, before.run_times.as_ref());
        raise(&mut self.start_times, before.start_times.as_ref());
        for (renewal, times) in &before.renewal_times {
            let mut mine = self.renewal_times.remove(renewal);
            raise(&mut mine, Some(times));
            self.renewal_times.extend(mine.map(|mine| (*renewal, mine)));
        }
        let was = before.clone().plain_mut().map(|was| *was);
        for (mine, was) in self.plain_mut().into_iter().zip(was) {
            *mine = (*mine).max(was);
        }
    }

    /// Every sum without labels of its own.
    fn plain_mut(&mut self) -> [&mut u64; PLAIN] {
        [
            &mut self.renew_us,
            &mut self.broken_off,
            &mut self.started,
            &mut self.starts_failed,
            &mut self.compiled,
            &mut self.loaded,
            &mut self.leftovers,
            &mut self.renewals_failed,
            &mut self.quarantined,
            &mut self.audits,
            &mut self.audits_failed,
            &mut self.keys_given_up,
            &mut self.keys_expired,
            &mut self.renewal_waits,
            &mut self.renewal_wait_us,
            &mut self.renewal_waits_spared,
            &mut self.twins_started,
        ]
    }
}

fn raise(mine: &mut Option<Reading>, before: Option<&Reading>) {
    let Some(before) = before else { return };
    let mine = mine.get_or_insert_with(|| Reading::empty(before.bounds));
    for (mine, was) in mine.counts.iter_mut().zip(&before.counts) {
        *mine = (*mine).max(*was);
    }
    mine.sum = mine.sum.max(before.sum);
}

fn nanoseconds(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
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
    /// Memory of its environments, in bytes, as far as it is known.
    pub memory_bytes: u64,
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
    /// What cold starts took on the node's own part, by phase.
    pub phases: Vec<(Phase, Reading)>,
    /// Log lines that were dropped because the log could not keep up.
    pub log_lines_dropped: u64,
    /// Log lines that could not be written to their file.
    pub log_lines_lost: u64,
    /// Log lines that were removed because the logs of all functions had become too large.
    pub log_bytes_removed: u64,
    /// The files of all logs, in bytes.
    pub log_bytes: u64,
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
            ..Snapshot::default()
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

impl Standing {
    /// Adds those of another function.
    pub fn add_all(&mut self, other: &Self) {
        self.clean += other.clean;
        self.busy += other.busy;
        self.renewing += other.renewing;
        self.starting += other.starting;
        self.waiting += other.waiting;
        self.keys += other.keys;
        self.twins += other.twins;
        self.memory_bytes += other.memory_bytes;
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
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
        let totals = past.snapshot().functions[&function].totals.clone();
        assert_eq!(totals.requests, [("ok", 1), ("trap", 1)].into());
        assert_eq!(totals.runs, [(("warm", "swap"), 1)].into());
        assert_eq!((totals.audits, totals.renew_us), (8, 2));
        let renewed = &totals.renewal_times["swap"];
        assert_eq!((renewed.count(), renewed.sum), (1, 2_000));
    }

    #[test]
    fn a_sum_never_falls() {
        let counters = Counters::default();
        counters.ran(Duration::from_millis(1));
        counters.failed(&Fault::Trap);
        counters.audits.add(4);
        let before = counters.totals();
        let mut after = Totals {
            audits: 5,
            ..Totals::default()
        };
        after.raise_to(&before);
        assert_eq!(after.audits, 5);
        assert_eq!(after.requests["trap"], 1);
        assert_eq!(after.run_times, before.run_times);
        let mut twice = before.clone();
        twice.add(&before);
        twice.raise_to(&before);
        assert_eq!(twice.run_times.unwrap().count(), 2);
        assert_eq!(twice.audits, 8);
    }
}
