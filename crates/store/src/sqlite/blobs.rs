//! Sealed blobs: certificates, account keys.

use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::fail::Inner;
use super::row::{all, get, one, run};
use crate::records::BlobInfo;
use crate::seal::{Purpose, Sealer};

pub(super) fn put(connection: &Connection, now: i64, kind: &str, key: &str, sealed: &[u8]) -> Inner<()> {
    run(
        connection,
        "INSERT INTO blobs (kind, key, sealed, updated_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind, key) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at",
        params![kind, key, sealed, now],
    )?;
    Ok(())
}

pub(super) fn open(
    connection: &Connection,
    sealer: &Sealer,
    kind: &str,
    key: &str,
) -> Inner<Option<Zeroizing<Vec<u8>>>> {
    let sealed: Option<Vec<u8>> = one(
        connection,
        "SELECT sealed FROM blobs WHERE kind = ?1 AND key = ?2",
        params![kind, key],
        |row| get(row, "sealed"),
    )?;
    Ok(sealed
        .map(|sealed| sealer.open(Purpose::Blob { kind, key }, &sealed))
        .transpose()?)
}

pub(super) fn list(connection: &Connection, kind: &str) -> Inner<Vec<BlobInfo>> {
    all(
        connection,
        "SELECT key, updated_at FROM blobs WHERE kind = ?1 ORDER BY key",
        params![kind],
        |row| {
            Ok(BlobInfo {
                key: get(row, "key")?,
                updated_at: get(row, "updated_at")?,
            })
        },
    )
}

pub(super) fn delete(connection: &Connection, kind: &str, key: &str) -> Inner<bool> {
    let gone = run(
        connection,
        "DELETE FROM blobs WHERE kind = ?1 AND key = ?2",
        params![kind, key],
    )?;
    Ok(gone > 0)
}

/// Seals every blob anew.
pub(super) fn reseal(
    connection: &Connection,
    open: impl Fn(Purpose<'_>, &[u8]) -> nonna_engine::Result<Zeroizing<Vec<u8>>>,
    seal: impl Fn(Purpose<'_>, &[u8]) -> nonna_engine::Result<Vec<u8>>,
) -> Inner<u64> {
    let blobs: Vec<(String, String, Vec<u8>)> =
        all(connection, "SELECT kind, key, sealed FROM blobs", [], |row| {
            Ok((get(row, "kind")?, get(row, "key")?, get(row, "sealed")?))
        })?;
    let number = blobs.len() as u64;
    for (kind, key, sealed) in blobs {
        let purpose = Purpose::Blob {
            kind: &kind,
            key: &key,
        };
        let plain = open(purpose, &sealed)?;
        run(
            connection,
            "UPDATE blobs SET sealed = ?3 WHERE kind = ?1 AND key = ?2",
            params![kind, key, seal(purpose, &plain)?],
        )?;
    }
    Ok(number)
}
