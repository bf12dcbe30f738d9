//! The server's own log lines, to standard error.

use nonna_engine::{Code, Error, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Begins logging as the settings say. Once a process.
///
/// # Errors
/// Where the level is no filter, or logging was begun before.
pub fn init(config: &Config) -> Result<()> {
    let filter = config
        .log_level
        .parse::<EnvFilter>()
        .map_err(|e| Error::bug(format!("the log level was checked and is wrong: {e}")))?;
    begin(filter, config.log_format)
}

/// The same for a process that is no server, at this level, as text.
///
/// # Errors
/// Where the level is no filter, or logging was begun before.
pub fn init_plain(level: &str) -> Result<()> {
    let filter = level.parse::<EnvFilter>().map_err(|error| {
        Error::user(
            Code::InvalidInput,
            format!("`{level}` is no level for log lines."),
        )
        .said(error.to_string())
        .hint("It is one of error, warn, info, debug and trace.")
    })?;
    begin(filter, LogFormat::Text)
}

fn begin(filter: EnvFilter, format: LogFormat) -> Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let begun = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| Error::bug(format!("logging was begun twice: {e}")))
}
