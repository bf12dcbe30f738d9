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
            }
        }
        verdict
    }
}

/// A source like this one, of another service.
pub(crate) fn renamed(source: &Source, service: &str) -> Arc<Source> {
    Source::new(service, &source.replica, source.stream)
}
