//! A deployment's events, and what is swept away in time.

use nonna_engine::event::Event;
use nonna_model::DeploymentId;
use rusqlite::{Connection, params};

use super::deployments;
use super::fail::Inner;
use super::row::{all, count, json, one, run, signed, to_json};
use crate::records::StoredEvent;

pub(super) fn append(connection: &Connection, events: &[Event]) -> Inner<Vec<u64>> {
    let mut numbers = Vec::with_capacity(events.len());
    for event in events {
        let number = one(
            connection,
            "UPDATE deployments SET last_event = last_event + 1 WHERE id = ?1 RETURNING last_event",
            params![event.deployment.as_str()],
            |row| count(row, "last_event"),
        )?
        .ok_or_else(|| deployments::not_found(&event.deployment))?;
        run(
            connection,
            "INSERT INTO events (deployment, sequence, body) VALUES (?1, ?2, ?3)",
            params![event.deployment.as_str(), signed(number), to_json(event)?],
        )?;
        numbers.push(number);
    }
    Ok(numbers)
}

pub(super) fn after(
    connection: &Connection,
    deployment: &DeploymentId,
    after: u64,
    limit: u32,
) -> Inner<Vec<StoredEvent>> {
    all(
        connection,
        "SELECT sequence, body FROM events WHERE deployment = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
        params![deployment.as_str(), signed(after), limit],
        |row| {
            Ok(StoredEvent {
                sequence: count(row, "sequence")?,
                event: json(row, "body")?,
            })
        },
    )
}

pub(super) fn prune(connection: &Connection, before: i64) -> Inner<u64> {
    let mut gone = 0;
    for sql in [
        "DELETE FROM events WHERE deployment IN (SELECT id FROM deployments WHERE finished_at < ?1)",
        "DELETE FROM journal WHERE deployment IN (SELECT id FROM deployments WHERE finished_at < ?1)",
        "DELETE FROM deployment_images WHERE deployment IN (SELECT id FROM deployments WHERE finished_at < ?1)",
        "DELETE FROM secret_versions WHERE replaced_at < ?1
             AND NOT EXISTS (SELECT 1 FROM release_secrets r WHERE r.version = secret_versions.version)",
        "DELETE FROM login_codes WHERE expires_at < ?1",
        // What is known of images that no release and no later build needs.
        "DELETE FROM blobs WHERE kind IN ('image-origin', 'image-contents') AND updated_at < ?1
             AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.image = blobs.key)
             AND NOT EXISTS (SELECT 1 FROM deployment_images d WHERE d.image = blobs.key)
             AND NOT EXISTS (SELECT 1 FROM build_results b WHERE b.image = blobs.key)",
    ] {
        gone += run(connection, sql, params![before])? as u64;
    }
    Ok(gone)
}
