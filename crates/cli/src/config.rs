//! The user's own configuration: which servers there are, and their tokens.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nonna_engine::{Code, Error};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// The servers that were logged in to.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The name of the one that commands talk to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, Server>,
}

/// One server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    /// Its address.
    pub(crate) url: String,
    /// Its token.
    #[serde(default, serialize_with = "expose", skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<SecretString>,
    /// A PEM file of certificate authorities to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

// The file is where the token lives; it is readable by its owner only.
#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn expose<S: Serializer>(token: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.as_ref().map_or("", |token| token.expose_secret()))
}

/// Where the configuration is.
pub(crate) fn path() -> Result<PathBuf, Error> {
    if let Some(file) = std::env::var_os("NONNA_CLIENT_CONFIG").filter(|file| !file.is_empty()) {
        return Ok(PathBuf::from(file));
    }
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .ok_or_else(|| {
            Error::user(
                Code::NotFound,
                "This user has no home folder to keep a configuration in.",
            )
            .hint("Set HOME, or name a file in NONNA_CLIENT_CONFIG.")
        })?;
    Ok(folder.join("nonna/config.toml"))
}

impl Config {
    /// Reads the configuration; an empty one where there is none.
    pub(crate) fn load() -> Result<Self, Error> {
        let path = path()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Error::user(
                    Code::InvalidInput,
                    format!("{} cannot be read: {error}.", path.display()),
                ));
            }
        };
        toml::from_str(&text).map_err(|error| {
            // The error's own display would repeat the line, token and all.
            let line = error.span().map_or(1, |span| {
                text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1
            });
            Error::user(
                Code::InvalidInput,
                format!(
                    "{}:{line}: {}.",
                    path.display(),
                    error.message().trim_end_matches('.')
                ),
            )
            .hint("Mend the line, or remove the file and log in again.")
        })
    }

    /// Writes the configuration, whole or not at all, for its owner only.
    pub(crate) fn save(&self) -> Result<PathBuf, Error> {
        let path = path()?;
        let text = toml::to_string(self).map_err(|error| {
            Error::bug("The configuration cannot be written as TOML.").said(error.to_string())
        })?;
        write_private(&path, text.as_bytes()).map_err(|error| {
            Error::user(
                Code::InvalidInput,
                format!("{} cannot be written: {error}.", path.display()),
            )
            .hint("The login is done but not kept. Mend that and log in again.")
        })?;
        Ok(path)
    }

    /// Whether others than the owner can read the file; `None`: there is none.
    pub(crate) fn is_open_to_others() -> Option<bool> {
        let meta = fs::metadata(path().ok()?).ok()?;
        Some(meta.permissions().mode() & 0o077 != 0)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = folder.join(format!(".config-{}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_is_private() {
        let folder = std::env::temp_dir().join(format!("nonna-config-{}", std::process::id()));
        let file = folder.join("deep/config.toml");
        let mut config = Config::default();
        config.servers.insert(
            "home".to_owned(),
            Server {
                url: "http://127.0.0.1:8400".to_owned(),
                token: Some("t0ken".into()),
                ca: None,
            },
        );
        let text = toml::to_string(&config).unwrap();
        write_private(&file, text.as_bytes()).unwrap();
        write_private(&file, text.as_bytes()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "nothing temporary is left"
        );
        let read: Config = toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(
            read.servers["home"].token.as_ref().unwrap().expose_secret(),
            "t0ken"
        );
        assert!(!format!("{read:?}").contains("t0ken"));
        fs::remove_dir_all(folder).unwrap();
    }
}
