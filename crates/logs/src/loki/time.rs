//! Times and durations as Loki's clients write them.

use std::time::Duration;

/// A moment, in nanoseconds since 1970, UTC: as such a number, as seconds with
/// a fraction, or as RFC 3339 has it.
pub(super) fn moment(text: &str) -> Option<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        // As Loki does: ten digits or fewer are seconds.
        return match text.len() {
            0..=10 => whole.checked_mul(1_000_000_000),
            _ => Some(whole),
        };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds looked at")]
        return (nanos.is_finite() && nanos.abs() < 9e18).then_some(nanos as i64);
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// A duration: `1h30m`, `5m`, `250ms`, `7d`, or a number of seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "y" => 31_536_000.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_clients_write_them() {
        assert_eq!(moment("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(moment("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(moment("1700000000123456789"), Some(1_700_000_000_123_456_789));
        assert_eq!(
            moment("2023-11-14T22:13:20.000000001Z"),
            Some(1_700_000_000_000_000_001)
        );
        assert_eq!(moment("yesterday"), None);
        assert_eq!(moment("inf"), None);
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("15"), Some(Duration::from_secs(15)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "0", "5", "m", "1x", "-1s", "1e400"] {
            assert_eq!(duration(bad).is_some(), bad == "5", "{bad}");
        }
    }
}
