//! `bench-rollout`: 50 redeploys in a row while eight clients ask without a
//! pause, each on a connection it keeps: failed requests, how long the switch
//! takes, and the 99th percentile of the answers' times around the switches
//! against the same in peace, in the same run.
//!
//! On a machine with few cores the engine that starts a container disturbs
//! whatever else runs, whoever asked it to. So between the redeploys a
//! container that nobody asks is replaced through the engine's API alone: the
//! answers' times around that are the floor of those around a switch.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nonna_bench::direct::Direct;
use nonna_bench::{Figure, median, percentile, say, wait_for};
use nonna_e2e::Installation;
use serde_json::Value;

const REDEPLOYS: usize = 50;
const CLIENTS: usize = 8;
/// What counts as "while switching": so long before and after each switch.
const WINDOW_MS: f64 = 100.0;
const PEACE: Duration = Duration::from_secs(15);

/// One request: when it was sent (milliseconds since 1970), how long its answer
/// took (milliseconds), or that it failed.
type Sample = (f64, Result<f64, String>);

fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
        * 1000.0
}

/// Reads one answer with a `Content-Length`; returns its status and whether
/// the connection stays open.
fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<(u16, bool)> {
    buffer.clear();
    let mut chunk = [0_u8; 4096];
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|c| c.parse().ok())
                .context("no status")?;
            let length: usize = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length:"))
                .and_then(|v| v.trim().parse().ok())
                .context("no length")?;
            if buffer.len() >= end + 4 + length {
                return Ok((status, !head.contains("connection: close")));
            }
        }
        let read = stream.read(&mut chunk)?;
        anyhow::ensure!(read > 0, "the connection was closed in mid-answer");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

fn client(address: SocketAddr, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut connection: Option<TcpStream> = None;
    let mut buffer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (at, begun) = (now_ms(), Instant::now());
        let mut ask = || -> anyhow::Result<()> {
            let mut stream = match connection.take() {
                Some(stream) => stream,
                None => {
                    let stream = TcpStream::connect(address)?;
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                    stream
                }
            };
            stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")?;
            let (status, keep) = read_answer(&mut stream, &mut buffer)?;
            anyhow::ensure!(status == 200, "status {status}");
            if keep {
                connection = Some(stream);
            }
            Ok(())
        };
        let result = ask().map_err(|error| format!("{error:#}"));
        samples.push((at, result.map(|()| begun.elapsed().as_secs_f64() * 1000.0)));
        std::thread::sleep(Duration::from_millis(4));
    }
    samples
}

fn main() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let manifest = |tag: &str| {
        format!(
            "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:{tag}\"\nhealth = \"/health\"\n"
        )
    };
    let folder = nonna.project("shop", &[("nonna.toml", &manifest("v1"))])?;
    nonna.nonna(["deploy".as_ref(), folder.as_os_str()])?.ok()?;

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), nonna.http());
            std::thread::spawn(move || client(address, &stop))
        })
        .collect();

    say("rollout: in peace");
    let peace = now_ms();
    std::thread::sleep(PEACE);
    let peace = (peace, now_ms());

    let mut switches: Vec<(f64, f64)> = Vec::new();
    let mut wall = Vec::new();
    let mut direct = Direct::new("bench-rollout");
    let mut replaced = Vec::new();
    for number in 0..REDEPLOYS {
        let tag = if number % 2 == 0 { "v2" } else { "v1" };
        nonna.project("shop", &[("nonna.toml", &manifest(tag))])?;
        let begun = Instant::now();
        let ran = nonna
            .nonna(["deploy".as_ref(), "--json".as_ref(), folder.as_os_str()])?
            .ok()?;
        wall.push(begun.elapsed().as_secs_f64());
        for line in ran.stdout.lines() {
            let event: Value = serde_json::from_str(line).context("an event")?;
            if event["event"] == "routes_switched" {
                switches.push((
                    event["at"].as_f64().context("no time")?,
                    event["micros"].as_f64().context("no micros")? / 1000.0,
                ));
            }
        }
        direct.replace(&format!("nonna-test/app:{tag}"), |address| {
            wait_for(address, "direct", "/health", "ok")?;
            replaced.push(now_ms());
            Ok(())
        })?;
        if number % 10 == 9 {
            say(&format!("rollout: {} of {REDEPLOYS}", number + 1));
        }
    }
    let redeploying = (peace.1, now_ms());
    stop.store(true, Ordering::Relaxed);
    let mut samples = Vec::new();
    for client in clients {
        samples.extend(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
    }
    anyhow::ensure!(
        switches.len() == REDEPLOYS,
        "{} switches in {REDEPLOYS} redeploys",
        switches.len()
    );

    let failed: Vec<_> = samples
        .iter()
        .filter_map(|(at, r)| r.as_ref().err().map(|e| (at, e)))
        .collect();
    for (at, error) in failed.iter().take(10) {
        say(&format!("failed at {at}: {error}"));
    }
    let times = |wanted: &dyn Fn(f64) -> bool| -> Vec<f64> {
        samples
            .iter()
            .filter(|(at, _)| wanted(*at))
            .filter_map(|(_, r)| r.as_ref().ok().copied())
            .collect()
    };
    let in_peace = times(&|at| at >= peace.0 && at < peace.1);
    let around = |at: f64, when: f64| (at - when).abs() <= WINDOW_MS;
    let switching = times(&|at| switches.iter().any(|(when, _)| around(at, *when)));
    let replacing = times(&|at| replaced.iter().any(|when| around(at, *when)));
    let throughout = times(&|at| at >= redeploying.0 && at < redeploying.1);
    let (p99_peace, p99_switching) = (percentile(&in_peace, 0.99), percentile(&switching, 0.99));
    let p99_replacing = percentile(&replacing, 0.99);

    let figure = |figure, value, unit, peer, ratio| Figure {
        bench: "rollout",
        figure,
        value,
        unit,
        peer,
        ratio,
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    let (failures, requests) = (failed.len() as f64, samples.len() as f64);
    figure(
        "failed_requests",
        failures,
        "count",
        "of all requests",
        failures / requests,
    )
    .print()?;
    figure("requests", requests, "count", "", 0.0).print()?;
    let switch: Vec<f64> = switches.iter().map(|(_, ms)| *ms).collect();
    figure("switch_ms", median(&switch), "ms", "aim of 1 ms", median(&switch)).print()?;
    figure(
        "switch_max_ms",
        percentile(&switch, 1.0),
        "ms",
        "aim of 1 ms",
        percentile(&switch, 1.0),
    )
    .print()?;
    figure(
        "p99_ratio",
        p99_switching / p99_peace,
        "ratio",
        "p99 in peace",
        p99_switching / p99_peace,
    )
    .print()?;
    figure(
        "p99_over_engine_ratio",
        p99_switching / p99_replacing,
        "ratio",
        "p99 around the engine's own replacement",
        p99_switching / p99_replacing,
    )
    .print()?;
    figure(
        "p99_engine_ms",
        p99_replacing,
        "ms",
        "p99 in peace",
        p99_replacing / p99_peace,
    )
    .print()?;
    figure("p99_peace_ms", p99_peace, "ms", "", 0.0).print()?;
    figure(
        "p99_switching_ms",
        p99_switching,
        "ms",
        "p99 in peace",
        p99_switching / p99_peace,
    )
    .print()?;
    let p99 = percentile(&throughout, 0.99);
    figure("p99_redeploying_ms", p99, "ms", "p99 in peace", p99 / p99_peace).print()?;
    figure("redeploy_s", median(&wall), "s", "", 0.0).print()
}
