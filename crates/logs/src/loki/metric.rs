//! Counts over time.

use std::collections::BTreeMap;

use nonna_engine::{Code, Error, Result};
use serde_json::{Value, json};

use super::answer::{Labels, of_entry};
use super::logql::{Counts, Metric};
use crate::search::Entry;

/// As many points as Loki gives of a series at most.
const MOST_POINTS: i64 = 11_000;
/// So many series at most.
const MOST_SERIES: usize = 500;

/// At which moments it is counted, in nanoseconds since 1970, UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

impl Steps {
    /// # Errors
    /// `InvalidInput` where there are none, or too many.
    pub(super) fn new(start: i64, end: i64, step: i64) -> Result<Self> {
        let wrong = |message: &str| Err(Error::user(Code::InvalidInput, message));
        if step <= 0 {
            return wrong("zero or negative query resolution step widths are not accepted.");
        }
        if end < start {
            return wrong("end timestamp must not be before or equal to start time");
        }
        if (end - start) / step > MOST_POINTS {
            return wrong(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            );
        }
        Ok(Self { start, end, step })
    }
}

/// Counts, as lines come.
pub(super) struct Counter<'a> {
    metric: &'a Metric,
    steps: Steps,
    range: i64,
    series: BTreeMap<Labels, BTreeMap<i64, u64>>,
}

impl<'a> Counter<'a> {
    pub(super) fn new(metric: &'a Metric, steps: Steps) -> Self {
        Self {
            metric,
            steps,
            range: i64::try_from(metric.range.as_nanos()).unwrap_or(i64::MAX).max(1),
            series: BTreeMap::new(),
        }
    }

    /// The earliest moment whose lines count.
    pub(super) fn since(&self) -> i64 {
        self.steps.start.saturating_sub(self.range).saturating_add(1)
    }

    /// Counts a line.
    ///
    /// # Errors
    /// `LimitExceeded` where there are too many series.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<()> {
        let mut labels = of_entry(entry);
        if let Some(by) = &self.metric.by {
            labels.retain(|name, _| by.iter().any(|label| label.name() == name));
        }
        if !self.series.contains_key(&labels) && self.series.len() >= MOST_SERIES {
            return Err(Error::user(
                Code::LimitExceeded,
                format!("maximum of series ({MOST_SERIES}) reached for a single query"),
            )
            .hint("Count by fewer labels: sum by (service) (…)."));
        }
        let weight = match self.metric.counts {
            Counts::Lines | Counts::LinesPerSecond => 1,
            Counts::Bytes | Counts::BytesPerSecond => entry.line.len() as u64,
        };
        let points = self.series.entry(labels).or_default();
        // It counts at every moment that is not before it, and less than the
        // range behind it.
        let Steps { start, end, step } = self.steps;
        let first = (entry.time - start).max(0);
        let mut at = start + (first + step - 1) / step * step;
        while at <= end && at - entry.time < self.range {
            *points.entry(at).or_default() += weight;
            at += step;
        }
        Ok(())
    }

    fn value(&self, count: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let (count, seconds) = (count as f64, self.range as f64 / 1e9);
        match self.metric.counts {
            Counts::Lines | Counts::Bytes => format!("{count}"),
            Counts::LinesPerSecond | Counts::BytesPerSecond => format!("{}", count / seconds),
        }
    }

    /// The answer: a matrix, or a vector of the last moment.
    pub(super) fn answer(&self, instant: bool) -> Value {
        let seconds = |at: i64| json!(at.div_euclid(1_000_000) as f64 / 1e3);
        let series = self.series.iter().filter(|(_, points)| !points.is_empty());
        let result: Vec<Value> = series
            .filter_map(|(labels, points)| {
                if instant {
                    let (at, count) = points.last_key_value()?;
                    return Some(json!({ "metric": labels, "value": [seconds(*at), self.value(*count)] }));
                }
                let values: Vec<Value> = points
                    .iter()
                    .map(|(at, count)| json!([seconds(*at), self.value(*count)]))
                    .collect();
                Some(json!({ "metric": labels, "values": values }))
            })
            .collect();
        json!({
            "resultType": if instant { "vector" } else { "matrix" },
            "result": result,
            "stats": super::answer::stats(0, 0),
        })
    }
}
