//! TLS at the edge: which certificate a client gets, and where certificates
//! come from.

pub mod acme;
mod certificates;
mod challenges;
mod local;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::LazyConfigAcceptor;

pub use certificates::Certificates;
pub(crate) use challenges::Challenges;
pub use store::{CertificateStore, MemoryStore};

use crate::conn::Stream;
use crate::error::EdgeError;
use crate::route::Table;
use certificates::Resolver;

const ACME_ALPN: &[u8] = b"acme-tls/1";

/// How the edge speaks TLS.
#[derive(Debug)]
pub struct TlsConfig {
    /// Where the local authority, ACME accounts, certificates and challenges
    /// are kept, sealed by whoever implements it.
    pub store: Arc<dyn CertificateStore>,
    /// The local authority's key and certificate, from
    /// [`LocalAuthority::load`]; `None`: hosts without certificate of their own
    /// are refused in the handshake.
    pub local: Option<LocalAuthority>,
}

pub use local::LocalAuthority;

/// TLS as the workers use it.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) store: Arc<dyn CertificateStore>,
    config: Arc<ServerConfig>,
    /// The routes as they change, for those who get certificates.
    pub(crate) table: watch::Sender<Arc<Table>>,
}

impl Tls {
    pub(crate) fn new(config: TlsConfig) -> Result<Self, EdgeError> {
        let certificates = Arc::new(Certificates::new(config.local));
        let wrong = |error: rustls::Error| EdgeError::Certificate {
            host: "*".to_owned(),
            reason: error.to_string(),
        };
        let resolver = Resolver(Arc::clone(&certificates));
        let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(wrong)?;
        // One is enough for a browser to come back with.
        server.send_tls13_tickets = 1;
        Ok(Self {
            certificates,
            challenges: Arc::new(Challenges::new(Arc::clone(&config.store))),
            store: config.store,
            config: Arc::new(server),
            table: watch::Sender::new(Arc::default()),
        })
    }

    pub(crate) fn set_hosts(&self, table: Arc<Table>) {
        self.certificates.set_table(Arc::clone(&table));
        self.table.send_replace(table);
    }

    /// Shakes hands. `None`: there is nothing to serve on this connection.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<(Stream, Bytes, bool)> {
        let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let start = acceptor.await.ok()?;
        let hello = start.client_hello();
        if hello
            .alpn()
            .is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_ALPN))
        {
            let host = hello.server_name()?.to_owned();
            let config = self.challenges.tls(&host).await?;
            // The handshake is all that the authority wants to see.
            let mut stream = start.into_stream(config).await.ok()?;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            return None;
        }
        let stream = start.into_stream(Arc::clone(&self.config)).await.ok()?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Some((Stream::Tls(Box::new(stream)), Bytes::new(), http2))
    }
}
