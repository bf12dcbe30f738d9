//! Metrics that are made of records: how many match, and how a field of theirs
//! is distributed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use nonna_engine::{Code, Error, Result};

use crate::query::Expr;
use crate::recognise::field;
use crate::record::RecordView;

/// The most combinations of labels of one metric; all others are one.
const MAX_SERIES: usize = 1000;
/// The value of every label of those beyond.
const OTHER: &str = "other";
/// The longest value of a label, in characters.
const LONGEST_LABEL: usize = 128;

/// What a metric is of.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// How many records match.
    Counter,
    /// How the numbers in a field of theirs are distributed over these bounds.
    Histogram {
        /// The field; a record in which it is no number is not counted.
        field: String,
        /// Upper bounds, rising.
        buckets: Vec<f64>,
    },
}

/// A metric that is made of records.
#[derive(Debug, Clone)]
pub struct Metric {
    name: String,
    help: String,
    when: Expr,
    labels: Vec<String>,
    kind: Kind,
}

impl Metric {
    /// A metric of records that match. `labels` are fields, or `service`,
    /// `replica` and `level`.
    ///
    /// # Errors
    /// `InvalidInput` where Prometheus would not take it: a name of other
    /// letters, bounds that do not rise.
    pub fn new(name: &str, help: &str, when: Expr, labels: &[String], kind: Kind) -> Result<Self> {
        let wrong = |why: String| Err(Error::user(Code::InvalidInput, why));
        if !is_name(name, true) || name.starts_with("nonna_") {
            return wrong(format!(
                "`{name}` is no name for a metric: it is made of letters, digits, `_` and `:`, \
                 and does not begin with a digit or `nonna_`."
            ));
        }
        if let Some(label) = labels.iter().find(|label| label.is_empty()) {
            return wrong(format!("`{label}` is no label of the metric `{name}`."));
        }
        if let Kind::Histogram { field, buckets } = &kind {
            let rising = buckets
                .windows(2)
                .all(|pair| matches!(pair, [low, high] if low < high));
            if field.is_empty() || buckets.is_empty() || !rising || !buckets.iter().all(|b| b.is_finite()) {
                return wrong(format!(
                    "The histogram `{name}` needs a field, and buckets: numbers, each larger than the one before."
                ));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            help: help.to_owned(),
            when,
            labels: labels.to_vec(),
            kind,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// A label's name as Prometheus takes it.
fn label_name(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

#[derive(Debug, Default, Clone)]
struct Series {
    count: u64,
    sum: f64,
    /// Not cumulated: how many numbers fell into each bucket.
    buckets: Vec<u64>,
}

/// All metrics of one log proxy that are made of records.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    metrics: Vec<Metric>,
    series: Vec<Mutex<BTreeMap<Vec<String>, Series>>>,
}

impl Derived {
    pub(crate) fn new(metrics: &[Metric]) -> Self {
        Self {
            metrics: metrics.to_vec(),
            series: metrics.iter().map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    pub(crate) fn observe(&self, record: &RecordView<'_>) {
        for (metric, series) in self.metrics.iter().zip(&self.series) {
            if !metric.when.matches(record) {
                continue;
            }
            let number = match &metric.kind {
                Kind::Counter => None,
                Kind::Histogram { field: name, .. } => {
                    let Some(number) = number(record, name) else {
                        continue;
                    };
                    Some(number)
                }
            };
            let mut labels: Vec<String> = metric.labels.iter().map(|name| label(record, name)).collect();
            let mut series = series.lock().unwrap_or_else(PoisonError::into_inner);
            if series.len() >= MAX_SERIES && !series.contains_key(&labels) {
                labels = vec![OTHER.to_owned(); labels.len()];
            }
            let series = series.entry(labels).or_default();
            series.count += 1;
            if let (Some(number), Kind::Histogram { buckets, .. }) = (number, &metric.kind) {
                series.sum += number;
                series.buckets.resize(buckets.len(), 0);
                if let Some(place) = buckets.iter().position(|bound| number <= *bound)
                    && let Some(count) = series.buckets.get_mut(place)
                {
                    *count += 1;
                }
            }
        }
    }

    /// Adds them in Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        for (metric, series) in self.metrics.iter().zip(&self.series) {
            let name = &metric.name;
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Histogram { .. } => "histogram",
            };
            let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            let series = series.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (values, series) in series {
                let labels = labels_text(&metric.labels, &values);
                match &metric.kind {
                    Kind::Counter => {
                        let _ = writeln!(out, "{name}{} {}", braces(&labels), series.count);
                    }
                    Kind::Histogram { buckets, .. } => {
                        let mut below = 0;
                        for (bound, count) in buckets.iter().zip(&series.buckets) {
                            below += count;
                            let le = join(&labels, &format!("le=\"{bound}\""));
                            let _ = writeln!(out, "{name}_bucket{{{le}}} {below}");
                        }
                        let le = join(&labels, "le=\"+Inf\"");
                        let _ = writeln!(out, "{name}_bucket{{{le}}} {}", series.count);
                        let _ = writeln!(out, "{name}_sum{} {}", braces(&labels), series.sum);
                        let _ = writeln!(out, "{name}_count{} {}", braces(&labels), series.count);
                    }
                }
            }
        }
    }
}

fn braces(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

fn join(labels: &str, other: &str) -> String {
    if labels.is_empty() {
        other.to_owned()
    } else {
        format!("{labels},{other}")
    }
}

fn labels_text(names: &[String], values: &[String]) -> String {
    let pairs: Vec<String> = names
        .iter()
        .zip(values)
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{}=\"{value}\"", label_name(name))
        })
        .collect();
    pairs.join(",")
}

fn label(record: &RecordView<'_>, name: &str) -> String {
    let value = match name {
        "service" => record.source.service.to_string(),
        "replica" => record.source.replica.to_string(),
        "level" => record.level.name().to_owned(),
        name => {
            let found = field(record.line, record.fields, name).unwrap_or_default();
            String::from_utf8_lossy(found).into_owned()
        }
    };
    value.chars().take(LONGEST_LABEL).collect()
}

fn number(record: &RecordView<'_>, name: &str) -> Option<f64> {
    let text = std::str::from_utf8(field(record.line, record.fields, name)?).ok()?;
    // `12ms` is 12: what unit it is the name of the metric says.
    let end = text
        .trim_start()
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E')))
        .unwrap_or(text.len());
    let number: f64 = text.trim_start().get(..end)?.parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parse;
    use crate::record::{Batch, Source, Stream};

    fn shown(metric: Metric, lines: &[&str]) -> String {
        let derived = Derived::new(&[metric]);
        let source = Source::new("shop/production/web", "web.1", Stream::Stdout);
        let batch = Batch::of_lines(&source, lines.iter().map(|line| line.as_bytes()));
        for record in batch.iter() {
            derived.observe(&record);
        }
        let mut out = String::new();
        derived.prometheus(&mut out);
        out
    }

    #[test]
    fn matches_are_counted_by_their_labels() {
        let when = parse("status=500 OR status=200").unwrap();
        let labels = ["service".to_owned(), "http.method".to_owned()];
        let metric = Metric::new("requests_total", "Requests.", when, &labels, Kind::Counter).unwrap();
        let text = shown(
            metric,
            &[
                "status=500 http.method=GET",
                "status=200 http.method=GET",
                "status=404 http.method=GET",
                "{\"status\":500,\"http.method\":\"a\\\"b\"}",
            ],
        );
        assert!(text.starts_with("# HELP requests_total Requests.\n# TYPE requests_total counter\n"));
        assert!(
            text.contains("requests_total{service=\"shop/production/web\",http_method=\"GET\"} 2\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn numbers_fall_into_buckets() {
        let kind = Kind::Histogram {
            field: "took".to_owned(),
            buckets: vec![10.0, 100.0],
        };
        let metric = Metric::new("took_ms", "Time.", Expr::All, &[], kind).unwrap();
        let text = shown(
            metric,
            &["took=5", "took=50ms", "took=500.5", "took=soon", "nothing"],
        );
        let values: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            values,
            [
                "took_ms_bucket{le=\"10\"} 1",
                "took_ms_bucket{le=\"100\"} 2",
                "took_ms_bucket{le=\"+Inf\"} 3",
                "took_ms_sum 555.5",
                "took_ms_count 3"
            ]
        );
    }

    #[test]
    fn labels_without_end_become_one_and_mistakes_are_told() {
        let labels = ["id".to_owned()];
        let metric = Metric::new("ids", "", Expr::All, &labels, Kind::Counter).unwrap();
        let lines: Vec<String> = (0..MAX_SERIES + 50).map(|n| format!("id={n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert!(shown(metric, &lines).contains("ids{id=\"other\"} 50\n"));
        let histogram = |buckets: &[f64]| Kind::Histogram {
            field: "x".to_owned(),
            buckets: buckets.to_vec(),
        };
        for (name, kind) in [
            ("1x", Kind::Counter),
            ("a b", Kind::Counter),
            ("nonna_x", Kind::Counter),
            ("x", histogram(&[])),
            ("x", histogram(&[2.0, 1.0])),
        ] {
            assert!(Metric::new(name, "", Expr::All, &[], kind).is_err(), "{name}");
        }
    }
}
