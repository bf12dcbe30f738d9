//! What services of a Compose file share: volumes, secrets, configs, networks;
//! and what can only be judged when all services are seen together.

use std::collections::BTreeMap;

use super::super::yaml::{Node, Value};
use super::super::{Declared, SecretFrom, SecretSource};
use super::load::Loader;
use super::service::Read;
use crate::manifest::limits::MAX_VARIABLE_VALUE;
use crate::manifest::{DeclaredSource, shorten};
use crate::name::Name;

/// What is declared beside the services.
pub(super) struct Shared {
    /// Secrets by their name in the file.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// Configs by their name in the file: their texts.
    pub(super) configs: BTreeMap<String, String>,
    /// The names of volumes.
    pub(super) volumes: Vec<String>,
}

/// A secret.
pub(super) struct Secret {
    /// Its name in Nonna: one that a variable could have.
    pub(super) name: String,
    /// Where its value comes from; `None`: it is set by hand.
    from: Option<SecretFrom>,
}

impl Shared {
    pub(super) fn read(loader: &mut Loader<'_, '_>, root: &Node) -> Self {
        let mut shared = Self {
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
            volumes: Vec::new(),
        };
        for (name, node) in section(loader, root, "volumes") {
            volume(loader, &node);
            shared.volumes.push(name);
        }
        for (_, node) in section(loader, root, "networks") {
            loader.findings.note(
                &node,
                "`networks` are not carried over: all services of an environment share one private network, and \
                 nothing else reaches it",
            );
        }
        for (name, node) in section(loader, root, "secrets") {
            if let Some(secret) = secret(loader, &name, &node) {
                if let Some((other, _)) = shared.secrets.iter().find(|(_, known)| known.name == secret.name) {
                    loader.findings.mistake(
                        &node,
                        format!(
                            "`{}` and `{}` would both be the secret {}",
                            shorten(&name),
                            shorten(other),
                            secret.name
                        ),
                    );
                }
                shared.secrets.insert(name, secret);
            }
        }
        for (name, node) in section(loader, root, "configs") {
            if let Some(text) = config(loader, &name, &node) {
                shared.configs.insert(name, text);
            }
        }
        shared
    }
}

fn section(loader: &mut Loader<'_, '_>, root: &Node, name: &str) -> Vec<(String, Node)> {
    let Some(node) = root.get(name) else {
        return Vec::new();
    };
    match &node.value {
        Value::Null => Vec::new(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.name.clone(), value.clone()))
            .collect(),
        _ => {
            loader.findings.wrong_kind(node, name, "a table");
            Vec::new()
        }
    }
}

fn volume(loader: &mut Loader<'_, '_>, node: &Node) {
    for (key, value) in node.entries() {
        match (key.name.as_str(), value.text()) {
            ("name" | "labels", _) | ("external", Some("false")) | ("driver", Some("local")) => {}
            ("external", _) => loader.findings.note(
                value,
                "an `external` volume is not carried over: a new, empty one is made",
            ),
            ("driver" | "driver_opts", _) => loader.findings.note(
                value,
                format!(
                    "`{}` of a volume is not carried over: it is kept on this machine",
                    key.name
                ),
            ),
            (name, _) if name.starts_with("x-") => {}
            (name, _) => loader.findings.unknown(
                value.file,
                &key.at,
                name,
                "a volume",
                ["name", "external", "driver", "driver_opts", "labels"].into_iter(),
            ),
        }
    }
}

/// A name that a variable, and so a secret, may have.
fn secret_name(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

fn secret(loader: &mut Loader<'_, '_>, name: &str, node: &Node) -> Option<Secret> {
    let mut from = None;
    let mut is_external = false;
    for (key, value) in node.entries() {
        match (key.name.as_str(), value.text()) {
            ("file", Some(_)) => {
                let path = loader.path(value, "file")?;
                from = Some(SecretFrom::File { path });
            }
            ("environment", Some(variable)) => {
                from = Some(SecretFrom::Variable {
                    name: variable.to_owned(),
                });
            }
            ("external", Some("true")) => is_external = true,
            ("external" | "name" | "labels", _) => {}
            ("driver" | "driver_opts" | "template_driver", _) => loader
                .findings
                .note(value, format!("`{}` of a secret is not carried over", key.name)),
            (other, _) if other.starts_with("x-") => {}
            (other, _) => loader.findings.unknown(
                value.file,
                &key.at,
                other,
                "a secret",
                ["file", "environment", "external", "name", "labels"].into_iter(),
            ),
        }
    }
    if from.is_none() && !is_external {
        loader.findings.mistake(
            node,
            format!(
                "the secret `{}` needs a `file`, an `environment` or `external: true`",
                shorten(name)
            ),
        );
        return None;
    }
    let secret = Secret {
        name: secret_name(name),
        from,
    };
    if secret.name != name {
        loader.findings.note(
            node,
            format!(
                "the secret `{}` is called {} in Nonna",
                shorten(name),
                secret.name
            ),
        );
    }
    if is_external {
        loader.findings.note(
            node,
            format!(
                "the value of this secret is kept elsewhere: `nonna secret set {}` sets it here",
                secret.name
            ),
        );
    }
    Some(secret)
}

fn config(loader: &mut Loader<'_, '_>, name: &str, node: &Node) -> Option<String> {
    let mut text = None;
    for (key, value) in node.entries() {
        match (key.name.as_str(), value.text()) {
            ("content", Some(content)) => text = Some(content.to_owned()),
            ("environment", Some(variable)) => match loader.variable(variable) {
                Some(value) => text = Some(value),
                None => {
                    let words = format!("the variable `{}` is not set", shorten(variable));
                    loader.findings.mistake(value, words);
                }
            },
            ("file", Some(_)) => {
                let path = loader.path(value, "file")?;
                match loader.recorder.text(&path) {
                    Ok(Some(content)) => text = Some(content),
                    Ok(None) => loader
                        .findings
                        .mistake(value, format!("there is no file `{}`", shorten(&path))),
                    Err(problems) => loader.findings.extend(problems),
                }
            }
            ("name" | "labels", _) => {}
            ("external", _) => loader.findings.mistake(
                value,
                "an `external` config is kept where Nonna cannot read it: give it a `file` or `content`",
            ),
            (other, _) if other.starts_with("x-") => {}
            (other, _) => loader.findings.unknown(
                value.file,
                &key.at,
                other,
                "a config",
                ["file", "content", "environment", "name", "labels"].into_iter(),
            ),
        }
    }
    if text.as_ref().is_some_and(|text| text.len() > MAX_VARIABLE_VALUE) {
        loader.findings.mistake(
            node,
            format!(
                "the config `{}` has more than {MAX_VARIABLE_VALUE} bytes: put it into the image",
                shorten(name)
            ),
        );
        return None;
    }
    text
}

/// Puts the services together: who waits for whom, what runs only once, which
/// secrets each is given.
pub(super) fn finish(
    loader: &mut Loader<'_, '_>,
    shared: &Shared,
    found: Vec<Read>,
    declared: &mut Declared,
) {
    let mut found = run_once(loader, found);
    check_waits(loader, &mut found);
    for (of, alias) in found
        .iter()
        .flat_map(|read| read.links.clone())
        .collect::<Vec<_>>()
    {
        if let Some(read) = found.iter_mut().find(|read| read.service.name == of)
            && !read.service.aliases.contains(&alias)
        {
            read.service.aliases.push(alias);
        }
    }
    check_names(loader, &found);
    check_volumes(loader, &found);
    let used: Vec<&str> = found
        .iter()
        .flat_map(|read| &read.service.required_secrets)
        .map(String::as_str)
        .collect();
    for secret in shared
        .secrets
        .values()
        .filter(|secret| used.contains(&secret.name.as_str()))
    {
        if let Some(from) = &secret.from {
            declared.secrets.push(SecretSource {
                name: secret.name.clone(),
                from: from.clone(),
            });
        }
    }
    for read in &mut found {
        read.service.withheld_secrets = shared
            .secrets
            .values()
            .map(|secret| secret.name.clone())
            .filter(|name| !read.service.required_secrets.contains(name))
            .collect();
    }
    declared.services = found.into_iter().map(|read| read.service).collect();
}

/// A service that others wait for until it has ended is a command that runs
/// before them: where it is the same code, their release command.
fn run_once(loader: &mut Loader<'_, '_>, mut found: Vec<Read>) -> Vec<Read> {
    let ends: Vec<Name> = found
        .iter()
        .flat_map(|read| &read.completed)
        .map(|(name, _)| name.clone())
        .collect();
    let mut once: Vec<Read> = Vec::new();
    for name in ends {
        if let Some(at) = found.iter().position(|read| read.service.name == name) {
            once.push(found.remove(at));
        }
    }
    for job in once {
        let wants = |read: &Read| read.completed.iter().any(|(name, _)| *name == job.service.name);
        let same = |read: &Read| wants(read) && is_same_code(read, &job);
        let words = job.service.command.clone();
        match (found.iter().position(same), words) {
            (Some(at), Some(command)) if job.service.entrypoint.is_none() => {
                if let Some(read) = found.get_mut(at) {
                    loader.findings.note(
                        &job.node,
                        format!(
                            "`{}` is no service of its own: its command runs before each release of `{}`, with the \
                             variables of that service",
                            job.service.name, read.service.name
                        ),
                    );
                    read.service.release = Some(crate::service::JobSpec {
                        command,
                        timeout_ms: crate::service::DEFAULT_JOB_TIMEOUT_MS,
                    });
                    for name in &job.service.after {
                        if !read.service.after.contains(name) && *name != read.service.name {
                            read.service.after.push(name.clone());
                        }
                    }
                }
            }
            _ => loader.findings.mistake(
                &job.node,
                format!(
                    "`{}` is to end before others start, which only a `command` of the same image or build can: make \
                     it one, or leave it out and run it with `nonna run`",
                    job.service.name
                ),
            ),
        }
    }
    found
}

fn is_same_code(a: &Read, b: &Read) -> bool {
    match (&a.service.source, &b.service.source) {
        (DeclaredSource::Image { reference: a }, DeclaredSource::Image { reference: b }) => a == b,
        (a, b) => a == b,
    }
}

/// Every service that is waited for is there, and none waits for itself.
fn check_waits(loader: &mut Loader<'_, '_>, found: &mut [Read]) {
    let waits: BTreeMap<Name, Vec<Name>> = found
        .iter()
        .map(|read| (read.service.name.clone(), read.service.after.clone()))
        .collect();
    for read in found {
        let mut kept = Vec::new();
        for name in &read.service.after {
            let Some(further) = waits.get(name) else {
                // It is left out by its profile, or is not required.
                continue;
            };
            let mut reached: Vec<&Name> = further.iter().collect();
            let mut at = 0;
            while let Some(next) = reached.get(at).copied() {
                at += 1;
                for more in waits.get(next).into_iter().flatten() {
                    if !reached.contains(&more) {
                        reached.push(more);
                    }
                }
            }
            if reached.contains(&&read.service.name) || *name == read.service.name {
                loader.findings.mistake(
                    &read.node,
                    format!("`{}` waits for `{name}`, which waits for it", read.service.name),
                );
            } else if !kept.contains(name) {
                kept.push(name.clone());
            }
        }
        read.service.after = kept;
    }
}

/// No two services are reached by one name.
fn check_names(loader: &mut Loader<'_, '_>, found: &[Read]) {
    for read in found {
        for alias in &read.service.aliases {
            let taken = found.iter().find(|other| {
                other.service.name != read.service.name
                    && (other.service.name.as_str() == alias || other.service.aliases.contains(alias))
            });
            if let Some(other) = taken {
                loader.findings.mistake(
                    &read.node,
                    format!(
                        "`{}` and `{}` would both be reached as `{}`",
                        read.service.name,
                        other.service.name,
                        shorten(alias)
                    ),
                );
            }
        }
    }
}

/// A volume belongs to one service.
fn check_volumes(loader: &mut Loader<'_, '_>, found: &[Read]) {
    let mut seen: BTreeMap<&str, &Name> = BTreeMap::new();
    for read in found {
        for (volume, node) in &read.volumes {
            match seen.get(volume.as_str()) {
                Some(other) if **other != read.service.name => loader.findings.mistake(
                    node,
                    format!(
                        "the volume `{}` is `{other}`'s already: a volume belongs to one service. Let the other ask \
                         it over the network, or keep what both need in a database or an object store",
                        shorten(volume)
                    ),
                ),
                _ => {
                    seen.insert(volume, &read.service.name);
                }
            }
        }
    }
}
