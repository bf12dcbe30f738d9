//! The audit log, and which image was built from which source.

use nonna_model::ServiceId;
use rusqlite::{Connection, params};

use super::fail::Inner;
use super::row::{all, count, get, one, run, signed};
use crate::records::{Audit, NewAudit};

pub(super) fn append(connection: &Connection, entry: &NewAudit) -> Inner<u64> {
    run(
        connection,
        "INSERT INTO audit (at, actor, address, action, target, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            entry.at,
            entry.actor,
            entry.address,
            entry.action,
            entry.target,
            entry.detail
        ],
    )?;
    Ok(u64::try_from(connection.last_insert_rowid()).unwrap_or_default())
}

pub(super) fn list(connection: &Connection, before: Option<u64>, limit: u32) -> Inner<Vec<Audit>> {
    all(
        connection,
        "SELECT sequence, at, actor, address, action, target, detail FROM audit
         WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2",
        params![before.map_or(i64::MAX, signed), limit],
        |row| {
            Ok(Audit {
                sequence: count(row, "sequence")?,
                entry: NewAudit {
                    at: get(row, "at")?,
                    actor: get(row, "actor")?,
                    address: get(row, "address")?,
                    action: get(row, "action")?,
                    target: get(row, "target")?,
                    detail: get(row, "detail")?,
                },
            })
        },
    )
}

pub(super) fn build_result(
    connection: &Connection,
    service: &ServiceId,
    source: &str,
) -> Inner<Option<String>> {
    one(
        connection,
        "SELECT image FROM build_results WHERE service = ?1 AND source = ?2",
        params![service.as_str(), source],
        |row| get(row, "image"),
    )
}

pub(super) fn put_build_result(
    connection: &Connection,
    now: i64,
    service: &ServiceId,
    source: &str,
    image: &str,
) -> Inner<()> {
    // A service that was removed while its image was built has no use for it.
    run(
        connection,
        "INSERT INTO build_results (service, source, image, created_at)
         SELECT id, ?2, ?3, ?4 FROM services WHERE id = ?1
         ON CONFLICT (service, source) DO UPDATE SET image = excluded.image, created_at = excluded.created_at",
        params![service.as_str(), source, image, now],
    )?;
    Ok(())
}
