//! Times in lines: found, and written again exactly as they were.
//!
//! A time that was recognised is taken out of the line when a block is made and
//! put back when it is read, so what is recognised here must come back byte by
//! byte from [`write`].

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// How a time is written. Stored as one byte: see `docs/logs.md`.
///
/// Bits 0–1: kind (1 ISO 8601, 2 common log format, 3 klog). For ISO: bit 2: a
/// space rather than `T`; bit 3: a comma before the fraction; bits 4–5: digits of
/// the fraction (0, 3, 6, 9); bits 6–7: the zone (none, `Z`, `+00:00`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub(crate) struct Format(pub(crate) u8);

impl Format {
    pub(crate) const NONE: Self = Self(0);
    const CLF: Self = Self(2);
    const KLOG: Self = Self(3);

    fn kind(self) -> u8 {
        self.0 & 3
    }

    fn digits(self) -> u32 {
        u32::from(self.0 >> 4 & 3) * 3
    }

    /// Nanoseconds in the smallest step it can tell apart.
    pub(crate) fn unit(self) -> i64 {
        match self.kind() {
            1 => SECOND / 10_i64.pow(self.digits()),
            2 => SECOND,
            3 => 1_000,
            _ => 1,
        }
    }

    /// Whether such a byte can be in a block.
    pub(crate) fn is_valid(self) -> bool {
        match self.kind() {
            0 => self.0 == 0,
            1 => self.0 >> 6 < 3 && (self.digits() > 0 || self.0 & 8 == 0),
            _ => self.0 < 4,
        }
    }
}

/// A time in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it begins.
    pub(crate) at: usize,
    /// How many bytes it is.
    pub(crate) len: usize,
    /// How it is written.
    pub(crate) format: Format,
    /// Nanoseconds since 1970, UTC.
    pub(crate) time: i64,
}

/// Days since 1970 of a day of the Gregorian calendar.
pub(crate) fn days_of(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let shifted = (i64::from(month) + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day of so many days since 1970.
pub(crate) fn day_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = u32::try_from(of_year - (153 * shifted + 2) / 5 + 1).unwrap_or(1);
    let month = u32::try_from(if shifted < 10 { shifted + 3 } else { shifted - 9 }).unwrap_or(1);
    (era * 400 + year + i64::from(month <= 2), month, day)
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0_u32, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

fn seconds_of(year: i64, month: u32, day: u32, clock: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *clock else {
        return None;
    };
    let (h, m, s) = (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?);
    if h > 23 || m > 59 || s > 59 || !(1..=12).contains(&month) || !(1970..=2199).contains(&year) {
        return None;
    }
    let days = days_of(year, month, day);
    // The 31st of a short month would come back as the first of the next.
    if day_of(days) != (year, month, day) {
        return None;
    }
    Some(days * 86_400 + i64::from(h * 3600 + m * 60 + s))
}

/// Remembers the second it read last: the next line has most often the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    iso: ([u8; 19], i64),
    clf: ([u8; 20], i64),
}

/// How far into a line a time is looked for.
const WITHIN: usize = 160;

impl Times {
    /// The first time in a line. `now` tells the year where a format does not.
    pub(crate) fn find(&mut self, line: &[u8], now: i64) -> Option<Found> {
        let head = &line[..line.len().min(WITHIN)];
        match *head.first()? {
            b'I' | b'W' | b'E' | b'F' | b'D' if head.get(1).is_some_and(u8::is_ascii_digit) => {
                klog(head, now)
            }
            b'{' => self.find_iso(head),
            b'0'..=b'9' if head.get(4) != Some(&b'-') => self.find_clf(head).or_else(|| self.find_iso(head)),
            _ => self.find_iso(head).or_else(|| self.find_clf(head)),
        }
    }

    fn find_iso(&mut self, head: &[u8]) -> Option<Found> {
        memchr::memchr_iter(b'-', head)
            .take(8)
            .filter(|at| *at >= 4)
            .find_map(|at| self.iso(head, at - 4))
    }

    fn find_clf(&mut self, head: &[u8]) -> Option<Found> {
        memchr::memchr_iter(b'[', head)
            .take(3)
            .find_map(|at| self.clf(head, at + 1))
    }

    /// ISO 8601 at a place, of UTC or of no zone.
    fn iso(&mut self, head: &[u8], at: usize) -> Option<Found> {
        let text: &[u8; 19] = head.get(at..at + 19)?.try_into().ok()?;
        if at > 0 && head[at - 1].is_ascii_digit() {
            return None;
        }
        if self.iso.0 != *text {
            let [
                y1,
                y2,
                y3,
                y4,
                b'-',
                m1,
                m2,
                b'-',
                d1,
                d2,
                b'T' | b' ',
                ref clock @ ..,
            ] = *text
            else {
                return None;
            };
            let year = i64::from(digits(&[y1, y2, y3, y4])?);
            let seconds = seconds_of(year, digits(&[m1, m2])?, digits(&[d1, d2])?, clock)?;
            self.iso = (*text, seconds);
        }
        let mut format = 1 | u8::from(text[10] == b' ') << 2;
        let mut time = self.iso.1 * SECOND;
        let mut end = at + 19;
        if let Some(point @ (b'.' | b',')) = head.get(end) {
            let most = head.len().min(end + 11);
            let count = head[end + 1..most]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            let code = match count {
                3 => 1,
                6 => 2,
                9 => 3,
                // Of another length: it belongs to the time, and cannot be written again.
                1.. => return None,
                0 => 0,
            };
            if code > 0 {
                let fraction = digits(&head[end + 1..end + 1 + count])?;
                format |= u8::from(*point == b',') << 3 | code << 4;
                time += i64::from(fraction) * Format(format).unit();
                end += 1 + count;
            }
        }
        match head.get(end) {
            Some(b'Z') => {
                format |= 1 << 6;
                end += 1;
            }
            Some(b'+') if head[end..].starts_with(b"+00:00") => {
                format |= 2 << 6;
                end += 6;
            }
            // Another zone: it cannot be written again from the time alone.
            Some(b'+') => return None,
            Some(b'-') if head.get(end + 1).is_some_and(u8::is_ascii_digit) => return None,
            _ => {}
        }
        Some(Found {
            at,
            len: end - at,
            format: Format(format),
            time,
        })
    }

    /// `24/Nov/2026:08:36:11 +0000` at a place.
    fn clf(&mut self, head: &[u8], at: usize) -> Option<Found> {
        let text: &[u8; 20] = head.get(at..at + 20)?.try_into().ok()?;
        if head.get(at + 20..at + 26)? != b" +0000" {
            return None;
        }
        if self.clf.0 != *text {
            let [
                d1,
                d2,
                b'/',
                n1,
                n2,
                n3,
                b'/',
                y1,
                y2,
                y3,
                y4,
                b':',
                ref clock @ ..,
            ] = *text
            else {
                return None;
            };
            let month = MONTHS.iter().position(|name| **name == [n1, n2, n3])?;
            let month = u32::try_from(month + 1).ok()?;
            let year = i64::from(digits(&[y1, y2, y3, y4])?);
            self.clf = (*text, seconds_of(year, month, digits(&[d1, d2])?, clock)?);
        }
        Some(Found {
            at,
            len: 26,
            format: Format::CLF,
            time: self.clf.1 * SECOND,
        })
    }
}

/// `I1124 08:36:11.123456`: a level, month and day, no year.
fn klog(head: &[u8], now: i64) -> Option<Found> {
    let text: &[u8; 20] = head.get(1..21)?.try_into().ok()?;
    let [m1, m2, d1, d2, b' ', ref clock @ ..] = *text else {
        return None;
    };
    let (clock, fraction) = clock.split_at(8);
    let [b'.', fraction @ ..] = fraction else {
        return None;
    };
    let (month, day, micros) = (digits(&[m1, m2])?, digits(&[d1, d2])?, digits(fraction)?);
    let (year, now_month, _) = day_of(now.div_euclid(86_400 * SECOND));
    // A line of December that comes in January.
    let year = year - i64::from(month > now_month + 6);
    let seconds = seconds_of(year, month, day, clock)?;
    Some(Found {
        at: 1,
        len: 20,
        format: Format::KLOG,
        time: seconds * SECOND + i64::from(micros) * 1_000,
    })
}

fn two(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

/// Writes times, the seconds that it wrote last from memory.
#[derive(Debug, Default)]
pub(crate) struct TimeWriter {
    last: Option<(i64, u8, Vec<u8>)>,
}

impl TimeWriter {
    /// Adds a time as the format writes it.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, format: Format, time: i64) {
        let seconds = time.div_euclid(SECOND);
        let shape = format.0 & 0b111;
        match &self.last {
            Some((of, with, text)) if *of == seconds && *with == shape => out.extend_from_slice(text),
            _ => {
                let start = out.len();
                write_seconds(out, shape, seconds);
                let mut text = self.last.take().map(|last| last.2).unwrap_or_default();
                text.clear();
                text.extend_from_slice(&out[start..]);
                self.last = Some((seconds, shape, text));
            }
        }
        let fraction = time.rem_euclid(SECOND);
        let count = match format.kind() {
            1 => format.digits(),
            3 => 6,
            _ => 0,
        };
        if count > 0 {
            out.push(if format.0 & 8 == 0 || format.kind() == 3 {
                b'.'
            } else {
                b','
            });
            let mut step = SECOND / 10;
            for _ in 0..count {
                out.push(b'0' + (fraction / step % 10) as u8);
                step /= 10;
            }
        }
        match (format.kind(), format.0 >> 6) {
            (1, 1) => out.push(b'Z'),
            (1, 2) => out.extend_from_slice(b"+00:00"),
            (2, _) => out.extend_from_slice(b" +0000"),
            _ => {}
        }
    }
}

fn write_seconds(out: &mut Vec<u8>, shape: u8, seconds: i64) {
    let (year, month, day) = day_of(seconds.div_euclid(86_400));
    let of_day = u32::try_from(seconds.rem_euclid(86_400)).unwrap_or(0);
    let year = u32::try_from(year).unwrap_or(0);
    match shape & 3 {
        1 => {
            two(out, year / 100);
            two(out, year);
            out.push(b'-');
            two(out, month);
            out.push(b'-');
            two(out, day);
            out.push(if shape & 4 == 0 { b'T' } else { b' ' });
        }
        2 => {
            two(out, day);
            out.push(b'/');
            out.extend_from_slice(MONTHS[(month as usize + 11) % 12]);
            out.push(b'/');
            two(out, year / 100);
            two(out, year);
            out.push(b':');
        }
        _ => {
            two(out, month);
            two(out, day);
            out.push(b' ');
        }
    }
    two(out, of_day / 3600);
    out.push(b':');
    two(out, of_day / 60 % 60);
    out.push(b':');
    two(out, of_day % 60);
}

/// Whether a text may match something that reaches into a time that was taken
/// out of a line: then the lines must be put together before they are searched.
pub(crate) fn may_touch(text: &[u8]) -> bool {
    let of_a_time = |b: &u8| b"0123456789TZ:.,-+/ JanFebMarAprMayJunJulAugSepOctNovDec".contains(b);
    text.iter().any(u8::is_ascii_digit)
        || text.contains(&crate::segment::TIME_MARK)
        // `Z` ends a time.
        || text.first() == Some(&b'Z')
        // Without a digit only what lies between two digits.
        || (text.len() <= 5 && text.iter().all(of_a_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(line: &str) -> Option<Found> {
        Times::default().find(line.as_bytes(), days_of(2026, 11, 24) * 86_400 * SECOND)
    }

    #[test]
    fn times_are_found_in_the_usual_places() {
        let day = days_of(2026, 11, 24) * 86_400;
        let at = (day + 8 * 3600 + 36 * 60 + 11) * SECOND;
        for (line, time) in [
            ("{\"ts\":\"2026-11-24T08:36:11.123Z\",\"x\":1}", at + 123_000_000),
            ("time=2026-11-24T08:36:11Z level=info", at),
            ("2026-11-24 08:36:11,456 ERROR [main] x", at + 456_000_000),
            ("10.0.0.1 - - [24/Nov/2026:08:36:11 +0000] \"GET /\"", at),
            ("I1124 08:36:11.000123       1 main.go:1] x", at + 123_000),
            ("[2026-11-24T08:36:11.123456789+00:00 WARN x]", at + 123_456_789),
        ] {
            let found = find(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(found.time, time, "{line}");
            let mut out = Vec::new();
            TimeWriter::default().write(&mut out, found.format, found.time);
            assert_eq!(out, line.as_bytes()[found.at..found.at + found.len], "{line}");
            assert!(found.format.is_valid());
        }
        for none in [
            "2026-02-30T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T08:36:11+02:00",
            "12026-11-24T08:36:11Z",
            "2026-11-24T08:36:11.12Z",
            "",
            "-",
            "[24/Foo/2026:08:36:11 +0000]",
            "2026-11-24T08:36:6",
        ] {
            assert_eq!(find(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_can_be_written_again(line in "[ \\[a]{0,2}[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-2][0-9]:[0-9]{2}:[0-9]{2}[.,]?[0-9]{0,9}(Z|\\+00:00|)") {
            if let Some(found) = find(&line) {
                let mut out = Vec::new();
                TimeWriter::default().write(&mut out, found.format, found.time);
                prop_assert_eq!(&out, &line.as_bytes()[found.at..found.at + found.len]);
            }
        }

        #[test]
        fn days_come_back(days in -100_000_i64..200_000) {
            let (y, m, d) = day_of(days);
            prop_assert_eq!(days_of(y, m, d), days);
        }
    }
}
