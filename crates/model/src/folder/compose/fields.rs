//! The values of a service's fields.

use std::collections::BTreeMap;

use super::super::yaml::{Node, Value};
use super::load::Loader;
use super::service;
use crate::manifest::limits::{
    MAX_CPU, MAX_DURATION_MS, MAX_PIDS, MAX_REPLICAS, MAX_RETRIES, MIN_MEMORY, MIN_PROBE_MS,
};
use crate::manifest::{DeclaredPort, DeclaredSource, ServiceDeclaration, nearest, shorten, value};
use crate::service::{HealthCheck, Probe, RestartPolicy, Strategy};
use crate::units::Bytes;

/// What Compose waits, in milliseconds, where a health check does not say.
const INTERVAL_MS: u64 = 30_000;
const TIMEOUT_MS: u64 = 30_000;
const RETRIES: u32 = 3;

/// A text, whatever it looks like.
pub(super) fn plain(loader: &mut Loader<'_, '_>, node: &Node, what: &str) -> Option<String> {
    match node.text() {
        Some(text) if !text.is_empty() && !text.contains('\0') => Some(text.to_owned()),
        Some(_) => None,
        None => {
            if !matches!(node.value, Value::Null) {
                loader.findings.wrong_kind(node, what, "a text");
            }
            None
        }
    }
}

/// A command: a line that is split into words, or a list of words.
pub(super) fn command(loader: &mut Loader<'_, '_>, node: &Node, what: &str) -> Option<Vec<String>> {
    let words = match &node.value {
        Value::Null => return None,
        Value::Scalar { text, .. } if text.trim().is_empty() => return None,
        Value::Scalar { text, .. } => {
            let Some(words) = shlex::split(text) else {
                loader.findings.mistake(
                    node,
                    format!("a quote in `{what}` is not closed, or a backslash stands at its end"),
                );
                return None;
            };
            words
        }
        Value::List(items) if items.is_empty() => return None,
        Value::List(items) => {
            let mut words = Vec::new();
            for item in items {
                match item.text() {
                    Some(word) => words.push(word.to_owned()),
                    None => {
                        loader.findings.wrong_kind(item, what, "a list of texts");
                        return None;
                    }
                }
            }
            words
        }
        Value::Map(_) => {
            loader
                .findings
                .wrong_kind(node, what, "a text or a list of texts");
            return None;
        }
    };
    match value::check_command(&words) {
        Ok(()) => Some(words),
        Err(why) => {
            loader.findings.invalid(node, what, why);
            None
        }
    }
}

/// `build`: a folder, or a table.
pub(super) fn build(loader: &mut Loader<'_, '_>, node: &Node) -> Option<DeclaredSource> {
    const KNOWN: [&str; 6] = [
        "context",
        "dockerfile",
        "dockerfile_inline",
        "args",
        "target",
        "labels",
    ];
    const LEFT: [&str; 17] = [
        "additional_contexts",
        "cache_from",
        "cache_to",
        "entitlements",
        "extra_hosts",
        "isolation",
        "network",
        "no_cache",
        "platforms",
        "privileged",
        "provenance",
        "pull",
        "sbom",
        "secrets",
        "shm_size",
        "ssh",
        "tags",
    ];
    let folder = |loader: &mut Loader<'_, '_>, node: &Node| {
        let text = node.text().unwrap_or_default();
        if text.contains("://") || text.starts_with("git@") {
            loader.findings.mistake(
                node,
                "a repository is not fetched for a build: put it into the project's folder",
            );
            return None;
        }
        loader.path(node, "context")
    };
    let mut out = match &node.value {
        Value::Scalar { .. } => {
            return Some(DeclaredSource::Folder {
                path: folder(loader, node)?,
                dockerfile: None,
                target: None,
                arguments: BTreeMap::new(),
                timeout_ms: None,
                overrides: Box::default(),
                secrets: Vec::new(),
            });
        }
        Value::Map(_) => {
            let path = match node.get("context") {
                Some(context) => folder(loader, context)?,
                None => {
                    let here = Node {
                        value: Value::Scalar {
                            text: ".".to_owned(),
                            quoted: true,
                        },
                        ..node.clone()
                    };
                    loader.path(&here, "context")?
                }
            };
            (path, None, None, BTreeMap::new())
        }
        _ => {
            loader.findings.wrong_kind(node, "build", "a folder or a table");
            return None;
        }
    };
    for (key, value) in node.entries() {
        match key.name.as_str() {
            "context" | "labels" => {}
            "dockerfile" => match value.text().map(value::check_inner_path) {
                Some(Ok(path)) => out.1 = Some(path),
                Some(Err(why)) => loader.findings.invalid(value, "dockerfile", why),
                None => loader.findings.wrong_kind(value, "dockerfile", "a path"),
            },
            "dockerfile_inline" => loader.findings.mistake(
                value,
                "a Dockerfile is a file: write this into one, and name it with `dockerfile`",
            ),
            "target" => out.2 = plain(loader, value, "target"),
            "args" => {
                for (name, value, node) in pairs(loader, value, "args") {
                    match value::check_argument_name(&name) {
                        Ok(()) => {
                            if let Some(text) = value {
                                out.3.insert(name, text);
                            }
                        }
                        Err(why) => loader.findings.invalid(&node, &shorten(&name), why),
                    }
                }
            }
            name if LEFT.contains(&name) => loader.findings.note_at(
                value.file,
                &key.at,
                format!("`{name}` of a build is not carried over"),
            ),
            name if name.starts_with("x-") => {}
            name => loader.findings.unknown(
                value.file,
                &key.at,
                name,
                "a build",
                KNOWN.into_iter().chain(LEFT),
            ),
        }
    }
    Some(DeclaredSource::Folder {
        path: out.0,
        dockerfile: out.1,
        target: out.2,
        arguments: out.3,
        timeout_ms: None,
        overrides: Box::default(),
        secrets: Vec::new(),
    })
}

/// The entries of what is a table, or a list of `NAME=VALUE`. A name alone has
/// the value that it has where the file is read, or none.
fn pairs(loader: &mut Loader<'_, '_>, node: &Node, what: &str) -> Vec<(String, Option<String>, Node)> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| {
                let text = match &value.value {
                    Value::Scalar { text, .. } => Some(text.clone()),
                    _ => loader.variable(&key.name),
                };
                if matches!(value.value, Value::List(_) | Value::Map(_)) {
                    loader
                        .findings
                        .mistake(value, format!("the value of `{}` is a text", shorten(&key.name)));
                }
                let place = Node {
                    at: key.at.clone(),
                    ..value.clone()
                };
                (key.name.clone(), text, place)
            })
            .collect(),
        Value::List(items) => items
            .iter()
            .filter_map(|item| {
                let Some(text) = item.text() else {
                    loader.findings.wrong_kind(item, what, "a list of `NAME=VALUE`");
                    return None;
                };
                Some(match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned()), item.clone()),
                    None => (text.to_owned(), loader.variable(text), item.clone()),
                })
            })
            .collect(),
        Value::Null => Vec::new(),
        Value::Scalar { .. } => {
            loader
                .findings
                .wrong_kind(node, what, "a table, or a list of `NAME=VALUE`");
            Vec::new()
        }
    }
}

/// `env_file`, then `environment`, which wins.
pub(super) fn variables(loader: &mut Loader<'_, '_>, service: &Node, out: &mut ServiceDeclaration) {
    let mut all: Vec<(String, Option<String>, Node)> = Vec::new();
    if let Some(node) = service.get("env_file") {
        let files: Vec<Node> = match &node.value {
            Value::List(items) => items.clone(),
            Value::Null => Vec::new(),
            _ => vec![node.clone()],
        };
        for file in files {
            let path = file.get("path").cloned().unwrap_or_else(|| file.clone());
            let required = file.get("required").and_then(Node::text) != Some("false");
            if path.text().is_none() {
                loader.findings.wrong_kind(&file, "env_file", "a path");
                continue;
            }
            let Some(name) = loader.path(&path, "env_file") else {
                continue;
            };
            match loader.variables_of(&name, Some(&path)) {
                Some(variables) => {
                    for (variable, value) in variables {
                        let value = value.or_else(|| loader.variable(&variable));
                        all.push((variable, value, path.clone()));
                    }
                }
                None if required => loader
                    .findings
                    .mistake(&path, format!("there is no file `{}`", shorten(&name))),
                None => {}
            }
        }
    }
    if let Some(node) = service.get("environment") {
        all.extend(pairs(loader, node, "environment"));
    }
    for (name, value, node) in all {
        if name == "PORT" {
            port_variable(loader, &node, value.as_deref(), out);
            continue;
        }
        if value::check_variable_name(&name).is_err() {
            loader.findings.note(
                &node,
                format!(
                    "the variable `{}` is not carried over: a name has letters, digits and `_` only",
                    shorten(&name)
                ),
            );
            continue;
        }
        match value {
            Some(value) => match value::check_variable_value(&value) {
                Ok(()) => {
                    out.variables.insert(name, value);
                }
                Err(why) => loader.findings.invalid(&node, &name, why),
            },
            None => {
                out.variables.remove(&name);
            }
        }
    }
}

/// `PORT` is Nonna's own to give: it says where the service listens.
fn port_variable(loader: &mut Loader<'_, '_>, node: &Node, value: Option<&str>, out: &ServiceDeclaration) {
    let said = value.and_then(|text| text.parse::<u16>().ok());
    if let DeclaredPort::Number(port) = out.port
        && said == Some(port)
    {
        return;
    }
    let words = match out.port {
        DeclaredPort::Number(port) => {
            format!("`PORT` is not carried over: it is {port}, the port of the route")
        }
        _ => "`PORT` is not carried over: it is given to services whose port is published".to_owned(),
    };
    loader.findings.note(node, words);
}

/// `healthcheck`.
pub(super) fn health(loader: &mut Loader<'_, '_>, node: &Node) -> Option<HealthCheck> {
    const KNOWN: [&str; 7] = [
        "test",
        "interval",
        "timeout",
        "retries",
        "start_period",
        "start_interval",
        "disable",
    ];
    let mut interval = INTERVAL_MS;
    let mut timeout = TIMEOUT_MS;
    let mut start = 0;
    let mut retries = RETRIES;
    let mut probe = None;
    for (key, value) in node.entries() {
        match key.name.as_str() {
            "test" => probe = test(loader, value),
            "interval" => interval = duration(loader, value, "interval").unwrap_or(interval),
            "timeout" => timeout = duration(loader, value, "timeout").unwrap_or(timeout),
            "start_period" => start = duration(loader, value, "start_period").unwrap_or(start),
            "start_interval" => loader.findings.note(
                value,
                "`start_interval` is not carried over: a replica that starts is asked every moment",
            ),
            "retries" => {
                if let Some(number) = whole(loader, value, "retries", u64::from(MAX_RETRIES)) {
                    retries = number.max(1);
                }
            }
            "disable" => {
                if value.text() == Some("true") {
                    probe = Some(Probe::Process);
                }
            }
            name if name.starts_with("x-") => {}
            name => loader
                .findings
                .unknown(value.file, &key.at, name, "a health check", KNOWN.into_iter()),
        }
    }
    // Compose does not count failures in the start period, and then gives the
    // container so many tries; here it is one time within which it must be
    // healthy.
    let patience = start.saturating_add(u64::from(retries).saturating_mul(interval.saturating_add(timeout)));
    Some(HealthCheck {
        probe: probe?,
        interval_ms: interval.clamp(MIN_PROBE_MS, MAX_DURATION_MS),
        timeout_ms: timeout.clamp(MIN_PROBE_MS, MAX_DURATION_MS),
        start_period_ms: patience.clamp(HealthCheck::default().start_period_ms, MAX_DURATION_MS),
        retries,
    })
}

fn test(loader: &mut Loader<'_, '_>, node: &Node) -> Option<Probe> {
    let shell = |line: &str| Probe::Command {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()],
    };
    match &node.value {
        Value::Scalar { text, .. } if !text.trim().is_empty() => Some(shell(text)),
        Value::List(items) => {
            let words: Vec<&str> = items.iter().filter_map(Node::text).collect();
            match words.as_slice() {
                ["NONE"] => Some(Probe::Process),
                ["CMD-SHELL", line] => Some(shell(line)),
                ["CMD", command @ ..] if !command.is_empty() => Some(Probe::Command {
                    command: command.iter().map(|word| (*word).to_owned()).collect(),
                }),
                _ => {
                    loader.findings.mistake(
                        node,
                        "`test` is a line, or a list that begins with \"CMD\", \"CMD-SHELL\" or \"NONE\"",
                    );
                    None
                }
            }
        }
        _ => {
            loader.findings.wrong_kind(node, "test", "a line or a list");
            None
        }
    }
}

pub(super) fn restart(loader: &mut Loader<'_, '_>, node: &Node) -> RestartPolicy {
    let text = node.text().unwrap_or_default();
    let (word, count) = text.split_once(':').unwrap_or((text, ""));
    match word {
        "no" | "false" => RestartPolicy::Never,
        "always" | "unless-stopped" | "" => RestartPolicy::Always,
        "on-failure" => {
            if !count.is_empty() {
                loader.findings.note(
                    node,
                    "how often it is restarted is not carried over: as often as it fails",
                );
            }
            RestartPolicy::OnFailure
        }
        other => {
            let near = nearest(other, ["no", "always", "unless-stopped", "on-failure"].iter());
            loader
                .findings
                .suggest(node, format!("`{}` is no restart policy", shorten(other)), near);
            RestartPolicy::Always
        }
    }
}

/// `deploy`: numbers and limits; the rest is a swarm's.
pub(super) fn deploy(loader: &mut Loader<'_, '_>, node: &Node, out: &mut ServiceDeclaration) {
    for (key, value) in node.entries() {
        match key.name.as_str() {
            "replicas" => {
                out.replicas = whole(loader, value, "replicas", u64::from(MAX_REPLICAS)).or(out.replicas);
            }
            "resources" => {
                for (key, part) in value.entries() {
                    if key.name != "limits" {
                        loader.findings.note_at(
                            part.file,
                            &key.at,
                            format!("`{}` of `resources` is not carried over", shorten(&key.name)),
                        );
                        continue;
                    }
                    for (key, limit) in part.entries() {
                        match key.name.as_str() {
                            "cpus" => out.resources.cpu_millis = cpus(loader, limit, "cpus", MAX_CPU),
                            "memory" => out.resources.memory = bytes(loader, limit, "memory", MIN_MEMORY),
                            "pids" => {
                                if let Some(pids) = whole(loader, limit, "pids", u64::from(MAX_PIDS)) {
                                    out.resources.pids = pids.max(1);
                                }
                            }
                            name => loader.findings.unknown(
                                limit.file,
                                &key.at,
                                name,
                                "`limits`",
                                ["cpus", "memory", "pids"].into_iter(),
                            ),
                        }
                    }
                }
            }
            "restart_policy" => match value.get("condition").and_then(Node::text) {
                Some("none") => out.restart = RestartPolicy::Never,
                Some("on-failure") => out.restart = RestartPolicy::OnFailure,
                _ => out.restart = RestartPolicy::Always,
            },
            "update_config" => match value.get("order").and_then(Node::text) {
                Some("stop-first") => out.strategy = Strategy::Recreate,
                Some("start-first") if out.volumes.is_empty() => out.strategy = Strategy::Rolling,
                _ => {}
            },
            "mode" if value.text() == Some("replicated") => {}
            name if name.starts_with("x-") => {}
            "mode" | "endpoint_mode" | "labels" | "placement" | "rollback_config" => loader.findings.note_at(
                value.file,
                &key.at,
                format!("`{}` of `deploy` is not carried over", key.name),
            ),
            name => loader.findings.unknown(
                value.file,
                &key.at,
                name,
                "`deploy`",
                [
                    "replicas",
                    "resources",
                    "restart_policy",
                    "update_config",
                    "mode",
                    "labels",
                    "placement",
                ]
                .into_iter(),
            ),
        }
    }
}

/// A whole number up to `most`.
pub(super) fn whole(loader: &mut Loader<'_, '_>, node: &Node, what: &str, most: u64) -> Option<u32> {
    let number = node
        .text()
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|number| *number <= most)
        .and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        loader
            .findings
            .mistake(node, format!("`{what}` is a whole number from 0 to {most}"));
    }
    number
}

pub(super) fn cpus(loader: &mut Loader<'_, '_>, node: &Node, what: &str, most: u32) -> Option<u32> {
    let cores = node
        .text()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|cores| *cores > 0.0 && *cores <= f64::from(most));
    let Some(cores) = cores else {
        if node.text() != Some("0") {
            loader.findings.mistake(
                node,
                format!("`{what}` is a number of processor cores above 0, {most} at most"),
            );
        }
        return None;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1,024,000, checked above"
    )]
    let millis = (cores * 1000.0).round() as u32;
    Some(millis.max(1))
}

pub(super) fn bytes(loader: &mut Loader<'_, '_>, node: &Node, what: &str, least: u64) -> Option<Bytes> {
    let found = node.text().and_then(service::memory);
    match found {
        Some(Bytes(0)) => None,
        Some(bytes) if bytes.0 >= least => Some(bytes),
        _ => {
            loader.findings.mistake(
                node,
                format!("`{what}` is an amount of memory such as `512m` or `1g`, at least 6m"),
            );
            None
        }
    }
}

/// A duration as Compose writes it (`1m30s`, `500ms`), in milliseconds.
pub(super) fn duration(loader: &mut Loader<'_, '_>, node: &Node, what: &str) -> Option<u64> {
    let millis = node
        .text()
        .and_then(millis)
        .filter(|millis| *millis <= MAX_DURATION_MS);
    if millis.is_none() {
        loader.findings.mistake(
            node,
            format!("`{what}` is a duration such as `30s`, `1m30s` or `500ms`, at most 1h"),
        );
    }
    millis
}

fn millis(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match rest.get(..end)? {
                "h" => 3_600_000.0,
                "m" => 60_000.0,
                "s" => 1000.0,
                "ms" => 1.0,
                "us" | "µs" => 0.001,
                "ns" => 0.000_001,
                _ => return None,
            };
        rest = rest.get(end..)?;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a float's cast saturates"
    )]
    let total = total.round() as u64;
    Some(total)
}

/// Whether others could ask for a service by this name.
pub(super) fn is_host_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// One more name by which others reach a service.
pub(super) fn alias(loader: &mut Loader<'_, '_>, node: &Node, text: &str, out: &mut ServiceDeclaration) {
    if !is_host_name(text) {
        loader.findings.note(
            node,
            format!("`{}` is not carried over: it is no host name", shorten(text)),
        );
    } else if text != out.name.as_str() && !out.aliases.iter().any(|known| known == text) {
        out.aliases.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_as_compose_writes_them() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5s", Some(1500)),
            ("0", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("5x", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        for (text, expected) in [
            ("512m", Some(512 << 20)),
            ("1g", Some(1 << 30)),
            ("1.5gb", Some(3 << 29)),
            ("100", Some(100)),
            ("64Mi", None),
            ("x", None),
        ] {
            assert_eq!(service::memory(text).map(|b| b.0), expected, "{text}");
        }
    }
}
