//! Numbers as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
pub(crate) use nonna_engine::words::millis;

/// `850 B`, `3.4 KB`, `120 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1000;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    let name = UNITS[unit];
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// How long ago a moment was: `12 s`, `5 min`, `3 h`, `2 d`.
pub(crate) fn ago(at: i64, now: i64) -> String {
    let seconds = (now - at).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment in this machine's time zone: `2026-11-23 14:05:09`.
pub(crate) fn local_time(at: i64) -> String {
    Timestamp::from_millisecond(at).map_or_else(
        |_| at.to_string(),
        |time| {
            time.to_zoned_datetime(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// Now, in milliseconds since 1970, UTC.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(3_449), "3.4 KB");
        assert_eq!(bytes(120_000_000), "120 MB");
        assert_eq!(bytes(u64::MAX), "18446 PB");
        assert_eq!(millis(340), "340 ms");
        assert_eq!(millis(4_250), "4.2 s");
        assert_eq!(millis(185_000), "3 min 5 s");
        assert_eq!(millis(120_000), "2 min");
        assert_eq!(ago(0, 90_000), "1 min");
        assert_eq!(ago(10, 0), "0 s");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }
}
