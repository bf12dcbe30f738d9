//! One-time login codes: made at the first start, and on request of whoever
//! may read the data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use nonna_store::Store;
use nonna_store::records::NewToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::token::{hash, new_token, random_base32};

/// How long a code is good for.
const VALID: Duration = Duration::from_secs(60 * 60);
/// 80 random bits: nobody guesses one within an hour.
const RANDOM_BYTES: usize = 10;
const SOCKET: &str = "control.sock";
const ASK: &[u8] = b"login-code\n";

/// Makes a code and keeps its hash.
pub(crate) async fn new_code(store: &dyn Store) -> Result<String> {
    let text = random_base32::<RANDOM_BYTES>()?;
    let expires =
        jiff::Timestamp::now().as_millisecond() + i64::try_from(VALID.as_millis()).unwrap_or(i64::MAX);
    store.create_login_code(&hash(&text), expires).await?;
    // In groups of four: it may have to be typed.
    let groups: Vec<&str> = (0..text.len())
        .step_by(4)
        .filter_map(|at| text.get(at..at + 4))
        .collect();
    Ok(groups.join("-"))
}

/// Exchanges a code for a token.
pub(crate) async fn redeem(store: &dyn Store, code: &str, name: &str) -> Result<String> {
    let refused = || {
        Error::user(
            Code::Unauthenticated,
            "The code is wrong, was used before, or is older than an hour.",
        )
        .hint("On the server, `nonna server login-code` makes a new one.")
    };
    let plain: String = code
        .chars()
        .filter(|c| *c != '-' && !c.is_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .take(64)
        .collect();
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Error::user(
            Code::InvalidInput,
            "`name` must have 1 to 64 characters, none of them a control character.",
        )
        .hint("It tells tokens apart in lists: `laptop`, `ci`."));
    }
    let (token, kept) = new_token()?;
    let new = NewToken {
        hash: kept,
        name: name.to_owned(),
        expires_at: None,
    };
    let now = jiff::Timestamp::now().as_millisecond();
    match store.redeem_login_code(&hash(&plain), now, new).await {
        Ok(_) => Ok(token),
        Err(error) if error.code == Code::Unauthenticated => Err(refused()),
        Err(error) => Err(error),
    }
}

/// A socket in the data folder, for those who may enter the folder: it hands
/// out login codes.
pub(crate) struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ControlSocket {
    /// Opens it. The data folder must be held.
    pub(crate) fn open(data: &Path) -> Result<Self> {
        let path = data.join(SOCKET);
        // One that an earlier process left; the folder's lock says it is gone.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(|e| {
            Error::provider(
                Code::StoreUnavailable,
                format!("{} cannot be made.", path.display()),
            )
            .said(e.to_string())
        })?;
        Ok(Self { path, listener })
    }

    /// Answers until dropped.
    pub(crate) async fn serve(self, store: Arc<dyn Store>) {
        while let Ok((mut stream, _)) = self.listener.accept().await {
            let mut asked = [0_u8; ASK.len()];
            let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut asked)).await;
            if !matches!(read, Ok(Ok(_))) || asked != ASK {
                continue;
            }
            let answer = match new_code(store.as_ref()).await {
                Ok(code) => format!("ok {code}\n"),
                Err(error) => format!("error {error}\n"),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks the server that holds this data folder for a new one-time login code.
///
/// # Errors
/// `NotFound` where no server runs on the folder; `Forbidden` where the folder
/// may not be entered.
pub async fn request_code(data: &Path) -> Result<String> {
    let path = data.join(SOCKET);
    let mut stream = UnixStream::connect(&path).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => Error::user(
            Code::Forbidden,
            format!("The data folder {} belongs to somebody else.", data.display()),
        )
        .hint("Run this as the user the server runs as: `sudo nonna server login-code`."),
        _ => Error::user(
            Code::NotFound,
            format!("No nonna server runs with the data folder {}.", data.display()),
        )
        .hint("Start it with `nonna server`, or name its folder with --data."),
    })?;
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(ASK).await?;
        stream.read_to_string(&mut answer).await
    };
    let silent = || Error::provider(Code::Timeout, "The server does not answer.").retry();
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .map_err(|_| silent())?
        .map_err(|e| silent().said(e.to_string()))?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", code)) => Ok(code.to_owned()),
        Some(("error", words)) => Err(Error::provider(Code::StoreUnavailable, words)),
        _ => Err(silent()),
    }
}
