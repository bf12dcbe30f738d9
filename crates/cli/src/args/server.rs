//! `nonna server`: its flags are the server's own settings.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use nonna_server::config::SETTINGS;

/// `nonna server`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false, subcommand_negates_reqs = true)]
pub(crate) struct ServerArgs {
    /// What else than to run.
    #[command(subcommand)]
    pub(crate) command: Option<ServerCommand>,
    /// The settings' file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The settings that flags name.
    #[command(flatten)]
    pub(crate) flags: ServerFlags,
}

/// What `nonna server` does beside running.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Write a hardened systemd unit.
    Install(InstallArgs),
    /// Print a command that logs in to the server of this machine, once.
    LoginCode(LoginCodeArgs),
}

/// `nonna server install`
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The settings' file that the unit names.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to write the unit; `-` prints it.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/systemd/system/nonna.service"
    )]
    pub(crate) unit: PathBuf,
    /// Write over a unit that is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// The settings that flags name.
    #[command(flatten)]
    pub(crate) flags: ServerFlags,
}

/// `nonna server login-code`
#[derive(Debug, Args)]
pub(crate) struct LoginCodeArgs {
    /// The settings' file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The settings that flags name.
    #[command(flatten)]
    pub(crate) flags: ServerFlags,
}

/// The settings that were given as flags: their keys and values. One flag for
/// each of [`SETTINGS`], so that the two cannot part.
#[derive(Debug, Default, Clone)]
pub(crate) struct ServerFlags(pub(crate) Vec<(String, String)>);

impl Args for ServerFlags {
    fn augment_args(command: Command) -> Command {
        SETTINGS.iter().fold(command, |command, setting| {
            let help = if setting.default.is_empty() {
                setting.help.to_owned()
            } else {
                format!("{} [default: {}]", setting.help, setting.default)
            };
            command.arg(
                Arg::new(setting.key)
                    .long(setting.key.replace(['.', '_'], "-"))
                    .value_name("VALUE")
                    .help_heading("Settings")
                    .help(help),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServerFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(
            SETTINGS
                .iter()
                .filter_map(|setting| {
                    let value = matches.get_one::<String>(setting.key)?;
                    Some((setting.key.to_owned(), value.clone()))
                })
                .collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
