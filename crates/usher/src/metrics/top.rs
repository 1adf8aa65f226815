//! How all functions stand, and what came between two looks at the gateway's counters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use usher_api::top::{Standing, TopRow};
use usher_controller::api::Watch;
use usher_core::id::FunctionKey;
use usher_gateway::{Brief, Gauge};
use usher_node::Node;
use usher_node::metrics::{self, FunctionMetrics};

use crate::engines::Engines;

/// The second look, to be taken later. `began`: the first one; none: rates are those since the
/// platform started, of which nobody knows how long ago that was, and so they are left at zero.
pub(super) fn watch(
    began: Option<HashMap<FunctionKey, Brief>>,
    gauge: Gauge,
    node: Node<Engines>,
) -> Watch {
    let at = Instant::now();
    Box::new(move || {
        let now = gauge.briefs();
        let took = at.elapsed();
        let node = node.snapshot();
        rows(began.as_ref(), &now, node.functions, took)
    })
}

fn rows(
    began: Option<&HashMap<FunctionKey, Brief>>,
    now: &HashMap<FunctionKey, Brief>,
    mut node: std::collections::BTreeMap<FunctionKey, FunctionMetrics>,
    took: Duration,
) -> Vec<TopRow> {
    let nothing = Brief::default();
    let mut rows = Vec::with_capacity(now.len());
    for (function, brief) in now {
        let before = match began {
            Some(began) => began.get(function).unwrap_or(&nothing),
            None => &nothing,
        };
        let window = brief.since(before);
        let standing = node.remove(function).unwrap_or_default();
        rows.push(TopRow {
            function: function.clone(),
            standing: row(brief, &window, &standing, began.map(|_| took)),
        });
    }
    // Those that nobody has called may have environments all the same. What was deleted has none.
    let uncalled = node.into_iter().filter(|(_, it)| !it.standing.is_empty());
    rows.extend(uncalled.map(|(function, metrics)| TopRow {
        function,
        standing: row(&nothing, &nothing, &metrics, None),
    }));
    rows
}

fn row(
    brief: &Brief,
    window: &Brief,
    metrics: &FunctionMetrics,
    took: Option<Duration>,
) -> Standing {
    let metrics::Standing {
        clean,
        busy,
        renewing,
        starting,
        waiting,
        ..
    } = metrics.standing;
    let each_second = |count: u64| took.map_or(0.0, |took| count as f64 / took.as_secs_f64());
    Standing {
        requests_per_s: each_second(window.begun),
        errors_per_s: each_second(window.errors),
        p50_us: window.head_us(0.5),
        p99_us: window.head_us(0.99),
        requests: brief.begun,
        errors: brief.errors,
        cold: brief.cold,
        running: brief.active,
        waiting,
        clean,
        busy,
        renewing,
        starting,
        memory_bytes: metrics.standing.memory_bytes,
    }
}
