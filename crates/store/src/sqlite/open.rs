//! Opening the database: its settings, its checks, its migrations.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nonna_engine::{Code, Error, Result};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::fail::{Fail, Inner, explain};
use crate::folder::io_error;
use crate::seal::{Purpose, SealKey};

/// Marks a SQLite file as Nonna's: `Nona` in ASCII.
const APPLICATION_ID: i64 = 0x4e6f_6e61;

/// Every migration, in order; the file's `user_version` tells how many it has
/// seen. Those that were ever released are never changed.
const MIGRATIONS: [&str; 2] = [include_str!("schema_v1.sql"), include_str!("schema_v2.sql")];

/// The form of the database that this Nonna writes.
pub(crate) const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

const CHECK_TEXT: &[u8] = b"nonna";

/// Opens the database for writing, makes it where it is not there, brings it
/// up to date.
pub(crate) fn writer(path: &Path, key: &SealKey) -> Result<Connection> {
    // SQLite would make it readable for everybody; its other files take this
    // one's mode.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error(&error, "open", path))?;
    let mut connection = connect(path).map_err(|error| named(explain(&error), path))?;
    prepare(&mut connection, key).map_err(|fail| named(fail.into(), path))?;
    Ok(connection)
}

/// Opens the database for reading.
pub(crate) fn reader(path: &Path) -> Result<Connection> {
    let connection = connect(path).map_err(|error| named(explain(&error), path))?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -512;")
        .map_err(|error| named(explain(&error), path))?;
    Ok(connection)
}

fn named(error: Error, path: &Path) -> Error {
    error.detail(format!("the database is {}", path.display()))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    // FULL: a commit is on disk when it returns; NORMAL would lose the last
    // ones when power fails. One writer and two readers need little cache.
    connection.execute_batch(
        "PRAGMA busy_timeout = 5000;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA mmap_size = 0;
         PRAGMA cache_size = -1024;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn prepare(connection: &mut Connection, key: &SealKey) -> Inner<()> {
    let version = recognise(connection)?;
    // Before the first table: where pages go that are no longer used.
    connection.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA journal_size_limit = 4194304;",
    )?;
    sound(connection)?;
    migrate(connection, version)?;
    check_key(connection, key)
}

/// The file's version; refuses files that are not Nonna's, or newer.
pub(crate) fn recognise(connection: &Connection) -> Inner<u32> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(Error::user(
            Code::StoreUnavailable,
            "This is a SQLite database, but not one of Nonna's.",
        )
        .hint("Give Nonna an empty data folder, or the one it had before.")
        .into());
    }
    if version > SCHEMA_VERSION {
        return Err(Error::user(
            Code::StoreUnavailable,
            format!("The database was written by a newer Nonna (its form is {version}, this Nonna knows {SCHEMA_VERSION})."),
        )
        .hint("Start that newer Nonna, or restore a backup made by this one.")
        .into());
    }
    Ok(version)
}

/// Looks through the whole file for damage.
pub(crate) fn sound(connection: &Connection) -> Inner<()> {
    let finding: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(Error::provider(Code::StoreUnavailable, "Nonna's database is damaged.")
        .said(finding)
        .hint("Stop the server and restore its state with `nonna restore`. The damaged file is left as it is.")
        .into())
}

fn migrate(connection: &mut Connection, from: u32) -> Inner<()> {
    for (version, script) in (1_u32..).zip(MIGRATIONS).skip(from as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn check_key(connection: &Connection, key: &SealKey) -> Inner<()> {
    if opens_with(connection, key)? {
        return Ok(());
    }
    let sealed = key.seal(Purpose::Check, CHECK_TEXT)?;
    connection.execute(
        "INSERT INTO seal_check (one, sealed) VALUES (1, ?1)",
        params![sealed],
    )?;
    Ok(())
}

/// Whether this is the database's key; `false` where it has none yet, and an
/// error where it has another.
pub(crate) fn opens_with(connection: &Connection, key: &SealKey) -> Inner<bool> {
    let sealed: Option<Vec<u8>> = connection
        .query_row("SELECT sealed FROM seal_check", [], |row| row.get(0))
        .optional()?;
    match sealed {
        Some(sealed) => Ok(key.open(Purpose::Check, &sealed)?.as_slice() == CHECK_TEXT),
        None => Ok(false),
    }
}

/// Seals the database's check text under another key.
pub(crate) fn replace_check(connection: &Connection, key: &SealKey) -> Inner<()> {
    let sealed = key.seal(Purpose::Check, CHECK_TEXT)?;
    connection.execute("UPDATE seal_check SET sealed = ?1", params![sealed])?;
    Ok(())
}

/// What a key has to do with a database: for finishing a rotation that was cut
/// short.
pub(crate) fn is_key_of(path: &Path, key: &SealKey) -> Result<bool> {
    let connection = connect(path).map_err(|error| named(explain(&error), path))?;
    match recognise(&connection) {
        Ok(0) => return Ok(false),
        Ok(_) => {}
        Err(fail) => return Err(named(fail.into(), path)),
    }
    match opens_with(&connection, key) {
        Ok(opens) => Ok(opens),
        Err(Fail::Known(error)) if error.code == Code::SealBroken => Ok(false),
        Err(fail) => Err(named(fail.into(), path)),
    }
}

/// Copies the database, as it is at one moment, into an empty file.
pub(crate) fn copy_into(path: &Path, copy: &Path) -> Result<()> {
    let connection = connect(path).map_err(|error| named(explain(&error), path))?;
    let name = copy.to_str().ok_or_else(|| {
        Error::user(
            Code::StoreUnavailable,
            format!("The data folder's name {} is not UTF-8.", copy.display()),
        )
    })?;
    connection
        .execute("VACUUM INTO ?1", params![name])
        .map_err(|error| named(explain(&error), path))?;
    Ok(())
}

/// Checks that a database that nobody uses yet is Nonna's, sound, and not from
/// the future.
pub(crate) fn check_copy(path: &Path) -> Result<()> {
    let connection = connect(path).map_err(|error| named(explain(&error), path))?;
    match recognise(&connection).and_then(|version| sound(&connection).map(|()| version)) {
        Ok(0) => Err(Error::user(Code::InvalidInput, "The backup's database is empty.")),
        Ok(_) => Ok(()),
        Err(fail) => Err(named(fail.into(), path)),
    }
}
