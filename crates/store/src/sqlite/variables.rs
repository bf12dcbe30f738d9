//! Variables and secrets, by owner; the nearest wins.

use std::collections::{BTreeMap, BTreeSet};

use nonna_engine::{Code, Error};
use nonna_model::ServiceId;
use nonna_model::plan::Scope;
use rusqlite::{Connection, Row, params};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::fail::Inner;
use super::places;
use super::row::{all, count, get, one, run, signed};
use crate::records::{MergedVariables, Owner, Variable, VariableValue, VariablesChange};
use crate::seal::{Purpose, Sealer};

const COLUMNS: &str = "SELECT owner, name, plain, secret, updated_at, updated_by FROM variables";

fn read_value(row: &Row<'_>) -> Inner<VariableValue> {
    Ok(match get::<Option<String>>(row, "plain")? {
        Some(plain) => VariableValue::Plain(plain),
        None => VariableValue::Secret(count(row, "secret")?),
    })
}

pub(super) fn list(connection: &Connection, owner: &Owner) -> Inner<Vec<Variable>> {
    all(
        connection,
        &format!("{COLUMNS} WHERE owner = ?1 ORDER BY name"),
        params![owner.id()],
        |row| {
            Ok(Variable {
                owner: owner.clone(),
                name: get(row, "name")?,
                value: read_value(row)?,
                updated_at: get(row, "updated_at")?,
                updated_by: get(row, "updated_by")?,
            })
        },
    )
}

pub(super) fn merged(connection: &Connection, scope: &Scope, service: &ServiceId) -> Inner<MergedVariables> {
    let mut nearest: BTreeMap<String, VariableValue> = BTreeMap::new();
    for owner in Owner::seen_by(scope, service) {
        nearest.extend(
            list(connection, &owner)?
                .into_iter()
                .map(|variable| (variable.name, variable.value)),
        );
    }
    let mut merged = MergedVariables::default();
    for (name, value) in nearest {
        match value {
            VariableValue::Plain(plain) => {
                merged.variables.insert(name, plain);
            }
            VariableValue::Secret(version) => {
                merged.secrets.insert(name, version);
            }
        }
    }
    Ok(merged)
}

fn current(connection: &Connection, owner: &Owner, name: &str) -> Inner<Option<VariableValue>> {
    one(
        connection,
        &format!("{COLUMNS} WHERE owner = ?1 AND name = ?2"),
        params![owner.id(), name],
        read_value,
    )
}

fn check_owner(connection: &Connection, owner: &Owner) -> Inner<()> {
    let sql = match owner {
        Owner::Organization(_) => "SELECT 1 FROM organizations WHERE id = ?1",
        Owner::Project(_) => "SELECT 1 FROM projects WHERE id = ?1",
        Owner::Environment(_) => "SELECT 1 FROM environments WHERE id = ?1",
        Owner::Service(_) => "SELECT 1 FROM services WHERE id = ?1",
    };
    one(connection, sql, params![owner.id()], |_| Ok(()))?.ok_or_else(|| {
        Error::user(
            Code::NotFound,
            format!("There is no {} {}.", owner.scope(), owner.id()),
        )
        .into()
    })
}

pub(super) fn change(
    connection: &Connection,
    now: i64,
    sealer: &Sealer,
    change: &VariablesChange,
) -> Inner<Vec<String>> {
    check_owner(connection, &change.owner)?;
    let mut changed = BTreeSet::new();
    for (name, value) in &change.set {
        let before = current(connection, &change.owner, name)?;
        if matches!(&before, Some(VariableValue::Plain(old)) if old == value) {
            continue;
        }
        replace(connection, now, &change.owner, name)?;
        put(connection, now, change, name, Some(value), None)?;
        changed.insert(name.clone());
    }
    for (name, value) in &change.set_secrets {
        if let Some(VariableValue::Secret(version)) = current(connection, &change.owner, name)? {
            let old = open_version(connection, sealer, change.owner.id(), name, version)?;
            if old.is_some_and(|old| same(&old, value)) {
                continue;
            }
        }
        replace(connection, now, &change.owner, name)?;
        let version = seal_version(connection, now, sealer, &change.owner, name, value)?;
        put(connection, now, change, name, None, Some(version))?;
        changed.insert(name.clone());
    }
    for name in &change.unset {
        if current(connection, &change.owner, name)?.is_some() {
            replace(connection, now, &change.owner, name)?;
            run(
                connection,
                "DELETE FROM variables WHERE owner = ?1 AND name = ?2",
                params![change.owner.id(), name],
            )?;
            changed.insert(name.clone());
        }
    }
    Ok(changed.into_iter().collect())
}

fn same(old: &SecretString, new: &SecretString) -> bool {
    let (old, new) = (old.expose_secret().as_bytes(), new.expose_secret().as_bytes());
    aws_lc_rs::constant_time::verify_slices_are_equal(old, new).is_ok()
}

/// Notes that the current version, if the name is a secret's, is so no more.
fn replace(connection: &Connection, now: i64, owner: &Owner, name: &str) -> Inner<()> {
    run(
        connection,
        "UPDATE secret_versions SET replaced_at = ?3 WHERE owner = ?1 AND name = ?2 AND replaced_at IS NULL",
        params![owner.id(), name, now],
    )?;
    Ok(())
}

fn put(
    connection: &Connection,
    now: i64,
    change: &VariablesChange,
    name: &str,
    plain: Option<&str>,
    secret: Option<u64>,
) -> Inner<()> {
    run(
        connection,
        "INSERT INTO variables (owner, name, plain, secret, updated_at, updated_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (owner, name) DO UPDATE SET plain = excluded.plain, secret = excluded.secret,
             updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        params![
            change.owner.id(),
            name,
            plain,
            secret.map(signed),
            now,
            change.actor
        ],
    )?;
    Ok(())
}

fn seal_version(
    connection: &Connection,
    now: i64,
    sealer: &Sealer,
    owner: &Owner,
    name: &str,
    value: &SecretString,
) -> Inner<u64> {
    let version = one(
        connection,
        "INSERT INTO counters (name, value) VALUES ('secret_version', 1)
         ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value",
        [],
        |row| count(row, "value"),
    )?
    .ok_or_else(|| Error::bug("A counter gave no number."))?;
    let purpose = Purpose::Secret {
        owner: owner.id(),
        name,
        version,
    };
    let sealed = sealer.seal(purpose, value.expose_secret().as_bytes())?;
    run(
        connection,
        "INSERT INTO secret_versions (version, owner, name, sealed, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![signed(version), owner.id(), name, sealed, now],
    )?;
    Ok(version)
}

fn open_version(
    connection: &Connection,
    sealer: &Sealer,
    owner: &str,
    name: &str,
    version: u64,
) -> Inner<Option<SecretString>> {
    let sealed: Option<Vec<u8>> = one(
        connection,
        "SELECT sealed FROM secret_versions WHERE version = ?1 AND owner = ?2 AND name = ?3",
        params![signed(version), owner, name],
        |row| get(row, "sealed"),
    )?;
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    let plain = sealer.open(Purpose::Secret { owner, name, version }, &sealed)?;
    let text = std::str::from_utf8(&plain)
        .map_err(|_| Error::bug("A secret that was sealed as text opens as something else."))?;
    Ok(Some(SecretString::from(text)))
}

pub(super) fn open_current(
    connection: &Connection,
    sealer: &Sealer,
    owner: &Owner,
    name: &str,
) -> Inner<Option<SecretString>> {
    match current(connection, owner, name)? {
        Some(VariableValue::Secret(version)) => {
            match open_version(connection, sealer, owner.id(), name, version)? {
                Some(value) => Ok(Some(value)),
                None => Err(missing(name).into()),
            }
        }
        _ => Ok(None),
    }
}

fn missing(name: &str) -> Error {
    Error::user(
        Code::MissingSecret,
        format!("The secret {name} is not there any more in the version that the release wants."),
    )
    .hint(format!("Set it again with `nonna secret set {name}`."))
}

/// Opens a release's secrets. A version only opens for a service that sees its
/// owner.
pub(super) fn open_for(
    connection: &Connection,
    sealer: &Sealer,
    service: &ServiceId,
    versions: &BTreeMap<String, u64>,
) -> Inner<BTreeMap<String, SecretString>> {
    let mut opened = BTreeMap::new();
    if versions.is_empty() {
        return Ok(opened);
    }
    let scope = places::scope_of(connection, service)?
        .ok_or_else(|| Error::user(Code::NotFound, format!("There is no service {service}.")))?;
    let owners = Owner::seen_by(&scope, service);
    for (name, version) in versions {
        let mut value = None;
        for owner in &owners {
            if value.is_none() {
                value = open_version(connection, sealer, owner.id(), name, *version)?;
            }
        }
        opened.insert(name.clone(), value.ok_or_else(|| missing(name))?);
    }
    Ok(opened)
}

/// Seals every version anew under the sealer's other key.
pub(super) fn reseal(
    connection: &Connection,
    open: impl Fn(Purpose<'_>, &[u8]) -> nonna_engine::Result<Zeroizing<Vec<u8>>>,
    seal: impl Fn(Purpose<'_>, &[u8]) -> nonna_engine::Result<Vec<u8>>,
) -> Inner<u64> {
    let versions: Vec<(u64, String, String, Vec<u8>)> = all(
        connection,
        "SELECT version, owner, name, sealed FROM secret_versions",
        [],
        |row| {
            Ok((
                count(row, "version")?,
                get(row, "owner")?,
                get(row, "name")?,
                get(row, "sealed")?,
            ))
        },
    )?;
    let number = versions.len() as u64;
    for (version, owner, name, sealed) in versions {
        let purpose = Purpose::Secret {
            owner: &owner,
            name: &name,
            version,
        };
        let plain = open(purpose, &sealed)?;
        run(
            connection,
            "UPDATE secret_versions SET sealed = ?2 WHERE version = ?1",
            params![signed(version), seal(purpose, &plain)?],
        )?;
    }
    Ok(number)
}
