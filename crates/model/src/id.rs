//! Identifiers. Every thing that Nonna keeps has one for life; names may
//! change, identifiers never do, and the names of what is created in a
//! runtime derive from them.
//!
//! An identifier is a three-letter prefix that says what it names, and 16
//! characters of lower-case base 32: 80 random bits, so that two machines
//! never make the same one. They are DNS- and Docker-safe.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier: expected `{prefix}-` and 16 letters or digits")]
pub struct InvalidId {
    /// What was given.
    pub text: String,
    /// The prefix that was expected.
    pub prefix: &'static str,
}

const RANDOM_BYTES: usize = 10;
const RANDOM_CHARS: usize = 16;

fn generate(prefix: &str) -> String {
    let mut bytes = [0_u8; RANDOM_BYTES];
    // The operating system's source only fails where the system cannot run
    // programs at all; a zero identifier would then collide and be refused by
    // the store, never be silently shared.
    let _ = getrandom::fill(&mut bytes);
    format!("{prefix}-{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

fn check(prefix: &'static str, text: &str) -> Result<(), InvalidId> {
    let ok = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| {
            rest.len() == RANDOM_CHARS && rest.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        });
    if ok {
        Ok(())
    } else {
        Err(InvalidId {
            text: text.chars().take(64).collect(),
            prefix,
        })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What identifiers of this kind begin with.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier that nothing else has.
            #[must_use]
            pub fn generate() -> Self {
                Self(generate($prefix))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check($prefix, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                check($prefix, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// Names an organization: who owns projects.
    OrganizationId,
    "org"
);
id!(
    /// Names a project: what a team builds, in one or more environments.
    ProjectId,
    "prj"
);
id!(
    /// Names an environment: one running copy of a project.
    EnvironmentId,
    "env"
);
id!(
    /// Names a service of an environment.
    ServiceId,
    "svc"
);
id!(
    /// Names a deployment: the act of making releases current.
    DeploymentId,
    "dep"
);
id!(
    /// Names an API token (not the token itself, which is kept nowhere).
    TokenId,
    "tok"
);
id!(
    /// Names an installation: one Nonna and its state.
    InstallationId,
    "nna"
);
id!(
    /// Names a connection: a repository on a forge that a project is deployed
    /// from.
    ConnectionId,
    "con"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_identifiers_parse_and_differ() {
        let a = ServiceId::generate();
        assert_eq!(a.as_str().parse::<ServiceId>(), Ok(a.clone()));
        assert_ne!(a, ServiceId::generate());
    }

    #[test]
    fn an_identifier_of_another_kind_is_refused() {
        let env = EnvironmentId::generate();
        assert!(env.as_str().parse::<ServiceId>().is_err());
        assert!("svc-".parse::<ServiceId>().is_err());
        assert!("svc-../../../../../etc".parse::<ServiceId>().is_err());
    }
}
