//! Compose files: `compose.yaml` and its older names.
//! <https://docs.docker.com/reference/compose-file/>
//!
//! What has a counterpart is carried over. What has none is noted with its
//! line, and left behind where the rest is right without it. Where it would be
//! wrong without it, or would give a container rights over the machine, it is
//! a mistake.

mod dotenv;
mod fields;
mod findings;
mod interpolate;
mod load;
mod mounts;
mod ports;
mod service;
mod shared;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::load::Loader;
use self::service::Read;
use self::shared::Shared;
use super::yaml::{Node, Value};
use super::{Ask, Declared, Recorder};
use crate::manifest::limits::MAX_SERVICES;
use crate::manifest::{DEFAULT_ENVIRONMENT, Problems, shorten};
use crate::name::Name;

/// The names that a Compose file has, the first wins.
pub(super) const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// What may stand at the top of a Compose file.
const TOP: [&str; 9] = [
    "name", "version", "services", "volumes", "networks", "secrets", "configs", "include", "models",
];

/// The services of a Compose file.
///
/// # Errors
/// Every mistake in it and in the files that it names.
pub(super) fn declare(recorder: &Recorder<'_>, ask: &Ask<'_>, path: &str) -> Result<Declared, Problems> {
    let mut loader = Loader::new(recorder, ask, path);
    let root = loader.read(path);
    let environment = ask
        .environment
        .cloned()
        .or_else(|| DEFAULT_ENVIRONMENT.parse().ok());
    let Some(environment) = environment else {
        return Err(super::problem(path, "there is no environment's name".to_owned()));
    };
    let mut declared = Declared {
        project: None,
        environment,
        services: Vec::new(),
        notes: Vec::new(),
        secrets: Vec::new(),
        words: super::Words::default(),
    };
    if let Some(root) = root {
        read(&mut loader, &root, &mut declared);
    }
    for other in [
        "compose.override.yaml",
        "compose.override.yml",
        "docker-compose.override.yml",
    ] {
        if NAMES.contains(&path) && recorder.folder.has(other) {
            declared.notes.push(format!(
                "{}: this file is not read: it is mostly for development. `nonna deploy {other}` deploys it alone",
                loader.shown(other)
            ));
        }
    }
    declared.notes.extend(loader.findings.finish()?);
    let mut words = recorder.words.take();
    words.compose = Some(path.to_owned());
    // `has` is asked of the folder, not of what was read.
    declared.words = words;
    declared.services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(declared)
}

fn read(loader: &mut Loader<'_, '_>, root: &Node, declared: &mut Declared) {
    for (key, node) in root.entries() {
        match key.name.as_str() {
            "name" => match node.text().map(str::parse::<Name>) {
                Some(Ok(name)) => declared.project = Some(name),
                Some(Err(why)) => {
                    declared.project.clone_from(&why.suggestion);
                    let message = match &why.suggestion {
                        Some(name) => format!("the project is called `{name}`: {}", why.reason),
                        None => format!("this cannot be a project's name: {}", why.reason),
                    };
                    loader.findings.note(node, message);
                }
                None => loader.findings.wrong_kind(node, "name", "a name"),
            },
            "models" => loader
                .findings
                .note_at(node.file, &key.at, "`models` is not carried over"),
            name if name.starts_with("x-") => {}
            name if TOP.contains(&name) => {}
            name => loader
                .findings
                .unknown(node.file, &key.at, name, "a Compose file", TOP.into_iter()),
        }
    }
    if let Some(name) = loader
        .variable("COMPOSE_PROJECT_NAME")
        .and_then(|name| Name::slug(&name))
    {
        declared.project = Some(name);
    }
    let shared = Shared::read(loader, root);
    let Some(services) = root.get("services") else {
        loader
            .findings
            .mistake(root, "there are no `services` in this file");
        return;
    };
    let Value::Map(entries) = &services.value else {
        loader
            .findings
            .wrong_kind(services, "services", "a table of services");
        return;
    };
    if entries.is_empty() || entries.len() > MAX_SERVICES {
        loader.findings.mistake(
            services,
            format!(
                "there may be 1 to {MAX_SERVICES} services, here are {}",
                entries.len()
            ),
        );
        return;
    }
    let active = loader.variable("COMPOSE_PROFILES").unwrap_or_default();
    let active: Vec<&str> = active.split(',').map(str::trim).collect();
    let mut found: Vec<Read> = Vec::new();
    let mut names: BTreeMap<String, Name> = BTreeMap::new();
    for (key, node) in entries {
        let Some(name) = Name::slug(&key.name) else {
            loader.findings.at(
                node.file,
                &key.at,
                format!(
                    "`{}` cannot be the name of a service: no letter is in it",
                    shorten(&key.name)
                ),
                None::<String>,
            );
            continue;
        };
        if let Some((other, _)) = names.iter().find(|(_, known)| **known == name) {
            loader.findings.at(
                node.file,
                &key.at,
                format!(
                    "`{}` and `{}` would both be the service `{name}`",
                    shorten(&key.name),
                    shorten(other)
                ),
                None::<String>,
            );
            continue;
        }
        if name.as_str() != key.name {
            loader.findings.note_at(
                node.file,
                &key.at,
                format!(
                    "the service is called `{name}`; others reach it as `{}` too",
                    shorten(&key.name)
                ),
            );
        }
        names.insert(key.name.clone(), name);
    }
    for (key, node) in entries {
        let Some(name) = names.get(&key.name) else {
            continue;
        };
        let node = loader.extended(&key.name, node, services);
        if let Some(profiles) = node.get("profiles")
            && let Value::List(items) = &profiles.value
            && !items.is_empty()
            && !items
                .iter()
                .any(|item| item.text().is_some_and(|p| active.contains(&p)))
        {
            loader.findings.note_at(
                node.file,
                &key.at,
                format!(
                    "`{}` is left out: none of its `profiles` is in COMPOSE_PROFILES",
                    shorten(&key.name)
                ),
            );
            continue;
        }
        if let Some(read) = service::read(loader, &shared, &names, name, key, &node) {
            found.push(read);
        }
    }
    shared::finish(loader, &shared, found, declared);
}
