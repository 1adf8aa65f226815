//! The text of metrics: families with their help, type and unit, in two formats.
//!
//! The older one is what Prometheus has always read. OpenMetrics differs in little: a counter's
//! family is named without `_total`, a family can have a unit, buckets can have an example, and the
//! text has an end.
//!
//! Deliberately absent: what is told. Writing to a string cannot fail, so nothing here can.

use std::fmt::{Display, Write};

use usher_core::histogram::Reading;
use usher_core::id::FunctionKey;
use usher_gateway::Example;

/// What stands for owner and name where functions are not told apart. No function can be named so.
pub(crate) const OTHER: &str = "_other";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

/// The text in the making.
pub(crate) struct Text {
    format: Format,
    text: String,
}

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family; its lines follow.
pub(crate) struct Family<'t> {
    name: &'static str,
    format: Format,
    text: &'t mut String,
}

impl Text {
    pub(crate) fn new(format: Format) -> Self {
        let text = String::with_capacity(64 << 10);
        Self { format, text }
    }

    /// Begins a family. A counter's name ends in `_total`; the unit is what stands before that, or
    /// at the end.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let text = &mut self.text;
        let bare = name.strip_suffix("_total").unwrap_or(name);
        let shown = match self.format {
            Format::Prometheus => name,
            Format::OpenMetrics => bare,
        };
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(text, "# HELP {shown} {help}\n# TYPE {shown} {word}");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| {
            let before = bare.strip_suffix(unit);
            before.is_some_and(|before| before.ends_with('_'))
        });
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(text, "# UNIT {shown} {unit}");
        }
        Family {
            name,
            format: self.format,
            text,
        }
    }

    /// A counter of which there is one value only.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help).line("", value);
    }

    /// A gauge of which there is one value only.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).line("", value);
    }

    /// The whole.
    pub(crate) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// One value. Labels are written as they stand between the braces.
    pub(crate) fn line(&mut self, labels: &str, value: impl Display) {
        self.part("", labels, value);
    }

    /// One value of a family whose values have names of their own, as those of a histogram.
    pub(crate) fn part(&mut self, suffix: &str, labels: &str, value: impl Display) {
        self.sample(suffix, labels, value);
        self.text.push('\n');
    }

    fn sample(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let name = self.name;
        let _ = match labels {
            "" => write!(self.text, "{name}{suffix} {value}"),
            labels => write!(self.text, "{name}{suffix}{{{labels}}} {value}"),
        };
    }

    /// A histogram whose bounds and sum are `scale`ths of the unit.
    pub(crate) fn histogram(
        &mut self,
        labels: &str,
        reading: &Reading,
        scale: u64,
        example: Option<&Example>,
    ) {
        let mut count = 0;
        let comma = if labels.is_empty() { "" } else { "," };
        for (at, counted) in reading.counts.iter().enumerate() {
            count += counted;
            let name = self.name;
            let _ = write!(self.text, "{name}_bucket{{{labels}{comma}le=\"");
            let _ = match reading.bounds.get(at) {
                Some(bound) => write!(self.text, "{}", Scaled(*bound, scale)),
                None => write!(self.text, "+Inf"),
            };
            let _ = write!(self.text, "\"}} {count}");
            if let Some(example) = example.filter(|example| example.cell == at) {
                self.example(example);
            }
            self.text.push('\n');
        }
        self.part("_sum", labels, Scaled(reading.sum, scale));
        self.part("_count", labels, count);
    }

    fn example(&mut self, example: &Example) {
        if self.format == Format::OpenMetrics {
            let trace = example.trace.trace_id;
            let took = Scaled(example.took_ns, NANOSECONDS);
            let at = Scaled(example.at_us, MICROSECONDS);
            let _ = write!(self.text, " # {{trace_id=\"{trace:032x}\"}} {took} {at}");
        }
    }
}

/// Nanoseconds in a second.
pub(crate) const NANOSECONDS: u64 = 1_000_000_000;
/// Microseconds in a second.
pub(crate) const MICROSECONDS: u64 = 1_000_000;

/// A number of `.1`ths, written as a decimal without zeros at its end.
pub(crate) struct Scaled(pub(crate) u64, pub(crate) u64);

impl Display for Scaled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(value, scale) = *self;
        write!(f, "{}", value / scale)?;
        let (mut rest, mut scale) = (value % scale, scale / 10);
        if rest > 0 {
            f.write_char('.')?;
        }
        while rest > 0 {
            write!(f, "{}", rest / scale)?;
            (rest, scale) = (rest % scale, scale / 10);
        }
        Ok(())
    }
}

/// The labels of a function, or of all others together. Names need no escape.
pub(crate) fn labels(function: Option<&FunctionKey>) -> String {
    match function {
        Some(key) => format!("owner=\"{}\",function=\"{}\"", key.owner, key.name),
        None => format!("owner=\"{OTHER}\",function=\"{OTHER}\""),
    }
}

/// A function as OpenTelemetry's names for functions want it: unique, and one label.
pub(crate) fn faas_name(function: Option<&FunctionKey>) -> String {
    match function {
        Some(key) => format!("faas_name=\"{}\"", key.dotted()),
        None => format!("faas_name=\"{OTHER}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_needless_zeros() {
        for (value, scale, text) in [
            (0, NANOSECONDS, "0"),
            (50_000, NANOSECONDS, "0.00005"),
            (2_500_000_000, NANOSECONDS, "2.5"),
            (7_000_000_000, NANOSECONDS, "7"),
            (1, NANOSECONDS, "0.000000001"),
            (42, 1, "42"),
            (1_000_001, MICROSECONDS, "1.000001"),
        ] {
            assert_eq!(Scaled(value, scale).to_string(), text);
        }
    }

    fn small(format: Format) -> String {
        let mut text = Text::new(format);
        text.counter("usher_renewal_wait_seconds_total", "Waited.", 3);
        let mut times = text.family("usher_x_seconds", Kind::Histogram, "Times.");
        let reading = Reading {
            bounds: &[50_000],
            counts: vec![2, 1],
            sum: 1_500_000,
        };
        times.histogram("a=\"b\"", &reading, NANOSECONDS, None);
        text.end()
    }

    #[test]
    fn the_two_formats_differ_in_names_units_and_the_end() {
        let common = "usher_x_seconds_bucket{a=\"b\",le=\"0.00005\"} 2\n\
                      usher_x_seconds_bucket{a=\"b\",le=\"+Inf\"} 3\n\
                      usher_x_seconds_sum{a=\"b\"} 0.0015\nusher_x_seconds_count{a=\"b\"} 3\n";
        assert_eq!(
            small(Format::Prometheus),
            format!(
                "# HELP usher_renewal_wait_seconds_total Waited.\n\
                 # TYPE usher_renewal_wait_seconds_total counter\n\
                 usher_renewal_wait_seconds_total 3\n\
                 # HELP usher_x_seconds Times.\n# TYPE usher_x_seconds histogram\n{common}"
            )
        );
        assert_eq!(
            small(Format::OpenMetrics),
            format!(
                "# HELP usher_renewal_wait_seconds Waited.\n\
                 # TYPE usher_renewal_wait_seconds counter\n\
                 # UNIT usher_renewal_wait_seconds seconds\n\
                 usher_renewal_wait_seconds_total 3\n\
                 # HELP usher_x_seconds Times.\n# TYPE usher_x_seconds histogram\n\
                 # UNIT usher_x_seconds seconds\n{common}# EOF\n"
            )
        );
    }
}
