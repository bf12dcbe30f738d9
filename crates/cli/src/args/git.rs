//! `nonna git`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nonna_model::Name;

/// `nonna git`
#[derive(Debug, Subcommand)]
pub(crate) enum GitCommand {
    /// Let `git push nonna` deploy from this folder.
    Setup(GitSetupArgs),
    /// Show which environment follows which branch.
    Show,
    /// Let an environment follow a branch: what is pushed to it is deployed there.
    Follow {
        /// The branch.
        branch: String,
        /// The environment.
        #[arg(value_name = "ENVIRONMENT")]
        to: Name,
    },
    /// Let no environment follow a branch any more.
    Unfollow {
        /// The branch.
        branch: String,
    },
    /// Be git's credential helper: git calls this.
    #[command(hide = true)]
    Credential {
        /// What git asks: `get`, `store` or `erase`.
        operation: String,
    },
}

/// `nonna git setup`
#[derive(Debug, Args)]
#[command(after_help = "\
The remote's address holds no token, and neither does .git/config: git asks this program
for it, which has it of `nonna login`.")]
pub(crate) struct GitSetupArgs {
    /// The app's folder, or one within it.
    pub(crate) path: Option<PathBuf>,
    /// What to call the remote.
    #[arg(long, default_value = "nonna", value_name = "NAME")]
    pub(crate) remote: Name,
    /// Change a remote of that name that leads elsewhere.
    #[arg(long)]
    pub(crate) force: bool,
}
