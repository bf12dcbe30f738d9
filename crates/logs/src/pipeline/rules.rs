//! What the user wants done with records.

use std::sync::Arc;

use crate::query::Expr;
use crate::record::{Level, RecordView, Source};

/// What to do with the records that a condition matches.
#[derive(Debug, Clone)]
pub enum Action {
    /// Keep it, whatever later rules say.
    Keep,
    /// Drop it.
    Drop,
    /// Keep one in so many, drop the others.
    Sample(u32),
    /// Give it this level.
    SetLevel(Level),
    /// File it under this service.
    SetService(Arc<str>),
    /// File it under this replica.
    SetReplica(Arc<str>),
    /// Give it this field; one of that name beside the line is replaced.
    SetField(Arc<str>, Arc<str>),
    /// Take this field away, where it stands beside the line.
    RemoveField(Arc<str>),
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which records.
    pub when: Expr,
    /// What to do with them.
    pub then: Action,
}

/// What the rules made of a record.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) drop: bool,
    pub(crate) level: Option<Level>,
    pub(crate) service: Option<Arc<str>>,
    pub(crate) replica: Option<Arc<str>>,
    /// Fields to set, or (`None`) to take away, in this order.
    pub(crate) fields: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// Rules, first to last, each with its count for sampling.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<(Rule, u32)>,
}

impl Rules {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        Self {
            rules: rules.iter().map(|rule| (rule.clone(), 0)).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn judge(&mut self, record: &RecordView<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        for (rule, count) in &mut self.rules {
            if !rule.when.matches(record) {
                continue;
            }
            match &rule.then {
                Action::Keep => return verdict,
                Action::Drop => {
                    verdict.drop = true;
                    return verdict;
                }
                Action::Sample(one_in) => {
                    let kept = *count == 0;
                    *count = (*count + 1) % (*one_in).max(1);
                    if !kept {
                        verdict.drop = true;
                        return verdict;
                    }
                }
                Action::SetLevel(level) => verdict.level = Some(*level),
                Action::SetService(service) => verdict.service = Some(Arc::clone(service)),
                Action::SetReplica(replica) => verdict.replica = Some(Arc::clone(replica)),
                Action::SetField(name, value) => {
                    verdict.fields.push((Arc::clone(name), Some(Arc::clone(value))));
                }
                Action::RemoveField(name) => verdict.fields.push((Arc::clone(name), None)),
            }
        }
        verdict
    }
}

impl Verdict {
    /// The source under which the record is filed, where that is another.
    pub(crate) fn source(&self, source: &Source) -> Option<Arc<Source>> {
        (self.service.is_some() || self.replica.is_some()).then(|| {
            let service = self.service.as_ref().unwrap_or(&source.service);
            let replica = self.replica.as_ref().unwrap_or(&source.replica);
            Source::new(service, replica, source.stream)
        })
    }

    /// The record's fields as they become.
    pub(crate) fn fields(&self, record: &RecordView<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut fields: Vec<(String, String)> = record
            .fields
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        for (name, value) in &self.fields {
            fields.retain(|(known, _)| **known != **name);
            if let Some(value) = value {
                fields.push((name.to_string(), value.to_string()));
            }
        }
        fields
    }
}
