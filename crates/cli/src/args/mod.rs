//! What the command line may say. No command does anything here.

mod build;
mod deploy;
mod git;
mod logs;
mod registry;
mod server;
mod service;
mod variable;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use nonna_model::Name;

pub(crate) use build::{
    BuildArgs, BuildLogArgs, BuildPlanArgs, BuildsArgs, BuildsCommand, CacheArgs, CacheCommand, ClearArgs,
    GcArgs,
};
pub(crate) use deploy::{DeployArgs, DesiredArgs, FollowArgs, PlanArgs};
pub(crate) use git::{
    GitCommand, GitConnectArgs, GitDeliveriesArgs, GitDeployArgs, GitDisconnectArgs, GitSetupArgs,
};
pub(crate) use logs::{LogsCommand, ProxyArgs};
pub(crate) use registry::{RegistryCommand, RegistryLoginArgs, ReleaseArgs, ReleaseCommand, SbomArgs};
pub(crate) use server::{InstallArgs, LoginCodeArgs, ServerArgs, ServerCommand, ServerFlags};
pub(crate) use service::{
    DestroyArgs, ExecArgs, LogsArgs, LogsExportArgs, OpenArgs, PauseArgs, ReleasesArgs, RollbackArgs,
    RunArgs, ScaleArgs, SessionArgs, WantedLines,
};
pub(crate) use variable::{
    ChangeArgs, EnvCommand, ScopeArg, ScopeArgs, SecretCommand, SetArgs, SetSecretArgs, UnsetArgs,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
First steps:
  nonna server                  on the machine that shall run your services
  nonna login URL --code CODE   the server prints this line when it first starts
  nonna deploy                  in your app's folder

Exit codes: 0 done, 1 failed, 2 called wrongly. `run` and `exec` pass on those of the command.";

/// Puts your apps on the air, on machines of your own.
#[derive(Debug, Parser)]
#[command(
    name = "nonna",
    version,
    styles = STYLES,
    after_help = AFTER_HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The project; else that of the nearest nonna.toml, else the folder's name.
    #[arg(
        long,
        short = 'p',
        global = true,
        value_name = "NAME",
        env = "NONNA_PROJECT",
        hide_env = true
    )]
    pub(crate) project: Option<Name>,
    /// The environment; else the manifest's, else `production`.
    #[arg(
        long,
        short = 'e',
        global = true,
        value_name = "NAME",
        env = "NONNA_ENVIRONMENT",
        hide_env = true
    )]
    pub(crate) environment: Option<Name>,
    /// The server: its address, or the name it was given at login.
    #[arg(
        long,
        global = true,
        value_name = "URL|NAME",
        env = "NONNA_SERVER",
        hide_env = true
    )]
    pub(crate) server: Option<String>,
    /// Print results as JSON; what goes on over time, as one JSON object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results only.
    #[arg(long, short = 'q', global = true)]
    pub(crate) quiet: bool,
    /// Print no colours (nor with NO_COLOR set).
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// The commands, in the order of a newcomer's need.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it in the whole process"
)]
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run Nonna on this machine: everything is in this one process.
    Server(ServerArgs),
    /// Log in to a server and remember it.
    Login(LoginArgs),
    /// Write a nonna.toml with comments into a folder.
    Init(InitArgs),
    /// Show what a deploy would create, change, replace and destroy, and why.
    Plan(PlanArgs),
    /// Deploy the services of a folder.
    Deploy(DeployArgs),
    /// Deploy by `git push`, or from a repository on a forge.
    #[command(subcommand)]
    Git(GitCommand),
    /// Show the services of the environment and how they are.
    Status,
    /// Show what replicas print.
    Logs(LogsArgs),
    /// Open a service in the browser.
    Open(OpenArgs),
    /// Set, show and remove variables.
    #[command(subcommand)]
    Env(EnvCommand),
    /// Set, show and remove secrets.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Show where the services are reached.
    Domain,
    /// Change how many replicas run.
    Scale(ScaleArgs),
    /// Run a command in a running replica.
    Exec(ExecArgs),
    /// Run a command in a fresh replica.
    Run(RunArgs),
    /// Show a service's releases.
    Releases(ReleasesArgs),
    /// Show what a release is made of, check its signature, push it.
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Make an earlier release current again.
    Rollback(RollbackArgs),
    /// Build the services of a folder and deploy nothing; or say how they are built, and why.
    Build(BuildArgs),
    /// Show what is being built, and what waits for its turn.
    Builds(BuildsArgs),
    /// Show what builds keep to be quicker next time, or clear it.
    Cache(CacheArgs),
    /// Remove what builds left and nobody needs.
    Gc(GcArgs),
    /// Stop a service's replicas and keep the rest.
    Pause(PauseArgs),
    /// Start the replicas of a paused service.
    Resume(PauseArgs),
    /// Destroy a service, or the whole environment.
    Destroy(DestroyArgs),
    /// Store credentials for image registries; show the key that signs images.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Write files that run the environment without Nonna.
    Export(ExportArgs),
    /// Save the server's own state to a file.
    Backup(BackupArgs),
    /// Make a server's data folder of a backup.
    Restore(RestoreArgs),
    /// Find what is wrong, here and on the server's machine.
    Doctor,
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Show the versions of this program and of the server.
    Version,
}

/// `nonna login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The server's address, such as `https://nonna.example.org`.
    pub(crate) url: String,
    /// The one-time code that the server printed; `-` reads it from standard input.
    #[arg(long, value_name = "CODE", required_unless_present = "token")]
    pub(crate) code: Option<String>,
    /// Take a token that there is already: from NONNA_TOKEN, or from standard input.
    #[arg(long, conflicts_with = "code")]
    pub(crate) token: bool,
    /// What to call the server here.
    #[arg(long = "as", value_name = "NAME", default_value = "default")]
    pub(crate) name: Name,
    /// A PEM file of certificate authorities to trust beside the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// `nonna init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The app's folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Write over a nonna.toml that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// `nonna export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The folder to write into; made if it is not there. Without it, the files are printed.
    pub(crate) folder: Option<PathBuf>,
    /// For what.
    #[arg(long, value_enum, default_value_t = ExportFormat::Compose)]
    pub(crate) format: ExportFormat,
    /// Write over files that are there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// What an export is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// A compose file.
    Compose,
    /// Kubernetes manifests.
    Kubernetes,
}

impl ExportFormat {
    /// As the API names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Compose => "compose",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// `nonna backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; `-` for standard output.
    pub(crate) file: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// `nonna restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup.
    pub(crate) file: PathBuf,
    /// The data folder to make; it must be empty or not there, and no server may use it.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: PathBuf,
    /// The backup is encrypted: ask for its passphrase, or read it from standard input.
    #[arg(long)]
    pub(crate) passphrase: bool,
}

/// `nonna completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
