//! Commands about services that were deployed.

use std::str::FromStr;

use clap::Args;
use nonna_model::{Name, ReleaseNumber};

use super::{FollowArgs, LogsCommand};

/// `nonna logs`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LogsArgs {
    /// What else than to show lines.
    #[command(subcommand)]
    pub(crate) command: Option<LogsCommand>,
    /// The service; without it, all of the environment.
    pub(crate) service: Option<Name>,
    /// Go on with new lines.
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Not before: `10m` ago, or a moment such as `2026-11-23T14:05:00Z`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after: as with --since.
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) wanted: WantedLines,
    /// The newest so many lines.
    #[arg(long, short = 'n', value_name = "LINES", allow_negative_numbers = false)]
    pub(crate) tail: Option<u32>,
    /// The newest lines first.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) newest: bool,
    /// So many lines of the same replica before and after each as well.
    #[arg(long, short = 'C', value_name = "LINES", allow_negative_numbers = false)]
    pub(crate) context: Option<u32>,
    /// Put the time before each line.
    #[arg(long, short = 't')]
    pub(crate) timestamps: bool,
}

/// `nonna logs export`
#[derive(Debug, Args)]
pub(crate) struct LogsExportArgs {
    /// Not before: `10m` ago, or a moment such as `2026-11-23T14:05:00Z`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after: as with --since.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) wanted: WantedLines,
}

/// Which lines of a log are wanted.
#[derive(Debug, Default, Args)]
pub(crate) struct WantedLines {
    /// Only lines that a query finds, as in docs/logs.md: `timeout AND (level:>=warn OR status=500) -healthz`.
    #[arg(long, value_name = "QUERY")]
    pub(crate) query: Option<String>,
    /// Only lines that hold this text.
    #[arg(long, short = 'g', value_name = "TEXT")]
    pub(crate) grep: Option<String>,
    /// Only lines that this regular expression matches.
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Only lines of this level or more serious: trace, debug, info, notice, warn, error, fatal.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Only lines of this replica or release: `v3.0`, `v3`.
    #[arg(long, value_name = "REPLICA")]
    pub(crate) replica: Option<String>,
    /// Only lines of this service; may be given several times.
    #[arg(long = "service", value_name = "SERVICE")]
    pub(crate) services: Vec<Name>,
    /// Only lines with this field; may be given several times. Without a value: any.
    #[arg(long = "field", value_name = "NAME=VALUE")]
    pub(crate) fields: Vec<String>,
    /// By which ways lines came: stdout, stderr, edge (the access log), nonna (deployments and
    /// builds), proxy (what was lost); several with commas, or all.
    #[arg(long, value_name = "STREAM", conflicts_with = "access")]
    pub(crate) stream: Option<String>,
    /// The edge's access log instead of what replicas print.
    #[arg(long)]
    pub(crate) access: bool,
}

/// `nonna open`
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// The service.
    pub(crate) service: Option<Name>,
}

/// `nonna scale`
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// The service and how many replicas.
    #[arg(value_name = "SERVICE=REPLICAS")]
    pub(crate) to: Scaled,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

/// `web=3`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scaled {
    /// The service.
    pub(crate) service: Name,
    /// How many replicas.
    pub(crate) replicas: u32,
}

impl FromStr for Scaled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, replicas) = text
            .split_once('=')
            .ok_or("write the service and the number of replicas, as in `web=3`")?;
        Ok(Self {
            service: service
                .parse()
                .map_err(|e: nonna_model::InvalidName| e.to_string())?,
            replicas: replicas
                .parse()
                .map_err(|_| format!("`{replicas}` is not a number of replicas"))?,
        })
    }
}

/// `nonna exec`
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The service; may be left out where there is only one.
    pub(crate) service: Option<Name>,
    /// Which replica, from 0.
    #[arg(long, short = 'r', value_name = "NUMBER")]
    pub(crate) replica: Option<u32>,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// `nonna run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The service whose release and configuration it gets; may be left out where there is only one.
    pub(crate) service: Option<Name>,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// What `exec` and `run` share.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// Give it no terminal, even where there is one.
    #[arg(long, short = 'T')]
    pub(crate) no_tty: bool,
    /// Give it no standard input.
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `nonna releases`
#[derive(Debug, Args)]
pub(crate) struct ReleasesArgs {
    /// The service; may be left out where there is only one.
    pub(crate) service: Option<Name>,
}

/// `nonna rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// To which release, such as `v3`; without it, the one before the current.
    pub(crate) release: Option<ReleaseNumber>,
    /// The service; may be left out where there is only one.
    #[arg(long, short = 's', value_name = "NAME")]
    pub(crate) service: Option<Name>,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

/// `nonna pause` and `nonna resume`
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The service; may be left out where there is only one.
    pub(crate) service: Option<Name>,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

/// `nonna destroy`
#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    /// The service; without it, the environment with all its services.
    pub(crate) service: Option<Name>,
    /// Do not ask.
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Do not ask where this is the name of what would be destroyed, and do nothing where it is another.
    #[arg(long, value_name = "NAME")]
    pub(crate) confirm: Option<String>,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}
