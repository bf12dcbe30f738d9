//! Who may do what: bearer tokens, one-time login codes, and the permission
//! that every path of the API names.

mod limit;
mod login;
mod token;

pub(crate) use limit::Limiter;
pub use login::request_code;
pub(crate) use login::{ControlSocket, new_code, redeem};
pub(crate) use token::{identify, new_token};

/// What a caller must be allowed to do. Every token may do all of it for now;
/// roles will give some of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Nothing: anybody may ask.
    Public,
    /// See what there is.
    Read,
    /// Change what runs.
    Deploy,
    /// See secrets' values.
    Secrets,
    /// Run commands in replicas.
    Execute,
    /// See and copy the server's own state.
    Administer,
}

impl Permission {
    /// The stable word, as the OpenAPI document has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Secrets => "secrets",
            Self::Execute => "execute",
            Self::Administer => "administer",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The token's name, for lists and the audit log.
    pub(crate) name: String,
}

impl Identity {
    /// Whether the permission is theirs.
    #[expect(clippy::unused_self, reason = "a token's role decides once there are roles")]
    pub(crate) fn may(&self, _permission: Permission) -> bool {
        true
    }
}
