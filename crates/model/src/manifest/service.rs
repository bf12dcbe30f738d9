//! Reading one service, wherever it stands.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::fields::{HEALTH, SERVICE};
use super::limits::{
    MAX_CPU, MAX_DOMAINS, MAX_PIDS, MAX_REPLICAS, MAX_RETRIES, MAX_SERVICES, MAX_TARGET, MAX_VARIABLES,
    MAX_VOLUMES, MAX_WATCH, MIN_MEMORY, MIN_PROBE_MS,
};
use super::problem::Report;
use super::reader::{Entry, entries};
use super::value::{self, InvalidValue};
use super::{At, build};
use crate::name::Name;
use crate::service::{HealthCheck, Probe, Protocol, RestartPolicy, RouteSpec, Strategy};
use crate::units::Bytes;

pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[("http1", Protocol::Http1), ("h2c", Protocol::H2c)];
pub(super) const RESTARTS: &[(&str, RestartPolicy)] = &[
    ("always", RestartPolicy::Always),
    ("on-failure", RestartPolicy::OnFailure),
    ("never", RestartPolicy::Never),
];
pub(super) const STRATEGIES: &[(&str, Strategy)] =
    &[("rolling", Strategy::Rolling), ("recreate", Strategy::Recreate)];

/// What a manifest says of a service, in one place; `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) source: Option<At<String>>,
    pub(super) dockerfile: Option<At<String>>,
    pub(super) target: Option<At<String>>,
    pub(super) build_arguments: BTreeMap<String, At<String>>,
    pub(super) build_timeout_ms: Option<At<u64>>,
    pub(super) build: build::Fields,
    pub(super) image: Option<At<String>>,
    pub(super) push: Option<At<String>>,
    pub(super) push_required: Option<At<bool>>,
    pub(super) command: Option<At<Vec<String>>>,
    pub(super) release: Option<At<Vec<String>>>,
    pub(super) release_timeout_ms: Option<At<u64>>,
    pub(super) post_deploy: Option<At<Vec<String>>>,
    pub(super) after: Option<At<Vec<At<Name>>>>,
    /// `Some(None)`: nothing listens.
    pub(super) port: Option<At<Option<u16>>>,
    pub(super) protocol: Option<At<Protocol>>,
    pub(super) replicas: Option<At<u32>>,
    pub(super) domains: Option<At<Vec<At<RouteSpec>>>>,
    pub(super) health: Option<At<HealthCheck>>,
    pub(super) cpu_millis: Option<At<u32>>,
    /// `Some(None)`: no limit.
    pub(super) memory: Option<At<Option<Bytes>>>,
    pub(super) pids: Option<At<u32>>,
    pub(super) restart: Option<At<RestartPolicy>>,
    pub(super) strategy: Option<At<Strategy>>,
    pub(super) volumes: BTreeMap<Name, At<String>>,
    pub(super) stop_timeout_ms: Option<At<u64>>,
    pub(super) variables: BTreeMap<String, At<String>>,
    pub(super) secrets: Option<At<Vec<At<String>>>>,
    pub(super) watch: Option<At<Vec<At<String>>>>,
}

impl Fields {
    /// Lays what an environment says over what the service says.
    #[must_use]
    pub(super) fn overridden_by(&self, over: &Self) -> Self {
        fn pick<T: Clone>(base: &Option<T>, over: &Option<T>) -> Option<T> {
            over.as_ref().or(base.as_ref()).cloned()
        }
        fn merge<K: Ord + Clone, V: Clone>(base: &BTreeMap<K, V>, over: &BTreeMap<K, V>) -> BTreeMap<K, V> {
            let mut out = base.clone();
            out.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
            out
        }
        let base = self.without_what_the_source_replaces(over);
        Self {
            source: pick(&base.source, &over.source),
            dockerfile: pick(&base.dockerfile, &over.dockerfile),
            target: pick(&base.target, &over.target),
            build_arguments: merge(&base.build_arguments, &over.build_arguments),
            build_timeout_ms: pick(&base.build_timeout_ms, &over.build_timeout_ms),
            build: base.build.overridden_by(&over.build),
            image: pick(&base.image, &over.image),
            push: pick(&base.push, &over.push),
            push_required: pick(&base.push_required, &over.push_required),
            command: pick(&base.command, &over.command),
            release: pick(&base.release, &over.release),
            release_timeout_ms: pick(&base.release_timeout_ms, &over.release_timeout_ms),
            post_deploy: pick(&base.post_deploy, &over.post_deploy),
            after: pick(&base.after, &over.after),
            port: pick(&base.port, &over.port),
            protocol: pick(&base.protocol, &over.protocol),
            replicas: pick(&base.replicas, &over.replicas),
            domains: pick(&base.domains, &over.domains),
            health: pick(&base.health, &over.health),
            cpu_millis: pick(&base.cpu_millis, &over.cpu_millis),
            memory: pick(&base.memory, &over.memory),
            pids: pick(&base.pids, &over.pids),
            restart: pick(&base.restart, &over.restart),
            strategy: pick(&base.strategy, &over.strategy),
            volumes: merge(&base.volumes, &over.volumes),
            stop_timeout_ms: pick(&base.stop_timeout_ms, &over.stop_timeout_ms),
            variables: merge(&base.variables, &over.variables),
            secrets: pick(&base.secrets, &over.secrets),
            watch: pick(&base.watch, &over.watch),
        }
    }

    /// An environment that runs an image does not build, and the reverse.
    fn without_what_the_source_replaces(&self, over: &Self) -> Self {
        let mut base = self.clone();
        if over.image.is_some() {
            base.source = None;
            base.dockerfile = None;
            base.target = None;
            base.build_arguments.clear();
            base.push = None;
            base.push_required = None;
            base.build_timeout_ms = None;
            base.build = build::Fields::default();
        }
        if over.source.is_some() || over.dockerfile.is_some() || over.target.is_some() {
            base.image = None;
        }
        if over.build.place().is_some() {
            base.image = None;
        }
        if over.dockerfile.is_some() {
            base.build = base.build.of_dockerfiles();
        }
        base
    }
}

/// Reads the fields of a service; what is wrong is noted and left out.
pub(super) fn read(table: &DeTable<'_>, of: &str, report: &mut Report<'_>) -> Fields {
    let mut fields = Fields::default();
    for entry in entries(table) {
        match entry.name {
            "source" => {
                fields.source = report.checked(&entry, "a path, as a string", value::check_inner_path);
            }
            "dockerfile" => {
                fields.dockerfile =
                    report.checked(
                        &entry,
                        "a path, as a string",
                        |text| match value::check_inner_path(text)?.as_str() {
                            "." => Err(InvalidValue {
                                message: "this is the folder itself, not a Dockerfile".into(),
                                suggestion: Some("Dockerfile".into()),
                            }),
                            path => Ok(path.to_owned()),
                        },
                    );
            }
            "target" => fields.target = report.checked(&entry, "a string", check_target),
            "build" => fields.build = build::read(&entry, report),
            "build_timeout" => fields.build_timeout_ms = report.duration(&entry, 1000),
            "build_arguments" => {
                fields.build_arguments = report.variables(&entry, value::check_argument_name);
            }
            "image" => {
                fields.image = report.checked(&entry, "an image reference, as a string", |text| {
                    value::check_image(text).map(|()| text.to_owned())
                });
            }
            "push" => {
                fields.push = report.checked(&entry, "a repository, as a string", value::check_repository);
            }
            "push_required" => {
                fields.push_required = report.boolean(&entry).map(|value| At {
                    value,
                    at: entry.at(),
                });
            }
            "command" => fields.command = command(&entry, report),
            "release" => fields.release = command(&entry, report),
            "release_timeout" => fields.release_timeout_ms = report.duration(&entry, 1),
            "post_deploy" => fields.post_deploy = command(&entry, report),
            "after" => fields.after = report.list(&entry, MAX_SERVICES, service_name),
            "port" => fields.port = port(&entry, report),
            "protocol" => fields.protocol = report.choice(&entry, PROTOCOLS),
            "replicas" => fields.replicas = report.integer(&entry, 0..=MAX_REPLICAS),
            "domains" => fields.domains = report.list(&entry, MAX_DOMAINS, value::parse_route),
            "health" => fields.health = health(&entry, report),
            "cpu" => fields.cpu_millis = cpu(&entry, report),
            "memory" => fields.memory = memory(&entry, report),
            "pids" => fields.pids = report.integer(&entry, 1..=MAX_PIDS),
            "restart" => fields.restart = report.choice(&entry, RESTARTS),
            "strategy" => fields.strategy = report.choice(&entry, STRATEGIES),
            "volumes" => fields.volumes = volumes(&entry, report),
            "stop_timeout" => fields.stop_timeout_ms = report.duration(&entry, 0),
            "variables" => fields.variables = report.variables(&entry, value::check_variable_name),
            "secrets" => {
                fields.secrets = report.list(&entry, MAX_VARIABLES, |text| {
                    value::check_variable_name(text).map(|()| text.to_owned())
                });
            }
            "watch" => fields.watch = report.list(&entry, MAX_WATCH, value::check_watch),
            _ => report.unknown(&entry, SERVICE, of),
        }
    }
    fields
}

fn service_name(text: &str) -> Result<Name, InvalidValue> {
    text.parse().map_err(|why: crate::InvalidName| InvalidValue {
        message: format!("this cannot be the name of a service: {}", why.reason),
        suggestion: why.suggestion.map(String::from),
    })
}

fn check_target(text: &str) -> Result<String, InvalidValue> {
    let good = text.len() <= MAX_TARGET
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(text.to_owned());
    }
    Err(InvalidValue {
        message: format!(
            "a stage's name begins with a letter or digit, has only those, `_`, `.` and `-`, and {MAX_TARGET} bytes \
             at most"
        ),
        suggestion: None,
    })
}

fn command(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Option<At<Vec<String>>> {
    const EXPECTED: &str = "a string or a list of strings";
    let words = match entry.get() {
        DeValue::String(text) => value::split_command(text),
        DeValue::Array(array) => {
            let mut words = Vec::new();
            for item in array {
                let DeValue::String(word) = item.get_ref() else {
                    let item = Entry {
                        name: entry.name,
                        key: item.span(),
                        value: item,
                    };
                    report.wrong_type(&item, "a list of strings only", None);
                    return None;
                };
                words.push(word.to_string());
            }
            value::check_command(&words).map(|()| words)
        }
        _ => {
            report.wrong_type(entry, EXPECTED, None);
            return None;
        }
    };
    match words {
        Ok(value) => Some(At {
            value,
            at: entry.at(),
        }),
        Err(why) => {
            report.invalid(&entry.at(), entry.name, why);
            None
        }
    }
}

fn port(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Option<At<Option<u16>>> {
    match entry.get() {
        DeValue::Boolean(false) => Some(At {
            value: None,
            at: entry.at(),
        }),
        DeValue::Boolean(true) => {
            report.suggest(
                &entry.at(),
                "`port` is a number from 1 to 65535, or false where nothing listens",
                Some("8080"),
            );
            None
        }
        _ => number_of_port(entry, report).map(|port| At {
            value: Some(port.value),
            at: port.at,
        }),
    }
}

fn number_of_port(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Option<At<u16>> {
    let port = report.integer(entry, 1..=u32::from(u16::MAX))?;
    u16::try_from(port.value)
        .ok()
        .map(|value| At { value, at: port.at })
}

fn cpu(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Option<At<u32>> {
    let expected = format!("a number of processor cores above 0, {MAX_CPU} at most, such as 0.5");
    let cores = match entry.get() {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(f64::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::String(text) => {
            // `"0.5"`, and `"500m"` as Kubernetes has it.
            let cores = match text.trim().strip_suffix('m') {
                Some(millis) => millis.parse::<f64>().ok().map(|millis| millis / 1000.0),
                None => text.trim().parse::<f64>().ok(),
            };
            let suggestion = cores.filter(|cores| *cores > 0.0 && *cores <= f64::from(MAX_CPU));
            report.wrong_type(entry, &expected, suggestion.map(|cores| cores.to_string()));
            return None;
        }
        _ => {
            report.wrong_type(entry, &expected, None);
            return None;
        }
    };
    match cores.filter(|cores| *cores > 0.0 && *cores <= f64::from(MAX_CPU)) {
        Some(cores) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 1,024,000, checked above"
            )]
            let millis = (cores * 1000.0).round() as u32;
            Some(At {
                value: millis.max(1),
                at: entry.at(),
            })
        }
        None => {
            report.add(&entry.at(), format!("`cpu` must be {expected}"));
            None
        }
    }
}

fn memory(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Option<At<Option<Bytes>>> {
    const EXPECTED: &str = "an amount of memory such as \"512MB\" or \"1GiB\", or \"none\"";
    if let DeValue::Integer(number) = entry.get() {
        let text = number.as_str();
        // A small number was meant in megabytes, a large one in bytes.
        let unit = if text.len() > 6 { "B" } else { "MB" };
        report.wrong_type(entry, EXPECTED, Some(format!("\"{text}{unit}\"")));
        return None;
    }
    let text = report.string(entry, EXPECTED)?;
    if text == "none" {
        return Some(At {
            value: None,
            at: entry.at(),
        });
    }
    match text.parse::<Bytes>() {
        Ok(bytes) if bytes.0 >= MIN_MEMORY => Some(At {
            value: Some(bytes),
            at: entry.at(),
        }),
        Ok(_) => {
            report.suggest(
                &entry.at(),
                "`memory` must be at least 6MiB: container engines take no less",
                Some("6MiB"),
            );
            None
        }
        Err(_) => {
            let number = text.trim();
            let bare = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            report.suggest(
                &entry.at(),
                format!("`memory` must be {EXPECTED}"),
                bare.then(|| format!("{number}MB")),
            );
            None
        }
    }
}

fn volumes(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> BTreeMap<Name, At<String>> {
    let mut out: BTreeMap<Name, At<String>> = BTreeMap::new();
    let Some(table) = report.table(entry, "a table such as { data = \"/var/lib/data\" }") else {
        return out;
    };
    if table.len() > MAX_VOLUMES {
        report.add(
            &entry.key,
            format!(
                "`volumes` may have {MAX_VOLUMES} values at most, and has {}",
                table.len()
            ),
        );
        return out;
    }
    for volume in entries(table) {
        let name = report.key_name(&volume, "a volume");
        let path = report.checked(&volume, "an absolute path, as a string", value::check_mount_path);
        if let (Some(name), Some(path)) = (name, path) {
            out.insert(name.value, path);
        }
    }
    out
}

fn health(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Option<At<HealthCheck>> {
    let table = match entry.get() {
        DeValue::String(_) => {
            let path = report.checked(entry, "a path", |text| {
                value::check_request_path(text).map(|()| text.to_owned())
            })?;
            let probe = Probe::Http {
                path: path.value,
                port: None,
            };
            return Some(At {
                value: HealthCheck {
                    probe,
                    ..HealthCheck::default()
                },
                at: path.at,
            });
        }
        DeValue::Table(table) => table,
        _ => {
            report.wrong_type(entry, "a path such as \"/healthz\", or a table", None);
            return None;
        }
    };
    let mut check = HealthCheck::default();
    let mut port: Option<At<u16>> = None;
    let mut probe: Option<(Probe, &str, Range<usize>)> = None;
    for field in entries(table) {
        let found = match field.name {
            "http" => report
                .checked(&field, "a path, as a string", |text| {
                    value::check_request_path(text).map(|()| text.to_owned())
                })
                .map(|path| Probe::Http {
                    path: path.value,
                    port: None,
                }),
            "tcp" => report
                .boolean(&field)
                .and_then(|on| on.then_some(Probe::Tcp { port: None })),
            "process" => report.boolean(&field).and_then(|on| on.then_some(Probe::Process)),
            "command" => command(&field, report).map(|words| Probe::Command { command: words.value }),
            "port" => {
                port = number_of_port(&field, report);
                None
            }
            "interval" => {
                check.interval_ms = millis(report.duration(&field, MIN_PROBE_MS), check.interval_ms);
                None
            }
            "timeout" => {
                check.timeout_ms = millis(report.duration(&field, MIN_PROBE_MS), check.timeout_ms);
                None
            }
            "start_period" => {
                check.start_period_ms = millis(report.duration(&field, 0), check.start_period_ms);
                None
            }
            "retries" => {
                if let Some(retries) = report.integer(&field, 1..=MAX_RETRIES) {
                    check.retries = retries.value;
                }
                None
            }
            _ => {
                report.unknown(&field, HEALTH, "of `health`");
                None
            }
        };
        match (found, &probe) {
            (Some(_), Some((_, earlier, _))) => {
                let message = format!("`health` asks one thing, and `{earlier}` stands here already");
                report.add(&field.key, message);
            }
            (Some(found), None) => probe = Some((found, field.name, field.key.clone())),
            (None, _) => {}
        }
    }
    check.probe = match (probe.map(|(probe, ..)| probe), port) {
        (Some(Probe::Http { path, .. }), port) => Probe::Http {
            path,
            port: port.map(|p| p.value),
        },
        (Some(Probe::Tcp { .. }), port) => Probe::Tcp {
            port: port.map(|p| p.value),
        },
        (other, Some(port)) => {
            // Where `http` is there and wrong, that is the mistake.
            if !["http", "tcp"].iter().any(|key| table.contains_key(*key)) {
                report.add(&port.at, "`port` in `health` needs `http` or `tcp` beside it");
            }
            other.unwrap_or_default()
        }
        (other, None) => other.unwrap_or_default(),
    };
    Some(At {
        value: check,
        at: entry.at(),
    })
}

fn millis(read: Option<At<u64>>, otherwise: u64) -> u64 {
    read.map_or(otherwise, |read| read.value)
}
