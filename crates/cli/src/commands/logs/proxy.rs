//! `nonna logs proxy`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nonna_engine::{Code, Error};
use nonna_logs::standalone::config::{FluentConfig, HttpConfig, Syslog, Transport, UnixConfig};
use nonna_logs::standalone::{self, Checked, Config};
use nonna_logs::{LogProxy, loki};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ProxyArgs;
use crate::commands::{Context, block_on};
use crate::fail::Result;

/// Where it listens when nothing is said: on this machine only.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3100);
const SYSLOG: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5514);
const FLUENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 24224);

/// Runs the log proxy until it is told to end.
pub(crate) fn proxy(context: &Context, args: ProxyArgs) -> Result {
    let check = args.check;
    let level = args.log_level.clone();
    let (folder, config) = config(args)?;
    let checked = Checked::new(config)?;
    if check {
        context.printer.line("The configuration is good.");
        return Ok(());
    }
    let folder = match folder {
        Some(folder) => folder,
        None => default_folder()?,
    };
    nonna_server::init_plain_logging(&level)?;
    block_on(async {
        let cannot =
            |error: std::io::Error| Error::bug("Signals cannot be listened to.").said(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let ends = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let say = |listener: &str| context.printer.line(&format!("listening: {listener}"));
        // Whoever a listener lets in may read everything.
        let query = |proxy: &Arc<LogProxy>| Some(loki::router(Arc::clone(proxy), Arc::new(loki::Everything)));
        Ok(standalone::run(&folder, checked, &query, say, ends).await?)
    })
}

/// The configuration as file and flags have it, and its folder.
fn config(args: ProxyArgs) -> Result<(Option<PathBuf>, Config)> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    let nothing_said = args.config.is_none()
        && args.listen_syslog.is_empty()
        && args.listen_http.is_empty()
        && args.listen_fluent.is_empty()
        && args.listen_unix.is_empty();
    let or_default = |given: Vec<SocketAddr>, default| if nothing_said { vec![default] } else { given };
    for listen in or_default(args.listen_syslog, SYSLOG) {
        for transport in [Transport::Udp, Transport::Tcp] {
            config.syslog.push(Syslog {
                listen,
                transport,
                tls: None,
                zone: None,
            });
        }
    }
    config.http.extend(
        or_default(args.listen_http, HTTP)
            .into_iter()
            .map(HttpConfig::open),
    );
    for listen in or_default(args.listen_fluent, FLUENT) {
        config.fluent.push(FluentConfig {
            listen,
            tls: None,
            shared_key: None,
            hostname: None,
        });
    }
    config
        .unix
        .extend(args.listen_unix.into_iter().map(|path| UnixConfig {
            path,
            mode: None,
            service: None,
        }));
    Ok((args.data.or_else(|| config.data.take()), config))
}

fn default_folder() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/nonna-logs"));
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("nonna-logs"))
        .ok_or_else(|| {
            Error::user(Code::InvalidInput, "There is no folder to keep records in.")
                .hint("Name one with --data FOLDER.")
                .into()
        })
}
