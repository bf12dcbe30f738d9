//! Connections to repositories on forges, and what their webhooks said.

use std::borrow::Cow;

use nonna_engine::Error;
use nonna_model::{ConnectionId, Name, OrganizationId};
use rusqlite::{Connection as Sqlite, Row, params};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::blobs;
use super::fail::Inner;
use super::row::{all, count, get, json, one, run, signed, to_json, to_word};
use crate::forge::{
    Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, DeliveryResult, DeliveryState, LATE,
    NewDelivery, OVERTAKEN, Repeats, SECRETS, already_connected,
};
use crate::seal::{Purpose, Sealer};

/// Secrets in the form in which they are sealed.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    #[serde(borrow)]
    webhook: Cow<'a, str>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
}

fn plain(secret: &SecretString) -> Cow<'_, str> {
    Cow::Borrowed(secret.expose_secret())
}

fn put_secrets(
    connection: &Sqlite,
    now: i64,
    sealer: &Sealer,
    id: &ConnectionId,
    secrets: &ConnectionSecrets,
) -> Inner<()> {
    let form = Sealed {
        webhook: plain(&secrets.webhook),
        key: secrets.key.as_ref().map(plain),
        token: secrets.token.as_ref().map(plain),
    };
    let bytes = serde_json::to_vec(&form)
        .map(Zeroizing::new)
        .map_err(|why| Error::bug("Secrets could not be written as JSON.").said(why.to_string()))?;
    let purpose = Purpose::Blob {
        kind: SECRETS,
        key: id.as_str(),
    };
    blobs::put(
        connection,
        now,
        SECRETS,
        id.as_str(),
        &sealer.seal(purpose, &bytes)?,
    )
}

pub(super) fn secrets(
    connection: &Sqlite,
    sealer: &Sealer,
    id: &ConnectionId,
) -> Inner<Option<ConnectionSecrets>> {
    let Some(bytes) = blobs::open(connection, sealer, SECRETS, id.as_str())? else {
        return Ok(None);
    };
    // The text of the error could hold what it could not read.
    let form: Sealed<'_> = serde_json::from_slice(&bytes)
        .map_err(|_| Error::bug("The secrets of a connection cannot be read."))?;
    let secret = |text: &Cow<'_, str>| SecretString::from(text.as_ref());
    Ok(Some(ConnectionSecrets {
        webhook: secret(&form.webhook),
        key: form.key.as_ref().map(secret),
        token: form.token.as_ref().map(secret),
    }))
}

pub(super) fn create(
    connection: &Sqlite,
    now: i64,
    sealer: &Sealer,
    new: &Connection,
    secrets: &ConnectionSecrets,
) -> Inner<()> {
    let made = run(
        connection,
        "INSERT INTO forge_connections (id, organization, project, url, body, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        params![
            new.id.as_str(),
            new.organization.as_str(),
            new.project.as_str(),
            new.url,
            to_json(new)?,
            new.created_at
        ],
    )?;
    if made == 0 {
        return Err(already_connected(&new.url).into());
    }
    put_secrets(connection, now, sealer, &new.id, secrets)
}

pub(super) fn find(connection: &Sqlite, id: &ConnectionId) -> Inner<Option<Connection>> {
    one(
        connection,
        "SELECT body FROM forge_connections WHERE id = ?1",
        params![id.as_str()],
        |row| json(row, "body"),
    )
}

pub(super) fn list(
    connection: &Sqlite,
    organization: &OrganizationId,
    project: Option<&Name>,
) -> Inner<Vec<Connection>> {
    all(
        connection,
        "SELECT body FROM forge_connections
         WHERE organization = ?1 AND (?2 IS NULL OR project = ?2) ORDER BY project, url",
        params![organization.as_str(), project.map(Name::as_str)],
        |row| json(row, "body"),
    )
}

pub(super) fn change(
    connection: &Sqlite,
    now: i64,
    sealer: &Sealer,
    id: &ConnectionId,
    changes: &[ConnectionChange],
) -> Inner<Option<Connection>> {
    let (Some(mut changed), Some(mut opened)) = (find(connection, id)?, secrets(connection, sealer, id)?)
    else {
        return Ok(None);
    };
    for change in changes {
        change.apply(&mut changed, &mut opened);
    }
    run(
        connection,
        "UPDATE forge_connections SET body = ?2 WHERE id = ?1",
        params![id.as_str(), to_json(&changed)?],
    )?;
    put_secrets(connection, now, sealer, id, &opened)?;
    Ok(Some(changed))
}

pub(super) fn remove(connection: &Sqlite, id: &ConnectionId) -> Inner<bool> {
    blobs::delete(connection, SECRETS, id.as_str())?;
    let gone = run(
        connection,
        "DELETE FROM forge_connections WHERE id = ?1",
        params![id.as_str()],
    )?;
    Ok(gone > 0)
}

fn read(row: &Row<'_>) -> Inner<Delivery> {
    Ok(Delivery {
        number: count(row, "number")?,
        ..json(row, "body")?
    })
}

const COLUMNS: &str = "SELECT number, body FROM forge_deliveries";

fn is_there(connection: &Sqlite, sql: &str, parameters: impl rusqlite::Params) -> Inner<bool> {
    Ok(one(connection, sql, parameters, |_| Ok(()))?.is_some())
}

fn is_replay(connection: &Sqlite, new: &NewDelivery) -> Inner<bool> {
    let of = new.delivery.connection.as_str();
    if is_there(
        connection,
        "SELECT 1 FROM forge_deliveries WHERE connection = ?1 AND delivery = ?2",
        params![of, new.delivery.delivery],
    )? {
        return Ok(true);
    }
    match new.repeats {
        Repeats::None => Ok(false),
        Repeats::Last => {
            let last: Option<String> = one(
                connection,
                "SELECT digest FROM forge_deliveries WHERE connection = ?1 ORDER BY number DESC LIMIT 1",
                params![of],
                |row| get(row, "digest"),
            )?;
            Ok(last.as_deref() == Some(new.digest.as_str()))
        }
        Repeats::Any => is_there(
            connection,
            "SELECT 1 FROM forge_deliveries WHERE connection = ?1 AND digest = ?2",
            params![of, new.digest],
        ),
    }
}

pub(super) fn accept(connection: &Sqlite, now: i64, new: &NewDelivery) -> Inner<Option<Accepted>> {
    let of = new.delivery.connection.as_str();
    if find(connection, &new.delivery.connection)?.is_none() {
        return Ok(None);
    }
    if is_replay(connection, new)? {
        return Ok(Some(Accepted::Replay));
    }
    let mut delivery = new.delivery.clone();
    let is_late = match new.happened {
        Some(happened) if delivery.state == DeliveryState::Waiting => is_there(
            connection,
            "SELECT 1 FROM forge_deliveries WHERE connection = ?1 AND branch = ?2 AND happened > ?3 LIMIT 1",
            params![of, delivery.branch, happened],
        )?,
        _ => false,
    };
    if is_late {
        delivery.state = DeliveryState::Done;
        delivery.result = Some(DeliveryResult::Superseded);
        LATE.clone_into(&mut delivery.message);
        delivery.finished_at = Some(now);
    } else if delivery.state == DeliveryState::Waiting {
        let overtaken = all(
            connection,
            &format!("{COLUMNS} WHERE connection = ?1 AND branch = ?2 AND state = 'waiting'"),
            params![of, delivery.branch],
            read,
        )?;
        for mut one in overtaken {
            one.state = DeliveryState::Done;
            one.result = Some(DeliveryResult::Superseded);
            OVERTAKEN.clone_into(&mut one.message);
            one.finished_at = Some(now);
            update(connection, &one, None)?;
        }
    }
    run(
        connection,
        "INSERT INTO forge_deliveries (connection, delivery, digest, branch, happened, state, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            of,
            delivery.delivery,
            new.digest,
            delivery.branch,
            new.happened,
            to_word(&delivery.state)?,
            to_json(&delivery)?
        ],
    )?;
    delivery.number = u64::try_from(connection.last_insert_rowid()).unwrap_or_default();
    run(
        connection,
        "DELETE FROM forge_deliveries WHERE connection = ?1 AND state = 'done' AND number <=
             (SELECT number FROM forge_deliveries WHERE connection = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        params![of, new.keep],
    )?;
    Ok(Some(if is_late {
        Accepted::Late(delivery)
    } else {
        Accepted::New(delivery)
    }))
}

pub(super) fn update(connection: &Sqlite, delivery: &Delivery, log: Option<&str>) -> Inner<bool> {
    let changed = run(
        connection,
        "UPDATE forge_deliveries SET state = ?2, body = ?3, log = coalesce(?4, log) WHERE number = ?1",
        params![
            signed(delivery.number),
            to_word(&delivery.state)?,
            to_json(delivery)?,
            log
        ],
    )?;
    Ok(changed > 0)
}

pub(super) fn unfinished(connection: &Sqlite) -> Inner<Vec<Delivery>> {
    all(
        connection,
        &format!("{COLUMNS} WHERE state <> 'done' ORDER BY number"),
        [],
        read,
    )
}

pub(super) fn take(connection: &Sqlite, of: &ConnectionId) -> Inner<Option<Delivery>> {
    let next = one(
        connection,
        &format!(
            "{COLUMNS} WHERE connection = ?1 AND state IN ('waiting', 'running') ORDER BY number LIMIT 1"
        ),
        params![of.as_str()],
        read,
    )?;
    let Some(mut next) = next else {
        return Ok(None);
    };
    if next.state == DeliveryState::Waiting {
        next.state = DeliveryState::Running;
        update(connection, &next, None)?;
    }
    Ok(Some(next))
}

pub(super) fn deliveries(
    connection: &Sqlite,
    of: &ConnectionId,
    before: Option<u64>,
    limit: u32,
) -> Inner<Vec<Delivery>> {
    all(
        connection,
        &format!("{COLUMNS} WHERE connection = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"),
        params![of.as_str(), before.map_or(i64::MAX, signed), limit],
        read,
    )
}

pub(super) fn delivery(
    connection: &Sqlite,
    of: &ConnectionId,
    number: u64,
) -> Inner<Option<(Delivery, String)>> {
    one(
        connection,
        "SELECT number, body, log FROM forge_deliveries WHERE connection = ?1 AND number = ?2",
        params![of.as_str(), signed(number)],
        |row| Ok((read(row)?, get(row, "log")?)),
    )
}
