//! The proxies that are compared, each started once with one worker on
//! processor 0.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nonna_bench::say;

/// The edge's name in the figures.
pub(crate) const OURS: &str = "nonna";
/// The minimal proxy's.
pub(crate) const FLOOR: &str = "hyper-util";

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) plain: u16,
    pub(crate) tls: u16,
    child: Child,
}

impl Peer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_of_the_aims(&self) -> bool {
        matches!(self.name, OURS | FLOOR | "nginx")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // What did not end by itself is ended here; nothing is to be saved.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All proxies, and the service behind them.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) all: Vec<Peer>,
    _service: Peer,
}

/// The path of a program, as the set-up noted it or as the system finds it.
pub(crate) fn program(name: &str) -> anyhow::Result<String> {
    if let Ok(file) = std::env::var("NONNA_BENCH_PEERS") {
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        return found
            .map(str::to_owned)
            .with_context(|| format!("{name} is not installed"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    folders
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).is_file())
        .with_context(|| format!("{name} is not installed"))
}

/// Starts all that are installed.
pub(crate) fn start(folder: &Path) -> anyhow::Result<Peers> {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let key = rcgen::KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let (cert_file, key_file, both) = (file("cert.pem"), file("key.pem"), file("both.pem"));
    std::fs::write(&cert_file, certificate.pem())?;
    std::fs::write(&key_file, key.serialize_pem())?;
    std::fs::write(&both, format!("{}{}", certificate.pem(), key.serialize_pem()))?;

    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let up = free_port()?;
    let mut service = Command::new("taskset");
    service.args(["-c", "1", &own, "service", &up.to_string()]);
    let service = Peer {
        name: "service",
        plain: up,
        tls: up,
        child: spawn(&mut service, folder)?,
    };
    wait(&service)?;

    let mut all = Vec::new();
    for (name, role) in [(OURS, "edge"), (FLOOR, "floor")] {
        let (plain, tls) = (free_port()?, free_port()?);
        let mut command = Command::new("taskset");
        command.args(["-c", "0", &own, role]);
        command.args([
            &plain.to_string(),
            &tls.to_string(),
            &up.to_string(),
            &cert_file,
            &key_file,
        ]);
        all.push(Peer {
            name,
            plain,
            tls,
            child: spawn(&mut command, folder)?,
        });
    }
    for name in ["nginx", "haproxy", "caddy", "traefik", "envoy"] {
        let Ok(path) = program(name) else {
            say(&format!("{name} is not installed: left out"));
            continue;
        };
        let (plain, tls) = (free_port()?, free_port()?);
        let config = file(&format!("{name}.conf"));
        let given = Given {
            plain,
            tls,
            up,
            cert: &cert_file,
            key: &key_file,
            both: &both,
            folder,
        };
        let arguments = configure(name, &config, &given)?;
        let mut command = Command::new("taskset");
        command
            .args(["-c", "0", &path])
            .args(arguments)
            .env("HOME", folder);
        all.push(Peer {
            name,
            plain,
            tls,
            child: spawn(&mut command, folder)?,
        });
    }
    // A peer that does not come up is left out; ours must.
    let mut up = Vec::new();
    for peer in all {
        match wait(&peer) {
            Ok(()) => up.push(peer),
            Err(error) if matches!(peer.name, OURS | FLOOR) => return Err(error),
            Err(error) => say(&format!("{error:#}: left out")),
        }
    }
    Ok(Peers {
        all: up,
        _service: service,
    })
}

fn spawn(command: &mut Command, folder: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("taskset (util-linux) must be installed")
}

fn wait(peer: &Peer) -> anyhow::Result<()> {
    let start = Instant::now();
    for port in [peer.plain, peer.tls] {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(15),
                "{} does not listen",
                peer.name
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Given<'a> {
    plain: u16,
    tls: u16,
    up: u16,
    cert: &'a str,
    key: &'a str,
    both: &'a str,
    folder: &'a Path,
}

/// Writes a peer's configuration; returns its arguments.
fn configure(name: &str, config: &str, given: &Given<'_>) -> anyhow::Result<Vec<String>> {
    let Given {
        plain,
        tls,
        up,
        cert,
        key,
        both,
        folder,
    } = given;
    let folder = folder.display();
    let (text, arguments) = match name {
        "nginx" => (
            format!(
                "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;\n\
                 worker_rlimit_nofile 20000; events {{ worker_connections 10000; }}\n\
                 http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 75;\n\
                 client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;\n\
                 uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;\n\
                 upstream up {{ server 127.0.0.1:{up}; keepalive 2048; keepalive_requests 100000000; }}\n\
                 server {{ listen 127.0.0.1:{plain} backlog=4096; listen 127.0.0.1:{tls} ssl backlog=4096;\n\
                 ssl_certificate {cert}; ssl_certificate_key {key};\n\
                 location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                 proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
                 proxy_set_header X-Forwarded-Proto $scheme; }} }} }}\n"
            ),
            vec![
                "-c".to_owned(),
                config.to_owned(),
                "-p".to_owned(),
                folder.to_string(),
            ],
        ),
        "haproxy" => (
            format!(
                "global\n nbthread 1\n maxconn 4000\ndefaults\n mode http\n timeout connect 5s\n timeout client 75s\n\
                 \x20timeout server 60s\n option forwardfor\nfrontend f\n bind 127.0.0.1:{plain} backlog 4096\n\
                 \x20bind 127.0.0.1:{tls} ssl crt {both} backlog 4096\n default_backend b\nbackend b\n\
                 \x20http-reuse always\n server s 127.0.0.1:{up}\n"
            ),
            vec!["-db".to_owned(), "-f".to_owned(), config.to_owned()],
        ),
        "caddy" => (
            format!(
                "{{\n admin off\n auto_https off\n log {{\n  level ERROR\n }}\n}}\nhttp://:{plain} {{\n\
                 \x20reverse_proxy 127.0.0.1:{up}\n}}\nhttps://:{tls} {{\n tls {cert} {key}\n reverse_proxy 127.0.0.1:{up}\n}}\n"
            ),
            vec![
                "run".to_owned(),
                "--adapter".to_owned(),
                "caddyfile".to_owned(),
                "--config".to_owned(),
                config.to_owned(),
            ],
        ),
        "traefik" => {
            let dynamic = format!("{config}.yml");
            std::fs::write(
                &dynamic,
                format!(
                    "http:\n  routers:\n    p: {{rule: 'PathPrefix(`/`)', entryPoints: [plain], service: s}}\n\
                     \x20   t: {{rule: 'PathPrefix(`/`)', entryPoints: [tls], service: s, tls: {{}}}}\n  services:\n\
                     \x20   s: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{up}'}}]}}}}\n\
                     tls:\n  stores: {{default: {{defaultCertificate: {{certFile: {cert}, keyFile: {key}}}}}}}\n"
                ),
            )?;
            (
                String::new(),
                vec![
                    format!("--entryPoints.plain.address=127.0.0.1:{plain}"),
                    format!("--entryPoints.tls.address=127.0.0.1:{tls}"),
                    format!("--providers.file.filename={dynamic}"),
                    "--log.level=ERROR".to_owned(),
                    "--global.sendAnonymousUsage=false".to_owned(),
                    "--global.checkNewVersion=false".to_owned(),
                ],
            )
        }
        _ => (
            envoy(given),
            vec![
                "--concurrency".to_owned(),
                "1".to_owned(),
                "-l".to_owned(),
                "error".to_owned(),
                "-c".to_owned(),
                config.to_owned(),
            ],
        ),
    };
    if name == "envoy" {
        let config = format!("{config}.yaml");
        std::fs::write(&config, text)?;
        let mut arguments = arguments;
        if let Some(last) = arguments.last_mut() {
            *last = config;
        }
        return Ok(arguments);
    }
    std::fs::write(config, text)?;
    Ok(arguments)
}

fn envoy(given: &Given<'_>) -> String {
    let Given {
        plain,
        tls,
        up,
        cert,
        key,
        ..
    } = given;
    let listener = |name: &str, port: u16, security: &str| {
        format!(
            "  - name: {name}\n    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n\
             \x20   filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n\
             \x20       typed_config:\n          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n\
             \x20         stat_prefix: {name}\n          use_remote_address: true\n\
             \x20         route_config: {{virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: up}}}}]}}]}}\n\
             \x20         http_filters:\n          - name: envoy.filters.http.router\n            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n{security}"
        )
    };
    let security = format!(
        "      transport_socket:\n        name: envoy.transport_sockets.tls\n        typed_config:\n\
         \x20         '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n\
         \x20         common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: {cert}}}, private_key: {{filename: {key}}}}}]}}\n"
    );
    format!(
        "static_resources:\n  listeners:\n{}{}  clusters:\n  - name: up\n    type: STATIC\n    connect_timeout: 5s\n\
         \x20   circuit_breakers: {{thresholds: [{{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}}]}}\n\
         \x20   load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {up}}}}}}}}}]}}]}}\n",
        listener("plain", *plain, ""),
        listener("tls", *tls, &security)
    )
}
