//! Releases: an image and a configuration, immutable, numbered from 1 within
//! their service.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::ServiceId;
use crate::service::ServiceSpec;

/// A release's number, written `v1`, `v2` …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u32);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A text that is no release number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a release: expected a number such as `v3`")]
pub struct InvalidReleaseNumber(pub String);

impl FromStr for ReleaseNumber {
    type Err = InvalidReleaseNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('v')
            .unwrap_or(text)
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| InvalidReleaseNumber(text.chars().take(64).collect()))
    }
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Its deployment is under way.
    Pending,
    /// It was current at some time, or is.
    Succeeded,
    /// It never became current.
    Failed,
}

/// A release of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Whose it is.
    pub service: ServiceId,
    /// Its number within the service.
    pub number: ReleaseNumber,
    /// The configuration.
    pub spec: ServiceSpec,
    /// The image that runs, as the runtime knows it (an id or a reference
    /// with a digest); `None` until it was built or pulled.
    pub image: Option<String>,
    /// What became of it.
    pub state: ReleaseState,
    /// When it was made: milliseconds since 1970, UTC.
    pub created_at: i64,
    /// Why it was made, for people: `deploy`, `rollback to v3`, `variable A set`.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_and_without_their_letter() {
        assert_eq!("v3".parse(), Ok(ReleaseNumber(3)));
        assert_eq!("3".parse(), Ok(ReleaseNumber(3)));
        for bad in ["", "v", "v0", "v-1", "latest", "v99999999999"] {
            assert!(bad.parse::<ReleaseNumber>().is_err(), "{bad}");
        }
    }
}
