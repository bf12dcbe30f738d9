//! One service of a Compose file.

use std::collections::BTreeMap;

use super::super::yaml::{Key, Node, Value};
use super::load::Loader;
use super::shared::Shared;
use super::{fields, mounts, ports};
use crate::export::CAPABILITIES;
use crate::manifest::limits::{MAX_CPU, MAX_PIDS, MAX_REPLICAS, MIN_MEMORY};
use crate::manifest::{DeclaredPort, DeclaredSource, ServiceDeclaration, shorten, value};
use crate::name::Name;
use crate::service::{
    DEFAULT_STOP_TIMEOUT_MS, HealthCheck, HostAccess, Protocol, Resources, RestartPolicy, Strategy,
};
use crate::units::Bytes;

/// A service that was read, and what is still to be judged of it.
pub(super) struct Read {
    pub(super) service: ServiceDeclaration,
    pub(super) node: Node,
    /// Names that it gives to other services.
    pub(super) links: Vec<(Name, String)>,
    /// The services that must have ended before it starts.
    pub(super) completed: Vec<(Name, Node)>,
    /// Its volumes as the file names them.
    pub(super) volumes: Vec<(String, Node)>,
}

/// What is noted where it stands, and left behind.
const NOT_CARRIED: &[(&str, &str)] = &[
    ("annotations", ""),
    ("attach", ""),
    ("blkio_config", ""),
    ("cpu_count", "; `cpus` is"),
    ("cpu_percent", "; `cpus` is"),
    ("cpu_period", "; `cpus` is"),
    ("cpu_quota", "; `cpus` is"),
    ("cpu_rt_period", ""),
    ("cpu_rt_runtime", ""),
    ("cpu_shares", "; `cpus` is"),
    ("cpuset", ""),
    ("credential_spec", ""),
    ("develop", ""),
    (
        "dns",
        ": the environment's own names are resolved, then the machine's",
    ),
    ("dns_opt", ""),
    ("dns_search", ""),
    ("domainname", ""),
    ("external_links", ": other environments are not reached"),
    ("extra_hosts", ""),
    ("group_add", ""),
    ("isolation", ""),
    ("label_file", ""),
    ("logging", ": Nonna keeps what a service prints"),
    ("mac_address", ""),
    ("mem_reservation", ""),
    ("mem_swappiness", ""),
    ("models", ""),
    ("oom_kill_disable", ""),
    ("oom_score_adj", ""),
    ("platform", ": images run as they are on this machine"),
    ("post_start", ""),
    ("pre_stop", ""),
    ("provider", ""),
    ("pull_policy", ": `nonna deploy --pull` fetches images anew"),
    ("read_only", ": the replica's file system can be written to"),
    ("runtime", ""),
    ("shm_size", ""),
    ("stdin_open", ""),
    ("stop_signal", ": a replica is asked to end with SIGTERM"),
    ("storage_opt", ""),
    ("tmpfs", ": it is in the replica's own file system"),
    ("tty", ""),
    ("ulimits", ""),
    ("volumes_from", ": a volume belongs to one service"),
];

/// What would give a service rights over the machine.
const REFUSED: &[(&str, &str)] = &[
    ("devices", "a device of the machine is not given to a service"),
    (
        "device_cgroup_rules",
        "a device of the machine is not given to a service",
    ),
    ("gpus", "a device of the machine is not given to a service"),
    ("cgroup", "control groups are Nonna's to set"),
    ("cgroup_parent", "control groups are Nonna's to set"),
    ("sysctls", "kernel parameters are not set for a service"),
];

const HARMLESS: &[&str] = &[
    "extends",
    "profiles",
    "networks",
    "hostname",
    "container_name",
    "memswap_limit",
    "cap_drop",
    "init",
];

/// What is read here, by the name that a field has.
const KNOWN: &[&str] = &[
    "image",
    "build",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "ports",
    "expose",
    "volumes",
    "healthcheck",
    "depends_on",
    "links",
    "restart",
    "deploy",
    "scale",
    "secrets",
    "configs",
    "labels",
    "user",
    "working_dir",
    "stop_grace_period",
    "cpus",
    "mem_limit",
    "pids_limit",
    "privileged",
    "cap_add",
    "network_mode",
    "pid",
    "ipc",
    "uts",
    "userns_mode",
    "security_opt",
];

/// Reads a service whose `extends` were followed. `None`: nothing can be made
/// of it, and why is noted.
pub(super) fn read(
    loader: &mut Loader<'_, '_>,
    shared: &Shared,
    names: &BTreeMap<String, Name>,
    name: &Name,
    key: &Key,
    node: &Node,
) -> Option<Read> {
    if !matches!(node.value, Value::Map(_)) {
        loader.findings.wrong_kind(node, &shorten(&key.name), "a table");
        return None;
    }
    // Mistakes of the whole service are shown at its name.
    let place = Node {
        at: key.at.clone(),
        ..node.clone()
    };
    // Without it the rest is read all the same: every mistake comes at once.
    let source = source(loader, &place).unwrap_or_else(|| DeclaredSource::Image {
        reference: String::new(),
    });
    let mut read = Read {
        service: blank(name, source),
        node: place,
        links: Vec::new(),
        completed: Vec::new(),
        volumes: Vec::new(),
    };
    if name.as_str() != key.name {
        read.service.aliases.push(key.name.clone());
    }
    for (field, value) in node.entries() {
        one(loader, shared, names, field, value, &mut read);
    }
    read.service.port = ports::read(loader, node.get("ports"), name.as_str());
    fields::variables(loader, node, &mut read.service);
    if !read.service.volumes.is_empty() {
        // As Compose does it: two processes on one volume corrupt it.
        read.service.strategy = Strategy::Recreate;
    }
    if let Some(deploy) = node.get("deploy") {
        fields::deploy(loader, deploy, &mut read.service);
    }
    Some(read)
}

fn blank(name: &Name, source: DeclaredSource) -> ServiceDeclaration {
    ServiceDeclaration {
        name: name.clone(),
        source,
        push: None,
        command: None,
        entrypoint: None,
        user: None,
        working_directory: None,
        port: DeclaredPort::Nothing,
        protocol: Protocol::default(),
        replicas: None,
        initial_replicas: None,
        routes: Vec::new(),
        health: HealthCheck::default(),
        resources: Resources {
            // As in Compose: no limit where the file has none.
            memory: None,
            ..Resources::default()
        },
        restart: RestartPolicy::Always,
        strategy: Strategy::Rolling,
        volumes: Vec::new(),
        host: HostAccess::default(),
        files: Vec::new(),
        aliases: Vec::new(),
        release: None,
        post_deploy: None,
        after: Vec::new(),
        stop_timeout_ms: DEFAULT_STOP_TIMEOUT_MS,
        variables: BTreeMap::new(),
        required_secrets: Vec::new(),
        required_variables: Vec::new(),
        withheld_secrets: Vec::new(),
        watch: Vec::new(),
    }
}

fn source(loader: &mut Loader<'_, '_>, node: &Node) -> Option<DeclaredSource> {
    if let Some(build) = node.get("build") {
        return fields::build(loader, build);
    }
    let Some(image) = node.get("image") else {
        loader
            .findings
            .mistake(node, "a service needs an `image` or a `build`");
        return None;
    };
    let Some(text) = image.text() else {
        loader.findings.wrong_kind(image, "image", "an image reference");
        return None;
    };
    match value::check_image(text) {
        Ok(()) => Some(DeclaredSource::Image {
            reference: text.to_owned(),
        }),
        Err(why) => {
            loader.findings.invalid(image, "image", why);
            None
        }
    }
}

/// One field.
fn one(
    loader: &mut Loader<'_, '_>,
    shared: &Shared,
    names: &BTreeMap<String, Name>,
    key: &Key,
    node: &Node,
    read: &mut Read,
) {
    let name = key.name.as_str();
    let service = &mut read.service;
    match name {
        // Read where their parts come together; `expose` needs nothing.
        "build" | "ports" | "environment" | "env_file" | "deploy" | "extends" | "profiles" | "expose" => {}
        "image" => {
            if matches!(service.source, DeclaredSource::Folder { .. }) {
                loader.findings.note(
                    node,
                    "`image` beside `build` is not carried over: Nonna names what it builds itself",
                );
            }
        }
        "command" => service.command = fields::command(loader, node, name),
        "entrypoint" => service.entrypoint = fields::command(loader, node, name),
        "user" => service.user = fields::plain(loader, node, name),
        "working_dir" => {
            service.working_directory = fields::plain(loader, node, name).filter(|path| {
                let good = path.starts_with('/');
                if !good {
                    loader.findings.mistake(node, "`working_dir` is an absolute path");
                }
                good
            });
        }
        "volumes" => mounts::volumes(loader, shared, node, read),
        "secrets" => mounts::secrets(loader, shared, node, read),
        "configs" => mounts::configs(loader, shared, node, read),
        "healthcheck" => {
            if let Some(health) = fields::health(loader, node) {
                service.health = health;
            }
        }
        "depends_on" => depends_on(loader, names, node, read),
        "links" => links(loader, names, node, read),
        "restart" => service.restart = fields::restart(loader, node),
        "scale" => service.replicas = fields::whole(loader, node, name, u64::from(MAX_REPLICAS)),
        "stop_grace_period" => {
            if let Some(millis) = fields::duration(loader, node, name) {
                service.stop_timeout_ms = millis;
            }
        }
        "cpus" => service.resources.cpu_millis = fields::cpus(loader, node, name, MAX_CPU),
        "mem_limit" => service.resources.memory = fields::bytes(loader, node, name, MIN_MEMORY),
        "pids_limit" => {
            if node.text() != Some("-1")
                && let Some(pids) = fields::whole(loader, node, name, u64::from(MAX_PIDS))
            {
                service.resources.pids = pids.max(1);
            }
        }
        "labels" => loader.findings.note(
            node,
            "`labels` are not carried over; a proxy's routes among them are `domains` in Nonna: `nonna domain add`",
        ),
        "networks" => networks(loader, node, read),
        "hostname" | "container_name" => {
            if let Some(text) = node.text() {
                fields::alias(loader, node, text, service);
            }
        }
        "init" => {
            if node.text() == Some("false") {
                loader
                    .findings
                    .note(node, "`init: false` is not carried over: a small first process passes signals on");
            }
        }
        "privileged" => {
            if node.text() == Some("true") {
                service.host.privileged = true;
                loader.findings.note(
                    node,
                    "a privileged container has the whole machine: it runs only on a server whose setting `allow_privileged` is `on`",
                );
            } else if !is_nothing(node) {
                loader.findings.wrong_kind(node, name, "`true` or `false`");
            }
        }
        _ if rights(loader, name, node) => {}
        _ => {
            if let Some((_, why)) = REFUSED.iter().find(|(known, _)| *known == name) {
                if !is_nothing(node) {
                    loader.findings.mistake(node, format!("`{name}`: {why}"));
                }
            } else if let Some((_, more)) = NOT_CARRIED.iter().find(|(known, _)| *known == name) {
                if !is_nothing(node) {
                    loader
                        .findings
                        .note_at(node.file, &key.at, format!("`{name}` is not carried over{more}"));
                }
            } else if !HARMLESS.contains(&name) && !name.starts_with("x-") {
                let known = KNOWN
                    .iter()
                    .chain(HARMLESS)
                    .copied()
                    .chain(NOT_CARRIED.iter().chain(REFUSED).map(|(known, _)| *known));
                loader
                    .findings
                    .unknown(node.file, &key.at, name, "a service of a Compose file", known);
            }
        }
    }
}

/// Whether a field says nothing: it is empty, or false.
fn is_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar { text, .. } => matches!(text.as_str(), "" | "false" | "0"),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

/// Fields by which a service would get rights over the machine. Whether it is
/// one of them.
fn rights(loader: &mut Loader<'_, '_>, name: &str, node: &Node) -> bool {
    let text = node.text().unwrap_or_default();
    let refused = match name {
        "network_mode" => match text {
            "bridge" | "default" => None,
            "host" => Some("a service does not get the machine's own network: publish its port with `ports`"),
            _ => Some("a service is in its environment's network, and in no other's"),
        },
        "pid" | "ipc" | "uts" | "userns_mode" => match text {
            "" | "private" | "shareable" => None,
            _ => Some("a service has namespaces of its own, and none of the machine's"),
        },
        "cap_add" => {
            if let Value::List(items) = &node.value {
                for item in items {
                    let capability = item.text().unwrap_or_default().trim_start_matches("CAP_");
                    if !CAPABILITIES.contains(&capability) {
                        loader.findings.mistake(
                            item,
                            format!(
                                "the capability `{}` is not given: a service has {}",
                                shorten(capability),
                                CAPABILITIES.join(", ")
                            ),
                        );
                    }
                }
            }
            None
        }
        "security_opt" => {
            if let Value::List(items) = &node.value {
                for item in items {
                    let option = item.text().unwrap_or_default();
                    if !matches!(
                        option,
                        "no-new-privileges:true" | "no-new-privileges" | "no-new-privileges=true"
                    ) {
                        loader.findings.mistake(
                            item,
                            "what keeps a container from the machine is not lifted: leave `security_opt` out",
                        );
                    }
                }
            }
            None
        }
        _ => return false,
    };
    if let Some(why) = refused {
        loader.findings.mistake(node, format!("`{name}`: {why}"));
    }
    true
}

fn other(
    loader: &mut Loader<'_, '_>,
    names: &BTreeMap<String, Name>,
    node: &Node,
    at: &std::ops::Range<usize>,
    text: &str,
    required: bool,
) -> Option<Name> {
    let found = names.get(text).cloned();
    if found.is_none() && required {
        let near = crate::manifest::nearest(text, names.keys());
        loader.findings.at(
            node.file,
            at,
            format!("there is no service `{}`", shorten(text)),
            near,
        );
    }
    found
}

fn depends_on(loader: &mut Loader<'_, '_>, names: &BTreeMap<String, Name>, node: &Node, read: &mut Read) {
    match &node.value {
        Value::List(items) => {
            for item in items {
                let text = item.text().unwrap_or_default();
                if let Some(name) = other(loader, names, item, &item.at, text, true) {
                    read.service.after.push(name);
                }
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                let required = value.get("required").and_then(Node::text) != Some("false");
                let Some(name) = other(loader, names, value, &key.at, &key.name, required) else {
                    continue;
                };
                match value.get("condition").and_then(Node::text) {
                    // Replicas that start are always waited for until healthy.
                    None | Some("service_started" | "service_healthy") => read.service.after.push(name),
                    Some("service_completed_successfully") => read.completed.push((name, value.clone())),
                    Some(word) => {
                        let near = crate::manifest::nearest(
                            word,
                            [
                                "service_started",
                                "service_healthy",
                                "service_completed_successfully",
                            ]
                            .iter(),
                        );
                        loader
                            .findings
                            .suggest(value, format!("`{}` is no condition", shorten(word)), near);
                    }
                }
                if value.get("restart").and_then(Node::text) == Some("true") {
                    loader.findings.note(
                        value,
                        "`restart` of `depends_on` is not carried over: a service is not restarted with another",
                    );
                }
            }
        }
        Value::Null => {}
        Value::Scalar { .. } => loader
            .findings
            .wrong_kind(node, "depends_on", "a list or a table"),
    }
}

fn links(loader: &mut Loader<'_, '_>, names: &BTreeMap<String, Name>, node: &Node, read: &mut Read) {
    let Value::List(items) = &node.value else { return };
    for item in items {
        let text = item.text().unwrap_or_default();
        let (to, alias) = text.split_once(':').unwrap_or((text, text));
        let Some(name) = other(loader, names, item, &item.at, to, true) else {
            continue;
        };
        read.service.after.push(name.clone());
        if alias != name.as_str() && fields::is_host_name(alias) {
            read.links.push((name, alias.to_owned()));
        }
    }
}

fn networks(loader: &mut Loader<'_, '_>, node: &Node, read: &mut Read) {
    // That there is one network for all is noted where they are declared.
    for (_, network) in node.entries() {
        for (key, value) in network.entries() {
            match (key.name.as_str(), &value.value) {
                ("aliases", Value::List(items)) => {
                    for item in items {
                        let text = item.text().unwrap_or_default().to_owned();
                        fields::alias(loader, item, &text, &mut read.service);
                    }
                }
                (name, _) if name.starts_with("x-") => {}
                (name, _) => loader.findings.note(
                    value,
                    format!("`{}` of a network is not carried over", shorten(name)),
                ),
            }
        }
    }
}

/// An amount of memory in bytes, as Compose writes it: `512m`, `1g`, `2gb`;
/// the units count in 1,024s.
pub(super) fn memory(text: &str) -> Option<Bytes> {
    let text = text.trim().to_ascii_lowercase();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let bytes = number * factor as f64;
    if !(bytes.is_finite() && (0.0..1e16).contains(&bytes)) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1e16, checked above"
    )]
    let bytes = bytes as u64;
    Some(Bytes(bytes))
}
