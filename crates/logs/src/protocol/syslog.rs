//! Syslog messages: RFC 5424, RFC 3164, and what is sent under their names.
//!
//! No message is refused: RFC 3164, section 4.3, wants what cannot be read kept
//! as it stands.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Collector, Draft, time};
use crate::record::Level;

/// The names of the facilities, RFC 5424 table 1.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// What a message of RFC 3164 does not say.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Now: the year follows from it.
    pub now: Timestamp,
    /// The senders' time zone.
    pub zone: TimeZone,
}

/// Reads one message, without its frame.
pub fn message(bytes: &[u8], clock: &Clock, cut: usize, out: &mut Collector) {
    let bytes = bytes.trim_ascii_end();
    if bytes.is_empty() {
        return;
    }
    let mut draft = Draft::default();
    let rest = match priority(bytes) {
        Some((priority, rest)) => {
            draft.level = Some(Level::from_syslog(priority & 7));
            if let Some(facility) = FACILITIES.get(usize::from(priority >> 3)) {
                draft.field("facility", *facility);
            }
            rest
        }
        None => bytes,
    };
    let read = match rest.strip_prefix(b"1 ") {
        Some(rest) => rfc5424(rest, &mut draft).is_some(),
        None => false,
    };
    if !read {
        rfc3164(rest, clock, &mut draft);
    }
    if cut > 0 {
        draft.field("cut_bytes", cut.to_string());
    }
    out.add(&draft);
}

/// `<34>` at the start; at most 191.
fn priority(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let rest = bytes.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|b| *b == b'>')?;
    let digits = std::str::from_utf8(rest.get(..end)?).ok()?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u8 = digits.parse().ok().filter(|n| *n <= 191)?;
    Some((number, rest.get(end + 1..)?))
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|b| *b == b' ').unwrap_or(bytes.len());
    let (word, rest) = bytes.split_at_checked(end)?;
    Some((word, rest.get(1..).unwrap_or_default())).filter(|(word, _)| !word.is_empty())
}

/// A word of the header; `None` inside for `-`.
fn header(bytes: &[u8]) -> Option<(Option<Cow<'_, str>>, &[u8])> {
    let (word, rest) = word(bytes)?;
    Some(((word != b"-").then(|| String::from_utf8_lossy(word)), rest))
}

/// After the version. Leaves the draft as it was where this is not it.
fn rfc5424<'a>(rest: &'a [u8], draft: &mut Draft<'a>) -> Option<()> {
    let (at, rest) = header(rest)?;
    let at = match &at {
        None => None,
        Some(text) => Some(text.parse::<Timestamp>().ok()?),
    };
    let (host, rest) = header(rest)?;
    let (app, rest) = header(rest)?;
    let (process, rest) = header(rest)?;
    let (id, rest) = header(rest)?;
    draft.time = at.and_then(time::nanoseconds);
    draft.replica = host;
    draft.service = app;
    for (name, value) in [("procid", process), ("msgid", id)] {
        if let Some(value) = value {
            draft.field(name, value);
        }
    }
    let text = match rest.strip_prefix(b"-") {
        Some(text) => text,
        // What is no structured data after all is text.
        None => structured(rest, draft).unwrap_or(rest),
    };
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    draft.line = Cow::Borrowed(text);
    Some(())
}

/// `[id name="value" …][…]`: each value is the field `id.name`, without the
/// enterprise number of the id.
fn structured<'a>(mut rest: &'a [u8], draft: &mut Draft<'a>) -> Option<&'a [u8]> {
    let mut fields = Vec::new();
    rest.first().filter(|b| **b == b'[')?;
    while let Some(element) = rest.strip_prefix(b"[") {
        let end = element.iter().position(|b| matches!(b, b' ' | b']'))?;
        let id = String::from_utf8_lossy(element.get(..end)?);
        let id = id.split('@').next().unwrap_or_default().to_owned();
        rest = element.get(end..)?;
        loop {
            rest = rest.trim_ascii_start();
            if let Some(after) = rest.strip_prefix(b"]") {
                rest = after;
                break;
            }
            let equals = rest.iter().position(|b| *b == b'=')?;
            let name = String::from_utf8_lossy(rest.get(..equals)?);
            let quoted = rest.get(equals + 1..)?.strip_prefix(b"\"")?;
            let mut value = Vec::new();
            let mut bytes = quoted.iter().enumerate();
            let end = loop {
                match bytes.next()? {
                    (at, b'"') => break at,
                    (at, b'\\') if matches!(quoted.get(at + 1), Some(b'"' | b'\\' | b']')) => {
                        value.extend(bytes.next().map(|(_, b)| *b));
                    }
                    (_, byte) => value.push(*byte),
                }
            };
            fields.push((
                format!("{id}.{name}"),
                String::from_utf8_lossy(&value).into_owned(),
            ));
            rest = quoted.get(end + 1..)?;
        }
    }
    for (name, value) in fields {
        draft.field(name, value);
    }
    Some(rest)
}

/// `Nov 24 08:30:00 host tag[123]: text`, or a part of that.
fn rfc3164<'a>(bytes: &'a [u8], clock: &Clock, draft: &mut Draft<'a>) {
    let Some((at, rest)) = time_of_3164(bytes, clock) else {
        draft.line = Cow::Borrowed(bytes);
        return;
    };
    draft.time = at;
    // Some leave the host out; a tag ends with `:` or `[`.
    let is_tag = |word: &[u8]| word.ends_with(b":") || word.contains(&b'[');
    let mut rest = rest;
    if let Some((host, after)) = word(rest)
        && !is_tag(host)
        && !after.is_empty()
    {
        draft.replica = Some(String::from_utf8_lossy(host));
        rest = after;
    }
    let end = rest
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'@')))
        .unwrap_or(rest.len());
    let (tag, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    let (process, after) = match after.strip_prefix(b"[") {
        Some(inner) => match inner.iter().position(|b| *b == b']') {
            Some(close) => (inner.get(..close), inner.get(close + 1..).unwrap_or_default()),
            None => (None, after),
        },
        None => (None, after),
    };
    match after.strip_prefix(b":") {
        Some(text) if !tag.is_empty() => {
            draft.service = Some(String::from_utf8_lossy(tag));
            if let Some(process) = process {
                draft.field("procid", String::from_utf8_lossy(process));
            }
            draft.line = Cow::Borrowed(text.strip_prefix(b" ").unwrap_or(text));
        }
        _ => draft.line = Cow::Borrowed(rest),
    }
}

/// The time at the start, and what follows it.
fn time_of_3164<'a>(bytes: &'a [u8], clock: &Clock) -> Option<(Option<i64>, &'a [u8])> {
    // Today's rsyslog writes ISO 8601 there.
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        let (text, rest) = word(bytes)?;
        let at: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
        return Some((time::nanoseconds(at), rest));
    }
    let stamp = bytes.get(..16)?;
    let month = MONTHS.iter().position(|name| stamp.starts_with(&name[..]))?;
    let number = |from: usize, to: usize| -> Option<i8> {
        std::str::from_utf8(stamp.get(from..to)?)
            .ok()?
            .trim_start()
            .parse()
            .ok()
    };
    if stamp.get(3) != Some(&b' ') || stamp.get(6) != Some(&b' ') || stamp.get(15) != Some(&b' ') {
        return None;
    }
    let now = clock.zone.to_datetime(clock.now);
    let at = |year: i16| {
        let month = i8::try_from(month).ok()? + 1;
        let civil = DateTime::new(
            year,
            month,
            number(4, 6)?,
            number(7, 9)?,
            number(10, 12)?,
            number(13, 15)?,
            0,
        );
        clock.zone.to_timestamp(civil.ok()?).ok()
    };
    let this_year = at(now.year());
    // In January, December was last year; a clock may be a day ahead.
    let ahead = jiff::SignedDuration::from_hours(24);
    let found = match this_year {
        Some(time) if time.duration_since(clock.now) <= ahead => Some(time),
        _ => at(now.year() - 1),
    };
    Some((found.and_then(time::nanoseconds), bytes.get(16..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::collect::testing::{Seen, collector, seen};
    use super::*;

    fn read(bytes: &[u8]) -> Seen {
        let clock = Clock {
            now: "2024-01-02T00:00:00Z".parse().unwrap(),
            zone: TimeZone::UTC,
        };
        let mut out = collector();
        message(bytes, &clock, 0, &mut out);
        seen(&mut out).remove(0)
    }

    fn nanos(text: &str) -> Option<i64> {
        time::nanoseconds(text.parse().unwrap())
    }

    #[test]
    fn the_examples_of_rfc_5424() {
        let first = read("<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8".as_bytes());
        assert_eq!(
            (first.service.as_str(), first.replica.as_str()),
            ("su", "mymachine.example.com")
        );
        assert_eq!(first.time, nanos("2003-10-11T22:14:15.003Z"));
        assert_eq!(
            (first.line.as_str(), first.level),
            ("'su root' failed for lonvick on /dev/pts/8", Level::Fatal)
        );
        assert_eq!(first.fields["facility"], "auth");
        assert_eq!(first.fields["msgid"], "ID47");
        let data = read(br#"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 evntslog - - [exampleSDID@32473 iut="3" eventSource="a\"b\]\\c"][examplePriority@32473 class="high"] An application"#);
        assert_eq!(data.line, "An application");
        assert_eq!(data.level, Level::Notice);
        assert_eq!(data.fields["exampleSDID.eventSource"], "a\"b]\\c");
        assert_eq!(data.fields["examplePriority.class"], "high");
        assert_eq!(read(b"<165>1 - - - - - [a b=\"c\"]").line, "");
        assert_eq!(read(b"<165>1 - - - - - - x").service, "sender");
    }

    #[test]
    fn rfc_3164_and_what_passes_for_it() {
        let first = read(b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8");
        assert_eq!(
            (first.service.as_str(), first.replica.as_str()),
            ("su", "mymachine")
        );
        assert_eq!(first.time, nanos("2023-10-11T22:14:15Z"));
        assert_eq!(first.line, "'su root' failed for lonvick on /dev/pts/8");
        let no_host = read(b"<13>Jan  1 00:00:00 app[12]: hello");
        assert_eq!(
            (no_host.service.as_str(), no_host.replica.as_str()),
            ("app", "peer")
        );
        assert_eq!(no_host.fields["procid"], "12");
        assert_eq!(no_host.time, nanos("2024-01-01T00:00:00Z"));
        let iso = read(b"<13>2023-11-14T22:13:20.5+01:00 host app: x");
        assert_eq!(iso.time, nanos("2023-11-14T21:13:20.5Z"));
        assert_eq!(read(b"<13>Use the BFG!").line, "Use the BFG!");
        assert_eq!(read(b"no priority").line, "no priority");
        assert_eq!(read(b"<999>x").line, "<999>x");
        assert_eq!(read(b"<13>Feb 31 00:00:00 h t: x").time, None);
        assert_eq!(read(b"<13>1 not a time at all x").line, "1 not a time at all x");
    }

    proptest! {
        #[test]
        fn no_message_is_lost(bytes in "<?[0-9]{0,3}>?(1 )?[A-Z][a-z]{2} [ -~\n]{0,60}") {
            let _ = read(format!("x{bytes}").as_bytes());
            if !bytes.trim().is_empty() {
                let _ = read(bytes.as_bytes());
            }
        }

        #[test]
        fn fields_come_back(host in "[a-z0-9.-]{1,20}", app in "[a-z]{1,20}", key in "[a-z]{1,10}", value in "[ -~é]{1,40}", text in "[!-~][ -~]{0,40}[!-~]") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
            let record = read(format!("<14>1 2023-11-14T22:13:20Z h{host} a{app} - - [x@1 {key}=\"{escaped}\"] {text}").as_bytes());
            prop_assert_eq!(record.service, format!("a{app}"));
            prop_assert_eq!(&record.fields[&format!("x.{key}")], &value);
            prop_assert_eq!(record.line, text);
        }
    }
}
