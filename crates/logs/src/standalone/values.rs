//! Values of the configuration: amounts, durations, secrets.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use nonna_model::units::{Bytes, parse_duration};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

/// An amount of memory or disk: `"512MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes: Bytes = text.parse().map_err(de::Error::custom)?;
        Ok(Self(bytes.0))
    }
}

impl Size {
    /// As a number of bytes in memory.
    pub(crate) fn memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A duration: `"30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// A secret: as it stands, or the file that holds it.
#[derive(Clone)]
pub enum Secret {
    /// As it stands in the configuration.
    Value(SecretString),
    /// The file whose text it is, without the end of line.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Secret"),
            Self::File(path) => f.debug_tuple("Secret").field(path).finish(),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `{ file = \"…\" }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Value(text.into()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct File {
                    file: PathBuf,
                }
                let file = File::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Secret::File(file.file))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Secret {
    /// The secret itself.
    ///
    /// # Errors
    /// `InvalidInput` where its file cannot be read, or it is empty.
    pub fn read(&self) -> Result<SecretString> {
        let secret = match self {
            Self::Value(secret) => secret.clone(),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Error::user(
                        Code::InvalidInput,
                        format!("The secret's file {} cannot be read.", path.display()),
                    )
                    .said(error.to_string())
                })?;
                text.trim_end_matches(['\r', '\n']).into()
            }
        };
        if secrecy::ExposeSecret::expose_secret(&secret).is_empty() {
            return Err(Error::user(
                Code::InvalidInput,
                "A secret of the log proxy is empty.",
            ));
        }
        Ok(secret)
    }
}
