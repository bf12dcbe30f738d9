//! The log proxy's configuration: one TOML file, all of it optional.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nonna_engine::{Code, Error, Result};
use serde::Deserialize;

use super::values::{Secret, Size, Span};
use crate::forward::config::ForwardConfig;

/// The configuration as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder of the store.
    pub data: Option<PathBuf>,
    /// What is kept.
    pub store: Store,
    /// What senders may use.
    pub limits: LimitsConfig,
    /// What is taken out.
    pub redact: RedactConfig,
    /// Syslog listeners.
    pub syslog: Vec<Syslog>,
    /// HTTP listeners.
    pub http: Vec<HttpConfig>,
    /// Listeners of Fluent's forward protocol.
    pub fluent: Vec<FluentConfig>,
    /// Unix sockets.
    pub unix: Vec<UnixConfig>,
    /// What is done with records, first to last.
    pub rules: Vec<RuleConfig>,
    /// Metrics that are made of records.
    pub metrics: Vec<MetricConfig>,
    /// Where records are sent.
    pub forward: Vec<ForwardConfig>,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// How many bytes records may take on the disk; the oldest go first.
    pub max_bytes: Option<Size>,
    /// How old records may become.
    pub max_age: Option<Span>,
    /// How old records of a service may become, where it differs.
    pub service_max_age: BTreeMap<String, Span>,
    /// How many bytes wait on the disk while blocks cannot be written.
    pub spool: Option<Size>,
    /// What an acknowledgement promises.
    pub durability: Promise,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// The end of the process loses nothing.
    #[default]
    Process,
    /// A power failure loses nothing.
    Power,
}

/// `[limits]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at once.
    pub connections: Option<usize>,
    /// Bytes of a request or a message.
    pub body: Option<Size>,
    /// Bytes of all requests that are being received.
    pub receiving: Option<Size>,
    /// How long a connection may be silent.
    pub idle: Option<Span>,
    /// How long a message may take from its first byte to its last.
    pub message: Option<Span>,
    /// How many services senders may name.
    pub services: Option<usize>,
    /// Lines a second of a service.
    pub lines_per_second: Option<u64>,
    /// Lines at once of a service; else ten seconds' worth.
    pub burst: Option<u64>,
    /// Services of which something else holds.
    pub service: BTreeMap<String, ServiceLimit>,
}

/// `[limits.service."NAME"]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceLimit {
    /// Lines a second.
    pub lines_per_second: u64,
    /// Lines at once; else ten seconds' worth.
    pub burst: Option<u64>,
}

/// `[redact]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactConfig {
    /// Regular expressions; what they match is taken out.
    pub patterns: Vec<String>,
    /// Values that are taken out wherever they stand.
    pub values: Vec<Secret>,
}

/// A listener's TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those between it and its authority, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// Authorities whose certificates clients must show, as PEM.
    pub clients: Option<PathBuf>,
}

/// How syslog comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections, with TLS where that is set.
    Tcp,
}

/// `[[syslog]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// The address.
    pub listen: SocketAddr,
    /// How it comes.
    pub transport: Transport,
    /// TLS, over TCP.
    pub tls: Option<TlsConfig>,
    /// The senders' time zone, where they write none; else the machine's.
    pub zone: Option<String>,
}

/// What an HTTP listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serve {
    /// Takes records.
    Intake,
    /// Answers questions.
    Query,
    /// Shows metrics.
    Metrics,
}

/// `[[http]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address.
    pub listen: SocketAddr,
    /// TLS.
    pub tls: Option<TlsConfig>,
    /// What it serves; all, where nothing is said.
    #[serde(default = "everything")]
    pub serve: Vec<Serve>,
    /// Whoever knows one of these is let in.
    #[serde(default)]
    pub tokens: Vec<Secret>,
    /// Users and their passwords.
    #[serde(default)]
    pub users: BTreeMap<String, Secret>,
}

impl HttpConfig {
    /// A listener of everything, for everybody who reaches it.
    #[must_use]
    pub fn open(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            serve: everything(),
            tokens: Vec::new(),
            users: BTreeMap::new(),
        }
    }
}

fn everything() -> Vec<Serve> {
    vec![Serve::Intake, Serve::Query, Serve::Metrics]
}

/// `[[fluent]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FluentConfig {
    /// The address.
    pub listen: SocketAddr,
    /// TLS.
    pub tls: Option<TlsConfig>,
    /// What clients must know.
    pub shared_key: Option<Secret>,
    /// What this server calls itself; else `nonna`.
    pub hostname: Option<String>,
}

/// `[[unix]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixConfig {
    /// The socket.
    pub path: PathBuf,
    /// Its permissions, in octal; else `"0660"`.
    pub mode: Option<String>,
    /// The service of records that name none; else `unix`.
    pub service: Option<String>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Keeps the record, whatever later rules say.
    Keep,
    /// Drops it.
    Drop,
    /// Keeps one in so many.
    Sample,
    /// Changes what it says beside its line.
    Relabel,
}

/// `[[rules]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Which records: a question as `nonna logs` takes it.
    pub when: String,
    /// What to do with them.
    pub then: Then,
    /// Of `sample`: one in so many is kept.
    pub one_in: Option<u32>,
    /// Of `relabel`: the level.
    pub level: Option<String>,
    /// Of `relabel`: the service.
    pub service: Option<String>,
    /// Of `relabel`: the replica.
    pub replica: Option<String>,
    /// Of `relabel`: fields to set.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Of `relabel`: fields to take away.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// `[[metrics]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricConfig {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    #[serde(default)]
    pub help: String,
    /// Which records are counted; else all.
    pub when: Option<String>,
    /// Fields that tell series apart, or `service`, `replica`, `level`.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Of a histogram: the field with the number.
    pub field: Option<String>,
    /// Of a histogram: upper bounds.
    pub buckets: Option<Vec<f64>>,
}

/// A message of serde's without the text that it repeats.
fn without_value(message: &str) -> String {
    let kind = message.strip_prefix("invalid type: string ");
    match kind.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((_, expected)) => format!("invalid type: a text, expected {expected}"),
        None => message.to_owned(),
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// `InvalidInput` with the place and the mistake. The line itself is not
    /// repeated: it may hold a secret.
    pub fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Error::user(
                Code::InvalidInput,
                format!("The configuration {} cannot be read.", file.display()),
            )
            .said(error.to_string())
        })?;
        Self::parse(&file.display().to_string(), &text)
    }

    /// Reads a text; `name` is where it stands.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            let why = without_value(&error.message().trim().replace('\n', "; "));
            Error::user(Code::InvalidInput, format!("{name}:{line}: {why}."))
                .hint("docs/log-proxy.md shows every setting.")
        })
    }
}
