//! Reading what stands at the top of the file, and the environments.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::fields::{ENVIRONMENT, TOP};
use super::limits::{MAX_ENVIRONMENTS, MAX_SERVICES};
use super::problem::Report;
use super::reader::{Entry, entries, nearest};
use super::{At, Base, DEFAULT_SERVICE, Manifest, Overrides, build, service, value};
use crate::name::Name;

/// Reads the whole file. `whole` is false where parts of it were lost, so that
/// nothing that seems missing is complained of.
pub(super) fn read(root: &DeTable<'_>, whole: bool, base: &Base, report: &mut Report<'_>) -> Manifest {
    let mut manifest = Manifest::default();
    let mut environments = None;
    let mut declared = Some(Vec::new());
    for entry in entries(root) {
        match entry.name {
            "project" => manifest.project = report.name(&entry).map(|name| name.value),
            "environment" => manifest.environment = report.name(&entry).map(|name| name.value),
            "variables" => manifest.variables = plain(report.variables(&entry, value::check_variable_name)),
            "build" => manifest.build = build::read(&entry, report),
            "services" => {
                let read = services(&entry, "", report);
                declared = read.declared;
                manifest.services = read.services;
            }
            "environments" => environments = Some(entry),
            _ => report.unknown(&entry, TOP, "at the top of the file"),
        }
    }
    if let Some(declared) = &mut declared {
        // Process types are services that stand in another file.
        declared.extend(base.services.iter().map(|service| service.name.to_string()));
    }
    if let Some(entry) = environments
        && let Some(table) = report.table(&entry, "a table of environments")
    {
        if table.len() > MAX_ENVIRONMENTS {
            let message = format!(
                "there may be {MAX_ENVIRONMENTS} environments at most, here are {}",
                table.len()
            );
            report.add(&entry.key, message);
        }
        for environment in entries(table).iter().take(MAX_ENVIRONMENTS) {
            let name = report.key_name(environment, "an environment");
            let known = declared.as_deref().filter(|_| whole);
            let overrides = overrides(environment, known, report);
            check_branch(&overrides, &manifest, report);
            if let Some(name) = name {
                manifest.environments.insert(name.value, overrides);
            }
        }
    }
    manifest
}

struct Services {
    services: BTreeMap<Name, service::Fields>,
    /// Their names, with those that were refused: these are reported once,
    /// not again wherever an environment mentions them. `None`: not known.
    declared: Option<Vec<String>>,
}

fn services(entry: &Entry<'_, '_>, of: &str, report: &mut Report<'_>) -> Services {
    let mut out = Services {
        services: BTreeMap::new(),
        declared: None,
    };
    let Some(table) = report.table(entry, "a table of services, such as [services.web]") else {
        return out;
    };
    if table.len() > MAX_SERVICES {
        report.add(
            &entry.key,
            format!(
                "there may be {MAX_SERVICES} services at most, here are {}",
                table.len()
            ),
        );
    } else {
        out.declared = Some(entries(table).iter().map(|one| one.name.to_owned()).collect());
    }
    for one in entries(table).iter().take(MAX_SERVICES) {
        let name = report.key_name(one, "a service");
        let fields = report.table(one, "a table of a service's fields").map(|table| {
            service::read(
                table,
                &format!("of service `{}`{of}", super::problem::shorten(one.name)),
                report,
            )
        });
        if let (Some(name), Some(fields)) = (name, fields) {
            out.services.insert(name.value, fields);
        }
    }
    out
}

fn overrides(entry: &Entry<'_, '_>, known: Option<&[String]>, report: &mut Report<'_>) -> Overrides {
    let mut out = Overrides::default();
    let Some(table) = report.table(entry, "a table of what differs in the environment") else {
        return out;
    };
    for field in entries(table) {
        match field.name {
            "branch" => out.branch = report.checked(&field, "a branch, as a string", value::check_branch),
            "variables" => out.variables = plain(report.variables(&field, value::check_variable_name)),
            "services" => {
                out.services = services(&field, " in an environment", report).services;
                let (Some(known), super::reader::Value::Table(table)) = (known, field.get()) else {
                    continue;
                };
                for one in entries(table).iter().take(MAX_SERVICES) {
                    check_declared(one, known, report);
                }
            }
            _ => report.unknown(&field, ENVIRONMENT, "of an environment"),
        }
    }
    out
}

/// A branch leads to one environment.
fn check_branch(overrides: &Overrides, before: &Manifest, report: &mut Report<'_>) {
    if let Some(branch) = &overrides.branch
        && let Some(other) = before.environment_of_branch(&branch.value)
    {
        report.add(
            &branch.at,
            format!(
                "the environment `{other}` follows this branch already: a branch leads to one environment"
            ),
        );
    }
}

/// An environment changes services; it does not add any.
fn check_declared(one: &Entry<'_, '_>, known: &[String], report: &mut Report<'_>) {
    let Ok(name) = one.name.parse::<Name>() else {
        return;
    };
    if known.is_empty() && one.name == DEFAULT_SERVICE || known.iter().any(|known| known == one.name) {
        return;
    }
    if report.is_full() {
        return;
    }
    let near = if known.is_empty() {
        Some(DEFAULT_SERVICE.to_owned())
    } else {
        nearest(one.name, known.iter().map(String::as_str))
    };
    report.suggest(
        &one.key,
        format!(
            "there is no service `{name}` for an environment to change: declare it under `[services.{name}]`"
        ),
        near,
    );
}

/// The variables without their places.
fn plain(variables: BTreeMap<String, At<String>>) -> BTreeMap<String, String> {
    variables
        .into_iter()
        .map(|(name, value)| (name, value.value))
        .collect()
}
