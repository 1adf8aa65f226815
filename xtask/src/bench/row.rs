//! One figure with its baseline and its goal, as it is written to files and shown.
//!
//! Deliberately absent: measuring.

use serde::{Deserialize, Serialize};

/// Several measurements of one thing: the middle one, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The median.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Figure {
    /// Of `samples`; none if there are none.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (
            sorted.get((sorted.len() - 1) / 2)?,
            sorted.get(sorted.len() / 2)?,
        );
        Some(Self {
            median: f64::midpoint(*low, *high),
            min,
            max,
        })
    }
}

/// Latencies as the client saw them, in microseconds: medians of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The middle one.
    pub(crate) p50_us: f64,
    /// Which one request in a hundred exceeds.
    pub(crate) p99_us: f64,
}

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Ours is at least so many times the baseline.
    TimesAtLeast(f64),
    /// Ours is at most so many times the baseline.
    TimesAtMost(f64),
    /// Ours itself is at most so much.
    AtMost(f64),
    /// Ours itself is at least so much.
    AtLeast(f64),
}

/// One row of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The row of the targets that it belongs to, such as `W1`.
    pub(crate) id: String,
    /// What was measured.
    pub(crate) metric: String,
    /// In what.
    pub(crate) unit: String,
    /// Ours, the median; none: it could not be measured, and `note` says why.
    pub(crate) ours: Option<f64>,
    /// The baseline's median of the same run.
    pub(crate) baseline: Option<f64>,
    /// What the baseline is.
    pub(crate) baseline_name: Option<String>,
    /// Ours over the baseline.
    pub(crate) ratio: Option<f64>,
    /// What ours, or the ratio, has to reach; none: the row is shown, not judged.
    pub(crate) goal: Option<f64>,
    /// Whether it does.
    pub(crate) held: Option<bool>,
    /// Smallest and largest of ours.
    pub(crate) ours_spread: Option<[f64; 2]>,
    /// Smallest and largest of the baseline.
    pub(crate) baseline_spread: Option<[f64; 2]>,
    /// Processor time per request of ours, in microseconds.
    pub(crate) ours_cpu_us: Option<f64>,
    /// The same of the baseline.
    pub(crate) baseline_cpu_us: Option<f64>,
    /// Latencies of ours, where they are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ours_latency: Option<Latency>,
    /// The same of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) baseline_latency: Option<Latency>,
    /// What a reader has to know.
    pub(crate) note: Option<String>,
    /// Shown in the README though it is not judged.
    #[serde(skip)]
    pub(crate) headline: bool,
}

impl Row {
    /// A row without any figure yet.
    pub(crate) fn new(id: &str, metric: impl Into<String>, unit: &str) -> Self {
        Self {
            id: id.to_owned(),
            metric: metric.into(),
            unit: unit.to_owned(),
            ours: None,
            baseline: None,
            baseline_name: None,
            ratio: None,
            goal: None,
            held: None,
            ours_spread: None,
            baseline_spread: None,
            ours_cpu_us: None,
            baseline_cpu_us: None,
            ours_latency: None,
            baseline_latency: None,
            note: None,
            headline: false,
        }
    }

    /// A row that could not be measured.
    pub(crate) fn missing(id: &str, why: &anyhow::Error) -> Self {
        let row = Self::new(id, "not measured", "").unmeasured();
        row.noted(format!("{why:#}"))
    }

    /// Of which a figure is missing that should be there: a goal asks for it.
    pub(crate) fn unmeasured(self) -> Self {
        self.judged(Goal::AtLeast(0.0))
    }

    /// Whether a figure is missing that a goal asks for.
    pub(crate) fn is_missing(&self) -> bool {
        let baseline = self.baseline_name.is_some() && self.baseline.is_none();
        self.goal.is_some() && (self.ours.is_none() || baseline)
    }

    /// With ours.
    pub(crate) fn ours(mut self, figure: Option<Figure>) -> Self {
        self.ours = figure.map(|figure| figure.median);
        self.ours_spread = figure.map(|figure| [figure.min, figure.max]);
        self
    }

    /// With a baseline, and the ratio where both are there.
    pub(crate) fn baseline(mut self, name: &str, figure: Option<Figure>) -> Self {
        self.baseline_name = Some(name.to_owned());
        self.baseline = figure.map(|figure| figure.median);
        self.baseline_spread = figure.map(|figure| [figure.min, figure.max]);
        self.ratio = match (self.ours, self.baseline) {
            (Some(ours), Some(baseline)) if baseline > 0.0 => Some(ours / baseline),
            _ => None,
        };
        self
    }

    /// With the processor time of both.
    pub(crate) fn cpu(mut self, ours: Option<Figure>, baseline: Option<Figure>) -> Self {
        self.ours_cpu_us = ours.map(|figure| figure.median);
        self.baseline_cpu_us = baseline.map(|figure| figure.median);
        self
    }

    /// With the latencies of both.
    pub(crate) fn latency(mut self, ours: Option<Latency>, baseline: Option<Latency>) -> Self {
        self.ours_latency = ours;
        self.baseline_latency = baseline;
        self
    }

    /// Judged. A figure that is missing holds nothing.
    pub(crate) fn judged(mut self, goal: Goal) -> Self {
        let (figure, goal, at_least) = match goal {
            Goal::TimesAtLeast(goal) => (self.ratio, goal, true),
            Goal::TimesAtMost(goal) => (self.ratio, goal, false),
            Goal::AtMost(goal) => (self.ours, goal, false),
            Goal::AtLeast(goal) => (self.ours, goal, true),
        };
        self.goal = Some(goal);
        self.held = Some(match figure {
            Some(figure) if at_least => figure >= goal,
            Some(figure) => figure <= goal,
            None => false,
        });
        self
    }

    /// To be shown in the README though it is not judged.
    pub(crate) fn headline(mut self) -> Self {
        self.headline = true;
        self
    }

    /// With a note.
    pub(crate) fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn row(ours: f64, baseline: f64) -> Row {
        Row::new("W0", "rows", "1")
            .ours(Figure::of([ours]))
            .baseline("other", Figure::of([baseline]))
    }

    #[test]
    fn the_middle_and_the_spread_are_taken() {
        let figure = Figure::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((figure.median, figure.min, figure.max), (2.0, 1.0, 3.0));
        assert_eq!(Figure::of([1.0, 2.0, 4.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Figure::of([]), None);
    }

    #[test]
    fn a_goal_is_held_from_its_own_side() {
        let held = |goal| row(6.0, 2.0).judged(goal).held;
        assert_eq!(held(Goal::TimesAtLeast(3.0)), Some(true));
        assert_eq!(held(Goal::TimesAtLeast(3.1)), Some(false));
        assert_eq!(held(Goal::TimesAtMost(3.0)), Some(true));
        assert_eq!(held(Goal::TimesAtMost(2.9)), Some(false));
        assert_eq!(held(Goal::AtMost(5.9)), Some(false));
        assert_eq!(held(Goal::AtLeast(6.0)), Some(true));
        assert_eq!(row(6.0, 2.0).held, None);
    }

    #[test]
    fn a_figure_that_is_missing_holds_nothing() {
        let empty = Row::new("W0", "rows", "1").baseline("other", Figure::of([1.0]));
        let empty = empty.judged(Goal::AtMost(1.0));
        assert!(empty.is_missing() && !row(1.0, 1.0).judged(Goal::AtMost(1.0)).is_missing());
        assert_eq!(empty.held, Some(false));
        assert_eq!(
            row(1.0, 0.0).judged(Goal::TimesAtLeast(0.0)).held,
            Some(false)
        );
    }
}
