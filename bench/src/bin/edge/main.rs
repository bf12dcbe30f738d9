//! `bench-edge`: processor time a request, p99 and memory of the edge, beside a
//! minimal hyper-util proxy (the floor), nginx, HAProxy, Caddy, Traefik and
//! Envoy in the same run.
//!
//! Each proxy runs alone on processor 0; wrk and the service behind run on
//! processor 1. Rounds are interleaved, and medians are taken.

mod load;
mod peers;
mod servers;

use std::collections::BTreeMap;

use anyhow::Context;
use nonna_bench::{Figure, median, resident_mb, say};

use load::{Case, Measured};
use peers::Peer;

/// How often the proxies of the aims, and the others, are measured in the two
/// cases of the aims.
const ROUNDS: usize = 7;
const OTHER_ROUNDS: usize = 2;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(role) => servers::run(role, arguments.get(1..).unwrap_or_default()),
        None => bench(),
    }
}

type Results = BTreeMap<(Case, &'static str), Vec<Measured>>;

fn bench() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let peers = peers::start(folder.path())?;
    let wrk = peers::program("wrk")?;
    let mut results = Results::new();
    let mut memory: BTreeMap<&str, f64> = BTreeMap::new();
    for case in Case::AIMS {
        for round in 0..ROUNDS {
            for peer in &peers.all {
                if round >= OTHER_ROUNDS && !peer.is_of_the_aims() {
                    continue;
                }
                measure(&mut results, case, peer, &wrk, 2)?;
                if case == Case::AIMS[0] && round == 1 {
                    memory.insert(peer.name, resident(peer)?);
                }
            }
        }
    }
    for case in Case::others() {
        // Thousands of handshakes take seconds of their own.
        let seconds = if case.connections > 64 { 8 } else { 2 };
        for peer in &peers.all {
            if let Err(error) = measure(&mut results, case, peer, &wrk, seconds) {
                say(&format!("{} {case}: left out: {error:#}", peer.name));
            }
        }
    }
    report(&results, &memory)
}

fn measure(results: &mut Results, case: Case, peer: &Peer, wrk: &str, seconds: u32) -> anyhow::Result<()> {
    let measured =
        load::run(case, peer, wrk, seconds).with_context(|| format!("measuring {} {case}", peer.name))?;
    say(&format!(
        "{case} {}: {:.1} µs a request, p99 {:.2} ms, {} requests, {} failed",
        peer.name, measured.cpu_us, measured.p99_ms, measured.requests, measured.failed
    ));
    results.entry((case, peer.name)).or_default().push(measured);
    Ok(())
}

fn resident(peer: &Peer) -> anyhow::Result<f64> {
    load::processes(peer.pid())?.into_iter().map(resident_mb).sum()
}

fn report(results: &Results, memory: &BTreeMap<&str, f64>) -> anyhow::Result<()> {
    let cpu = |case: Case, name: &'static str| -> Option<f64> {
        let all = results.get(&(case, name))?;
        Some(median(&all.iter().map(|one| one.cpu_us).collect::<Vec<_>>()))
    };
    let ours = peers::OURS;
    for ((case, name), all) in results {
        let p99 = median(&all.iter().map(|one| one.p99_ms).collect::<Vec<_>>());
        let failed: u64 = all.iter().map(|one| one.failed).sum();
        let (value, own) = (
            cpu(*case, name).context("no median")?,
            cpu(*case, ours).context("the edge was not measured")?,
        );
        print(&format!("{case}_cpu_us"), value, "us", name, own / value)?;
        print(&format!("{case}_p99_ms"), p99, "ms", name, 0.0)?;
        if failed > 0 {
            print(&format!("{case}_failed"), count(failed), "count", name, 0.0)?;
        }
    }
    for (name, value) in memory {
        print(
            "keepalive_64_rss_mb",
            *value,
            "MB",
            name,
            memory.get(ours).map_or(0.0, |own| own / value),
        )?;
    }
    let [plain, tls] = Case::AIMS;
    // Neighbouring measurements share what disturbed them, so ratios are taken
    // round by round, and then the median of them.
    let versus = |case: Case, name: &'static str| -> Option<f64> {
        let (own, theirs) = (results.get(&(case, ours))?, results.get(&(case, name))?);
        Some(median(
            &own.iter()
                .zip(theirs)
                .map(|(own, theirs)| own.cpu_us / theirs.cpu_us)
                .collect::<Vec<_>>(),
        ))
    };
    for (figure, case, peer, aim) in [
        ("plain_cpu_vs_nginx", plain, "nginx", 1.0),
        ("tls_cpu_vs_nginx", tls, "nginx", 0.9),
        ("plain_cpu_vs_hyper", plain, peers::FLOOR, 1.05),
        ("tls_cpu_vs_hyper", tls, peers::FLOOR, 1.05),
    ] {
        match versus(case, peer) {
            Some(value) => print(figure, value, "ratio", peer, value / aim)?,
            None => say(&format!("{figure}: {peer} was not measured")),
        }
    }
    let own = memory.get(ours).context("the edge's memory was not measured")?;
    print("rss_mb", *own, "MB", "aim of 10 MB", own / 10.0)
}

#[expect(clippy::cast_precision_loss, reason = "a count of failures")]
fn count(number: u64) -> f64 {
    number as f64
}

fn print(figure: &str, value: f64, unit: &str, peer: &str, ratio: f64) -> anyhow::Result<()> {
    Figure {
        bench: "edge",
        figure,
        value,
        unit,
        peer,
        ratio,
    }
    .print()
}
