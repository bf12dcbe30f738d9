//! TLS: certificates by name, the local authority, redirects, HTTP/2 by ALPN.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use nonna_edge::tls::{CertificateStore, LocalAuthority, MemoryStore, TlsConfig};
use nonna_edge::{EdgeHandle, Route, ServiceConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::*;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn secure_edge(store: Arc<dyn CertificateStore>) -> (EdgeHandle, SocketAddr, SocketAddr) {
    let local = LocalAuthority::load(&*store).await.unwrap();
    let (edge, http) = edge(|config| {
        config.https = vec![listen()];
        config.tls = Some(TlsConfig {
            store,
            local: Some(local),
        });
    });
    let https = edge.https_addresses()[0];
    (edge, http, https)
}

fn client_config(root_pem: &str, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn connect(
    address: SocketAddr,
    host: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config)
        .connect(ServerName::try_from(host.to_owned()).unwrap(), stream)
        .await
}

fn own_certificate(host: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![host.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let store = Arc::new(MemoryStore::default());
    let (edge, _, https) = secure_edge(Arc::clone(&store) as _).await;
    let replica = replica(|got| {
        ok(format!(
            "{} {}",
            got.header("x-forwarded-proto").unwrap(),
            got.header("x-forwarded-port").unwrap()
        ))
    })
    .await;
    let config = ServiceConfig {
        routes: vec![
            Route::new("app.test", "/"),
            Route::new("own.test", "/"),
            Route::new("x.localhost", "/"),
        ],
        upstreams: vec![replica.address],
        ..ServiceConfig::default()
    };
    edge.set_service("web", &config).unwrap();
    let authority = edge
        .certificates()
        .unwrap()
        .local_authority_pem()
        .unwrap()
        .to_owned();
    for host in ["app.test", "x.localhost"] {
        let stream = connect(https, host, client_config(&authority, &["http/1.1"]))
            .await
            .unwrap();
        let mut client = Client::over(stream);
        let answer = client
            .ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(answer.text(), format!("https {}", https.port()));
    }
    let (own, key) = own_certificate("own.test");
    edge.certificates()
        .unwrap()
        .set("own.test", own.as_bytes(), key.as_bytes())
        .unwrap();
    assert!(
        connect(https, "own.test", client_config(&authority, &[]))
            .await
            .is_err()
    );
    assert!(connect(https, "own.test", client_config(&own, &[])).await.is_ok());
    // A name that nobody deployed gets no certificate made for it.
    assert!(
        connect(https, "stranger.test", client_config(&authority, &[]))
            .await
            .is_err()
    );
    // A key that does not belong to the certificate is refused, and changes nothing.
    let (_, other) = own_certificate("own.test");
    assert!(
        edge.certificates()
            .unwrap()
            .set("own.test", own.as_bytes(), other.as_bytes())
            .is_err()
    );
    assert!(connect(https, "own.test", client_config(&own, &[])).await.is_ok());
    // The authority is the same after a restart.
    let again = LocalAuthority::load(&*store).await.unwrap();
    assert_eq!(again.certificate_pem(), authority);
}

#[tokio::test]
async fn plain_requests_are_sent_to_https_where_there_is_a_certificate() {
    let (edge, http, https) = secure_edge(Arc::new(MemoryStore::default())).await;
    let replica = replica(|_| ok("plain")).await;
    let mut plain = Route::new("plain.test", "/");
    plain.redirect_https = Some(false);
    let config = ServiceConfig {
        routes: vec![Route::new("app.test", "/"), Route::new("x.localhost", "/"), plain],
        upstreams: vec![replica.address],
        ..ServiceConfig::default()
    };
    edge.set_service("web", &config).unwrap();
    let ask_host = |host: &'static str| ask(http, format!("GET /a?b HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    assert_eq!(ask_host("app.test").await.status, 200);
    for host in ["app.test", "plain.test", "x.localhost"] {
        let (own, key) = own_certificate(host);
        edge.certificates()
            .unwrap()
            .set(host, own.as_bytes(), key.as_bytes())
            .unwrap();
    }
    let redirect = ask_host("app.test").await;
    assert_eq!(redirect.status, 308);
    assert_eq!(
        redirect.headers["location"],
        format!("https://app.test:{}/a?b", https.port())
    );
    assert_eq!(ask_host("plain.test").await.text(), "plain");
    assert_eq!(ask_host("x.localhost").await.text(), "plain");
}

#[tokio::test]
async fn http2_is_agreed_on() {
    let (edge, _, https) = secure_edge(Arc::new(MemoryStore::default())).await;
    let replica = replica(|got| {
        ok(format!(
            "{} {}",
            got.line,
            got.header("cookie").unwrap_or_default()
        ))
    })
    .await;
    edge.set_service("web", &service(&[replica.address])).unwrap();
    let authority = edge
        .certificates()
        .unwrap()
        .local_authority_pem()
        .unwrap()
        .to_owned();
    let stream = connect(https, "app.test", client_config(&authority, &["h2"]))
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut asked = Vec::new();
    for i in 0..20 {
        let request = http::Request::get(format!("https://app.test/{i}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        asked.push(sender.send_request(request, true).unwrap().0);
    }
    for (i, answer) in asked.into_iter().enumerate() {
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let data = body.data().await.unwrap().unwrap();
        assert_eq!(data, format!("GET /{i} HTTP/1.1 a=1; b=2"));
    }
    soon(edge.shutdown(std::time::Duration::from_secs(5))).await;
}
