//! Commands about builds and what they leave.

use clap::{Args, Subcommand};
use nonna_model::{Name, ReleaseNumber};

/// `nonna builds`
#[derive(Debug, Args)]
pub(crate) struct BuildsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BuildsCommand>,
}

/// What may follow `nonna builds`.
#[derive(Debug, Subcommand)]
pub(crate) enum BuildsCommand {
    /// Show what the build of a release said.
    #[command(visible_alias = "log")]
    Logs(BuildLogArgs),
}

/// `nonna builds logs`
#[derive(Debug, Args)]
pub(crate) struct BuildLogArgs {
    /// The release, such as `v3`; without it, the newest, also one that failed.
    pub(crate) release: Option<ReleaseNumber>,
    /// The service; may be left out where there is only one.
    #[arg(long, short = 's', value_name = "NAME")]
    pub(crate) service: Option<Name>,
    /// Put the time before each line.
    #[arg(long, short = 't')]
    pub(crate) timestamps: bool,
}

/// `nonna cache`
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CacheCommand>,
}

/// What may follow `nonna cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Remove caches that no build uses now.
    Clear(ClearArgs),
}

/// `nonna cache clear`
#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Of this service of the environment; without it, of the whole project.
    pub(crate) service: Option<Name>,
    /// All that this installation has, of all projects.
    #[arg(long, conflicts_with = "service")]
    pub(crate) all: bool,
}

/// `nonna gc`
#[derive(Debug, Args)]
#[command(after_help = "\
The server does this by itself every hour, and as soon as a disk is nearly full. What runs, what is being
deployed, and what can be gone back to within the last releases is never removed, nor anything that another
installation or a person made. `nonna server settings` shows what is kept (`retention.…`).")]
pub(crate) struct GcArgs {
    /// Only show what would go.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}
