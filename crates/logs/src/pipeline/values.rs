//! Secrets that belong to one environment: their values are taken out of the
//! records of that environment, and of no other, so that nobody can find out
//! the values of another environment by printing guesses.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use nonna_engine::{Code, Error, Result};

use super::redact::SHORTEST_VALUE;
use crate::record::Source;

/// The values of every environment that has some.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    by_environment: HashMap<Arc<str>, Arc<AhoCorasick>>,
}

impl Values {
    /// From now on an environment has these values.
    pub(crate) fn set<'a>(
        &mut self,
        environment: &str,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<()> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for value in values {
            // A record is a line: of a value with several, each is looked for.
            parts.extend(value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii));
        }
        parts.retain(|part| part.len() >= SHORTEST_VALUE);
        if parts.is_empty() {
            self.by_environment.remove(environment);
            return Ok(());
        }
        let automaton = AhoCorasickBuilder::new()
            .match_kind(MatchKind::LeftmostLongest)
            .build(parts)
            .map_err(|error| {
                Error::user(
                    Code::LimitExceeded,
                    format!(
                        "The environment {environment} has too many secrets to take them out of its logs."
                    ),
                )
                .said(error.to_string())
            })?;
        self.by_environment
            .insert(environment.into(), Arc::new(automaton));
        Ok(())
    }

    /// What is to be taken out of a source's records.
    pub(crate) fn of(&self, source: &Source) -> Option<&Arc<AhoCorasick>> {
        if self.by_environment.is_empty() {
            return None;
        }
        self.by_environment.get(source.environment())
    }
}

/// Where values stand in a text.
pub(crate) fn ranges(values: &AhoCorasick, text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    values.find_iter(text).map(|found| found.start()..found.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;

    #[test]
    fn values_are_those_of_the_environment() {
        let mut values = Values::default();
        values
            .set(
                "shop/production",
                [&b"s3cr3t-one"[..], b"first line\n  second line \nx"],
            )
            .unwrap();
        let of = |service: &str| values.of(&Source::new(service, "v1.0", Stream::Stdout)).cloned();
        let mine = of("shop/production/web").unwrap();
        let found = |text: &str| ranges(&mine, text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found("a s3cr3t-one b").first(), Some(&(2..12)));
        assert_eq!(found("second line").first(), Some(&(0..11)));
        assert!(found("x").is_empty());
        assert!(of("shop/staging/web").is_none());
        assert!(of("web").is_none());
        let mut values = values.clone();
        values.set("shop/production", [&b"short"[..]]).unwrap();
        assert!(
            values
                .of(&Source::new("shop/production/web", "", Stream::Edge))
                .is_none()
        );
    }
}
