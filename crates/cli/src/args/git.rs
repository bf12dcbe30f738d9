//! `nonna git`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
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
    /// Deploy what is pushed to a repository on GitHub, GitLab, Gitea, Forgejo or Bitbucket.
    Connect(GitConnectArgs),
    /// List the repositories on forges that the project is deployed from.
    List,
    /// Deploy from a repository on a forge no more.
    Disconnect(GitDisconnectArgs),
    /// Deploy a branch as it is on the forge now, without a push.
    Deploy(GitDeployArgs),
    /// Show what a repository's webhook said, and what came of it.
    Deliveries(GitDeliveriesArgs),
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

/// `nonna git connect`
#[derive(Debug, Args)]
#[command(after_help = "\
It prints what is to be entered at the forge: the webhook's address and secret, which is shown this once, and
the deploy key for a repository that is reached by SSH. Called again for the same repository, it adds a branch
or changes what follows one; the webhook, the secret and the key stay as they are.

The environment is that of --environment, else the manifest's, else production.")]
pub(crate) struct GitConnectArgs {
    /// The repository's address: `git@forge.example.org:owner/name.git` or `https://forge.example.org/owner/name.git`.
    pub(crate) repository: String,
    /// The branch that is deployed.
    #[arg(long, short = 'b', default_value = "main", value_name = "BRANCH")]
    pub(crate) branch: String,
    /// Deploy only this service of the repository's manifest; may be given several times.
    #[arg(long, short = 's', value_name = "NAME")]
    pub(crate) service: Vec<Name>,
    /// Which kind of forge it is, where the host's name does not tell.
    #[arg(long, value_enum)]
    pub(crate) forge: Option<ForgeArg>,
    /// Where the forge's API is, where the repository's address does not tell.
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// Ask for a token of the forge, or read it from standard input: for commit statuses, and for
    /// fetching over HTTPS. It is kept sealed.
    #[arg(long)]
    pub(crate) token: bool,
    /// Make another secret for the webhook of a repository that is connected.
    #[arg(long)]
    pub(crate) new_secret: bool,
}

/// A kind of forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForgeArg {
    /// github.com, GitHub Enterprise.
    Github,
    /// gitlab.com, a GitLab of one's own.
    Gitlab,
    /// Gitea.
    Gitea,
    /// Forgejo, Codeberg.
    Forgejo,
    /// bitbucket.org.
    Bitbucket,
}

impl ForgeArg {
    /// As the API names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea | Self::Forgejo => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }
}

/// `nonna git disconnect`
#[derive(Debug, Args)]
pub(crate) struct GitDisconnectArgs {
    /// The repository: its address, `owner/name`, or the connection's id.
    pub(crate) repository: String,
    /// Only this branch; the others are deployed as before.
    #[arg(long, short = 'b', value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
}

/// `nonna git deploy`
#[derive(Debug, Args)]
pub(crate) struct GitDeployArgs {
    /// The repository; may be left out where there is only one.
    pub(crate) repository: Option<String>,
    /// The branch; may be left out where only one is followed.
    #[arg(long, short = 'b', value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Do not wait for the end.
    #[arg(long)]
    pub(crate) detach: bool,
}

/// `nonna git deliveries`
#[derive(Debug, Args)]
pub(crate) struct GitDeliveriesArgs {
    /// The repository; may be left out where there is only one.
    pub(crate) repository: Option<String>,
    /// Show all that was said of the delivery with this number.
    #[arg(long, short = 'n', value_name = "NUMBER")]
    pub(crate) number: Option<u64>,
}
