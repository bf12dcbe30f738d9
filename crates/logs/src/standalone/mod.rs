//! The log proxy on its own: `nonna logs proxy`, on any machine, with Nonna or
//! without.

pub(crate) mod check;
pub mod config;
pub mod values;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::tz::TimeZone;
use nonna_engine::{Code, Error, Result};
use secrecy::ExposeSecret;

use crate::forward::{Forward, ForwardCounters, prometheus, start};
use crate::listen::{
    Access, Door, Fluent, Http, Limits, Served, SyslogTcp, SyslogUdp, Tasks, TlsFiles, Unix, server_tls,
};
use crate::store::{LogProxy, Options};
use check::wrong;
pub use config::Config;
use config::{HttpConfig, Serve, Syslog, Transport};

/// How long requests under way, and what is to be forwarded, may take when the
/// process ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// The service of records that came over a Unix socket and name none.
const UNIX_SERVICE: &str = "unix";

/// Makes the router that answers questions to a log proxy.
pub type MakeQuery<'a> = &'a dyn Fn(&Arc<LogProxy>) -> Option<Router>;

/// A configuration that was checked.
#[derive(Debug)]
pub struct Checked {
    config: Config,
    options: Options,
    limits: Limits,
    forwards: Vec<Forward>,
}

impl Checked {
    /// Checks a configuration: all that can be told without opening anything.
    ///
    /// # Errors
    /// `InvalidInput` with the place and the mistake.
    pub fn new(config: Config) -> Result<Self> {
        let options = check::options(&config)?;
        let limits = check::limits(&config)?;
        for syslog in &config.syslog {
            zone(syslog)?;
            if syslog.tls.is_some() && syslog.transport == Transport::Udp {
                return Err(wrong("[[syslog]]", "TLS needs `transport = \"tcp\"`"));
            }
        }
        for unix in &config.unix {
            mode(unix.mode.as_deref())?;
        }
        let mut forwards: Vec<Forward> = Vec::new();
        for forward in &config.forward {
            if forwards.iter().any(|known| known.name == forward.name) {
                return Err(wrong(
                    "[[forward]]",
                    format!("there are two called `{}`", forward.name),
                ));
            }
            forwards.push(forward.forward()?);
        }
        Ok(Self {
            config,
            options,
            limits,
            forwards,
        })
    }
}

fn zone(syslog: &Syslog) -> Result<TimeZone> {
    match &syslog.zone {
        None => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name)
            .map_err(|error| wrong("[[syslog]]", format!("`{name}` is no time zone ({error})"))),
    }
}

fn mode(text: Option<&str>) -> Result<u32> {
    let text = text.unwrap_or("0660");
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| wrong("[[unix]]", "`mode` is written in octal, such as \"0660\""))
}

/// A log proxy with its listeners.
pub struct Running {
    proxy: Arc<LogProxy>,
    door: Arc<Door>,
    tasks: Tasks,
    forwarding: Tasks,
    forwards: Vec<(String, Arc<ForwardCounters>)>,
    listening: Vec<String>,
}

impl Running {
    /// Opens the store in a folder and every listener.
    ///
    /// # Errors
    /// Where the store cannot be opened, an address cannot be listened on, or a
    /// file that the configuration names cannot be used.
    pub fn start(folder: &Path, checked: Checked, query: MakeQuery<'_>) -> Result<Self> {
        let Checked {
            config,
            options,
            limits,
            forwards,
        } = checked;
        let proxy = Arc::new(LogProxy::open(folder, options)?);
        let mut values = Vec::new();
        for value in &config.redact.values {
            values.push(value.read()?);
        }
        if !values.is_empty() {
            proxy.set_secrets(values.iter().map(|value| value.expose_secret().as_bytes()))?;
        }
        let mut running = Self {
            door: Door::new(proxy.intake(), limits),
            proxy,
            tasks: Tasks::default(),
            forwarding: Tasks::default(),
            forwards: Vec::new(),
            listening: Vec::new(),
        };
        // First of all: what a listener takes in is to be sent on.
        for forward in forwards {
            let name = forward.name.clone();
            let Tasks { closing, tracker } = running.forwarding.clone();
            let counters = start(&running.proxy, folder, forward, closing, &tracker)?;
            running.forwards.push((name, counters));
        }
        running.listen(&config, query)?;
        Ok(running)
    }

    fn listen(&mut self, config: &Config, query: MakeQuery<'_>) -> Result<()> {
        for syslog in &config.syslog {
            self.syslog(syslog)?;
        }
        for http in &config.http {
            self.http(http, query)?;
        }
        for fluent in &config.fluent {
            let key = fluent.shared_key.as_ref().map(values::Secret::read).transpose()?;
            let hostname = fluent.hostname.as_deref().unwrap_or("nonna");
            let tls = tls_of(fluent.tls.as_ref())?;
            let listener = Fluent::bind(fluent.listen, tls, key, hostname)?;
            self.says("fluent", listener.address());
            listener.serve(Arc::clone(&self.door), &self.tasks);
        }
        for unix in &config.unix {
            let service = unix.service.as_deref().unwrap_or(UNIX_SERVICE);
            let listener = Unix::bind(&unix.path, mode(unix.mode.as_deref())?, service)?;
            self.listening.push(format!("unix {}", unix.path.display()));
            listener.serve(Arc::clone(&self.door), &self.tasks);
        }
        if self.listening.is_empty() {
            return Err(Error::user(
                Code::InvalidInput,
                "The log proxy has no listener: nothing could send to it.",
            )
            .hint("Add `[[http]]`, `[[syslog]]`, `[[fluent]]` or `[[unix]]` to the configuration."));
        }
        Ok(())
    }

    fn syslog(&mut self, syslog: &Syslog) -> Result<()> {
        let zone = zone(syslog)?;
        match syslog.transport {
            Transport::Udp => {
                let listener = SyslogUdp::bind(syslog.listen, zone)?;
                self.says("syslog/udp", listener.address());
                listener.serve(Arc::clone(&self.door), &self.tasks);
            }
            Transport::Tcp => {
                let tls = tls_of(syslog.tls.as_ref())?;
                let name = if tls.is_some() { "syslog/tls" } else { "syslog/tcp" };
                let listener = SyslogTcp::bind(syslog.listen, tls, zone)?;
                self.says(name, listener.address());
                listener.serve(Arc::clone(&self.door), &self.tasks);
            }
        }
        Ok(())
    }

    fn http(&mut self, http: &HttpConfig, query: MakeQuery<'_>) -> Result<()> {
        let mut access = Access::default();
        for token in &http.tokens {
            access.token(&token.read()?);
        }
        for (name, password) in &http.users {
            access.user(name, &password.read()?);
        }
        let tls = tls_of(http.tls.as_ref())?;
        if access.is_open() && !http.listen.ip().is_loopback() {
            tracing::warn!(listen = %http.listen, "whoever reaches this HTTP listener may use it: set `tokens` or `users`");
        }
        let name = if tls.is_some() { "https" } else { "http" };
        let served: Vec<Served> = http
            .serve
            .iter()
            .map(|serve| match serve {
                Serve::Intake => Served::Intake,
                Serve::Query => Served::Query,
                Serve::Metrics => Served::Metrics,
            })
            .collect();
        let listener = Http::bind(http.listen, tls)?.with(
            &self.door,
            &served,
            access,
            self.metrics(),
            query(&self.proxy),
        );
        self.says(name, listener.address());
        listener.serve(Arc::clone(&self.door), &self.tasks);
        Ok(())
    }

    fn says(&mut self, name: &str, address: Option<std::net::SocketAddr>) {
        let address = address.map_or_else(String::new, |address| address.to_string());
        self.listening.push(format!("{name} {address}"));
    }

    /// All metrics, in Prometheus' text format, whenever it is called.
    fn metrics(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let (proxy, door) = (Arc::clone(&self.proxy), Arc::clone(&self.door));
        let forwards = self.forwards.clone();
        Arc::new(move || {
            let mut text = proxy.metrics();
            door.counters().prometheus(&mut text);
            prometheus(&forwards, *proxy.stored().borrow(), &mut text);
            text.push_str(
                "# HELP nonna_logs_listen_open_connections Connections that are open.\n\
                 # TYPE nonna_logs_listen_open_connections gauge\n",
            );
            text.push_str(&format!(
                "nonna_logs_listen_open_connections {}\n",
                door.connections()
            ));
            text
        })
    }

    /// What is listened on, for people: `http 127.0.0.1:3100`.
    #[must_use]
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// The log proxy.
    #[must_use]
    pub fn proxy(&self) -> &Arc<LogProxy> {
        &self.proxy
    }

    /// Ends: nothing more is accepted, and what was read is kept.
    pub async fn end(self) {
        self.tasks.end(PATIENCE).await;
        if let Err(error) = self.proxy.flush().await {
            tracing::warn!(%error, "not all that was read could be kept");
        }
        self.forwarding.end(PATIENCE).await;
    }
}

fn tls_of(config: Option<&config::TlsConfig>) -> Result<Option<Arc<rustls::ServerConfig>>> {
    let files: Option<TlsFiles> = config.map(check::tls);
    files.as_ref().map(server_tls).transpose()
}

/// Runs until `ends` resolves.
///
/// # Errors
/// As [`Running::start`].
pub async fn run(
    folder: &Path,
    checked: Checked,
    query: MakeQuery<'_>,
    say: impl Fn(&str),
    ends: impl Future<Output = ()>,
) -> Result<()> {
    let running = Running::start(folder, checked, query)?;
    for listener in running.listening() {
        say(listener);
    }
    ends.await;
    running.end().await;
    Ok(())
}
