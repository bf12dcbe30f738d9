//! Secrets taken out of lines before anybody keeps or forwards them.
//!
//! One scan over all lines of a batch looks for what secrets begin with; only
//! where it finds something is looked closer.

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use nonna_engine::{Code, Error, Result};
use regex_automata::meta::Regex;

/// What stands in a secret's place.
pub(crate) const MARK: &[u8] = b"[redacted]";
/// A value shorter than this is not looked for: it would be found everywhere.
pub(super) const SHORTEST_VALUE: usize = 6;
/// What a compiled pattern of the user may take, in bytes.
const PATTERN_BYTES: usize = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A prefix and at least so many letters, digits, `_` and `-` behind it.
    Prefixed(usize),
    /// A private key, to the end of the record.
    PrivateKey,
    /// A name: its value is a secret.
    Named,
    /// `Bearer` and `Basic`.
    Scheme,
    /// A JSON web token: at least two dots.
    Jwt,
    /// A URL: `user:password@`.
    Url,
}

/// Names are without their first letter, so that three ways to write them
/// need two anchors. None is shorter than four bytes: the scan is quicker so.
const ANCHORS: &[(&str, Kind)] = &[
    ("AKIA", Kind::Prefixed(16)),
    ("ASIA", Kind::Prefixed(16)),
    ("ghp_", Kind::Prefixed(30)),
    ("gho_", Kind::Prefixed(30)),
    ("ghu_", Kind::Prefixed(30)),
    ("ghs_", Kind::Prefixed(30)),
    ("ghr_", Kind::Prefixed(30)),
    ("github_pat_", Kind::Prefixed(22)),
    ("glpat-", Kind::Prefixed(20)),
    ("xoxb-", Kind::Prefixed(10)),
    ("xoxp-", Kind::Prefixed(10)),
    ("xoxa-", Kind::Prefixed(10)),
    ("xoxs-", Kind::Prefixed(10)),
    ("sk_live_", Kind::Prefixed(16)),
    ("rk_live_", Kind::Prefixed(16)),
    ("sk-ant-", Kind::Prefixed(16)),
    ("sk-proj-", Kind::Prefixed(16)),
    ("AIza", Kind::Prefixed(35)),
    ("npm_", Kind::Prefixed(30)),
    ("AGE-SECRET-KEY-", Kind::Prefixed(20)),
    ("-----BEGIN", Kind::PrivateKey),
    ("assword", Kind::Named),
    ("ASSWORD", Kind::Named),
    ("asswd", Kind::Named),
    ("ecret", Kind::Named),
    ("ECRET", Kind::Named),
    ("oken", Kind::Named),
    ("OKEN", Kind::Named),
    ("pi_key", Kind::Named),
    ("pikey", Kind::Named),
    ("piKey", Kind::Named),
    ("PI_KEY", Kind::Named),
    ("pi-key", Kind::Named),
    ("pi-Key", Kind::Named),
    ("earer ", Kind::Scheme),
    ("asic ", Kind::Scheme),
    ("eyJh", Kind::Jwt),
    ("eyJ0", Kind::Jwt),
    ("eyJr", Kind::Jwt),
    ("p://", Kind::Url),
    ("s://", Kind::Url),
    ("l://", Kind::Url),
    ("b://", Kind::Url),
    ("v://", Kind::Url),
];

/// Finds secrets: by what they look like, and those whose values are known.
#[derive(Debug)]
pub struct Redactor {
    anchors: Anchors,
    values: Option<AhoCorasick>,
    patterns: Patterns,
}

/// What the user wants taken out, as regular expressions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Arc<[Regex]>);

impl Patterns {
    /// Patterns of Rust's `regex`, of bounded size; what they match is taken
    /// out, or only the first group where they have one.
    ///
    /// # Errors
    /// `InvalidInput` with the pattern and the mistake in it.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let compile = |pattern: &str| {
            let config = Regex::config()
                .nfa_size_limit(Some(PATTERN_BYTES))
                .hybrid_cache_capacity(PATTERN_BYTES)
                .utf8_empty(false);
            let syntax = regex_automata::util::syntax::Config::new()
                .utf8(false)
                .nest_limit(64);
            Regex::builder()
                .configure(config)
                .syntax(syntax)
                .build(pattern)
                .map_err(|error| {
                    let why = error
                        .syntax_error()
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    Error::user(
                        Code::InvalidInput,
                        format!("The redaction pattern `{pattern}` cannot be used."),
                    )
                    .detail(why)
                })
        };
        let compiled: Result<Vec<Regex>> = patterns.into_iter().map(compile).collect();
        Ok(Self(compiled?.into()))
    }
}

#[derive(Debug)]
enum Anchors {
    /// With the processor's vector instructions.
    Packed(Searcher),
    /// Where it has none that fit.
    Plain(AhoCorasick),
}

impl Redactor {
    /// Finds what looks like a secret, and these values, which Nonna holds.
    /// Values shorter than six bytes are not looked for.
    ///
    /// # Errors
    /// `LimitExceeded` where the values are too many to be looked for at once.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let failed = |error: aho_corasick::BuildError| {
            Error::user(
                Code::LimitExceeded,
                "There are too many secrets to look for in logs.",
            )
            .said(error.to_string())
        };
        let texts = ANCHORS.iter().map(|anchor| anchor.0);
        let packed = Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .builder()
            .extend(texts.clone())
            .build();
        let anchors = match packed {
            Some(searcher) => Anchors::Packed(searcher),
            None => Anchors::Plain(AhoCorasick::new(texts).map_err(failed)?),
        };
        let values: Vec<&[u8]> = values
            .into_iter()
            .filter(|value| value.len() >= SHORTEST_VALUE)
            .collect();
        let values = match values.is_empty() {
            true => None,
            false => Some(
                AhoCorasickBuilder::new()
                    .match_kind(aho_corasick::MatchKind::LeftmostLongest)
                    .build(values)
                    .map_err(failed)?,
            ),
        };
        Ok(Self {
            anchors,
            values,
            patterns: Patterns::default(),
        })
    }

    /// The same, and what these patterns match.
    #[must_use]
    pub fn with(mut self, patterns: &Patterns) -> Self {
        self.patterns = patterns.clone();
        self
    }

    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.0.is_empty()
    }

    /// Adds where the user's patterns match a line.
    pub(crate) fn patterns_in(&self, line: &[u8], ranges: &mut Vec<Range<usize>>) {
        for pattern in self.patterns.0.iter() {
            if pattern.captures_len() < 2 {
                ranges.extend(pattern.find_iter(line).map(|found| found.range()));
            } else {
                for found in pattern.captures_iter(line) {
                    let group = found.get_group(1).or_else(|| found.get_group(0));
                    ranges.extend(group.map(|span| span.range()));
                }
            }
        }
        ranges.retain(|range| !range.is_empty());
    }

    /// Calls with each place of these bytes where there may be a secret, in any
    /// order, perhaps more than once.
    pub(crate) fn suspects(&self, bytes: &[u8], mut each: impl FnMut(Suspect)) {
        let anchor = |start: usize, pattern: usize| Suspect {
            at: start,
            what: ANCHORS
                .get(pattern)
                .map_or(What::Nothing, |(text, kind)| What::Anchor(text.len(), *kind)),
        };
        match &self.anchors {
            Anchors::Packed(searcher) => {
                for found in searcher.find_iter(bytes) {
                    each(anchor(found.start(), found.pattern().as_usize()));
                }
            }
            Anchors::Plain(automaton) => {
                for found in automaton.find_iter(bytes) {
                    each(anchor(found.start(), found.pattern().as_usize()));
                }
            }
        }
        if let Some(values) = &self.values {
            for found in values.find_iter(bytes) {
                each(Suspect {
                    at: found.start(),
                    what: What::Value(found.end() - found.start()),
                });
            }
        }
        // A card's number has 13 digits or more: one of every 13 bytes is one
        // of them.
        let mut at = 12;
        while at < bytes.len() {
            if bytes[at].is_ascii_digit() {
                let run = digits_around(bytes, at);
                if run.end - run.start >= 13 {
                    each(Suspect {
                        at: run.start,
                        what: What::Digits(run.end - run.start),
                    });
                }
                at = run.end.max(at) + 13;
            } else {
                at += 13;
            }
        }
    }
}

/// A place where there may be a secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suspect {
    pub(crate) at: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Nothing,
    Anchor(usize, Kind),
    Value(usize),
    Digits(usize),
}

/// The run of digits around a place, single spaces and dashes between them
/// included.
fn digits_around(bytes: &[u8], at: usize) -> Range<usize> {
    let joined = |at: usize| {
        matches!(bytes[at], b' ' | b'-')
            && at > 0
            && bytes[at - 1].is_ascii_digit()
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    };
    let mut start = at;
    while start > 0 && at - start < 64 && (bytes[start - 1].is_ascii_digit() || joined(start - 1)) {
        start -= 1;
    }
    let mut end = at + 1;
    while end < bytes.len() && end - at < 64 && (bytes[end].is_ascii_digit() || joined(end)) {
        end += 1;
    }
    start..end
}

impl Suspect {
    /// The secret in a line, if it is one. `self.at` counts from the line's
    /// start here.
    pub(crate) fn confirm(self, line: &[u8]) -> Option<Range<usize>> {
        let at = self.at;
        match self.what {
            What::Nothing => None,
            What::Value(len) => (at + len <= line.len()).then_some(at..at + len),
            What::Digits(len) => card(line, at..(at + len).min(line.len())),
            What::Anchor(len, kind) => {
                let rest = line.get(at + len..)?;
                match kind {
                    Kind::Prefixed(least) => {
                        let inside = at > 0 && line[at - 1].is_ascii_alphanumeric();
                        let more = rest.iter().take_while(|b| is_key(**b)).count();
                        (!inside && more >= least).then_some(at..at + len + more)
                    }
                    Kind::PrivateKey => {
                        let head = &rest[..rest.len().min(64)];
                        memchr::memmem::find(head, b"PRIVATE KEY")?;
                        Some(at..line.len())
                    }
                    Kind::Named => named(line, at, at + len),
                    Kind::Scheme => {
                        let first = line[at.checked_sub(1)?];
                        if !matches!(first, b'B' | b'b') {
                            return None;
                        }
                        let more = rest
                            .iter()
                            .take_while(|b| is_key(**b) || b"+/=.~".contains(b))
                            .count();
                        // `basic authentication` is prose.
                        let mixed = rest[..more].iter().any(|b| !b.is_ascii_lowercase());
                        (more >= 8 && mixed).then_some(at + len..at + len + more)
                    }
                    Kind::Jwt => {
                        let more = rest.iter().take_while(|b| is_key(**b) || **b == b'.').count();
                        let dots = memchr::memchr_iter(b'.', &rest[..more]).count();
                        (dots >= 2 && more > 20).then_some(at..at + len + more)
                    }
                    Kind::Url => {
                        let end = rest
                            .iter()
                            .position(|b| !b.is_ascii_graphic() || b"/\"'<>?".contains(b));
                        let authority = &rest[..end.unwrap_or(rest.len())];
                        let host = memchr::memrchr(b'@', authority)?;
                        let colon = memchr::memchr(b':', &authority[..host])?;
                        let start = at + len;
                        (colon + 1 < host).then_some(start + colon + 1..start + host)
                    }
                }
            }
        }
    }
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The value of `password=…`, `"token": "…"`.
fn named(line: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    // The whole name ends here: `tokens` and `secretary` are other words.
    let mut at = end;
    let quoted_name = line.get(at) == Some(&b'"');
    // JSON within JSON escapes its quotes.
    while matches!(line.get(at), Some(b'"' | b'\\' | b'\'')) {
        at += 1;
    }
    while line.get(at) == Some(&b' ') {
        at += 1;
    }
    let sign = *line.get(at)?;
    if !matches!(sign, b'=' | b':') {
        return None;
    }
    at += 1;
    // Prose: `the token: see below`.
    let prose = sign == b':' && !quoted_name && line.get(at) == Some(&b' ');
    while matches!(line.get(at), Some(b' ')) {
        at += 1;
    }
    let mut quote = None;
    while let Some(found @ (b'"' | b'\\' | b'\'')) = line.get(at) {
        quote = Some(*found);
        at += 1;
    }
    let rest = line.get(at..)?;
    let ends = |b: &u8| match quote {
        Some(_) => matches!(b, b'"' | b'\'' | b'\\'),
        None => b.is_ascii_whitespace() || matches!(b, b',' | b'&' | b';' | b'}' | b')' | b'"' | b'\''),
    };
    let len = rest.iter().position(ends).unwrap_or(rest.len());
    let value = &rest[..len];
    let nothing = matches!(value, b"null" | b"true" | b"false" | b"none" | b"None") || value == MARK;
    let start_is_name = start > 0 && line[start - 1].is_ascii_alphabetic();
    (len > 0 && !nothing && start_is_name && !(prose && len < 8)).then_some(at..at + len)
}

/// A card's number: 13 to 19 digits with a valid check digit.
fn card(line: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let text = line.get(run.clone())?;
    let digits: Vec<u32> = text
        .iter()
        .filter(|b| b.is_ascii_digit())
        .map(|b| u32::from(b - b'0'))
        .collect();
    let glued = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'.');
    if !(13..=19).contains(&digits.len())
        || !(3..=6).contains(&digits[0])
        || glued(run.start.checked_sub(1).and_then(|at| line.get(at)))
        || (glued(line.get(run.end)) && line.get(run.end) != Some(&b'.'))
    {
        return None;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    sum.is_multiple_of(10).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(redactor: &Redactor, line: &str) -> String {
        let mut out = Vec::new();
        super::super::redact_line(redactor, line.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn secrets_go_and_what_looks_alike_stays() {
        let redactor = Redactor::new([&b"s3cr3t-of-mine"[..], b"abc"]).unwrap();
        for (line, kept) in [
            ("key AKIAIOSFODNN7EXAMPLE used", "key [redacted] used"),
            ("t=ghp_0123456789abcdefghijklmnopqrstuvwxyz!", "t=[redacted]!"),
            (
                "POST /login?user=a&password=hunter2&x=1",
                "POST /login?user=a&password=[redacted]&x=1",
            ),
            (
                r#"{"user":"a","password":"hun\"ter","x":1}"#,
                r#"{"user":"a","password":"[redacted]\"ter","x":1}"#,
            ),
            (
                r#"{"apiKey": "k-1", "token":null}"#,
                r#"{"apiKey": "[redacted]", "token":null}"#,
            ),
            ("DB_PASSWORD=x y", "DB_PASSWORD=[redacted] y"),
            (
                "Authorization: Bearer abcDEF123.456",
                "Authorization: Bearer [redacted]",
            ),
            ("postgres://app:pa55@db/shop", "postgres://app:[redacted]@db/shop"),
            ("https://shop.example/a@b", "https://shop.example/a@b"),
            ("card 4111 1111 1111 1111 ok", "card [redacted] ok"),
            ("card 4111111111111111.", "card [redacted]."),
            ("id 4111111111111112", "id 4111111111111112"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMII", "[redacted]"),
            ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
            ("it says s3cr3t-of-mine and abc", "it says [redacted] and abc"),
            (
                "tokens: 17, secretary=Ann, a broken: pipe",
                "tokens: 17, secretary=Ann, a broken: pipe",
            ),
            (
                "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
                "jwt [redacted]",
            ),
            ("password=a password=b", "password=[redacted] password=[redacted]"),
        ] {
            assert_eq!(redact(&redactor, line), kept);
        }
    }
}
