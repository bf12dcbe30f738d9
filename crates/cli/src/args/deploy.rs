//! `nonna plan` and `nonna deploy`.

use std::path::PathBuf;

use clap::Args;
use nonna_model::Name;

/// What an environment should be.
#[derive(Debug, Args)]
pub(crate) struct DesiredArgs {
    /// The app's folder, or one within it, or a Compose file.
    pub(crate) path: Option<PathBuf>,
    /// Take this image instead of building.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) image: Option<String>,
    /// Only this service; may be repeated.
    #[arg(long = "service", short = 's', value_name = "NAME")]
    pub(crate) services: Vec<Name>,
    /// Make a new release even where nothing differs.
    #[arg(long)]
    pub(crate) force: bool,
    /// Build everything anew: use no image, layer or dependency of before.
    #[arg(long, conflicts_with = "image")]
    pub(crate) no_cache: bool,
    /// Destroy services of the environment that are declared no longer.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Fetch images and the base images of builds anew, to see whether their tags moved.
    #[arg(long)]
    pub(crate) pull: bool,
}

/// `nonna plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) desired: DesiredArgs,
}

/// `nonna deploy`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nonna deploy                        the folder you are in
  nonna deploy --image nginx:1.27     an image that exists already
  nonna deploy compose.yaml           the services of a Compose file
  nonna plan && nonna deploy --plan DIGEST
                                      exactly what was shown

Ctrl-C cancels the deployment: the release that served before goes on serving.")]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) desired: DesiredArgs,
    /// Only if the plan still is this one, as `nonna plan` printed it.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) plan: Option<String>,
    /// Cancel earlier deployments of the environment rather than wait for them.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

/// Whether to wait for a deployment.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct FollowArgs {
    /// Wait for the end (the default).
    #[arg(long, overrides_with = "detach")]
    pub(crate) wait: bool,
    /// Begin it and return at once.
    #[arg(long, short = 'd', overrides_with = "wait")]
    pub(crate) detach: bool,
}
