//! What `GET /v1/top` answers: the functions that matter most just now, and how they stand.

use serde::{Deserialize, Serialize};
use usher_core::id::FunctionKey;

/// How many functions are shown where the caller asks for no number.
pub const ROWS_DEFAULT: usize = 50;
/// How many functions are shown at most.
pub const ROWS_MAX: usize = 1_000;
/// For how long it is looked where the caller says nothing, in milliseconds.
pub const WINDOW_DEFAULT_MS: u64 = 1_000;
/// For how long it is looked at most, in milliseconds.
pub const WINDOW_MAX_MS: u64 = 60_000;

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// For how long it was looked, in milliseconds.
    pub window_ms: u64,
    /// How many functions there are to show, pages before and after this one included.
    pub functions: usize,
    /// All of them together. The share of a time that is not known for the sum is none.
    pub all: Standing,
    /// This page of them.
    pub rows: Vec<TopRow>,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopRow {
    /// Which.
    #[serde(flatten)]
    pub function: FunctionKey,
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
}

/// How functions stand: what came while it was looked, and what there was at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Requests that came, each second.
    pub requests_per_s: f64,
    /// Requests that failed by a fault or with a status of 500 or above, each second.
    pub errors_per_s: f64,
    /// The time within which half of the replies' heads were there, in microseconds; none: there
    /// were no replies.
    pub p50_us: Option<u64>,
    /// The same for ninety-nine in a hundred.
    pub p99_us: Option<u64>,
    /// Requests since the platform started.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Those of them that waited for an environment to be started.
    pub cold: u64,
    /// Requests under way.
    pub running: u64,
    /// Requests of these that wait for an environment.
    pub waiting: u64,
    /// Environments that could run a request.
    pub clean: u64,
    /// Environments that run one.
    pub busy: u64,
    /// Environments that are being renewed.
    pub renewing: u64,
    /// Environments that are being started.
    pub starting: u64,
    /// Memory of its environments, in bytes, as far as it is known: clean images of components for
    /// each environment, and what the kernel counts for programs.
    pub memory_bytes: u64,
}

/// By what rows are sorted, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopSort {
    /// Requests each second, then requests at all.
    #[default]
    Requests,
    /// Errors each second, then errors at all.
    Errors,
    /// The time of half the replies' heads.
    P50,
    /// The time of ninety-nine in a hundred replies' heads.
    P99,
    /// Requests under way, those that wait first.
    Running,
    /// Environments.
    Environments,
    /// Memory.
    Memory,
    /// Requests that waited for a start.
    Cold,
    /// Owner and name.
    Name,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopQuery {
    /// Only the functions of one owner.
    pub owner: Option<usher_core::id::Name>,
    /// By what rows are sorted.
    pub sort: TopSort,
    /// How many rows.
    pub limit: Option<usize>,
    /// How many rows to leave out before them.
    pub offset: usize,
    /// For how long to look, in milliseconds; 0: not at all, and without rates.
    pub window_ms: Option<u64>,
}

impl TopSort {
    /// The word for it in a query.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Running => "running",
            Self::Environments => "environments",
            Self::Memory => "memory",
            Self::Cold => "cold",
            Self::Name => "name",
        }
    }

    /// By what a row is compared, the larger the earlier.
    fn rank(self, row: &TopRow) -> (f64, f64) {
        let it = &row.standing;
        let number = |number: u64| number as f64;
        let environments = it.clean + it.busy + it.renewing + it.starting;
        match self {
            Self::Requests => (it.requests_per_s, number(it.requests)),
            Self::Errors => (it.errors_per_s, number(it.errors)),
            Self::P50 => (number(it.p50_us.unwrap_or(0)), it.requests_per_s),
            Self::P99 => (number(it.p99_us.unwrap_or(0)), it.requests_per_s),
            Self::Running => (number(it.waiting), number(it.running)),
            Self::Environments => (number(environments), it.requests_per_s),
            Self::Memory => (number(it.memory_bytes), it.requests_per_s),
            Self::Cold => (number(it.cold), it.requests_per_s),
            Self::Name => (0.0, 0.0),
        }
    }
}

impl Standing {
    /// Adds another function's, of which shares of times are not known together.
    pub fn add(&mut self, other: &Self) {
        self.requests_per_s += other.requests_per_s;
        self.errors_per_s += other.errors_per_s;
        (self.p50_us, self.p99_us) = (None, None);
        self.requests += other.requests;
        self.errors += other.errors;
        self.cold += other.cold;
        self.running += other.running;
        self.waiting += other.waiting;
        self.clean += other.clean;
        self.busy += other.busy;
        self.renewing += other.renewing;
        self.starting += other.starting;
        self.memory_bytes += other.memory_bytes;
    }
}

impl Top {
    /// The page that is asked for, out of all functions.
    pub fn of(mut rows: Vec<TopRow>, query: &TopQuery, window_ms: u64) -> Self {
        if let Some(owner) = &query.owner {
            rows.retain(|row| row.function.owner == *owner);
        }
        let mut all = Standing::default();
        rows.iter().for_each(|row| all.add(&row.standing));
        rows.sort_by(|a, b| {
            let (rank_a, rank_b) = (query.sort.rank(a), query.sort.rank(b));
            let by_rank = rank_b.0.total_cmp(&rank_a.0);
            let by_rank = by_rank.then(rank_b.1.total_cmp(&rank_a.1));
            by_rank.then_with(|| a.function.cmp(&b.function))
        });
        let functions = rows.len();
        let limit = query.limit.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX);
        let page = rows.into_iter().skip(query.offset).take(limit);
        Self {
            window_ms,
            functions,
            all,
            rows: page.collect(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn row(owner: &str, name: &str, requests_per_s: f64, memory_bytes: u64) -> TopRow {
        TopRow {
            function: FunctionKey {
                owner: owner.parse().unwrap(),
                name: name.parse().unwrap(),
            },
            standing: Standing {
                requests_per_s,
                memory_bytes,
                ..Standing::default()
            },
        }
    }

    fn names(top: &Top) -> Vec<String> {
        top.rows
            .iter()
            .map(|row| row.function.to_string())
            .collect()
    }

    #[test]
    fn rows_are_sorted_cut_and_counted() {
        let rows = vec![
            row("ann", "a", 1.0, 30),
            row("ann", "b", 3.0, 10),
            row("bob", "c", 2.0, 20),
            row("bob", "d", 2.0, 0),
        ];
        let page = |query: TopQuery| Top::of(rows.clone(), &query, 1_000);
        let top = page(TopQuery::default());
        assert_eq!(names(&top), ["ann/b", "bob/c", "bob/d", "ann/a"]);
        assert_eq!((top.functions, top.all.requests_per_s), (4, 8.0));
        let top = page(TopQuery {
            sort: TopSort::Memory,
            limit: Some(2),
            offset: 1,
            ..TopQuery::default()
        });
        assert_eq!(names(&top), ["bob/c", "ann/b"]);
        assert_eq!(top.all.memory_bytes, 60, "those of other pages too");
        let top = page(TopQuery {
            owner: Some("bob".parse().unwrap()),
            sort: TopSort::Name,
            ..TopQuery::default()
        });
        assert_eq!(names(&top), ["bob/c", "bob/d"]);
        assert_eq!(top.all.memory_bytes, 20);
    }

    #[test]
    fn a_row_is_one_flat_object() {
        let row = row("ann", "a", 1.5, 30);
        let text = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&text["owner"], &text["name"]),
            (&"ann".into(), &"a".into())
        );
        assert_eq!(text["requests_per_s"], 1.5);
        assert_eq!(serde_json::from_value::<TopRow>(text).unwrap(), row);
    }
}
