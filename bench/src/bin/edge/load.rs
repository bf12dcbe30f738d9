//! One measurement: wrk for some seconds, and what the proxy used meanwhile.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::peers::Peer;

/// What is asked, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) tls: bool,
    pub(crate) keep_alive: bool,
    pub(crate) connections: u32,
}

impl Case {
    /// The cases that the aims are about.
    pub(crate) const AIMS: [Self; 2] = [
        Self {
            tls: false,
            keep_alive: true,
            connections: 64,
        },
        Self {
            tls: true,
            keep_alive: true,
            connections: 64,
        },
    ];

    /// All others.
    pub(crate) fn others() -> Vec<Self> {
        let mut all = Vec::new();
        for (keep_alive, connections) in [(true, 2000), (false, 64), (false, 2000)] {
            for tls in [false, true] {
                all.push(Self {
                    tls,
                    keep_alive,
                    connections,
                });
            }
        }
        all
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "tls" } else { "plain" };
        let keep_alive = if self.keep_alive { "keepalive" } else { "close" };
        write!(f, "{tls}_{keep_alive}_{}", self.connections)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) cpu_us: f64,
    pub(crate) p99_ms: f64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

/// Loads a proxy for some seconds.
pub(crate) fn run(case: Case, peer: &Peer, wrk: &str, seconds: u32) -> anyhow::Result<Measured> {
    let (scheme, port) = if case.tls {
        ("https", peer.tls)
    } else {
        ("http", peer.plain)
    };
    let mut command = Command::new("taskset");
    command.args(["-c", "1", wrk, "--latency", "-t", "1", "--timeout", "10s"]);
    command.args(["-c", &case.connections.to_string(), "-d", &format!("{seconds}s")]);
    if !case.keep_alive {
        command.args(["-H", "Connection: close"]);
    }
    command
        .arg(format!("{scheme}://127.0.0.1:{port}/"))
        .stdin(Stdio::null());
    let before = cpu_seconds(peer.pid())?;
    let output = command.output().context("taskset and wrk must be installed")?;
    let used = cpu_seconds(peer.pid())? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text, used).with_context(|| format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn parse(text: &str, used: f64) -> anyhow::Result<Measured> {
    let line = |what: &str| text.lines().map(str::trim).find(|line| line.contains(what));
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let requests: u32 = line("requests in")
        .and_then(first)
        .context("no count of requests")?
        .parse()
        .context("not a count")?;
    anyhow::ensure!(requests > 0, "no request was answered");
    let p99 = line("99%")
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no p99")?;
    let mut failed = 0;
    if let Some(line) = line("Non-2xx") {
        failed += line
            .rsplit(' ')
            .next()
            .and_then(|count| count.parse::<u64>().ok())
            .unwrap_or(0);
    }
    if let Some(line) = line("Socket errors") {
        let numbers = line.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
        failed += numbers.sum::<u64>();
    }
    Ok(Measured {
        cpu_us: used * 1e6 / f64::from(requests),
        p99_ms: milliseconds(p99).context("p99 is not a duration")?,
        requests: u64::from(requests),
        failed,
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Some(number.parse::<f64>().ok()? * factor);
        }
    }
    None
}

/// A process and all its descendants.
pub(crate) fn processes(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        at += 1;
        for task in std::fs::read_dir(format!("/proc/{parent}/task")).context("the proxy has ended")? {
            let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    Ok(all)
}

/// The processor time of a process and its descendants, in seconds.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in processes(pid)? {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        for at in [11, 12] {
            ticks += fields.get(at).context("stat is short")?.parse::<u32>()?;
        }
    }
    // USER_HZ is 100 on every Linux.
    Ok(f64::from(ticks) / 100.0)
}
