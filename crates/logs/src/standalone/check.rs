//! From what is written to what is used; every mistake is told with its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};

use super::config::{Config, MetricConfig, Promise, RuleConfig, ServiceLimit, Then, TlsConfig};
use super::values::Size;
use crate::listen::{Limits, TlsFiles};
use crate::pipeline::derive::{Kind, Metric};
use crate::pipeline::limit::RateLimit;
use crate::pipeline::redact::Patterns;
use crate::pipeline::rules::{Action, Rule};
use crate::query::{Expr, parse};
use crate::record::Level;
use crate::store::{Durability, Options};

/// A burst is as many lines as come in so many seconds, where nothing is said.
const BURST_SECONDS: u64 = 10;

/// A mistake of the user at a place of the configuration.
pub(crate) fn wrong(place: &str, why: impl std::fmt::Display) -> Error {
    Error::user(Code::InvalidInput, format!("{place}: {why}."))
}

/// The same mistake, with its place.
pub(crate) fn at(place: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| Error {
        message: format!("{place}: {}", error.message),
        ..error
    }
}

/// A condition; all records, where nothing is said.
pub(crate) fn condition(place: &str, text: Option<&str>) -> Result<Expr> {
    text.map_or(Ok(Expr::All), |text| parse(text).map_err(at(place)))
}

/// How the log proxy works.
pub(super) fn options(config: &Config) -> Result<Options> {
    let defaults = Options::default();
    let store = &config.store;
    let of_services = |ages: &BTreeMap<String, super::values::Span>| {
        ages.iter()
            .map(|(service, age)| (service.as_str().into(), age.0))
            .collect()
    };
    Ok(Options {
        max_bytes: store.max_bytes.map_or(defaults.max_bytes, |size| size.0),
        max_age: store.max_age.map(|age| age.0),
        service_max_age: of_services(&store.service_max_age),
        durability: match store.durability {
            Promise::Process => Durability::Process,
            Promise::Power => Durability::Power,
        },
        spool_bytes: store.spool.map_or(defaults.spool_bytes, |size| size.0),
        rate_limit: match (config.limits.lines_per_second, config.limits.burst) {
            (Some(lines_per_second), burst) => Some(rate("[limits]", lines_per_second, burst)?),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(wrong(
                    "[limits]",
                    "`burst` says nothing without `lines_per_second`",
                ));
            }
        },
        service_rate_limits: service_limits(&config.limits.service)?,
        redact: Patterns::new(config.redact.patterns.iter().map(String::as_str)).map_err(at("[redact]"))?,
        metrics: metrics(&config.metrics)?,
        rules: rules(&config.rules)?,
        ..defaults
    })
}

fn rate(place: &str, lines_per_second: u64, burst: Option<u64>) -> Result<RateLimit> {
    if lines_per_second == 0 {
        return Err(wrong(
            place,
            "`lines_per_second` is at least 1; a rule drops a service altogether",
        ));
    }
    Ok(RateLimit {
        lines_per_second,
        burst: burst.unwrap_or(lines_per_second.saturating_mul(BURST_SECONDS)),
    })
}

fn service_limits(limits: &BTreeMap<String, ServiceLimit>) -> Result<BTreeMap<Arc<str>, RateLimit>> {
    limits
        .iter()
        .map(|(service, limit)| {
            let place = format!("[limits.service.\"{service}\"]");
            Ok((
                service.as_str().into(),
                rate(&place, limit.lines_per_second, limit.burst)?,
            ))
        })
        .collect()
}

/// What senders may use.
pub(super) fn limits(config: &Config) -> Result<Limits> {
    const LEAST_BODY: usize = 64 * 1024;
    let defaults = Limits::default();
    let given = &config.limits;
    let limits = Limits {
        connections: given.connections.unwrap_or(defaults.connections),
        body_bytes: given.body.map_or(defaults.body_bytes, Size::memory),
        receiving_bytes: given.receiving.map_or(defaults.receiving_bytes, Size::memory),
        idle: given.idle.map_or(defaults.idle, |idle| idle.0),
        message: given.message.map_or(defaults.message, |message| message.0),
        services: given.services.unwrap_or(defaults.services),
        ..defaults
    };
    if limits.connections == 0
        || limits.services == 0
        || limits.idle.min(limits.message) < Duration::from_secs(1)
    {
        return Err(wrong(
            "[limits]",
            "`connections` and `services` are at least 1, and `idle` and `message` at least \"1s\"",
        ));
    }
    if limits.body_bytes < LEAST_BODY || limits.receiving_bytes < limits.body_bytes {
        return Err(wrong(
            "[limits]",
            "`body` is at least \"64KiB\", and `receiving` at least as much as `body`",
        ));
    }
    Ok(limits)
}

/// The rules.
pub(crate) fn rules(written: &[RuleConfig]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (number, rule) in (1..).zip(written) {
        let place = format!("[[rules]] {number}");
        let when = condition(&place, Some(&rule.when))?;
        let relabels = relabel(&place, rule)?;
        let only = |then: &str| Err(wrong(&place, format!("this is for `then = \"{then}\"` only")));
        if rule.one_in.is_some() && rule.then != Then::Sample {
            return only("sample");
        }
        if !relabels.is_empty() && rule.then != Then::Relabel {
            return only("relabel");
        }
        let actions = match rule.then {
            Then::Keep => vec![Action::Keep],
            Then::Drop => vec![Action::Drop],
            Then::Sample => match rule.one_in {
                Some(one_in) if one_in > 0 => vec![Action::Sample(one_in)],
                _ => return Err(wrong(&place, "`sample` needs `one_in`, such as `one_in = 10`")),
            },
            Then::Relabel if relabels.is_empty() => {
                return Err(wrong(
                    &place,
                    "`relabel` needs `level`, `service`, `replica`, `fields` or `remove`",
                ));
            }
            Then::Relabel => relabels,
        };
        rules.extend(actions.into_iter().map(|then| Rule {
            when: when.clone(),
            then,
        }));
    }
    Ok(rules)
}

fn relabel(place: &str, rule: &RuleConfig) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    if let Some(name) = &rule.level {
        let level = Level::from_name(name.as_bytes()).ok_or_else(|| {
            wrong(
                place,
                format!("`{name}` is no level: trace, debug, info, notice, warn, error or fatal"),
            )
        })?;
        actions.push(Action::SetLevel(level));
    }
    for (name, text) in [("service", &rule.service), ("replica", &rule.replica)] {
        if let Some(text) = text
            && (text.is_empty() || text.chars().any(char::is_control))
        {
            return Err(wrong(place, format!("`{name}` is a name, on one line")));
        }
    }
    actions.extend(
        rule.service
            .as_deref()
            .map(|service| Action::SetService(service.into())),
    );
    actions.extend(
        rule.replica
            .as_deref()
            .map(|replica| Action::SetReplica(replica.into())),
    );
    for (name, value) in &rule.fields {
        actions.push(Action::SetField(name.as_str().into(), value.as_str().into()));
    }
    actions.extend(
        rule.remove
            .iter()
            .map(|name| Action::RemoveField(name.as_str().into())),
    );
    Ok(actions)
}

fn metrics(written: &[MetricConfig]) -> Result<Vec<Metric>> {
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in written {
        let place = format!("[[metrics]] {}", metric.name);
        let kind = match (&metric.field, &metric.buckets) {
            (None, None) => Kind::Counter,
            (Some(field), Some(buckets)) => Kind::Histogram {
                field: field.clone(),
                buckets: buckets.clone(),
            },
            _ => {
                return Err(wrong(
                    &place,
                    "a histogram needs both `field` and `buckets`; a counter has neither",
                ));
            }
        };
        let when = condition(&place, metric.when.as_deref())?;
        let made =
            Metric::new(&metric.name, &metric.help, when, &metric.labels, kind).map_err(at("[[metrics]]"))?;
        if metrics.iter().any(|known| known.name() == made.name()) {
            return Err(wrong(&place, "there are two metrics of this name"));
        }
        metrics.push(made);
    }
    Ok(metrics)
}

/// The files of a listener's TLS.
pub(super) fn tls(config: &TlsConfig) -> TlsFiles {
    TlsFiles {
        certificate: config.certificate.clone(),
        key: config.key.clone(),
        clients: config.clients.clone(),
    }
}
