//! How a command fails, and with which exit code.

use nonna_engine::Error;

/// The exit code of bad usage.
pub(crate) const USAGE: u8 = 2;
/// The exit code of everything else that failed.
const FAILED: u8 = 1;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something failed, and this is what is told of it.
    Error(Box<Error>),
    /// The command was called wrongly.
    Usage {
        /// What is wrong.
        message: String,
        /// How to call it.
        hint: Option<String>,
    },
    /// What failed was told already.
    Told,
    /// The exit code of a command that ran elsewhere.
    Exit(u8),
}

/// What commands return.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Bad usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// Bad usage, and how it is done right.
    pub(crate) fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Error(_) | Self::Told => FAILED,
            Self::Usage { .. } => USAGE,
            Self::Exit(code) => *code,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}
