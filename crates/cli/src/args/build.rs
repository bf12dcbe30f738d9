//! Commands about builds and what they leave.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nonna_model::{Name, ReleaseNumber};

/// `nonna build`
#[derive(Debug, Args)]
#[command(after_help = "\
The image is built on the server, within its queue and limits, and its log is kept with the service's next release.
A deploy of the same source takes it; what is not deployed is removed as other images are. Ctrl-C stops the build.

With --explain nothing is sent, built or written, and no server is asked: the folder is looked at here, by the same
rules that the server builds by.

Examples:
  nonna build                         see that it builds, and how large it gets
  nonna build --explain               what was found, which rule decided, and how to overrule it
  nonna build --explain --dockerfile  the Dockerfile that was made, for `docker build` or to go on from")]
pub(crate) struct BuildArgs {
    /// The app's folder, or one within it, or a Compose file.
    pub(crate) path: Option<PathBuf>,
    /// Say how each service is built and why, and build nothing.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print the Dockerfile that was made for the language, in a form that builds in the folder itself.
    #[arg(long, requires = "explain")]
    pub(crate) dockerfile: bool,
    /// Only this service; may be repeated.
    #[arg(long = "service", short = 's', value_name = "NAME")]
    pub(crate) services: Vec<Name>,
    /// Build everything anew: use no image, layer or dependency of before.
    #[arg(long, conflicts_with = "explain")]
    pub(crate) no_cache: bool,
    /// Fetch the base images anew first.
    #[arg(long, conflicts_with = "explain")]
    pub(crate) pull: bool,
}

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
    /// Show how a release was built, and why.
    Plan(BuildPlanArgs),
}

/// `nonna builds plan`
#[derive(Debug, Args)]
#[command(after_help = "\
It is made anew of the source that is kept with the release, by the rules that the server has now.
`nonna build --explain` says the same of a folder, before anything is sent.")]
pub(crate) struct BuildPlanArgs {
    /// The release, such as `v3`; without it, the newest, also one that failed.
    pub(crate) release: Option<ReleaseNumber>,
    /// The service; may be left out where there is only one.
    #[arg(long, short = 's', value_name = "NAME")]
    pub(crate) service: Option<Name>,
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
