//! What a line says of itself: when, how serious, which trace. Looked for with
//! a few scans, not by parsing.

pub(crate) mod time;

use memchr::memmem::Finder;

use crate::record::{Fields, Level, RecordView};
pub(crate) use time::Times;

/// How far into a line its level is looked for.
const LEVEL_WITHIN: usize = 400;
/// The keys under which programs write the level.
const LEVEL_KEYS: [&str; 4] = ["level", "severity", "lvl", "loglevel"];

/// Recognises; keeps its prepared searches and what it read last.
#[derive(Debug)]
pub(crate) struct Recogniser {
    pub(crate) times: Times,
    keys: [Finder<'static>; 4],
}

impl Default for Recogniser {
    fn default() -> Self {
        Self {
            times: Times::default(),
            keys: LEVEL_KEYS.map(Finder::new),
        }
    }
}

impl Recogniser {
    /// How serious a line says it is.
    pub(crate) fn level(&self, line: &[u8]) -> Level {
        let head = &line[..line.len().min(LEVEL_WITHIN)];
        let Some(first) = head.first() else {
            return Level::Unknown;
        };
        match first {
            b'{' => return self.keyed(head).unwrap_or_default(),
            b'I' | b'W' | b'E' | b'F' | b'D' if head.get(1).is_some_and(u8::is_ascii_digit) => {
                return Level::from_name(&head[..1]).unwrap_or_default();
            }
            _ => {}
        }
        if let Some(level) = access_status(head) {
            return level;
        }
        word(head).or_else(|| self.keyed(head)).unwrap_or_default()
    }

    /// `"level":"info"`, `level=info`, `"severity": "ERROR"`, `"level":30`.
    fn keyed(&self, head: &[u8]) -> Option<Level> {
        self.keys.iter().find_map(|key| {
            let at = key.find(head)?;
            let before = at.checked_sub(1).map_or(b' ', |at| head[at]);
            if !matches!(before, b'"' | b' ' | b',' | b'@' | b'{' | b'.' | b'\t') {
                return None;
            }
            let mut rest = &head[at + key.needle().len()..];
            while let [b'"' | b':' | b'=' | b' ', after @ ..] = rest {
                rest = after;
            }
            let end = rest.iter().position(|b| !b.is_ascii_alphanumeric())?;
            let value = &rest[..end];
            // Bunyan and pino write numbers.
            match value {
                b"10" => Some(Level::Trace),
                b"20" => Some(Level::Debug),
                b"30" => Some(Level::Info),
                b"40" => Some(Level::Warn),
                b"50" => Some(Level::Error),
                b"60" => Some(Level::Fatal),
                _ => Level::from_name(value),
            }
        })
    }
}

/// The status of an access log's line: `" 404 `.
fn access_status(head: &[u8]) -> Option<Level> {
    let bracket = memchr::memchr(b'[', &head[..head.len().min(120)])?;
    if head.get(bracket + 3) != Some(&b'/') {
        return None;
    }
    let rest = &head[bracket..];
    let open = memchr::memchr(b'"', rest)?;
    let close = open + 1 + memchr::memchr(b'"', rest.get(open + 1..)?)?;
    match rest.get(close + 1..close + 5)? {
        [b' ', b'5', _, _] => Some(Level::Error),
        [b' ', b'4', _, _] => Some(Level::Warn),
        [b' ', b'1'..=b'3', _, _] => Some(Level::Info),
        _ => None,
    }
}

/// A word of capitals that names a level, near the start: `INFO`, `[WARN]`,
/// `ERROR:`; Rust's, Java's and Python's loggers write it so.
fn word(head: &[u8]) -> Option<Level> {
    let head = &head[..head.len().min(96)];
    let mut at = 0;
    while at < head.len() {
        if !head[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let len = head[at..]
            .iter()
            .position(|b| !b.is_ascii_alphanumeric() && *b != b'_');
        let word = &head[at..at + len.unwrap_or(head.len() - at)];
        if (4..=9).contains(&word.len())
            && word.iter().all(u8::is_ascii_uppercase)
            && let Some(level) = Level::from_name(word)
        {
            return Some(level);
        }
        at += word.len();
    }
    None
}

/// The trace that a record belongs to: a field that came with it, or what its
/// line says (`"trace_id":"…"`, `trace_id=…`, `traceparent`).
#[must_use]
pub fn trace_id<'a>(record: &RecordView<'a>) -> Option<&'a [u8]> {
    let keys = ["trace_id", "traceId", "traceID", "trace.id", "traceparent"];
    keys.iter().find_map(|key| {
        let value = field(record.line, record.fields, key)?;
        let id = match *key {
            "traceparent" => value.get(3..35)?,
            _ => value,
        };
        let plain = (8..=64).contains(&id.len()) && id.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
        plain.then_some(id)
    })
}

/// The value of a field: one that came beside the line, or one of the line's
/// own, where it is JSON (also nested: `http.status`) or logfmt.
#[must_use]
pub fn field<'a>(line: &'a [u8], fields: Fields<'a>, name: &str) -> Option<&'a [u8]> {
    if let Some(value) = fields.get(name) {
        return Some(value);
    }
    if line.first() == Some(&b'{') {
        return json_field(line, name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            json_field(json_field(line, outer)?, inner)
        });
    }
    logfmt_field(line, name.as_bytes())
}

/// The raw value of a top-level key of a JSON object; strings without quotes,
/// escapes as they stand.
fn json_field<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = 1;
    loop {
        at += object.get(at..)?.iter().position(|b| *b == b'"' || *b == b'}')?;
        if object[at] == b'}' {
            return None;
        }
        let end = string_end(object, at)?;
        let key = &object[at + 1..end];
        at = end + 1;
        while matches!(object.get(at)?, b' ' | b':' | b'\t') {
            at += 1;
        }
        let value_end = value_end(object, at)?;
        if key == name.as_bytes() {
            let value = &object[at..value_end];
            return Some(match value {
                [b'"', inner @ .., b'"'] => inner,
                value => value.trim_ascii_end(),
            });
        }
        at = value_end;
    }
}

/// The place of the quote that ends the string which begins at a quote.
fn string_end(json: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn value_end(json: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match json.get(at)? {
            b'"' => {
                at = string_end(json, at)? + 1;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn logfmt_field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find_iter(line, name).find_map(|at| {
        let starts = at == 0 || line[at - 1].is_ascii_whitespace();
        let rest = line.get(at + name.len()..)?;
        let [b'=', value @ ..] = rest else { return None };
        if !starts {
            return None;
        }
        if value.first() == Some(&b'"') {
            return value.get(1..string_end(value, 0)?);
        }
        let end = value.iter().position(u8::is_ascii_whitespace);
        Some(&value[..end.unwrap_or(value.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_recognised() {
        let recogniser = Recogniser::default();
        for (line, level) in [
            ("{\"level\":\"info\",\"msg\":\"x\"}", Level::Info),
            ("{\"severity\": \"ERROR\"}", Level::Error),
            ("{\"level\":50}", Level::Error),
            ("ts=1 level=warn msg=x", Level::Warn),
            ("E1124 08:36:11.000123 1 x.go:1] y", Level::Error),
            ("2026-11-24T08:36:11Z  WARN nonna: slow", Level::Warn),
            ("[2026-11-24T08:36:11Z DEBUG x] y", Level::Debug),
            ("ERROR:root:failed", Level::Error),
            (
                "1.2.3.4 - - [24/Nov/2026:08:36:11 +0000] \"GET / HTTP/1.1\" 503 1",
                Level::Error,
            ),
            (
                "1.2.3.4 - - [24/Nov/2026:08:36:11 +0000] \"GET / HTTP/1.1\" 200 1",
                Level::Info,
            ),
            ("hello", Level::Unknown),
            ("", Level::Unknown),
            ("{\"sublevel\":\"info\"}", Level::Unknown),
        ] {
            assert_eq!(recogniser.level(line.as_bytes()), level, "{line}");
        }
    }

    #[test]
    fn fields_are_found_in_json_and_logfmt() {
        let none = Fields::default();
        let json = br#"{"a":"x\"y","n":{"a":[1,{"b":"}"}],"k":7},"trace_id":"0123456789abcdef","z": true }"#;
        for (name, value) in [
            ("a", "x\\\"y"),
            ("n.k", "7"),
            ("z", "true"),
            ("trace_id", "0123456789abcdef"),
        ] {
            assert_eq!(field(json, none, name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(field(json, none, "k"), None);
        assert_eq!(field(json, none, "b"), None);
        let logfmt = br#"ab=1 b="two words" status=404"#;
        assert_eq!(field(logfmt, none, "b"), Some(&b"two words"[..]));
        assert_eq!(field(logfmt, none, "status"), Some(&b"404"[..]));
        assert_eq!(field(logfmt, none, "tus"), None);
        for cut in 0..json.len() {
            let _ = field(&json[..cut], none, "z");
        }
    }
}
