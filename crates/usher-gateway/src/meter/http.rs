//! What OpenTelemetry's HTTP metrics ask for: requests by method, scheme, status and error, each
//! with how long it took, and the sizes of bodies.
//!
//! A request finds its series by comparing numbers, and makes it if it is the first one. There is
//! room for so many; what finds none is counted without method and status.

use std::sync::OnceLock;

use http::Method;
use parking_lot::Mutex;
use usher_core::histogram::{Histogram, Lazy, Reading, SIZES_BYTES, TIMES_NS};
use usher_core::trace::TraceParent;

use super::{OUTCOMES, Outcome};

/// Series of one function.
const SERIES_MAX: usize = 16;

/// The methods that OpenTelemetry knows, and the word for all others.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", OTHER,
];

/// What stands for a method or a status that has no series of its own.
const OTHER: &str = "_OTHER";

/// A method as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodCode(u8);

impl MethodCode {
    const OTHER: Self = Self(9);

    pub(crate) fn of(method: &Method) -> Self {
        Self(match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::CONNECT => 5,
            Method::OPTIONS => 6,
            Method::TRACE => 7,
            Method::PATCH => 8,
            _ => return Self::OTHER,
        })
    }

    fn word(self) -> &'static str {
        METHODS[usize::from(self.0)]
    }
}

/// What tells one series from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesKey {
    pub(crate) method: MethodCode,
    /// Whether it came by TLS.
    pub(crate) secure: bool,
    /// What the caller got; 0: nothing.
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
}

/// The requests of one function, or those that reached none.
#[derive(Debug, Default)]
pub(crate) struct HttpMeter {
    series: [OnceLock<Box<Series>>; SERIES_MAX],
    /// By TLS or not.
    beyond: [OnceLock<Box<Series>>; 2],
    request_bytes: Lazy,
    reply_bytes: Lazy,
}

#[derive(Debug)]
struct Series {
    key: SeriesKey,
    times: Histogram,
    example: Mutex<Option<Example>>,
}

/// A request whose trace was recorded, as an example of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its trace.
    pub trace: TraceParent,
    /// How long it took, in nanoseconds.
    pub took_ns: u64,
    /// When it ended, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// The place of the cell that it was counted in.
    pub cell: usize,
}

impl HttpMeter {
    /// A request has ended.
    pub(crate) fn ended(&self, key: SeriesKey, took_ns: u64, trace: Option<TraceParent>) {
        let series = self.series(key);
        let cell = series.times.add(took_ns);
        if let Some(trace) = trace {
            *series.example.lock() = Some(Example {
                trace,
                took_ns,
                at_us: now_us(),
                cell,
            });
        }
    }

    /// The sizes of its bodies, as far as they are known.
    pub(crate) fn bodies(&self, request: Option<u64>, reply: Option<u64>) {
        if let Some(bytes) = request {
            self.request_bytes.add(&SIZES_BYTES, bytes);
        }
        if let Some(bytes) = reply {
            self.reply_bytes.add(&SIZES_BYTES, bytes);
        }
    }

    fn series(&self, key: SeriesKey) -> &Series {
        for place in &self.series {
            let series = place.get_or_init(|| Series::new(key));
            if series.key == key {
                return series;
            }
        }
        self.beyond[usize::from(key.secure)].get_or_init(|| {
            Series::new(SeriesKey {
                method: MethodCode::OTHER,
                status: 0,
                outcome: Outcome::NONE,
                ..key
            })
        })
    }

    pub(crate) fn read(&self, into: &mut HttpFigures) {
        let places = self.series.iter().chain(&self.beyond);
        for series in places.filter_map(OnceLock::get) {
            into.add(SeriesFigures {
                key: series.key,
                times: series.times.reading(),
                example: *series.example.lock(),
            });
        }
        usher_core::histogram::gather(&mut into.request_bytes, self.request_bytes.reading());
        usher_core::histogram::gather(&mut into.reply_bytes, self.reply_bytes.reading());
    }
}

impl Series {
    fn new(key: SeriesKey) -> Box<Self> {
        Box::new(Self {
            key,
            times: Histogram::new(&TIMES_NS),
            example: Mutex::default(),
        })
    }
}

/// The requests of one function, or of several together, as HTTP sees them.
#[derive(Clone, Debug, Default)]
pub struct HttpFigures {
    /// By method, scheme, status and error.
    pub series: Vec<SeriesFigures>,
    /// Announced sizes of requests' bodies; none: there were no requests.
    pub request_bytes: Option<Reading>,
    /// What was sent of replies' bodies; none: there were no replies.
    pub reply_bytes: Option<Reading>,
}

/// Requests that are alike.
#[derive(Clone, Debug)]
pub struct SeriesFigures {
    key: SeriesKey,
    /// How long they took, from the head to the last byte of the reply.
    pub times: Reading,
    /// One of them.
    pub example: Option<Example>,
}

impl HttpFigures {
    fn add(&mut self, more: SeriesFigures) {
        let known = self.series.iter_mut().find(|known| known.key == more.key);
        match known {
            Some(known) => {
                known.times.add(&more.times);
                known.example = more.example.or(known.example);
            }
            None => self.series.push(more),
        }
    }

    /// Adds those of others.
    pub(crate) fn merge(&mut self, others: &Self) {
        for series in &others.series {
            self.add(series.clone());
        }
        usher_core::histogram::gather(&mut self.request_bytes, others.request_bytes.clone());
        usher_core::histogram::gather(&mut self.reply_bytes, others.reply_bytes.clone());
    }
}

impl SeriesFigures {
    /// The method, or `_OTHER`.
    pub fn method(&self) -> &'static str {
        self.key.method.word()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.key.secure {
            true => "https",
            false => "http",
        }
    }

    /// The status that callers got; none: they got none, or it is not told apart.
    pub fn status(&self) -> Option<u16> {
        Some(self.key.status).filter(|status| *status > 0)
    }

    /// The label of the fault, or the status where the function itself failed; none: no error.
    pub fn error(&self) -> Option<String> {
        match OUTCOMES.get(self.key.outcome.0) {
            Some(&"5xx") => Some(self.key.status.to_string()),
            Some(&("2xx" | "3xx" | "4xx" | "other")) | None => None,
            Some(label) => Some((*label).to_owned()),
        }
    }
}

fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use usher_core::fault::Fault;

    use super::*;

    fn key(status: u16) -> SeriesKey {
        SeriesKey {
            method: MethodCode::of(&Method::GET),
            secure: false,
            status,
            outcome: Outcome::of_status(StatusCode::from_u16(status).unwrap_or_default()),
        }
    }

    fn figures(meter: &HttpMeter) -> HttpFigures {
        let mut figures = HttpFigures::default();
        meter.read(&mut figures);
        figures
    }

    #[test]
    fn requests_that_are_alike_share_a_series_and_there_are_not_too_many() {
        let meter = HttpMeter::default();
        for status in 200..300 {
            meter.ended(key(status), 1_000, None);
            meter.ended(key(200), 1_000, None);
        }
        let figures = figures(&meter);
        assert_eq!(figures.series.len(), SERIES_MAX + 1);
        let counts = figures.series.iter().map(|series| series.times.count());
        assert_eq!(counts.sum::<u64>(), 200);
        let beyond = &figures.series[SERIES_MAX];
        assert_eq!((beyond.method(), beyond.status()), (OTHER, None));
        assert_eq!(figures.series[0].times.count(), 101);
    }

    #[test]
    fn errors_are_told_by_their_label_or_status() {
        let meter = HttpMeter::default();
        let trap = SeriesKey {
            outcome: Outcome::of_fault(&Fault::Trap),
            ..key(502)
        };
        for key in [key(204), key(404), key(503), trap] {
            meter.ended(key, 1, None);
        }
        let errors = figures(&meter).series;
        let errors: Vec<_> = errors.iter().map(SeriesFigures::error).collect();
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(errors, [None, None, of("503"), of("trap")]);
    }

    #[test]
    fn methods_are_those_that_are_known() {
        for (at, word) in METHODS.iter().enumerate().take(9) {
            let method = Method::from_bytes(word.as_bytes()).unwrap_or_default();
            assert_eq!(usize::from(MethodCode::of(&method).0), at);
        }
        let made_up = Method::from_bytes(b"BREW").unwrap_or_default();
        assert_eq!(MethodCode::of(&made_up).word(), OTHER);
    }
}
