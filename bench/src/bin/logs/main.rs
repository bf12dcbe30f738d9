//! The log proxy's cost: intake, disk, memory, search and tails, on one
//! generated corpus, against rsyslog, syslog-ng, zstd, ripgrep and two floors.
//!
//! Every intake reads the same lines from a TCP connection on 127.0.0.1, in a
//! process of its own; what is compared is that process's CPU time, as the
//! kernel counts it, the median of interleaved rounds.
//!
//! Environment: `NONNA_BENCH_LOG_LINES` (5,000,000), `NONNA_BENCH_LOG_ROUNDS`
//! (3), `NONNA_BENCH_PEERS` (see `scripts/setup-bench-tools`).
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures; a corpus that fits a disk"
)]

mod child;
mod corpus;
mod floor;
mod peers;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nonna_bench::{Figure, median, resident_mb, say};

/// Lines a second at which memory is measured.
const PACE: u64 = 100_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((what, rest)) = arguments.split_first() {
        return child::run(what, rest);
    }
    let number = |name: &str, default: u64| -> u64 {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let lines = number("NONNA_BENCH_LOG_LINES", 5_000_000);
    let rounds = number("NONNA_BENCH_LOG_ROUNDS", 3);
    let temp = tempfile::tempdir()?;
    let bench = Bench {
        corpus: temp.path().join("corpus"),
        folder: temp.path().to_owned(),
        lines,
    };
    let bytes = bench.generate()?;
    say(&format!(
        "corpus: {lines} lines of {:.1} bytes",
        bytes as f64 / lines as f64
    ));
    bench.intake(rounds)?;
    bench.keep()?;
    bench.memory()?;
    bench.tails(rounds)
}

struct Bench {
    corpus: PathBuf,
    folder: PathBuf,
    lines: u64,
}

/// A child of this program that speaks in lines on its standard output.
struct Speaker {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Speaker {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout),
        })
    }

    /// The next line: a name and a value.
    fn hear(&mut self, name: &str) -> anyhow::Result<f64> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        let value = line
            .trim()
            .strip_prefix(name)
            .with_context(|| format!("{name} expected, got {line:?}"))?;
        Ok(value.trim().parse()?)
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("no standard input")?;
        Ok(writeln!(stdin, "{line}")?)
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a child ended with {status}");
        Ok(())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn figure(name: &str, value: f64, unit: &str, peer: &str, ratio: f64) -> anyhow::Result<()> {
    Figure {
        bench: "logs",
        figure: name,
        value,
        unit,
        peer,
        ratio,
    }
    .print()
}

impl Bench {
    fn generate(&self) -> anyhow::Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&self.corpus)?);
        let mut corpus = corpus::Corpus::new(1);
        let (mut line, mut bytes) = (Vec::new(), 0);
        for _ in 0..self.lines {
            line.clear();
            corpus.next_line(&mut line)?;
            bytes += line.len() as u64;
            out.write_all(&line)?;
        }
        out.flush()?;
        Ok(bytes)
    }

    /// Sends the corpus, or so many lines of it at a pace.
    fn send(&self, port: u16, lines: u64, pace: Option<u64>) -> anyhow::Result<()> {
        let mut to = TcpStream::connect(("127.0.0.1", port))?;
        let mut from = std::fs::File::open(&self.corpus)?;
        let Some(pace) = pace else {
            // In the kernel: the sender's time is nobody's.
            std::io::copy(&mut from, &mut to)?;
            return Ok(());
        };
        let mut from = BufReader::with_capacity(1 << 20, from);
        let (start, mut sent, mut chunk) = (Instant::now(), 0_u64, Vec::new());
        while sent < lines {
            chunk.clear();
            for _ in 0..pace / 100 {
                if from.read_until(b'\n', &mut chunk)? == 0 {
                    break;
                }
                sent += 1;
            }
            if chunk.is_empty() {
                break;
            }
            to.write_all(&chunk)?;
            let due = Duration::from_secs_f64(sent as f64 / pace as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        Ok(())
    }

    /// CPU seconds per million lines of one of our children that takes the
    /// corpus.
    fn cpu_of(&self, what: &str, more: &[&str]) -> anyhow::Result<f64> {
        let folder = self.folder.join(what);
        let path = folder.to_str().context("a path that is no text")?;
        let mut arguments = vec![what, path];
        arguments.extend_from_slice(more);
        let mut child = Speaker::start(&arguments)?;
        let port = child.hear("port")?;
        self.send(port as u16, self.lines, None)?;
        let cpu = child.hear("cpu")?;
        child.end()?;
        let _ = std::fs::remove_dir_all(folder);
        Ok(cpu / self.lines as f64 * 1e6)
    }

    fn intake(&self, rounds: u64) -> anyhow::Result<()> {
        let names = ["intake", "floor", "floor-bloom", "rsyslog", "syslog-ng", "zstd"];
        let mut taken: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
        for round in 0..rounds {
            for (name, taken) in names.iter().zip(&mut taken) {
                let cpu = match *name {
                    "rsyslog" | "syslog-ng" => {
                        peers::cpu(name, &self.folder, |port| self.send(port, self.lines, None))
                    }
                    "zstd" => peers::zstd(&self.corpus),
                    ours => self.cpu_of(ours, &[]).map(|cpu| cpu * self.lines as f64 / 1e6),
                };
                match cpu {
                    Ok(cpu) => {
                        let cpu = cpu / self.lines as f64 * 1e6;
                        say(&format!("round {round}: {name} {cpu:.3} CPU-s per million lines"));
                        taken.push(cpu);
                    }
                    Err(error) => say(&format!("{name} is left out: {error:#}")),
                }
            }
        }
        let medians: Vec<f64> = taken.iter().map(|taken| median(taken)).collect();
        let [ours, floor, bloom, rsyslog, syslog_ng, zstd] = medians[..] else {
            anyhow::bail!("six medians");
        };
        figure("intake_cpu_s_per_million", ours, "s", "aim 1.2", ours / 1.2)?;
        figure(
            "intake_vs_rsyslog",
            ours / rsyslog,
            "ratio",
            "rsyslog",
            ours / rsyslog,
        )?;
        figure(
            "intake_vs_syslog_ng",
            ours / syslog_ng,
            "ratio",
            "syslog-ng",
            ours / syslog_ng,
        )?;
        figure(
            "intake_vs_floor",
            ours / bloom,
            "ratio",
            "floor with a bloom filter",
            ours / bloom,
        )?;
        figure(
            "intake_vs_plain_floor",
            ours / floor,
            "ratio",
            "floor",
            ours / floor,
        )?;
        figure("intake_vs_zstd", ours / zstd, "ratio", "zstd -1", ours / zstd)
    }

    /// Disk and search: one child holds the corpus.
    fn keep(&self) -> anyhow::Result<()> {
        let folder = self.folder.join("keep");
        let path = folder.to_str().context("a path that is no text")?;
        let mut child = Speaker::start(&["keep", path])?;
        let port = child.hear("port")?;
        self.send(port as u16, self.lines, None)?;
        child.hear("cpu")?;
        let zstd = peers::zstd_bytes(&self.corpus)? as f64 / self.lines as f64;
        let hot = child.hear("bytes")? / self.lines as f64;
        figure("bytes_per_line_hot", hot, "bytes", "zstd -1", hot / zstd)?;
        let pid = child.child.id();
        // From here on the most memory is that of searching.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        self.search(&mut child, "")?;
        figure(
            "rss_search_mb",
            peak_mb(pid)?,
            "MB",
            "aim 64",
            peak_mb(pid)? / 64.0,
        )?;
        child.say("settle")?;
        let idle = child.hear("bytes")? / self.lines as f64;
        figure("bytes_per_line_idle", idle, "bytes", "zstd -1", idle / zstd)?;
        self.search(&mut child, "_idle")?;
        child.end()
    }

    fn search(&self, child: &mut Speaker, after: &str) -> anyhow::Result<()> {
        child.say("search")?;
        let needle = child.hear("needle_ms")?;
        let substring = child.hear("substring_cpu_s")?;
        let common = child.hear("common_ms")?;
        let scan = child.hear("scan_cpu_s")?;
        figure(
            &format!("needle_ms{after}"),
            needle,
            "ms",
            "aim 10",
            needle / 10.0,
        )?;
        figure(
            &format!("substring_cpu_s{after}"),
            substring,
            "s",
            "decompress + memmem",
            substring / scan,
        )?;
        if after.is_empty() {
            match peers::ripgrep(&self.corpus, child::SUBSTRING) {
                Ok(cpu) => figure(
                    "substring_vs_ripgrep",
                    substring / cpu,
                    "ratio",
                    "ripgrep on raw text",
                    substring / cpu,
                )?,
                Err(error) => say(&format!("ripgrep is left out: {error:#}")),
            }
        }
        figure(
            &format!("common_ms{after}"),
            common,
            "ms",
            "aim 10",
            common / 10.0,
        )
    }

    fn memory(&self) -> anyhow::Result<()> {
        let folder = self.folder.join("memory");
        let path = folder.to_str().context("a path that is no text")?;
        let mut child = Speaker::start(&["intake", path])?;
        let port = child.hear("port")?;
        std::thread::sleep(Duration::from_millis(500));
        let pid = child.child.id();
        let idle = resident_mb(pid)?;
        self.send(port as u16, self.lines.min(PACE * 15), Some(PACE))?;
        let busy = peak_mb(pid)?;
        child.hear("cpu")?;
        figure("idle_mb", idle, "MB", "aim 24", idle / 24.0)?;
        figure("rss_100k_mb", busy, "MB", "aim 48", busy / 48.0)?;
        child.end()
    }

    /// Intake with and without 2,000 tails: lines a second by the wall clock.
    fn tails(&self, rounds: u64) -> anyhow::Result<()> {
        let mut speeds = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (tails, speeds) in ["0", "2000"].iter().zip(&mut speeds) {
                let folder = self.folder.join("tails");
                let path = folder.to_str().context("a path that is no text")?;
                let mut child = Speaker::start(&["tails", path, tails])?;
                let port = child.hear("port")?;
                let start = Instant::now();
                self.send(port as u16, self.lines, None)?;
                child.hear("cpu")?;
                let speed = self.lines as f64 / start.elapsed().as_secs_f64();
                let told = child.hear("told")?;
                say(&format!(
                    "{tails} tails: {speed:.0} lines a second, told of {told}"
                ));
                speeds.push(speed);
                child.end()?;
                let _ = std::fs::remove_dir_all(&folder);
            }
        }
        let ratio = median(&speeds[1]) / median(&speeds[0]);
        figure("tails2000_intake_ratio", ratio, "ratio", "no tails", ratio)
    }
}

/// The most memory a process had, in MB.
fn peak_mb(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// User and system seconds of a process, and of its children that ended.
pub(crate) fn cpu_seconds(pid: &str) -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Field 3 is the first behind the name; a tick is a hundredth of a second.
    let ticks = |at: usize| {
        fields
            .get(at - 3)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 100.0
    };
    Ok((ticks(14) + ticks(15), ticks(16) + ticks(17)))
}
