//! `nonna env` and `nonna secret`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use nonna_model::Name;

use super::FollowArgs;

/// `nonna env`
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Set variables; services that see a difference get a new release.
    Set(SetArgs),
    /// Show a variable's value.
    Get {
        /// Its name.
        name: String,
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// List variables.
    List {
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// Remove variables.
    Unset(UnsetArgs),
}

/// `nonna secret`
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set secrets; services that see a difference get a new release.
    Set(SetSecretArgs),
    /// Show a secret's value.
    Get {
        /// Its name.
        name: String,
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// List the names of secrets.
    List {
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// Remove secrets.
    Unset(UnsetArgs),
}

/// Whose variables.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ScopeArgs {
    /// Of what: the nearest scope wins.
    #[arg(long, value_enum)]
    pub(crate) scope: Option<ScopeArg>,
    /// Of this service only.
    #[arg(long, short = 's', value_name = "NAME")]
    pub(crate) service: Option<Name>,
}

/// A scope of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// Everything of this server.
    Organization,
    /// All environments of the project.
    Project,
    /// All services of the environment.
    Environment,
    /// One service; name it with --service.
    Service,
}

impl ScopeArg {
    /// As the API names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Service => "service",
        }
    }
}

/// How a change of variables goes on.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ChangeArgs {
    /// Only store; the next deploy uses it.
    #[arg(long)]
    pub(crate) stage: bool,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

/// `nonna env set`
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Names and values.
    #[arg(required = true, value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `nonna secret set`
#[derive(Debug, Args)]
#[command(after_help = "\
The value is asked for, or read from standard input: a command's arguments can be read by every
user of the machine, and stay in the shell's history.

Examples:
  nonna secret set DATABASE_URL                      asks for the value
  pass show db | nonna secret set DATABASE_URL       reads it
  nonna secret set TLS_KEY --from-file key.pem       the file's content
  nonna secret set --env-file secrets.env            many at once, NAME=VALUE a line")]
pub(crate) struct SetSecretArgs {
    /// Its name; `NAME=-` reads the value from standard input even on a terminal.
    #[arg(required_unless_present = "env_file", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Take the value from a file.
    #[arg(long, value_name = "FILE", requires = "name")]
    pub(crate) from_file: Option<PathBuf>,
    /// Set all of a file of NAME=VALUE lines.
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    pub(crate) env_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `nonna env unset` and `nonna secret unset`
#[derive(Debug, Args)]
pub(crate) struct UnsetArgs {
    /// Names.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}
