//! HTTPS end to end: by the local authority for `*.localhost`, and by ACME
//! (pebble, which is not ours) for a domain that a manifest names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nonna_e2e::{Installation, Options, Ran};

fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "not within {limit:?}: {what}: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What `curl` gets at this host, trusting this authority only.
fn curl(nonna: &Installation, authority: &Path, host: &str) -> Result<String, String> {
    let port = nonna.https().unwrap().port();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", "--capath", "/var/empty", "--cacert"])
        .arg(authority)
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .arg(format!("https://{host}:{port}/"))
        .output()
        .unwrap();
    let ran = Ran::from(output);
    if ran.code == Some(0) {
        Ok(ran.stdout)
    } else {
        Err(ran.stderr)
    }
}

fn files_below(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // Links are not followed: git's hook is one to the program itself.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), all),
            Ok(kind) if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
}

fn no_open_keys(nonna: &Installation) {
    let mut all = Vec::new();
    files_below(&nonna.data(), &mut all);
    assert!(all.len() > 1, "{all:?}");
    let open: Vec<_> = all.iter().filter(|path| holds(path, "PRIVATE KEY")).collect();
    assert!(open.is_empty(), "private keys lie open in {open:?}");
}

#[test]
fn local_hosts_have_https_by_the_local_authority() -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        https: true,
        ..Options::default()
    })?;
    let text = "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:v1\"\n";
    nonna.project("shop", &[("nonna.toml", text)])?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let mut all = Vec::new();
    files_below(&nonna.data(), &mut all);
    let authority = all
        .iter()
        .find(|path| {
            path.extension().is_some_and(|e| e == "pem") && path.display().to_string().contains("authority")
        })
        .unwrap_or_else(|| panic!("no authority among {all:?}"));
    let body = eventually("HTTPS answers", Duration::from_secs(10), || {
        curl(&nonna, authority, "shop.localhost")
    });
    assert!(body.starts_with("v1 "), "{body}");
    // HTTP is served as well: no browser knows the local authority yet.
    let answer = nonna.get("shop.localhost", "/")?;
    assert!(
        answer.status == 200 && answer.body.starts_with("v1 "),
        "{answer:?}"
    );
    // Nobody else is trusted for it, and what was trusted stays over a restart.
    assert!(
        curl(
            &nonna,
            Path::new("/etc/ssl/certs/ca-certificates.crt"),
            "shop.localhost"
        )
        .is_err()
    );
    let mut nonna = nonna;
    let authority = authority.clone();
    nonna.stop_server()?;
    nonna.start_server()?;
    eventually("HTTPS answers after a restart", Duration::from_secs(10), || {
        curl(&nonna, &authority, "shop.localhost")
    });
    no_open_keys(&nonna);
    Ok(())
}

struct Children(Vec<Child>);

impl Children {
    fn end(&mut self) {
        for mut child in self.0.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

fn openssl(folder: &Path, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()?;
    Ran::from(output).ok()?;
    Ok(())
}

/// The serial number of the certificate that a host shows.
fn serial(nonna: &Installation, host: &str) -> anyhow::Result<String> {
    let address = nonna.https().unwrap().to_string();
    let shown = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", host])
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_default();
    let end = text.find("-----END CERTIFICATE-----").unwrap_or_default();
    anyhow::ensure!(end > begin, "no certificate in {text}");
    Ok(text[begin..end].to_owned())
}

#[test]
fn a_domain_in_the_manifest_gets_a_certificate_by_acme_and_keeps_it() -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("nonna-acme-").tempdir()?;
    let folder = work.path();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!("req -x509 {key} -keyout ca.key -out root.pem -days 2 -subj /CN=test-directory"),
    )?;
    openssl(
        folder,
        &format!("req {key} -keyout key.pem -out leaf.csr -subj /CN=localhost"),
    )?;
    std::fs::write(folder.join("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
    openssl(
        folder,
        "x509 -req -in leaf.csr -CA root.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem",
    )?;
    let (port, management) = (nonna_e2e::free_port()?, nonna_e2e::free_port()?);
    let (dns, control) = (nonna_e2e::free_port()?, nonna_e2e::free_port()?);
    let mut nonna = Installation::with(Options {
        https: true,
        arguments: vec![
            "--acme-mode".into(),
            "on".into(),
            "--acme-directory".into(),
            format!("https://localhost:{port}/dir"),
            "--acme-extra-root".into(),
            folder.join("root.pem").display().to_string(),
            "--acme-email".into(),
            "ops@example.org".into(),
        ],
        ..Options::default()
    })?;
    let config = serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": folder.join("cert.pem"),
        "privateKey": folder.join("key.pem"),
        "httpPort": nonna.http().port(),
        "tlsPort": nonna.https().unwrap().port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let quiet = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let mut authority = Children(vec![
        quiet(Command::new("pebble-challtestsrv").args([
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
        ]))?,
        quiet(
            Command::new("pebble")
                .args(["-config", &folder.join("config.json").display().to_string()])
                .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
                .env("PEBBLE_VA_NOSLEEP", "1"),
        )?,
    ]);
    let roots = folder.join("pebble-root.pem");
    eventually("pebble is up", Duration::from_secs(10), || {
        let output = Command::new("curl")
            .args([
                "-sSk",
                "--max-time",
                "5",
                &format!("https://127.0.0.1:{management}/roots/0"),
            ])
            .output()
            .unwrap();
        if output.status.success() {
            std::fs::write(&roots, output.stdout).map_err(|e| e.to_string())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });

    let host = "shop.example.org";
    let text = format!(
        "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:v1\"\ndomains = [\"{host}\"]\n"
    );
    nonna.project("shop", &[("nonna.toml", &text)])?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let body = eventually("a certificate of pebble's", Duration::from_secs(60), || {
        curl(&nonna, &roots, host)
    });
    assert!(body.starts_with("v1 "), "{body}");
    no_open_keys(&nonna);
    // HTTP leads there.
    let answer = nonna.get(host, "/path?a=b")?;
    assert!([301, 302, 307, 308].contains(&answer.status), "{answer:?}");
    let head = answer.head.to_ascii_lowercase();
    assert!(
        head.contains(&format!("location: https://{host}")) && head.contains("/path?a=b"),
        "{answer:?}"
    );

    // Kept: the authority is gone, the server is new, the certificate the same.
    let before = serial(&nonna, host)?;
    authority.end();
    nonna.stop_server()?;
    nonna.start_server()?;
    eventually("HTTPS after a restart", Duration::from_secs(10), || {
        curl(&nonna, &roots, host)
    });
    assert_eq!(serial(&nonna, host)?, before);
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}
