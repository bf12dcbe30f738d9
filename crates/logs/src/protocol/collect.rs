//! Records as a protocol makes them, put into batches.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::record::{Batch, Level, Record, Source, Stream};

/// The most fields that one record may bring.
const MAX_FIELDS: usize = 512;

/// A record on its way into a batch.
#[derive(Debug, Clone, Default)]
pub struct Draft<'a> {
    /// When, in nanoseconds since 1970, UTC.
    pub time: Option<i64>,
    /// How serious.
    pub level: Option<Level>,
    /// Which service sent it; `None`: the listener's default.
    pub service: Option<Cow<'a, str>>,
    /// Which replica of it, or which host.
    pub replica: Option<Cow<'a, str>>,
    /// The line.
    pub line: Cow<'a, [u8]>,
    pub(super) fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Draft<'a> {
    /// Adds a field. One without a name or a value is none; those beyond 512
    /// are left out.
    pub fn field(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        if !name.is_empty() && !value.is_empty() && self.fields.len() < MAX_FIELDS {
            self.fields.push((name, value));
        }
    }

    /// The fields so far.
    #[must_use]
    pub fn fields(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        &self.fields
    }
}

/// The names of services that senders made up: as many as memory and index
/// are sized for. Shared by all listeners.
#[derive(Debug)]
pub struct Names {
    known: Mutex<BTreeSet<String>>,
    most: usize,
}

impl Names {
    /// What services beyond the bound are called; their own name is kept in
    /// the field `service`.
    pub const OVERFLOW: &'static str = "other";

    /// Room for this many names.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            most,
        })
    }

    fn admits(&self, name: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return true;
        }
        known.len() < self.most && known.insert(name.to_owned())
    }
}

/// Makes batches of drafts.
#[derive(Debug)]
pub struct Collector {
    names: Arc<Names>,
    default_service: Arc<str>,
    default_replica: Arc<str>,
    sources: BTreeMap<(String, String), (Arc<Source>, bool)>,
    batch: Batch,
    full: Vec<Batch>,
    records: usize,
}

impl Collector {
    /// A collector of records from a sender that is called so unless it names
    /// itself.
    #[must_use]
    pub fn new(names: Arc<Names>, service: &str, replica: &str) -> Self {
        Self {
            names,
            default_service: service.into(),
            default_replica: replica.into(),
            sources: BTreeMap::new(),
            batch: Batch::new(),
            full: Vec::new(),
            records: 0,
        }
    }

    /// From here on records come from this replica unless they name one.
    pub fn set_replica(&mut self, replica: &str) {
        if *self.default_replica != *replica {
            self.default_replica = replica.into();
        }
    }

    /// Adds a record.
    pub fn add(&mut self, draft: &Draft<'_>) {
        let named = draft
            .service
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let service = named.unwrap_or(&self.default_service);
        let replica = draft.replica.as_deref().unwrap_or(&self.default_replica);
        let key = (service.to_owned(), replica.to_owned());
        if self.sources.len() >= Batch::MAX_SOURCES && !self.sources.contains_key(&key) {
            self.sources.clear();
        }
        let names = &self.names;
        let (source, own) = self.sources.entry(key).or_insert_with_key(|(service, replica)| {
            // A name is one line, whatever the sender put into it.
            let clean: String = service
                .chars()
                .map(|c| {
                    if c.is_control() || c.is_whitespace() {
                        '_'
                    } else {
                        c
                    }
                })
                .collect();
            let own = names.admits(&clean);
            let label = if own { &clean } else { Names::OVERFLOW };
            (Source::new(label, replica, Stream::Network), own)
        });
        let mut fields: Vec<(&str, &str)> = draft.fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        if !*own && let Some(name) = named {
            fields.push(("service", name));
        }
        let index = self.batch.source(source);
        self.batch.push(
            index,
            &Record {
                time: draft.time,
                level: draft.level,
                fields: &fields,
                line: &draft.line,
            },
        );
        self.records += 1;
        if self.batch.is_full() {
            self.full.push(std::mem::take(&mut self.batch));
        }
    }

    /// How many records were added since the last [`Collector::take`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The batches.
    pub fn take(&mut self) -> Vec<Batch> {
        let mut batches = std::mem::take(&mut self.full);
        if !self.batch.is_empty() {
            batches.push(std::mem::take(&mut self.batch));
        }
        self.records = 0;
        batches
    }

    /// A source by which the sender's drops are counted.
    #[must_use]
    pub fn own_source(&self) -> Arc<Source> {
        Source::new(&self.default_service, &self.default_replica, Stream::Network)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A record as tests compare it.
    #[derive(Debug, PartialEq, Eq, Clone)]
    pub(crate) struct Seen {
        pub(crate) service: String,
        pub(crate) replica: String,
        pub(crate) time: Option<i64>,
        pub(crate) level: Level,
        pub(crate) line: String,
        pub(crate) fields: BTreeMap<String, String>,
    }

    pub(crate) fn collector() -> Collector {
        Collector::new(Names::new(100), "sender", "peer")
    }

    pub(crate) fn seen(collector: &mut Collector) -> Vec<Seen> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        collector
            .take()
            .iter()
            .flat_map(Batch::iter)
            .map(|record| Seen {
                service: record.source.service.to_string(),
                replica: record.source.replica.to_string(),
                time: record.time,
                level: record.level,
                line: text(record.line),
                fields: record.fields.map(|(n, v)| (text(n), text(v))).collect(),
            })
            .collect()
    }

    #[test]
    fn names_without_end_become_one() {
        let mut collector = Collector::new(Names::new(2), "sender", "");
        for name in ["a", "b", "c d\n", "a"] {
            collector.add(&Draft {
                service: Some(name.into()),
                ..Draft::default()
            });
        }
        let seen = seen(&mut collector);
        let services: Vec<&str> = seen.iter().map(|s| s.service.as_str()).collect();
        assert_eq!(services, ["a", "b", "other", "a"]);
        assert_eq!(seen[2].fields["service"], "c d");
    }
}
