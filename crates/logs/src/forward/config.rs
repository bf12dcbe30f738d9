//! `[[forward]]`: as it is written, and what it becomes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nonna_engine::Result;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Auth, BatchLimits, Bucket, Credentials, Destination, Elasticsearch, Forward, HttpTarget, JsonLines, Loki,
    Otlp, S3, Start, Syslog, SyslogTarget,
};
use crate::standalone::check::{at, condition, wrong};
use crate::standalone::values::{Secret, Size, Span};

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// Loki's push API.
    Loki,
    /// Elasticsearch's or OpenSearch's bulk API.
    #[serde(alias = "opensearch")]
    Elasticsearch,
    /// OTLP over HTTP.
    Otlp,
    /// Syslog over TCP or TLS.
    Syslog,
    /// Objects in a bucket.
    S3,
    /// Lines of JSON by POST.
    Http,
}

/// Where a forwarder begins that was never there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartConfig {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the oldest record that is kept.
    Oldest,
}

/// How much is sent at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Bytes of records, about.
    pub bytes: Option<Size>,
    /// Records.
    pub records: Option<usize>,
    /// How long a record waits for others.
    pub wait: Option<Span>,
}

/// `[[forward]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardConfig {
    /// Its name: of its position, its metrics, its messages.
    pub name: String,
    /// What the destination is.
    pub to: To,
    /// Where it is; of syslog `tcp://HOST:PORT` or `tls://HOST:PORT`.
    pub url: Option<String>,
    /// Which records; else all.
    pub when: Option<String>,
    /// Where it begins.
    #[serde(default)]
    pub start: StartConfig,
    /// How much is sent at once.
    #[serde(default)]
    pub batch: BatchConfig,
    /// Over HTTP: a token.
    pub token: Option<Secret>,
    /// Of Elasticsearch: an API key.
    pub api_key: Option<Secret>,
    /// Over HTTP: a user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Over HTTP: more headers, such as `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Certificate authorities to trust beside the system's, as PEM.
    pub ca: Option<PathBuf>,
    /// Of Loki: labels of every stream.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Of Elasticsearch: the index or data stream.
    pub index: Option<String>,
    /// Of HTTP: compress with gzip.
    pub gzip: Option<bool>,
    /// Of S3: the bucket.
    pub bucket: Option<String>,
    /// Of S3: its region.
    pub region: Option<String>,
    /// Of S3: what the objects' names begin with.
    pub prefix: Option<String>,
    /// Of S3: the access key's id.
    pub access_key: Option<String>,
    /// Of S3: the secret access key.
    pub secret_key: Option<Secret>,
    /// Of S3: the token of a session.
    pub session_token: Option<Secret>,
}

impl ForwardConfig {
    /// What it becomes.
    ///
    /// # Errors
    /// `InvalidInput` with the place and the mistake.
    pub fn forward(&self) -> Result<Forward> {
        let place = format!("[[forward]] {}", self.name);
        let named = !self.name.is_empty()
            && self.name.len() <= 64
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !named {
            return Err(wrong(&place, "`name` is made of letters, digits, `-` and `_`"));
        }
        self.only_what_fits(&place)?;
        let destination: Box<dyn Destination> = match self.to {
            To::Loki => Box::new(Loki::new(self.target(&place, Loki::PATH)?, self.labels.clone())),
            To::Elasticsearch => {
                let index = self.index.as_deref().unwrap_or(Elasticsearch::INDEX);
                Box::new(Elasticsearch::new(
                    self.target(&place, Elasticsearch::PATH)?,
                    index,
                ))
            }
            To::Otlp => Box::new(Otlp::new(self.target(&place, Otlp::PATH)?)),
            To::Http => Box::new(JsonLines::new(
                self.target(&place, "/")?,
                self.gzip.unwrap_or(false),
            )),
            To::Syslog => Box::new(Syslog::new(self.receiver(&place)?).map_err(at(&place))?),
            To::S3 => Box::new(self.bucket(&place)?),
        };
        Ok(Forward {
            name: self.name.clone(),
            destination,
            expr: condition(&place, self.when.as_deref())?,
            start: match self.start {
                StartConfig::Now => Start::Now,
                StartConfig::Oldest => Start::Oldest,
            },
            batch: self.batch(&place)?,
        })
    }

    fn batch(&self, place: &str) -> Result<BatchLimits> {
        // An object is better large; a request better soon.
        let (bytes, records, wait) = match self.to {
            To::S3 => (4 * 1024 * 1024, 50_000, Duration::from_secs(60)),
            _ => (1024 * 1024, 2_000, Duration::from_secs(1)),
        };
        let limits = BatchLimits {
            bytes: self.batch.bytes.map_or(bytes, Size::memory),
            records: self.batch.records.unwrap_or(records),
            wait: self.batch.wait.map_or(wait, |wait| wait.0),
        };
        if limits.records == 0 || !(1024..=64 * 1024 * 1024).contains(&limits.bytes) {
            return Err(wrong(
                place,
                "a batch has at least one record, and between \"1KiB\" and \"64MiB\"",
            ));
        }
        Ok(limits)
    }

    /// A setting that says nothing for this destination is a mistake.
    fn only_what_fits(&self, place: &str) -> Result<()> {
        let over_http = matches!(self.to, To::Loki | To::Elasticsearch | To::Otlp | To::Http);
        let s3 = self.to == To::S3;
        let settings = [
            ("token", self.token.is_some(), over_http),
            ("user", self.user.is_some(), over_http),
            ("password", self.password.is_some(), over_http),
            ("headers", !self.headers.is_empty(), over_http),
            ("api_key", self.api_key.is_some(), self.to == To::Elasticsearch),
            ("index", self.index.is_some(), self.to == To::Elasticsearch),
            ("labels", !self.labels.is_empty(), self.to == To::Loki),
            ("gzip", self.gzip.is_some(), self.to == To::Http),
            ("bucket", self.bucket.is_some(), s3),
            ("region", self.region.is_some(), s3),
            ("prefix", self.prefix.is_some(), s3),
            ("access_key", self.access_key.is_some(), s3),
            ("secret_key", self.secret_key.is_some(), s3),
            ("session_token", self.session_token.is_some(), s3),
        ];
        match settings.iter().find(|(_, given, fits)| *given && !fits) {
            Some((name, ..)) => Err(wrong(
                place,
                format!("`{name}` says nothing to such a destination"),
            )),
            None => Ok(()),
        }
    }

    fn url(&self, place: &str) -> Result<&str> {
        self.url
            .as_deref()
            .ok_or_else(|| wrong(place, "`url` is missing: where the destination is"))
    }

    fn target(&self, place: &str, path: &str) -> Result<HttpTarget> {
        let read = |secret: &Option<Secret>| secret.as_ref().map(Secret::read).transpose();
        let (token, key, password) = (read(&self.token)?, read(&self.api_key)?, read(&self.password)?);
        let auth = match (token, key, &self.user, password) {
            (None, None, None, None) => Auth::None,
            (Some(token), None, None, None) => Auth::Bearer(token),
            (None, Some(key), None, None) => Auth::ApiKey(key),
            (None, None, Some(user), Some(password)) => Auth::Basic(user.clone(), password),
            (None, None, Some(_), None) | (None, None, None, Some(_)) => {
                return Err(wrong(place, "`user` and `password` go together"));
            }
            _ => {
                return Err(wrong(
                    place,
                    "one of `token`, `api_key` and `user` with `password` is enough",
                ));
            }
        };
        let headers: Result<Vec<(String, SecretString)>> = self
            .headers
            .iter()
            .map(|(name, value)| Ok((name.clone(), value.read()?)))
            .collect();
        HttpTarget::new(self.url(place)?, path, auth, &headers?, self.ca.as_deref()).map_err(at(place))
    }

    fn receiver(&self, place: &str) -> Result<SyslogTarget> {
        let url = self.url(place)?;
        let wanted = || {
            wrong(
                place,
                "`url` of a syslog receiver is `tcp://HOST:PORT` or `tls://HOST:PORT`",
            )
        };
        let (tls, rest) = match url.split_once("://").ok_or_else(wanted)? {
            ("tcp", rest) => (false, rest),
            ("tls", rest) => (true, rest),
            _ => return Err(wanted()),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(wanted)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wanted());
        }
        Ok(SyslogTarget {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wanted())?,
            tls,
            authorities: self.ca.clone(),
        })
    }

    fn bucket(&self, place: &str) -> Result<S3> {
        let needed = |name: &str, value: &Option<String>| {
            value
                .clone()
                .ok_or_else(|| wrong(place, format!("`{name}` is missing")))
        };
        let secret_key = self.secret_key.as_ref().map(Secret::read).transpose()?;
        let bucket = Bucket {
            name: needed("bucket", &self.bucket)?,
            region: needed("region", &self.region)?,
            endpoint: self.url.clone(),
            prefix: self.prefix.clone().unwrap_or_default(),
        };
        let credentials = Credentials {
            access_key: needed("access_key", &self.access_key)?,
            secret_key: secret_key.ok_or_else(|| wrong(place, "`secret_key` is missing"))?,
            session_token: self.session_token.as_ref().map(Secret::read).transpose()?,
        };
        S3::new(bucket, credentials, self.ca.as_deref()).map_err(at(place))
    }
}
