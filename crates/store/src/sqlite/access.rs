//! Tokens and one-time codes; only their hashes are kept.

use nonna_engine::{Code, Error};
use nonna_model::TokenId;
use rusqlite::{Connection, Row, params};

use super::fail::Inner;
use super::row::{all, get, one, parsed, run};
use crate::records::{NewToken, Token, TokenHash};

const COLUMNS: &str = "SELECT id, name, created_at, last_used_at, expires_at, revoked_at FROM tokens";

/// How old the note of a token's last use may grow before it is written anew.
pub(super) const USE_NOTED_EVERY_MS: i64 = 60_000;

fn read(row: &Row<'_>) -> Inner<Token> {
    Ok(Token {
        id: parsed(row, "id")?,
        name: get(row, "name")?,
        created_at: get(row, "created_at")?,
        last_used_at: get(row, "last_used_at")?,
        expires_at: get(row, "expires_at")?,
        revoked_at: get(row, "revoked_at")?,
    })
}

pub(super) fn create(connection: &Connection, now: i64, new: &NewToken) -> Inner<Token> {
    let token = Token {
        id: TokenId::generate(),
        name: new.name.clone(),
        created_at: now,
        last_used_at: None,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let made = run(
        connection,
        "INSERT INTO tokens (id, hash, name, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (hash) DO NOTHING",
        params![token.id.as_str(), new.hash.0, token.name, now, token.expires_at],
    )?;
    if made == 0 {
        return Err(Error::user(Code::Conflict, "This token is there already.").into());
    }
    Ok(token)
}

/// The token of this hash, if it is valid now.
pub(super) fn valid(connection: &Connection, hash: &TokenHash, now: i64) -> Inner<Option<Token>> {
    one(
        connection,
        &format!(
            "{COLUMNS} WHERE hash = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)"
        ),
        params![hash.0, now],
        read,
    )
}

pub(super) fn note_use(connection: &Connection, id: &TokenId, now: i64) -> Inner<()> {
    run(
        connection,
        "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
        params![id.as_str(), now],
    )?;
    Ok(())
}

pub(super) fn list(connection: &Connection) -> Inner<Vec<Token>> {
    all(
        connection,
        &format!("{COLUMNS} ORDER BY created_at DESC, id"),
        [],
        read,
    )
}

pub(super) fn revoke(connection: &Connection, now: i64, id: &TokenId) -> Inner<bool> {
    let ended = run(
        connection,
        "UPDATE tokens SET revoked_at = ?2
         WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
        params![id.as_str(), now],
    )?;
    Ok(ended > 0)
}

pub(super) fn create_code(connection: &Connection, hash: &TokenHash, expires_at: i64) -> Inner<()> {
    run(
        connection,
        "INSERT INTO login_codes (hash, expires_at) VALUES (?1, ?2)
         ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at",
        params![hash.0, expires_at],
    )?;
    Ok(())
}

pub(super) fn redeem(
    connection: &Connection,
    created_at: i64,
    hash: &TokenHash,
    now: i64,
    new: &NewToken,
) -> Inner<Token> {
    let redeemed = run(
        connection,
        "DELETE FROM login_codes WHERE hash = ?1 AND expires_at > ?2",
        params![hash.0, now],
    )?;
    if redeemed == 0 {
        return Err(Error::user(
            Code::Unauthenticated,
            "The one-time code is not valid: it is wrong, was used, or has expired.",
        )
        .hint("Make a new one on the server's own machine.")
        .into());
    }
    create(connection, created_at, new)
}
