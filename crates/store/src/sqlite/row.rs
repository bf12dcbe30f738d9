//! Reading columns into the house's types. What cannot be read means that
//! somebody else wrote to the database.

use std::str::FromStr;

use nonna_engine::{Code, Error};
use rusqlite::Row;
use rusqlite::types::FromSql;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fail::Inner;

fn unreadable(column: &str, why: &impl ToString) -> Error {
    Error::provider(
        Code::StoreUnavailable,
        format!("Nonna's database holds something in `{column}` that Nonna did not write there."),
    )
    .said(why.to_string())
    .hint("Restore Nonna's state from a backup.")
}

/// The column as SQLite has it.
pub(super) fn get<T: FromSql>(row: &Row<'_>, column: &str) -> Inner<T> {
    Ok(row.get(column)?)
}

/// A column that is written as text: an id, a name.
pub(super) fn parsed<T>(row: &Row<'_>, column: &str) -> Inner<T>
where
    T: FromStr,
    T::Err: ToString,
{
    let text: String = row.get(column)?;
    Ok(text.parse().map_err(|why| unreadable(column, &why))?)
}

/// A column that is written as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Inner<T> {
    let text: String = row.get(column)?;
    Ok(serde_json::from_str(&text).map_err(|why| unreadable(column, &why))?)
}

/// A column that is written as JSON, or NULL.
pub(super) fn json_or_null<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Inner<Option<T>> {
    let text: Option<String> = row.get(column)?;
    Ok(text
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|why| unreadable(column, &why))?)
}

/// A column that holds one of an enum's words, as serde writes them.
pub(super) fn word<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Inner<T> {
    let text: String = row.get(column)?;
    Ok(serde_json::from_value(serde_json::Value::String(text)).map_err(|why| unreadable(column, &why))?)
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, column: &str) -> Inner<u64> {
    let number: i64 = row.get(column)?;
    Ok(u64::try_from(number).map_err(|why| unreadable(column, &why))?)
}

/// A value as JSON text.
pub(super) fn to_json(value: &impl Serialize) -> Inner<String> {
    Ok(serde_json::to_string(value)
        .map_err(|why| Error::bug("A record could not be written as JSON.").said(why.to_string()))?)
}

/// An enum's word, as serde writes it.
pub(super) fn to_word(value: &impl Serialize) -> Inner<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

/// A number as SQLite has them: with a sign. What does not fit is larger than
/// anything that is counted here.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Runs a query and reads each row.
pub(super) fn all<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> Inner<T>,
) -> Inner<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read(row)?);
    }
    Ok(out)
}

/// Runs a query that finds one row or none.
pub(super) fn one<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Inner<T>,
) -> Inner<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

/// Runs a statement; answers how many rows it changed.
pub(super) fn run(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Inner<usize> {
    Ok(connection.prepare_cached(sql)?.execute(parameters)?)
}
