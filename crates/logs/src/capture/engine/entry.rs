//! One entry of an engine's log file: Docker's `json-file` and the
//! `k8s-file` of Podman and Kubernetes.

use std::borrow::Cow;

use serde::Deserialize;

/// In which format an engine writes a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Docker's `json-file`: `{"log":"text\n","stream":"stdout","time":"…"}`.
    Json,
    /// Podman's and Kubernetes' `k8s-file`: `TIME stdout F text`.
    Kubernetes,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) stderr: bool,
    /// Nanoseconds since 1970.
    pub(super) time: Option<i64>,
    /// With the end of the line, if it is the last piece of one.
    pub(super) text: Cow<'a, [u8]>,
}

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads an entry with the end of its line; `None` for what the engine did not
/// write whole.
pub(super) fn parse(format: FileFormat, entry: &[u8]) -> Option<Entry<'_>> {
    match format {
        FileFormat::Json => {
            let json: Json<'_> = serde_json::from_slice(entry).ok()?;
            Some(Entry {
                stderr: json.stream == "stderr",
                time: nanoseconds(json.time.as_bytes()),
                text: match json.log {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                },
            })
        }
        FileFormat::Kubernetes => {
            let mut fields = entry.splitn(4, |byte| *byte == b' ');
            let (time, stream, tag, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let stderr = match stream {
                b"stdout" => false,
                b"stderr" => true,
                _ => return None,
            };
            // Tags are separated by colons; the first tells whether the line
            // goes on.
            let text = match tag.first()? {
                b'F' => text,
                b'P' => text.strip_suffix(b"\n")?,
                _ => return None,
            };
            Some(Entry {
                stderr,
                time: nanoseconds(time),
                text: Cow::Borrowed(text),
            })
        }
    }
}

/// Nanoseconds since 1970 of RFC 3339 with any fraction and any offset. Fast,
/// for there is one in every entry.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let digits = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0_i64, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut at = 19;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let mut unit = 100_000_000;
        while let Some(byte) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            fraction += i64::from(byte - b'0') * unit;
            unit /= 10;
            at += 1;
        }
    }
    let offset = match text.get(at)? {
        b'Z' => 0,
        sign @ (b'+' | b'-') => {
            let seconds = digits(at + 1, at + 3)? * 3600 + digits(at + 4, at + 6)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days since 1970 of the Gregorian calendar, its years beginning in March.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dockers_entries() {
        let entry = parse(
            FileFormat::Json,
            b"{\"log\":\"a \\\"b\\\" \\u003c\\n\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\":\"1970-01-02T00:00:01.5Z\"}\n",
        )
        .unwrap();
        assert!(entry.stderr);
        assert_eq!(entry.time, Some(86_401_500_000_000));
        assert_eq!(&*entry.text, b"a \"b\" <\n");
        for torn in ["{\"log\":\"a", "\0\0\0\n", "", "\n", "null\n", "{}\n"] {
            assert_eq!(parse(FileFormat::Json, torn.as_bytes()), None, "{torn:?}");
        }
    }

    #[test]
    fn podmans_entries() {
        let parse = |text: &'static str| parse(FileFormat::Kubernetes, text.as_bytes());
        let entry = parse("1970-01-01T01:00:00.000000001+01:00 stdout F a b\n").unwrap();
        assert_eq!(
            (entry.stderr, entry.time, &*entry.text),
            (false, Some(1), &b"a b\n"[..])
        );
        let entry = parse("1970-01-01T00:00:00Z stderr P half \n").unwrap();
        assert_eq!(
            (entry.stderr, entry.time, &*entry.text),
            (true, Some(0), &b"half "[..])
        );
        assert_eq!(&*parse("1970-01-01T00:00:00Z stdout F \n").unwrap().text, b"\n");
        for torn in ["", "\n", "1970-01-01T00:00:00Z stdout F\n", "x y z w\n"] {
            assert_eq!(parse(torn), None, "{torn:?}");
        }
    }

    proptest! {
        #[test]
        fn times_are_what_a_library_makes_of_them(seconds in -2_000_000_000_i64..8_000_000_000, nanos in 0_i32..1_000_000_000, offset in -86_000_i32..86_000) {
            let time = jiff::Timestamp::new(seconds.max(0), nanos).unwrap();
            let offset = jiff::tz::Offset::from_seconds(offset / 60 * 60).unwrap();
            let text = time.display_with_offset(offset).to_string();
            prop_assert_eq!(i128::from(nanoseconds(text.as_bytes()).unwrap()), time.as_nanosecond(), "{}", text);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(FileFormat::Json, &bytes);
            let _ = parse(FileFormat::Kubernetes, &bytes);
            let _ = nanoseconds(&bytes);
        }
    }
}
