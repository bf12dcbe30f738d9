//! What goes wrong around Nonna: the container engine restarts, disks are
//! full, registries fall silent, the kernel kills. Each is a recovery or a
//! clear error, and what served before serves again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nonna_e2e::disk::Disk;
use nonna_e2e::load::Watcher;
use nonna_e2e::second_engine::SecondEngine;
use nonna_e2e::{Installation, Options, Ran, engine};
use serde_json::Value;

const HOST: &str = "shop.localhost";

fn manifest(image: &str, extra: &str) -> String {
    format!(
        "project = \"shop\"\n[services.web]\nimage = \"{image}\"\nhealth = \"/health\"\nstop_timeout = \"2s\"\n{extra}\n"
    )
}

fn with_arguments(arguments: &[&str]) -> anyhow::Result<Installation> {
    Installation::with(Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Options::default()
    })
}

fn deploy(nonna: &Installation, image: &str, extra: &str) -> anyhow::Result<Ran> {
    nonna.project("shop", &[("nonna.toml", &manifest(image, extra))])?;
    nonna.nonna_in("shop", &["deploy"])
}

fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn answers(nonna: &Installation, version: &str) -> bool {
    nonna
        .get(HOST, "/")
        .is_ok_and(|answer| answer.status == 200 && answer.body.starts_with(version))
}

fn status(nonna: &Installation) -> anyhow::Result<Value> {
    nonna.nonna_in("shop", &["status", "--json"])?.ok()?.json()
}

#[test]
fn the_app_answers_again_by_itself_when_the_engine_was_restarted() -> anyhow::Result<()> {
    let mut second = SecondEngine::start(256)?;
    second.load("nonna-test/app:v1")?;
    let nonna = with_arguments(&["--engine", &second.address()])?;
    deploy(&nonna, "nonna-test/app:v1", "")?.ok()?;
    nonna.nonna_in("shop", &["scale", "web=2"])?.ok()?;
    assert!(answers(&nonna, "v1 "));

    second.stop_daemon()?;
    let away = nonna.get(HOST, "/")?;
    assert!((502..=504).contains(&away.status), "{away:?}");
    // Nonna itself goes on and says what is the matter.
    let ran = nonna.nonna_in("shop", &["doctor"])?;
    assert!(
        format!("{}{}", ran.stdout, ran.stderr).contains("engine"),
        "{ran:?}"
    );
    second.start_daemon()?;
    eventually("the app answers again", Duration::from_secs(40), || {
        answers(&nonna, "v1 ")
    });
    // Every route leads to a replica that is there.
    eventually("twenty answers in a row", Duration::from_secs(30), || {
        (0..20).all(|_| answers(&nonna, "v1 "))
    });
    eventually("two replicas run", Duration::from_secs(30), || {
        second
            .containers()
            .is_ok_and(|all| all.len() == 2 && all.iter().all(|container| container["State"] == "running"))
    });
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn a_deployment_goes_on_or_is_undone_when_the_engine_restarts_under_it() -> anyhow::Result<()> {
    let mut second = SecondEngine::start(256)?;
    second.load("nonna-test/app:v1")?;
    second.load("nonna-test/app:v2")?;
    let nonna = with_arguments(&["--engine", &second.address()])?;
    deploy(&nonna, "nonna-test/app:v1", "")?.ok()?;
    nonna.project(
        "shop",
        &[(
            "nonna.toml",
            &manifest("nonna-test/app:v2", "variables = { START_DELAY_MS = 3000 }"),
        )],
    )?;
    let child = nonna
        .command(["deploy"])?
        .current_dir(nonna.folder().join("shop"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    eventually("the new replica starts", Duration::from_secs(20), || {
        second.containers().is_ok_and(|all| all.len() == 2)
    });
    second.stop_daemon()?;
    second.start_daemon()?;
    let ran = Ran::from(child.wait_with_output()?);
    let version = if ran.code == Some(0) { "v2 " } else { "v1 " };
    eventually(
        &format!("{version}answers after {ran:?}"),
        Duration::from_secs(60),
        || answers(&nonna, version),
    );
    eventually(
        "one replica, and no deployment under way",
        Duration::from_secs(60),
        || {
            second
                .containers()
                .is_ok_and(|all| all.len() == 1 && all[0]["State"] == "running")
                && status(&nonna).is_ok_and(|status| status["deployment"].is_null())
        },
    );
    assert!(answers(&nonna, version));
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn a_full_disk_while_building_is_said_and_the_old_release_serves() -> anyhow::Result<()> {
    let second = SecondEngine::start(64)?;
    second.load("nonna-test/app:v1")?;
    let nonna = with_arguments(&["--engine", &second.address()])?;
    deploy(&nonna, "nonna-test/app:v1", "")?.ok()?;
    let before = second.belongings()?;
    let dockerfile = "FROM nonna-test/app:v1\nRUN dd if=/dev/zero of=/large bs=1M count=300\n";
    nonna.project(
        "building",
        &[
            ("Dockerfile", dockerfile),
            (
                "nonna.toml",
                "project = \"shop\"\n[services.web]\nhealth = \"/health\"\n",
            ),
        ],
    )?;
    nonna
        .nonna_in("building", &["deploy"])?
        .failed_with("disk_full")?;
    assert!(answers(&nonna, "v1 "));
    assert_eq!(second.belongings()?, before);
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn a_full_disk_of_nonnas_own_is_said_and_the_app_goes_on_serving() -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        data_megabytes: Some(24),
        ..Options::default()
    })?;
    deploy(&nonna, "nonna-test/app:v1", "")?.ok()?;
    let before = nonna.belongings()?;
    let filler = nonna.data().join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);

    let ran = deploy(&nonna, "nonna-test/app:v2", "")?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("[disk_full]") || ran.stderr.contains("[store_unavailable]"),
        "{ran:?}"
    );
    assert!(answers(&nonna, "v1 "));

    std::fs::remove_file(&filler)?;
    eventually(
        "nothing is left of the failed deploy",
        Duration::from_secs(20),
        || nonna.belongings().is_ok_and(|now| now == before),
    );
    assert!(answers(&nonna, "v1 "));
    deploy(&nonna, "nonna-test/app:v2", "")?.ok()?;
    assert!(answers(&nonna, "v2 "));
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn a_data_folder_that_cannot_be_written_to_is_said_at_the_start() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("nonna-e2e-").tempdir()?;
    let data = folder.path().join("data");
    let disk = Disk::mount(&data, 4)?;
    disk.make_read_only()?;
    let output = std::process::Command::new(nonna_e2e::program("nonna")?)
        .arg("server")
        .arg("--data")
        .arg(&data)
        .args(["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "off"])
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .output()?;
    let ran = Ran::from(output);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&data.display().to_string()), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    Ok(())
}

/// A registry that misbehaves in the way that the image's name says.
struct Registry {
    address: SocketAddr,
    stalled: Arc<AtomicUsize>,
}

impl Registry {
    fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let stalled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&stalled);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    let _ = serve(stream, &count);
                });
            }
        });
        Ok(Self { address, stalled })
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}:v1", self.address)
    }
}

fn serve(mut stream: TcpStream, stalled: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        // TLS is tried first; there is none here.
        if head.is_empty() && !byte[0].is_ascii_uppercase() {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let blob = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let (status, kind, body) = if path == "/v2/" {
        ("200 OK", "application/json", "{}".to_owned())
    } else if path.contains("/private/") {
        (
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"",
            "application/json",
            "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}".to_owned(),
        )
    } else if path.contains("/missing/") {
        (
            "404 Not Found",
            "application/json",
            "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}".to_owned(),
        )
    } else if path.contains("/broken/") {
        ("503 Service Unavailable", "text/plain", "no".to_owned())
    } else if path.contains("/manifests/") {
        let body = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",\
             \"config\":{{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"size\":2000,\"digest\":\"{}\"}},\
             \"layers\":[{{\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\"size\":1000000,\"digest\":\"{}\"}}]}}",
            blob("1"),
            blob("2")
        );
        (
            "200 OK",
            "application/vnd.docker.distribution.manifest.v2+json",
            body,
        )
    } else {
        // A blob: it begins, and never goes on.
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nx",
        )?;
        stalled.fetch_add(1, Ordering::Relaxed);
        let _ = stream.read(&mut byte);
        return Ok(());
    };
    let body_sent = if head.starts_with("HEAD") {
        ""
    } else {
        body.as_str()
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body_sent}",
        body.len()
    )
}

#[test]
fn what_a_registry_does_wrong_is_told_apart() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let nonna = with_arguments(&["--pull-timeout", "2s"])?;
    deploy(&nonna, "nonna-test/app:v1", "")?.ok()?;
    let before = nonna.belongings()?;
    let nobody = format!("127.0.0.1:{}/refused:v1", nonna_e2e::free_port()?);
    for (image, code) in [
        (registry.image("silent"), "registry_unavailable"),
        (registry.image("broken"), "registry_unavailable"),
        (nobody, "registry_unavailable"),
        (registry.image("private"), "registry_auth"),
        (registry.image("missing"), "image_not_found"),
    ] {
        let begun = Instant::now();
        let ran = deploy(&nonna, &image, "")?.failed_with(code)?;
        assert!(ran.stderr.contains(&image), "{ran:?}");
        assert_eq!(
            ran.stderr.contains("sent nothing for 2 s"),
            image.contains("silent"),
            "{ran:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(40), "{image}");
        assert!(answers(&nonna, "v1 "));
        assert_eq!(nonna.belongings()?, before, "{image}");
    }
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn ctrl_c_while_an_image_is_fetched_cancels_and_leaves_nothing() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let nonna = Installation::start()?;
    deploy(&nonna, "nonna-test/app:v1", "")?.ok()?;
    let before = nonna.belongings()?;
    nonna.project(
        "shop",
        &[("nonna.toml", &manifest(&registry.image("silent"), ""))],
    )?;
    let child = nonna
        .command(["deploy"])?
        .current_dir(nonna.folder().join("shop"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    eventually("the registry is asked", Duration::from_secs(20), || {
        registry.stalled.load(Ordering::Relaxed) > 0
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id())?).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let begun = Instant::now();
    let ran = Ran::from(child.wait_with_output()?);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{ran:?}");
    eventually("no deployment is under way", Duration::from_secs(10), || {
        status(&nonna).is_ok_and(|status| status["deployment"].is_null())
    });
    assert!(answers(&nonna, "v1 "));
    assert_eq!(nonna.belongings()?, before);
    Ok(())
}

fn only_pid(nonna: &Installation) -> anyhow::Result<i32> {
    let all = engine::containers(nonna.id())?;
    anyhow::ensure!(all.len() == 1, "{all:?}");
    let id = all[0]["Id"].as_str().unwrap_or_default();
    let pid = engine::get(&format!("/containers/{id}/json"))?["State"]["Pid"].as_i64();
    Ok(i32::try_from(pid.unwrap_or_default())?)
}

#[test]
fn a_replica_that_the_kernel_kills_is_started_again() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    deploy(&nonna, "nonna-test/app:v1", "memory = \"64MB\"")?.ok()?;

    // For memory.
    let first = only_pid(&nonna)?;
    let eaten = nonna.get(HOST, "/eat?200");
    assert!(!eaten.as_ref().is_ok_and(|a| a.status == 200), "{eaten:?}");
    eventually("it runs again", Duration::from_secs(30), || {
        only_pid(&nonna).is_ok_and(|pid| pid > 0 && pid != first) && answers(&nonna, "v1 ")
    });
    let seen = status(&nonna)?;
    let replica = &seen["services"][0]["running"][0];
    assert!(
        replica["restarts"].as_u64() >= Some(1) || replica["state"].to_string().contains("memory"),
        "{seen}"
    );

    // By a signal, under load: it fails only while it is down.
    let second = only_pid(&nonna)?;
    let watcher = Watcher::start(nonna.http(), HOST, "/", false);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(second).unwrap(),
        rustix::process::Signal::KILL,
    )?;
    eventually("it runs again", Duration::from_secs(30), || {
        only_pid(&nonna).is_ok_and(|pid| pid > 0 && pid != second)
    });
    eventually("twenty answers in a row", Duration::from_secs(20), || {
        (0..20).all(|_| answers(&nonna, "v1 "))
    });
    let seen = watcher.stop();
    for (at, what) in &seen.bad {
        assert!(what.starts_with("status 50"), "{at:?} {what}");
    }
    assert_eq!(
        nonna
            .belongings()?
            .iter()
            .filter(|b| b.starts_with("container"))
            .count(),
        1
    );
    Ok(())
}
