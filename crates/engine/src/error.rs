//! Errors that tell apart the user's mistake, the provider's failure and our
//! bug. Each has a stable code and says how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the engine and its adapters return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Stable names of what went wrong: in JSON, in the documentation, in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// A field, a name or an argument is wrong.
    InvalidInput,
    /// What was named does not exist.
    NotFound,
    /// It exists already, or somebody else has it.
    Conflict,
    /// No valid token.
    Unauthenticated,
    /// The token does not permit it.
    Forbidden,
    /// The plan that was agreed to is not the plan any more.
    PlanChanged,
    /// A limit of the installation was reached.
    LimitExceeded,
    /// The build context holds what it must not.
    InvalidContext,
    /// No language was recognised and there is no Dockerfile.
    NothingToBuild,
    /// The build ran and failed.
    BuildFailed,
    /// The build took longer, or printed more, than it may.
    BuildLimit,
    /// No image of that name can be had.
    ImageNotFound,
    /// A registry wants credentials.
    RegistryAuth,
    /// A registry answers with an error or stops answering.
    RegistryUnavailable,
    /// An image's signature is missing, or does not fit the image or the key.
    SignatureInvalid,
    /// The replica's process ended while it should run.
    ReplicaExited,
    /// The replica was killed for using too much memory.
    ReplicaOutOfMemory,
    /// The replica never became healthy.
    ReplicaUnhealthy,
    /// The app listens on another port than the one it was given.
    WrongPort,
    /// The app listens on 127.0.0.1 only, so nothing can reach it.
    ListensOnLoopback,
    /// A command that the deployment runs once ended badly, or not in time.
    JobFailed,
    /// A secret that the service requires is not set.
    MissingSecret,
    /// The deployment was cancelled.
    Cancelled,
    /// The container engine (or the cluster) cannot be reached.
    RuntimeUnavailable,
    /// The container engine (or the cluster) refused.
    RuntimeRefused,
    /// Nonna's own server cannot be reached, or something else answers there.
    ServerUnavailable,
    /// No room on the disk.
    DiskFull,
    /// It took too long.
    Timeout,
    /// The store cannot be read or written.
    StoreUnavailable,
    /// The key does not open what was sealed.
    SealBroken,
    /// The certificate authority refused or cannot be reached.
    CertificateFailed,
    /// A mistake of ours.
    Bug,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The serialised form is the stable one.
        let text = serde_json::to_string(self).unwrap_or_default();
        f.write_str(text.trim_matches('"'))
    }
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// What the user wrote or asked for: mend it and try again.
    User,
    /// A runtime, a registry, a cloud or the machine said no.
    Provider,
    /// Ours: please report it.
    Bug,
}

/// One failure: whose, what, how to mend it, and what was seen.
///
/// The `message` and everything else here is shown to users and kept in the
/// event log: it never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Whose failure it is.
    pub fault: Fault,
    /// Which one.
    pub code: Code,
    /// What went wrong and where, one sentence or two.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The provider's own words, code or request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What was seen: log lines, probe answers, a problem list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Whether trying again, unchanged, can help.
    #[serde(default)]
    pub retryable: bool,
}

impl Error {
    fn new(fault: Fault, code: Code, message: impl Into<String>) -> Self {
        Self {
            fault,
            code,
            message: message.into(),
            hint: None,
            provider: None,
            details: Vec::new(),
            retryable: false,
        }
    }

    /// The user's mistake.
    #[must_use]
    pub fn user(code: Code, message: impl Into<String>) -> Self {
        Self::new(Fault::User, code, message)
    }

    /// The provider's failure.
    #[must_use]
    pub fn provider(code: Code, message: impl Into<String>) -> Self {
        Self::new(Fault::Provider, code, message)
    }

    /// Our bug.
    #[must_use]
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Fault::Bug, Code::Bug, message)
    }

    /// The deployment was cancelled.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::user(Code::Cancelled, "The deployment was cancelled.")
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the provider's own words.
    #[must_use]
    pub fn said(mut self, words: impl Into<String>) -> Self {
        self.provider = Some(words.into());
        self
    }

    /// Adds a line of what was seen.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Marks that trying again can help.
    #[must_use]
    pub fn retry(mut self) -> Self {
        self.retryable = true;
        self
    }
}
