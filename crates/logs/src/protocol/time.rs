//! Times as senders write them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Nanoseconds since 1970 of a time; `None` for one that 64 bits do not hold.
pub(super) fn nanoseconds(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970:
/// whichever lies between 1973 and 5138.
pub(super) fn of_number(number: f64) -> Option<i64> {
    let scale = match number {
        n if !(1e8..1e20).contains(&n) => return None,
        n if n < 1e11 => 1e9,
        n if n < 1e14 => 1e6,
        n if n < 1e17 => 1e3,
        _ => 1.0,
    };
    let nanoseconds = number * scale;
    (nanoseconds < i64::MAX as f64).then_some(nanoseconds as i64)
}

/// As [`of_number`] of whole numbers, which lose nothing.
fn of_integer(number: i64) -> Option<i64> {
    let scale = match number {
        ..100_000_000 => return None,
        100_000_000..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    number.checked_mul(scale)
}

/// A time as RFC 3339 or ISO 8601 writes it (UTC where it names no zone), or
/// as a number since 1970.
pub(super) fn of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return of_integer(number);
    }
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return nanoseconds(time);
    }
    let time = text.parse::<DateTime>().ok()?;
    nanoseconds(TimeZone::UTC.to_timestamp(time).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_kinds() {
        let second = 1_700_000_000;
        for text in [
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000",
            "1700000000000000000",
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20.000+01:00",
            "2023-11-14 22:13:20",
        ] {
            assert_eq!(of_text(text), Some(second * 1_000_000_000), "{text}");
        }
        for text in ["", "12", "yesterday", "nan", "-5", "1e300"] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }
}
