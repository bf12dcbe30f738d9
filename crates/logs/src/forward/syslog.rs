//! Syslog over TCP and TLS: RFC 5424 in RFC 6587's counted frames.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::{Code, Error, Result};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Destination, Failure, Parcel, Taken};
use crate::listen::certificates;
use crate::record::Level;
use crate::search::{Entry, rfc3339};

/// How long a parcel may take until the receiver has read it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The facility `user`.
const FACILITY: u8 = 1;
/// The structured data that holds fields; 32473 is the number for examples.
const DATA_ID: &str = "fields@32473";

/// Where a syslog receiver is.
#[derive(Debug, Clone)]
pub struct SyslogTarget {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Authorities that it is checked with, as PEM; else the system's.
    pub authorities: Option<std::path::PathBuf>,
}

/// A syslog receiver. Syslog has no answers: a parcel has a connection of its
/// own, and counts as taken when the receiver, having read to its end, closes
/// it too.
pub struct Syslog {
    target: SyslogTarget,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syslog")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Syslog {
    /// A receiver.
    ///
    /// # Errors
    /// `InvalidInput` where host or authorities cannot be used.
    pub fn new(target: SyslogTarget) -> Result<Self> {
        let tls = target.tls.then(|| tls(&target)).transpose()?;
        Ok(Self { target, tls })
    }

    async fn exchange(&self, bytes: &[u8]) -> std::io::Result<()> {
        let address = (self.target.host.as_str(), self.target.port);
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
        match &self.tls {
            None => to_the_end(stream, bytes).await,
            Some((connector, name)) => {
                let connecting = connector.connect(name.clone(), stream);
                let stream = tokio::time::timeout(CONNECT, connecting).await??;
                to_the_end(stream, bytes).await
            }
        }
    }
}

async fn to_the_end<S>(mut stream: S, bytes: &[u8]) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    // What it says until it closes is of no interest; that it closes is.
    let mut sink = [0; 256];
    loop {
        match stream.read(&mut sink).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Some close without TLS's own word for it.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn tls(target: &SyslogTarget) -> Result<(TlsConnector, ServerName<'static>)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let name = ServerName::try_from(target.host.clone()).map_err(|_| {
        Error::user(
            Code::InvalidInput,
            format!("`{}` is no name that a certificate could hold.", target.host),
        )
    })?;
    let Some(file) = &target.authorities else {
        return Err(Error::user(
            Code::InvalidInput,
            "Syslog over TLS needs `ca`: the authorities that the receiver is checked with.",
        )
        .hint("The system's are in /etc/ssl/certs/ca-certificates.crt on Debian."));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        // A bundle of a system has some that nobody can use any more.
        let _ = roots.add(certificate);
    }
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("TLS cannot be set up.").said(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Fatal => 2,
        Level::Error => 3,
        Level::Warn => 4,
        Level::Notice => 5,
        Level::Info | Level::Unknown => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A word of the header: printable, of a bounded length, `-` for none.
fn word(text: &str, longest: usize) -> String {
    let word: String = text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .take(longest)
        .collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

fn write(entry: &Entry, out: &mut Vec<u8>) {
    let mut head = format!("<{}>1 ", FACILITY * 8 + severity(entry.level));
    rfc3339(&mut head, entry.time);
    // RFC 5424 knows microseconds only.
    let nanoseconds = head.len() - 4;
    head.replace_range(nanoseconds..head.len() - 1, "");
    head.push(' ');
    head.push_str(&word(&entry.source.replica, 255));
    head.push(' ');
    head.push_str(&word(&entry.source.service, 48));
    head.push_str(" - - ");
    if entry.fields.is_empty() {
        head.push('-');
    } else {
        head.push('[');
        head.push_str(DATA_ID);
        for (name, value) in &entry.fields {
            let name: String = word(name, 32).replace(['=', ']', '"'], "_");
            head.push_str(&format!(" {name}=\""));
            for c in value.chars() {
                if matches!(c, '"' | '\\' | ']') {
                    head.push('\\');
                }
                head.push(c);
            }
            head.push('"');
        }
        head.push(']');
    }
    head.push(' ');
    let length = head.len() + entry.line.len();
    out.extend_from_slice(format!("{length} {head}").as_bytes());
    out.extend_from_slice(&entry.line);
}

#[async_trait]
impl Destination for Syslog {
    fn kind(&self) -> &'static str {
        "syslog"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let mut bytes = Vec::new();
        for entry in parcel.entries {
            write(entry, &mut bytes);
        }
        match tokio::time::timeout(PATIENCE, self.exchange(&bytes)).await {
            Ok(Ok(())) => Ok(Taken::default()),
            Ok(Err(error)) => Err(Failure::unavailable(error.to_string())),
            Err(_) => Err(Failure::unavailable(
                "it does not close a connection whose end it has read",
            )),
        }
    }
}
