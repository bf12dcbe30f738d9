//! Certificates from pebble, an ACME server that is not ours. It must be
//! installed (`apt-get install pebble`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nonna_edge::tls::acme::{AcmeConfig, AcmeManager, CertificateStatus, Challenge, Clock};
use nonna_edge::tls::{CertificateStore, MemoryStore, TlsConfig};
use nonna_edge::{EdgeHandle, Route, ServiceConfig};
use support::*;
use tokio::process::{Child, Command};

/// A clock that is put forward.
#[derive(Debug, Default)]
struct TestClock(Mutex<Duration>);

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        SystemTime::now() + *self.0.lock().unwrap()
    }
}

/// A running pebble, with a name server that says 127.0.0.1 to everything.
struct Pebble {
    directory: String,
    root: PathBuf,
    _folder: tempfile::TempDir,
    _children: Vec<Child>,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("pebble and pebble-challtestsrv must be installed: apt-get install pebble")
}

async fn pebble(http: SocketAddr, https: SocketAddr) -> Pebble {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params =
        rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let issuer = rcgen::Issuer::new(params, &key);
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    std::fs::write(file("root.pem"), certificate.pem()).unwrap();
    std::fs::write(file("cert.pem"), leaf.pem()).unwrap();
    std::fs::write(file("key.pem"), leaf_key.serialize_pem()).unwrap();
    let (port, management, dns, control) = (free_port(), free_port(), free_port(), free_port());
    let config = serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": file("cert.pem"),
        "privateKey": file("key.pem"),
        "httpPort": http.port(),
        "tlsPort": https.port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    std::fs::write(file("config.json"), config.to_string()).unwrap();
    let names = spawn(Command::new("pebble-challtestsrv").args([
        "-dns01",
        &format!("127.0.0.1:{dns}"),
        "-management",
        &format!("127.0.0.1:{control}"),
        "-http01",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
        "-defaultIPv4",
        "127.0.0.1",
        "-defaultIPv6",
        "",
    ]));
    let server = spawn(
        Command::new("pebble")
            .args([
                "-config",
                &file("config.json").to_string_lossy(),
                "-dnsserver",
                &format!("127.0.0.1:{dns}"),
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // More than the usual 5 %, so that every run meets some.
            .env("PEBBLE_WFE_NONCEREJECT", "15"),
    );
    for port in [port, control] {
        soon(async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    Pebble {
        directory: format!("https://localhost:{port}/dir"),
        root: file("root.pem"),
        _folder: folder,
        _children: vec![names, server],
    }
}

fn secure_edge(store: &Arc<MemoryStore>) -> (EdgeHandle, SocketAddr, SocketAddr) {
    let (edge, http) = edge(|config| {
        config.https = vec![listen()];
        config.tls = Some(TlsConfig {
            store: Arc::clone(store) as Arc<dyn CertificateStore>,
            local: None,
        });
    });
    let https = edge.https_addresses()[0];
    (edge, http, https)
}

fn config(pebble: &Pebble, challenge: Challenge, clock: &Arc<TestClock>) -> AcmeConfig {
    AcmeConfig {
        directory: pebble.directory.clone(),
        root: Some(pebble.root.clone()),
        contact: vec!["mailto:ops@example.org".to_owned()],
        challenges: vec![challenge],
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        check: Duration::from_millis(100),
        retry_first: Duration::from_millis(200),
        retry_most: Duration::from_secs(2),
    }
}

fn route(edge: &EdgeHandle, hosts: &[&str], upstream: SocketAddr) {
    let config = ServiceConfig {
        routes: hosts.iter().map(|host| Route::new(*host, "/")).collect(),
        upstreams: vec![upstream],
        ..ServiceConfig::default()
    };
    edge.set_service("web", &config).unwrap();
}

/// Waits until the status is as wanted.
async fn until(
    manager: &mut tokio::sync::watch::Receiver<Vec<CertificateStatus>>,
    wanted: impl Fn(&[CertificateStatus]) -> bool,
) -> Vec<CertificateStatus> {
    let waiting = async { manager.wait_for(|all| wanted(all)).await.unwrap().clone() };
    match tokio::time::timeout(Duration::from_secs(60), waiting).await {
        Ok(all) => all,
        Err(_) => panic!("not in a minute: {:?}", manager.borrow()),
    }
}

fn start(
    manager: AcmeManager,
) -> (
    tokio::sync::watch::Receiver<Vec<CertificateStatus>>,
    tokio::task::JoinHandle<()>,
) {
    (manager.status(), tokio::spawn(manager.run()))
}

/// The certificate that a client is shown, without trusting it.
async fn shown(https: SocketAddr, host: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(https).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_got_over_http_renewed_in_time_and_found_again() {
    let store = Arc::new(MemoryStore::default());
    let (edge, http, https) = secure_edge(&store);
    let pebble = pebble(http, https).await;
    let replica = replica(|_| ok("fine")).await;
    route(
        &edge,
        &["one.test", "two.test", "x.localhost", "*.wild.test"],
        replica.address,
    );
    let clock = Arc::new(TestClock::default());
    let (mut status, task) = start(edge.acme(config(&pebble, Challenge::Http01, &clock)).unwrap());
    let all = until(&mut status, |all| {
        all.len() == 2 && all.iter().all(|one| one.expires.is_some())
    })
    .await;
    let hosts: Vec<_> = all.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(hosts, ["one.test", "two.test"]);
    let first = shown(https, "one.test").await;
    // Plain requests are redirected from now on, but challenges are not.
    let redirect = ask(http, "GET /x HTTP/1.1\r\nhost: one.test\r\n\r\n").await;
    assert_eq!(redirect.status, 308);
    // A host that comes later gets its certificate too.
    route(&edge, &["one.test", "two.test", "three.test"], replica.address);
    until(&mut status, |all| {
        all.len() == 3 && all.iter().all(|one| one.expires.is_some())
    })
    .await;
    // Two thirds of five years later, all are renewed; before, none is.
    *clock.0.lock().unwrap() = Duration::from_secs(3 * 365 * 86_400);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(shown(https, "one.test").await, first);
    let before = all[0].expires.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    *clock.0.lock().unwrap() = Duration::from_secs(4 * 365 * 86_400);
    until(&mut status, |all| {
        all.iter().all(|one| one.expires.is_some_and(|at| at > before))
    })
    .await;
    assert_ne!(shown(https, "one.test").await, first);
    task.abort();
    // Another edge over the same store serves what was got, without asking.
    let current = shown(https, "one.test").await;
    let (other, _, other_https) = secure_edge(&store);
    route(&other, &["one.test"], replica.address);
    let clock = Arc::new(TestClock::default());
    let (mut status, task) = start(other.acme(config(&pebble, Challenge::Http01, &clock)).unwrap());
    until(&mut status, |all| all.len() == 1 && all[0].expires.is_some()).await;
    assert_eq!(shown(other_https, "one.test").await, current);
    // A host that is not routed any more keeps no certificate.
    route(&other, &["else.localhost"], replica.address);
    until(&mut status, <[CertificateStatus]>::is_empty).await;
    assert!(!other.certificates().unwrap().has("one.test"));
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_got_over_tls() {
    let store = Arc::new(MemoryStore::default());
    let (edge, http, https) = secure_edge(&store);
    let pebble = pebble(http, https).await;
    let replica = replica(|_| ok("fine")).await;
    route(&edge, &["alpn.test"], replica.address);
    let clock = Arc::new(TestClock::default());
    let (mut status, task) = start(edge.acme(config(&pebble, Challenge::TlsAlpn01, &clock)).unwrap());
    until(&mut status, |all| all.len() == 1 && all[0].expires.is_some()).await;
    assert!(!shown(https, "alpn.test").await.is_empty());
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_process_over_the_store_answers_the_challenge() {
    let store = Arc::new(MemoryStore::default());
    // The authority asks the one, the other has ordered.
    let (asked, http, https) = secure_edge(&store);
    let (ordering, _, ordering_https) = secure_edge(&store);
    let pebble = pebble(http, https).await;
    let replica = replica(|_| ok("fine")).await;
    for (kind, host) in [
        (Challenge::Http01, "http.test"),
        (Challenge::TlsAlpn01, "tls.test"),
    ] {
        route(&asked, &[host], replica.address);
        route(&ordering, &[host], replica.address);
        let clock = Arc::new(TestClock::default());
        let (mut status, task) = start(ordering.acme(config(&pebble, kind, &clock)).unwrap());
        until(&mut status, |all| all.len() == 1 && all[0].expires.is_some()).await;
        assert!(!shown(ordering_https, host).await.is_empty());
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_and_tried_again() {
    let store = Arc::new(MemoryStore::default());
    let (edge, http, https) = secure_edge(&store);
    // The authority looks for the proof where nobody is.
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let pebble_without = pebble(nobody, https).await;
    let replica = replica(|_| ok("fine")).await;
    route(&edge, &["fail.test"], replica.address);
    let clock = Arc::new(TestClock::default());
    let mut acme = config(&pebble_without, Challenge::Http01, &clock);
    // The second try is by the other challenge, and that works.
    acme.challenges = vec![Challenge::Http01, Challenge::TlsAlpn01];
    let (mut status, task) = start(edge.acme(acme).unwrap());
    let failed = until(&mut status, |all| all.len() == 1 && all[0].failures > 0).await;
    let error = failed[0].error.clone().unwrap();
    assert!(error.contains("fail.test"), "{error}");
    until(&mut status, |all| {
        all[0].expires.is_some() && all[0].error.is_none()
    })
    .await;
    task.abort();
    // An authority that is not there at all.
    let (edge, _, _) = secure_edge(&Arc::new(MemoryStore::default()));
    route(&edge, &["fail.test"], replica.address);
    let mut acme = config(&pebble_without, Challenge::Http01, &clock);
    acme.directory = format!("https://localhost:{}/dir", free_port());
    let (mut status, task) = start(edge.acme(acme).unwrap());
    until(&mut status, |all| all.len() == 1 && all[0].failures > 1).await;
    task.abort();
    let _ = http;
}
