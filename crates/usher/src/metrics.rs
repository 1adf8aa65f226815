//! The platform's figures, as the text that Prometheus reads and as the table of the busiest
//! functions.
//!
//! ```text
//! gateway's gauge ─┐                     ┌─► /metrics: functions up to a bound, then `_other`
//! node's snapshot ─┼─► read at each look ┤
//! engines, process ┘                     └─► /v1/top: all functions, what came meanwhile
//! ```
//!
//! Nothing here is on a request's path. The gateway decides which functions are told apart; the
//! node's figures follow it. Deliberately absent: counting, which the roles do.

mod gateway;
mod node;
mod process;
mod text;
mod top;

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use usher_controller::api::{MetricsSource, Watch};
use usher_engine::phases::Phases;
use usher_gateway::Gauge;
use usher_node::Node;
use usher_node::metrics::{FunctionMetrics, Snapshot, Totals};
use usher_process::sandbox::Mean;

use crate::engines::Engines;
use crate::telemetry::Sent;
use text::{Format, NANOSECONDS};
pub(crate) use text::{Kind, Text};

/// Functions that are told apart where nothing else is said.
pub(crate) const FUNCTIONS_MAX: usize = 500;

/// Where all figures are.
pub(crate) struct Figures {
    pub(crate) gauge: Gauge,
    pub(crate) node: Node<Engines>,
    pub(crate) engines: Arc<Engines>,
    /// Functions that are told apart.
    pub(crate) functions_max: usize,
    /// What became of traces, where they are sent.
    pub(crate) sent: Option<Arc<Sent>>,
    /// What was told of all others last.
    pub(crate) others: Mutex<Totals>,
}

impl Figures {
    fn told(&self, format: Format) -> String {
        let gateway = self.gauge.figures(self.functions_max);
        let node = self.node.snapshot();
        let own = gateway.functions.iter();
        let own: HashSet<_> = own.filter_map(|it| it.function.as_ref()).collect();
        let others = node.functions.iter();
        let others = others.filter(|(key, _)| gateway.known.contains(key) && !own.contains(key));
        let others = self.others(others.map(|(_, metrics)| metrics));
        let apart = node.functions.iter().filter(|(key, _)| own.contains(key));
        let mut rows: Vec<node::Row<'_>> = apart.map(|(key, it)| (Some(key), it)).collect();
        if let Some(others) = &others {
            rows.push((None, others));
        }
        let mut text = Text::new(format);
        gateway::append(&gateway, &mut text);
        node::append(&rows, &node, &mut text);
        node::faas(&rows, &mut text);
        self.cold_starts(&node, &mut text);
        let means = self.engines.second.known_means();
        append_means(means.map_or(&[], |means| means.rows()), &mut text);
        if let Some(sent) = &self.sent {
            sent.append(&mut text);
        }
        process::append(&mut text);
        text.end()
    }

    /// All functions that are not told apart, if there are any. Those that were deleted take no
    /// part, but for what was told of them before.
    fn others<'f>(
        &self,
        functions: impl Iterator<Item = &'f FunctionMetrics>,
    ) -> Option<FunctionMetrics> {
        let mut others = FunctionMetrics::default();
        let mut any = false;
        for metrics in functions {
            any = true;
            others.totals.add(&metrics.totals);
            others.standing.add_all(&metrics.standing);
        }
        let mut before = self.others.lock();
        any |= *before != Totals::default();
        others.totals.raise_to(&before);
        before.clone_from(&others.totals);
        any.then_some(others)
    }

    fn cold_starts(&self, node: &Snapshot, text: &mut Text) {
        let mut family = text.family(
            "usher_coldstart_seconds",
            Kind::Histogram,
            "What starts from nothing took, by engine and phase.",
        );
        for (phase, reading) in &node.phases {
            let labels = format!("engine=\"any\",phase=\"{}\"", phase.word());
            family.histogram(&labels, reading, NANOSECONDS, None);
        }
        let of_engine: [(&str, &Phases); 2] = [
            ("wasm", &self.engines.first.counters().phases),
            ("process", &self.engines.second.counters().phases),
        ];
        for (engine, phases) in of_engine {
            for (phase, reading) in phases.readings() {
                let labels = format!("engine=\"{engine}\",phase=\"{}\"", phase.word());
                family.histogram(&labels, &reading, NANOSECONDS, None);
            }
        }
    }
}

impl MetricsSource for Figures {
    fn text(&self) -> String {
        self.told(Format::Prometheus)
    }

    fn open_metrics(&self) -> Option<String> {
        Some(self.told(Format::OpenMetrics))
    }

    fn watch(&self, from_now: bool) -> Watch {
        let began = from_now.then(|| self.gauge.briefs());
        let (gauge, node) = (self.gauge.clone(), self.node.clone());
        top::watch(began, gauge, node)
    }
}

/// Appends which of the machine's means for programs go the best way (1), and which a weaker one.
fn append_means(rows: &[Mean], text: &mut Text) {
    let mut means = text.family(
        "usher_programs_means",
        Kind::Gauge,
        "Whether a means for programs goes the best way.",
    );
    for row in rows {
        means.line(&format!("mean=\"{}\"", row.what), u8::from(row.full));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
