//! `nonna logs` beside showing lines.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::LogsExportArgs;

/// What `nonna logs` does beside showing lines.
#[derive(Debug, Subcommand)]
pub(crate) enum LogsCommand {
    /// Run the log proxy on its own: it needs no Nonna server.
    Proxy(ProxyArgs),
    /// Print log lines as JSON, one object a line, oldest first.
    Export(LogsExportArgs),
}

const AFTER_HELP: &str = "\
Without a configuration and without --listen-… it listens on this machine only:
  HTTP    127.0.0.1:3100    OTLP, Loki, Elasticsearch, lines; /metrics, /health
  syslog  127.0.0.1:5514    UDP and TCP
  Fluent  127.0.0.1:24224

docs/log-proxy.md has the settings, and what to write into each sender.";

/// `nonna logs proxy`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ProxyArgs {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder to keep records in [default: /var/lib/nonna-logs; without root
    /// ~/.local/state/nonna-logs].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Listen for syslog here too, over UDP and TCP.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen_syslog: Vec<SocketAddr>,
    /// Listen for HTTP here too.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen_http: Vec<SocketAddr>,
    /// Listen for Fluent's forward protocol here too.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen_fluent: Vec<SocketAddr>,
    /// Listen for lines on this Unix socket too.
    #[arg(long, value_name = "PATH")]
    pub(crate) listen_unix: Vec<PathBuf>,
    /// Check the configuration, and end.
    #[arg(long)]
    pub(crate) check: bool,
    /// How much the proxy says of itself on standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}
