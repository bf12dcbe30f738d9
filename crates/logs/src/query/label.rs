//! What a record is known by apart from its line, as labels.

use std::borrow::Cow;

use regex_automata::meta::Regex;

use crate::record::RecordView;

/// A label of every record; empty where there is no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// The service's whole label: `shop/production/web`.
    ServiceName,
    /// Its last part: `web`.
    Service,
    /// Its project: `shop`.
    Project,
    /// Its environment: `production`.
    Environment,
    /// The replica: `v3.0`.
    Replica,
    /// The replica's release: `v3`.
    Release,
    /// The way it came: `stdout`.
    Stream,
    /// How serious it is: `error`.
    Level,
}

impl Label {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 8] = [
        Self::Environment,
        Self::Level,
        Self::Project,
        Self::Release,
        Self::Replica,
        Self::Service,
        Self::ServiceName,
        Self::Stream,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceName => "service_name",
            Self::Service => "service",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Replica => "replica",
            Self::Release => "release",
            Self::Stream => "stream",
            Self::Level => "level",
        }
    }

    /// The label of this name. `job` and `app` are what others call a service,
    /// `detected_level` what Loki calls a level that it found itself.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "job" => Some(Self::ServiceName),
            "app" => Some(Self::Service),
            "detected_level" => Some(Self::Level),
            name => Self::ALL.into_iter().find(|label| label.name() == name),
        }
    }

    /// What a record has.
    #[must_use]
    pub fn of<'a>(self, record: &RecordView<'a>) -> Cow<'a, str> {
        match self {
            Self::Level => Cow::Borrowed(record.level.name()),
            other => Cow::Borrowed(other.of_source(record.source)),
        }
    }

    /// What a source has; it has no level.
    #[must_use]
    pub fn of_source(self, source: &crate::record::Source) -> &str {
        let service = &*source.service;
        let mut parts = service.rsplitn(3, '/');
        let (name, environment, project) = (parts.next(), parts.next(), parts.next());
        match self {
            Self::ServiceName => service,
            Self::Service => name.unwrap_or_default(),
            // Only what Nonna names so has three parts.
            Self::Project => project.unwrap_or_default(),
            Self::Environment if project.is_some() => environment.unwrap_or_default(),
            Self::Replica => &source.replica,
            Self::Release if project.is_some() => source.replica.split('.').next().unwrap_or_default(),
            Self::Stream => source.stream.name(),
            Self::Environment | Self::Release | Self::Level => "",
        }
    }
}

/// What a label's value must be.
#[derive(Debug, Clone)]
pub enum Test {
    /// Just this.
    Is(String),
    /// What a regular expression matches.
    Matches(Box<Regex>),
}

impl Test {
    /// Whether a value passes.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => wanted == value,
            Self::Matches(regex) => regex.is_match(value.as_bytes()),
        }
    }
}

/// How a field's number compares with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Greater, or equal.
    AtLeast,
    /// Less.
    Less,
    /// Less, or equal.
    AtMost,
}

impl Comparison {
    /// Whether a text is a number that compares so.
    #[must_use]
    pub fn holds(self, text: &[u8], number: f64) -> bool {
        let found = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.trim().parse::<f64>().ok());
        found.is_some_and(|found| match self {
            Self::Equal => found.total_cmp(&number).is_eq(),
            Self::Greater => found > number,
            Self::AtLeast => found >= number,
            Self::Less => found < number,
            Self::AtMost => found <= number,
        })
    }
}
