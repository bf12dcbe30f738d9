//! What SQLite's errors mean to Nonna.

use nonna_engine::{Code, Error};
use rusqlite::ErrorCode;

use crate::folder::disk_full;

/// A failure inside a transaction: SQLite's, or one with a meaning already.
#[derive(Debug)]
pub(crate) enum Fail {
    Sql(rusqlite::Error),
    Known(Error),
}

/// What runs inside a transaction returns.
pub(crate) type Inner<T> = Result<T, Fail>;

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl From<Fail> for Error {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Known(error) => error,
            Fail::Sql(error) => explain(&error),
        }
    }
}

pub(crate) fn explain(error: &rusqlite::Error) -> Error {
    let said = error.to_string();
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return Error::bug("The store was asked or answered in a way it does not know.").said(said);
    };
    match failure.code {
        ErrorCode::DiskFull => disk_full().said(said),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Error::provider(
            Code::StoreUnavailable,
            "Nonna's database is damaged.",
        )
        .said(said)
        .hint(
            "Stop the server and restore its state with `nonna restore`. The damaged file is left as it is.",
        ),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::provider(
            Code::StoreUnavailable,
            "Another program keeps Nonna's database locked.",
        )
        .said(said)
        .hint("Close whatever has `nonna.db` open, a `sqlite3` shell or a backup program, say.")
        .retry(),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => Error::user(
            Code::StoreUnavailable,
            "Nonna's database cannot be opened for writing.",
        )
        .said(said)
        .hint(
            "Run Nonna as the user who owns the data folder, and see that its disk is not mounted read-only.",
        ),
        ErrorCode::SystemIoFailure => Error::provider(
            Code::StoreUnavailable,
            "The disk of Nonna's database does not work.",
        )
        .said(said)
        .hint("Look at the kernel's log (`dmesg`) and at the disk's health."),
        ErrorCode::OutOfMemory => Error::provider(
            Code::StoreUnavailable,
            "There was not enough memory for the database.",
        )
        .said(said)
        .retry(),
        _ => Error::bug("The store did something it must not.").said(said),
    }
}
