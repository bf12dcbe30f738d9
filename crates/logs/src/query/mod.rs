//! Questions to the logs: what they are made of, and which records answer them.

mod label;
mod parse;

use std::collections::BTreeSet;
use std::sync::Arc;

use memchr::memmem::Finder;
use nonna_engine::{Code, Error, Result};
use regex_automata::meta::Regex;

use crate::recognise::{field, time};
use crate::record::{Level, RecordView, Source, Stream};
use crate::segment::block::{Header, service_bit};
use crate::segment::{hex, tokens};

pub use label::{Comparison, Label, Test};
pub use parse::parse;

/// What a compiled regular expression may take, in bytes.
const REGEX_BYTES: usize = 1024 * 1024;

/// Which records: a condition, or several joined.
#[derive(Debug, Clone)]
pub enum Expr {
    /// Every record.
    All,
    /// Lines that hold these words, as whole words, one behind the other just
    /// as they stand here.
    Words(Text),
    /// Lines that hold this text anywhere.
    Contains(Text),
    /// Lines that a regular expression matches.
    Matches(Box<Regex>),
    /// Records of one of these levels: bit n is level n.
    Levels(u8),
    /// Records of a service: its whole label, or its last part.
    Service(String),
    /// Records of a replica, or of all replicas of a release: `v3.0`, `v3`.
    Replica(String),
    /// Records that came by one of these ways: bit n is [`Stream`] n.
    Streams(u8),
    /// Records with a field of this value, beside the line or in it.
    Field(String, Text),
    /// Records with this field, whatever its value.
    HasField(String),
    /// Records whose source or level has this label.
    Label(Label, Test),
    /// Records with a field whose whole value a regular expression matches.
    FieldMatches(String, Box<Regex>),
    /// Records with a field that is a number, compared with this one.
    FieldIs(String, Comparison, f64),
    /// All of them.
    And(Vec<Self>),
    /// One of them.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
}

/// A text to look for.
#[derive(Debug, Clone)]
pub struct Text {
    finder: Finder<'static>,
    /// The part of it that blocks keep as it is, wherever it stands in a line.
    untouched: Option<Finder<'static>>,
    /// The hashes of its words that must be in a block's filter.
    words: Vec<u64>,
}

impl Text {
    fn new(text: &[u8], whole_words: bool) -> Self {
        Self {
            finder: Finder::new(text).into_owned(),
            untouched: (!time::may_touch(text))
                .then(|| hex::untouched(text))
                .flatten()
                .map(|part| Finder::new(part).into_owned()),
            words: tokens::query_hashes(text, !whole_words, !whole_words),
        }
    }

    /// The text itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    fn is_in(&self, line: &[u8]) -> bool {
        self.finder.find(line).is_some()
    }

    /// Whether it is there with no letter or digit touching it that would make
    /// its first or last word another.
    fn is_word_of(&self, line: &[u8]) -> bool {
        let text = self.bytes();
        let (Some(first), Some(last)) = (text.first(), text.last()) else {
            return true;
        };
        let (first, last) = (tokens::is_word(*first), tokens::is_word(*last));
        let mut from = 0;
        while let Some(found) = line.get(from..).and_then(|rest| self.finder.find(rest)) {
            let (start, end) = (from + found, from + found + text.len());
            let before = start > 0 && first && tokens::is_word(line[start - 1]);
            let after = last && line.get(end).is_some_and(|b| tokens::is_word(*b));
            if !before && !after {
                return true;
            }
            from = start + 1;
        }
        false
    }
}

impl Expr {
    /// Whole words, just as they stand.
    #[must_use]
    pub fn words(text: &str) -> Self {
        Self::Words(Text::new(text.as_bytes(), true))
    }

    /// Any text.
    #[must_use]
    pub fn contains(text: &str) -> Self {
        Self::Contains(Text::new(text.as_bytes(), false))
    }

    /// A field of this value.
    #[must_use]
    pub fn field(name: &str, value: &str) -> Self {
        Self::Field(name.to_owned(), Text::new(value.as_bytes(), true))
    }

    /// Records that came by one of these ways.
    #[must_use]
    pub fn streams(of: impl IntoIterator<Item = Stream>) -> Self {
        Self::Streams(of.into_iter().fold(0, |bits, stream| bits | 1 << stream as u8))
    }

    /// A regular expression that a whole text must match.
    pub(crate) fn whole(pattern: &str) -> Result<Box<Regex>> {
        match Self::regex(&format!("^(?:{pattern})$"))? {
            Self::Matches(regex) => Ok(regex),
            _ => Err(Error::bug("A regular expression became something else.")),
        }
    }

    /// A regular expression, of bounded size; it takes time in proportion to
    /// what it searches, whatever it is.
    ///
    /// # Errors
    /// `InvalidInput` with the place of the mistake, or where it is too large.
    pub fn regex(pattern: &str) -> Result<Self> {
        let config = Regex::config()
            .nfa_size_limit(Some(REGEX_BYTES))
            .hybrid_cache_capacity(REGEX_BYTES);
        let syntax = regex_automata::util::syntax::Config::new()
            .utf8(false)
            .nest_limit(64);
        Regex::builder()
            .configure(config.utf8_empty(false))
            .syntax(syntax)
            .build(pattern)
            .map(|regex| Self::Matches(Box::new(regex)))
            .map_err(|error| {
                let why = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
                Error::user(Code::InvalidInput, "The regular expression cannot be used.")
                    .detail(why)
                    .hint("Look-around and back-references are not possible; everything else of Rust's `regex` is.")
            })
    }

    /// This level and all more serious ones.
    #[must_use]
    pub fn at_least(level: Level) -> Self {
        Self::Levels(!((1_u8 << level as u8) - 1))
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }

    /// Whether it says by which way records are to have come.
    #[must_use]
    pub fn names_streams(&self) -> bool {
        match self {
            Self::Streams(_) => true,
            Self::And(all) | Self::Or(all) => all.iter().any(Self::names_streams),
            Self::Not(not) => not.names_streams(),
            _ => false,
        }
    }

    /// Whether a record is one of those.
    #[must_use]
    pub fn matches(&self, record: &RecordView<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Words(text) => text.is_word_of(record.line),
            Self::Contains(text) => text.is_in(record.line),
            Self::Matches(regex) => regex.is_match(record.line),
            Self::Levels(levels) => levels >> (record.level as u8) & 1 == 1,
            Self::Service(name) => is_service(name, &record.source.service),
            Self::Streams(streams) => streams >> (record.source.stream as u8) & 1 == 1,
            Self::Replica(name) => is_replica(name, &record.source.replica),
            Self::Field(name, value) => {
                field(record.line, record.fields, name).is_some_and(|found| found == value.bytes())
            }
            Self::HasField(name) => field(record.line, record.fields, name).is_some(),
            Self::Label(label, test) => test.holds(&label.of(record)),
            Self::FieldMatches(name, regex) => {
                field(record.line, record.fields, name).is_some_and(|found| regex.is_match(found))
            }
            Self::FieldIs(name, comparison, number) => {
                field(record.line, record.fields, name).is_some_and(|found| comparison.holds(found, *number))
            }
            Self::And(all) => all.iter().all(|one| one.matches(record)),
            Self::Or(any) => any.iter().any(|one| one.matches(record)),
            Self::Not(not) => !not.matches(record),
        }
    }

    /// Whether a block may hold such a record; `words` asks its filter.
    pub(crate) fn may_be_in(&self, header: &Header, words: &mut dyn FnMut(&[u64]) -> bool) -> bool {
        match self {
            Self::Words(text) | Self::Contains(text) | Self::Field(_, text) => words(&text.words),
            Self::Levels(levels) => levels & header.levels != 0,
            Self::Service(name) if name.contains('/') => header.services & service_bit(name) != 0,
            Self::And(all) => all.iter().all(|one| one.may_be_in(header, words)),
            Self::Or(any) => any.iter().any(|one| one.may_be_in(header, words)),
            Self::All
            | Self::Matches(_)
            | Self::Service(_)
            | Self::Replica(_)
            | Self::Streams(_)
            | Self::HasField(_)
            | Self::Label(..)
            | Self::FieldMatches(..)
            | Self::FieldIs(..)
            | Self::Not(_) => true,
        }
    }

    /// A text that stands in the line of every record that matches, in what
    /// blocks keep of it as it is: the longest known.
    pub(crate) fn literal(&self) -> Option<&Finder<'static>> {
        match self {
            Self::Words(text) | Self::Contains(text) => text.untouched.as_ref(),
            Self::And(all) => all
                .iter()
                .filter_map(Self::literal)
                .max_by_key(|finder| finder.needle().len()),
            _ => None,
        }
    }

    /// A text that two equal conditions have in common and others have not.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Matches(regex) => format!("{regex:p}"),
            Self::And(all) | Self::Or(all) => {
                let inner: Vec<String> = all.iter().map(Self::key).collect();
                let sign = if matches!(self, Self::And(_)) { "&" } else { "|" };
                format!("({})", inner.join(sign))
            }
            Self::Not(not) => format!("!{}", not.key()),
            Self::Label(label, Test::Matches(regex)) => format!("{label:?}~{regex:p}"),
            Self::Label(label, Test::Is(value)) => format!("{label:?}={value:?}"),
            Self::FieldMatches(name, regex) => format!("f{name:?}~{regex:p}"),
            Self::FieldIs(name, comparison, number) => format!("f{name:?}{comparison:?}{number}"),
            Self::Words(text) => format!("w{:?}", text.bytes()),
            Self::Contains(text) => format!("c{:?}", text.bytes()),
            Self::Field(name, text) => format!("f{name:?}={:?}", text.bytes()),
            Self::All
            | Self::Levels(_)
            | Self::Service(_)
            | Self::Replica(_)
            | Self::Streams(_)
            | Self::HasField(_) => format!("{self:?}"),
        }
    }
}

fn is_replica(wanted: &str, replica: &str) -> bool {
    replica
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !wanted.is_empty()))
}

fn is_service(wanted: &str, service: &str) -> bool {
    wanted == service || (!wanted.contains('/') && service.rsplit('/').next() == Some(wanted))
}

/// Whose records somebody may see. The caller's permission: it comes before
/// everything else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All.
    Everything,
    /// These environments' services (`project/environment`).
    Environments(BTreeSet<Arc<str>>),
    /// These services (whole labels).
    Services(BTreeSet<Arc<str>>),
}

impl Scope {
    /// Whether a source's records may be seen.
    #[must_use]
    pub fn allows(&self, source: &Source) -> bool {
        match self {
            Self::Everything => true,
            Self::Environments(of) => of.contains(source.environment()),
            Self::Services(of) => of.contains(&source.service),
        }
    }

    pub(crate) fn may_be_in(&self, header: &Header) -> bool {
        match self {
            Self::Services(of) => of
                .iter()
                .any(|service| header.services & service_bit(service) != 0),
            Self::Everything | Self::Environments(_) => true,
        }
    }
}

/// In which order records are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// A question.
#[derive(Debug, Clone)]
pub struct Query {
    /// Whose records may be seen.
    pub scope: Scope,
    /// Which of them are wanted.
    pub expr: Expr,
    /// Not before: nanoseconds since 1970, UTC.
    pub since: Option<i64>,
    /// Not after: nanoseconds since 1970, UTC.
    pub until: Option<i64>,
    /// In which order.
    pub order: Order,
    /// How many at most.
    pub limit: usize,
    /// Only the newest so many of those that match, in whichever order.
    pub last: Option<usize>,
    /// How many records of the same source before and after each are wanted.
    pub context: (usize, usize),
    /// Only records whose number is at least this.
    pub from: u64,
    /// Only records whose number is below this.
    pub before: u64,
}

impl Query {
    /// The newest records that this condition matches and this scope allows.
    #[must_use]
    pub fn new(scope: Scope, expr: Expr) -> Self {
        Self {
            scope,
            expr,
            since: None,
            until: None,
            order: Order::NewestFirst,
            limit: usize::MAX,
            last: None,
            context: (0, 0),
            from: 0,
            before: u64::MAX,
        }
    }

    /// Whether a record of this number is wanted.
    pub(crate) fn wants(&self, number: u64, record: &RecordView<'_>) -> bool {
        let time = record.time.unwrap_or(0);
        (self.from..self.before).contains(&number)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time <= until)
            && self.scope.allows(record.source)
            && self.expr.matches(record)
    }

    pub(crate) fn may_be_in(&self, header: &Header, words: &mut dyn FnMut(&[u64]) -> bool) -> bool {
        header.first < self.before
            && header.end() > self.from
            && self.since.is_none_or(|since| header.times.1 >= since)
            && self.until.is_none_or(|until| header.times.0 <= until)
            && self.scope.may_be_in(header)
            && self.expr.may_be_in(header, words)
    }
}
