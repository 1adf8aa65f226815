//! Moments as people write them: so long from now, or a date.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const UNITS: [(&str, u64); 5] = [
    ("s", 1),
    ("m", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
];

/// A span such as `30d`, in microseconds.
pub(crate) fn span_us(text: &str) -> Option<u64> {
    let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    count.checked_mul(seconds)?.checked_mul(1_000_000)
}

/// A date, which begins at midnight UTC, or a time of RFC 3339, in microseconds since the Unix
/// epoch.
pub(crate) fn date_us(text: &str) -> Option<u64> {
    let time: Timestamp = match text.parse::<Date>() {
        Ok(date) if !text.contains(':') => date.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        _ => text.parse().ok()?,
    };
    u64::try_from(time.as_microsecond()).ok()
}

/// The time, in microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// A time for a person.
pub(crate) fn shown(time_us: u64) -> String {
    let time = i64::try_from(time_us).ok();
    let time = time.and_then(|time_us| Timestamp::from_microsecond(time_us).ok());
    time.map_or_else(|| time_us.to_string(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_dates_are_read() {
        assert_eq!(span_us("30d"), Some(2_592_000_000_000));
        assert_eq!(span_us("12h"), Some(43_200_000_000));
        for wrong in ["", "d", "30", "-1d", "1.5h", "30 d", "99999999999999999w"] {
            assert_eq!(span_us(wrong), None, "{wrong}");
        }
        assert_eq!(date_us("1970-01-02"), Some(86_400_000_000));
        assert_eq!(date_us("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(date_us("1970-01-01T00:00:01Z"), Some(1_000_000));
        for wrong in ["", "yesterday", "1969-01-01", "1970-13-01"] {
            assert_eq!(date_us(wrong), None, "{wrong}");
        }
        assert_eq!(shown(1_000_000), "1970-01-01T00:00:01Z");
    }
}
