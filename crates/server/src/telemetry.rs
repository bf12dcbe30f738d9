//! The server's own log lines, to standard error.

use nonna_engine::{Error, Result};
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let begun = match config.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| Error::bug(format!("logging was begun twice: {e}")))
}
