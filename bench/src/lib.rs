//! What the benchmarks share: how a figure is printed, medians, and what the
//! kernel knows of a process.

#![forbid(unsafe_code)]

pub mod capture;
pub mod direct;
pub mod serving;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;

/// One figure.
#[derive(Debug, Clone)]
pub struct Figure<'a> {
    /// The benchmark: `deploy`.
    pub bench: &'a str,
    /// The figure's name.
    pub figure: &'a str,
    /// Its value.
    pub value: f64,
    /// Its unit: `s`, `ms`, `MB`, `ratio`, `count`.
    pub unit: &'a str,
    /// What it is held against, if anything.
    pub peer: &'a str,
    /// Value over the peer's value, or over the aim; 0 where there is none.
    pub ratio: f64,
}

impl Figure<'_> {
    /// Prints the figure as one line of JSON on standard output.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn print(&self) -> anyhow::Result<()> {
        let line = serde_json::json!({
            "bench": self.bench,
            "figure": self.figure,
            "value": round(self.value),
            "unit": self.unit,
            "peer": self.peer,
            "ratio": round(self.ratio),
        });
        writeln!(std::io::stdout().lock(), "{line}")?;
        Ok(())
    }
}

/// Says something to whoever watches: benchmarks print figures only on
/// standard output.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// The middle one; NaN of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that this share of all values does not exceed; NaN of nothing.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into as many values as fit in memory"
)]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 - 1.0) * share).round().max(0.0) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The number in an environment variable, or another.
#[must_use]
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Seconds as a number.
#[must_use]
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// The resident memory of a process, in MB (of 1,000,000 bytes).
///
/// # Errors
/// Where there is no such process.
pub fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Asks until this body is answered.
///
/// # Errors
/// Where it is not within 30 seconds.
pub fn wait_for(address: SocketAddr, host: &str, path: &str, body: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = nonna_e2e::http::get(address, host, path);
        if answer.as_ref().is_ok_and(|a| a.body.trim() == body) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "no answer from {address}: {answer:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
