//! `healthchecks`: a list of checks for each process type. A service has one
//! check here, so the one that tells best whether requests may come is taken.

use super::super::yaml::{Node, Value};
use super::{APP_JSON, AppJson};
use crate::command_line;
use crate::manifest::limits::{MAX_DURATION_MS, MAX_RETRIES, MIN_PROBE_MS};
use crate::manifest::{Report, nearest, shorten, value};
use crate::name::Name;
use crate::service::{HealthCheck, Probe};

/// The types of checks, the one that is taken first.
const TYPES: [&str; 3] = ["readiness", "startup", "liveness"];
/// What a check may say.
const FIELDS: [&str; 17] = [
    "type",
    "name",
    "description",
    "path",
    "command",
    "listening",
    "uptime",
    "port",
    "attempts",
    "timeout",
    "wait",
    "initialDelay",
    "content",
    "httpHeaders",
    "scheme",
    "warn",
    "onFailure",
];

impl AppJson {
    pub(super) fn healthchecks(&mut self, node: &Node, report: &mut Report<'_>) {
        if !matches!(node.value, Value::Map(_)) {
            report.add(
                &node.at,
                format!("`healthchecks` is a table of process types, not {}", node.kind()),
            );
        }
        for (key, node) in node.entries() {
            let Some(service) = Name::slug(&key.name) else {
                report.add(&key.at, format!("`{}` is no process type", shorten(&key.name)));
                continue;
            };
            let Value::List(checks) = &node.value else {
                report.add(
                    &node.at,
                    format!("the health checks of `{service}` are a list, not {}", node.kind()),
                );
                continue;
            };
            let mut found: Vec<(usize, HealthCheck, usize)> = Vec::new();
            for check in checks {
                let line = report.line_of(check.at.start) + 1;
                let Some((rank, health)) = self.one(&service, check, line, report) else {
                    continue;
                };
                found.push((rank, health, line));
            }
            found.sort_by_key(|(rank, ..)| *rank);
            let mut found = found.into_iter();
            if let Some((_, health, _)) = found.next() {
                self.health.insert(service.clone(), health);
            }
            for (_, _, line) in found {
                self.notes.push(format!(
                    "{APP_JSON}:{line}: this health check of `{service}` is not carried over: a service has one, and \
                     another tells better whether requests may come"
                ));
            }
        }
    }

    /// A check, and how willingly it is taken.
    fn one(
        &mut self,
        service: &Name,
        node: &Node,
        line: usize,
        report: &mut Report<'_>,
    ) -> Option<(usize, HealthCheck)> {
        if !matches!(node.value, Value::Map(_)) {
            report.add(
                &node.at,
                format!("a health check is a table, not {}", node.kind()),
            );
            return None;
        }
        let mut health = HealthCheck::default();
        let mut rank = 1;
        let mut port = None;
        let mut probe = None;
        for (key, node) in node.entries() {
            let text = node.text();
            match key.name.as_str() {
                "type" => match TYPES.iter().position(|name| Some(*name) == text) {
                    Some(found) => rank = found,
                    None => report.suggest(
                        &node.at,
                        format!("`type` is one of {}", TYPES.join(", ")),
                        text.and_then(|text| nearest(text, TYPES.iter())),
                    ),
                },
                "path" => match text.map(|text| (text, value::check_request_path(text))) {
                    Some((text, Ok(()))) => {
                        probe = Some(Probe::Http {
                            path: text.to_owned(),
                            port: None,
                        });
                    }
                    Some((_, Err(why))) => {
                        report.suggest(&node.at, format!("`path`: {}", why.message), why.suggestion);
                    }
                    None => report.add(&node.at, format!("`path` is a text, not {}", node.kind())),
                },
                "command" => match words(node) {
                    Some(command) if value::check_command(&command).is_ok() => {
                        probe = Some(Probe::Command { command });
                    }
                    _ => report.add(&node.at, "`command` is a command, or a list of its words"),
                },
                "listening" if text == Some("true") => {
                    probe.get_or_insert(Probe::Tcp { port: None });
                }
                "uptime" => {
                    probe.get_or_insert(Probe::Process);
                }
                "port" => match text
                    .and_then(|text| text.parse::<u16>().ok())
                    .filter(|port| *port > 0)
                {
                    Some(found) => port = Some(found),
                    None => report.add(&node.at, "`port` is a whole number from 1 to 65535"),
                },
                "attempts" => match text.and_then(|text| text.parse::<u32>().ok()) {
                    Some(attempts) if (1..=MAX_RETRIES).contains(&attempts) => health.retries = attempts,
                    _ => report.add(
                        &node.at,
                        format!("`attempts` is a whole number from 1 to {MAX_RETRIES}"),
                    ),
                },
                "timeout" => seconds(node, "timeout", report, &mut health.timeout_ms),
                "wait" => seconds(node, "wait", report, &mut health.interval_ms),
                // Probes begin at once and may fail for so long: no need to wait.
                "initialDelay" | "name" | "description" | "listening" => {}
                "scheme" if text.is_some_and(|text| text.eq_ignore_ascii_case("http")) => {}
                "warn" if text == Some("false") => {}
                field @ ("content" | "httpHeaders" | "scheme" | "warn" | "onFailure") => {
                    self.notes.push(format!(
                        "{APP_JSON}:{line}: `{field}` of a health check of `{service}` is not carried over: a `GET` must \
                         answer 200 to 399"
                    ));
                }
                other => report.suggest(
                    &key.at,
                    format!("`{}` is nothing that a health check has", shorten(other)),
                    nearest(other, FIELDS.iter()),
                ),
            }
        }
        health.probe = match probe {
            Some(Probe::Http { path, .. }) => Probe::Http { path, port },
            Some(Probe::Tcp { .. }) => Probe::Tcp { port },
            Some(other) => other,
            None => Probe::Auto,
        };
        Some((rank, health))
    }
}

/// A command, as one text or as its words.
fn words(node: &Node) -> Option<Vec<String>> {
    match &node.value {
        Value::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
        _ => node
            .text()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(command_line::words),
    }
}

/// Whole seconds, within what health checks take.
fn seconds(node: &Node, field: &str, report: &mut Report<'_>, into: &mut u64) {
    match node.text().and_then(|text| text.parse::<u64>().ok()) {
        Some(seconds) => *into = seconds.saturating_mul(1000).clamp(MIN_PROBE_MS, MAX_DURATION_MS),
        None => report.add(&node.at, format!("`{field}` is a whole number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AppJson {
        AppJson::parse(text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_check_that_tells_best_is_taken_and_the_others_are_listed() {
        let app = parse(
            r#"{"healthchecks": {
  "web": [
    {"type": "liveness", "uptime": 5},
    {"type": "readiness", "name": "ready", "path": "/ready", "port": 9000, "attempts": 5, "timeout": 2, "wait": 7,
     "content": "fine"}
  ],
  "mail_worker": [{"type": "startup", "command": ["bin/check", "--all"]}],
  "raw": [{"type": "startup", "listening": true}]
}}"#,
        );
        let web = &app.health[&"web".parse().unwrap()];
        assert_eq!(
            web.probe,
            Probe::Http {
                path: "/ready".into(),
                port: Some(9000)
            }
        );
        assert_eq!((web.retries, web.timeout_ms, web.interval_ms), (5, 2000, 7000));
        assert_eq!(
            app.health[&"mail-worker".parse().unwrap()].probe,
            Probe::Command {
                command: vec!["bin/check".into(), "--all".into()]
            }
        );
        assert_eq!(
            app.health[&"raw".parse().unwrap()].probe,
            Probe::Tcp { port: None }
        );
        assert_eq!(app.notes.len(), 2, "{:?}", app.notes);
        assert!(
            app.notes
                .iter()
                .any(|note| note.starts_with("app.json:4: `content`")),
            "{:?}",
            app.notes
        );
        assert!(
            app.notes
                .iter()
                .any(|note| note.starts_with("app.json:3: this health check")),
            "{:?}",
            app.notes
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            (r#"{"healthchecks": []}"#, "a table of process types"),
            (r#"{"healthchecks": {"web": {}}}"#, "are a list"),
            (
                r#"{"healthchecks": {"web": [{"pth": "/"}]}}"#,
                "nothing that a health check has",
            ),
            (
                r#"{"healthchecks": {"web": [{"type": "ready"}]}}"#,
                "one of readiness",
            ),
            (r#"{"healthchecks": {"web": [{"path": "x"}]}}"#, "`path`"),
            (r#"{"healthchecks": {"web": [{"attempts": 0}]}}"#, "from 1 to 100"),
            (
                r#"{"healthchecks": {"web": [{"wait": "soon"}]}}"#,
                "whole number of seconds",
            ),
        ] {
            let problems = AppJson::parse(text).unwrap_err();
            assert!(problems.0[0].message.contains(part), "{text}: {problems}");
        }
    }
}
