//! `bench-logs-block`: what an app feels of a log store that does not answer.
//! A container writes 10,000 lines a second for a minute while
//!
//! - the store's blocks cannot be written (the journal takes what it may),
//! - Nonna is stopped (the spool takes what it may),
//! - Nonna is stopped and the spool's quota is too small: what is beyond it is
//!   dropped, and every dropped line is counted and told.
//!
//! Environment: `NONNA_BENCH_BLOCK_SECONDS` (60).
#![expect(clippy::cast_precision_loss, reason = "lines as figures")]

use std::time::Duration;

use anyhow::Context;
use nonna_bench::capture::{Bench, Reader, Way, end_holder, run_if_asked};
use nonna_bench::{Figure, number, say};
use nonna_logs::capture::pipe::{self, HolderOptions, Pipes};
use nonna_logs::capture::{Container, Lines, Read};
use rustix::process::{Pid, Signal, kill_process};

/// Lines a second.
const RATE: u64 = 10_000;

fn main() -> anyhow::Result<()> {
    if run_if_asked()? {
        return Ok(());
    }
    let seconds = number("NONNA_BENCH_BLOCK_SECONDS", 60);
    let bench = Bench::start()?;
    let lines = RATE * seconds;
    let frozen = store(&bench, lines, Trouble::Frozen)?;
    let stopped = store(&bench, lines, Trouble::Stopped)?;
    let over = over_quota(&bench, lines)?;
    let longest = frozen.longest_ms.max(stopped.longest_ms).max(over.longest_ms);
    figure(
        "frozen_longest_write_ms",
        longest,
        "ms",
        "aim of at most 10",
        longest / 10.0,
    )?;
    let lost = (lines - frozen.whole) + (lines - stopped.whole);
    figure(
        "frozen_lost_in_quota",
        lost as f64,
        "lines",
        "aim of 0",
        lost as f64,
    )?;
    figure("over_quota_dropped", over.told as f64, "lines", "", 0.0)?;
    let uncounted = lines.abs_diff(over.whole + over.told);
    figure(
        "over_quota_uncounted",
        uncounted as f64,
        "lines",
        "aim of 0",
        uncounted as f64,
    )
}

struct Outcome {
    longest_ms: f64,
    whole: u64,
    told: u64,
}

#[derive(Clone, Copy)]
enum Trouble {
    Frozen,
    Stopped,
}

fn store(bench: &Bench, lines: u64, trouble: Trouble) -> anyhow::Result<Outcome> {
    let root = bench.folder("pipes")?;
    let pipes = Pipes::start(&root, pipe::this_program(&root, HolderOptions::default())?)?;
    let writer = bench.writer(Way::PipesToStore, lines, RATE, Some(&pipes))?;
    let is_frozen = matches!(trouble, Trouble::Frozen);
    let mut reader = Reader::start(&root, &writer.key, &bench.folder("store")?, true, is_frozen)?;
    let pid = Pid::from_raw(i32::try_from(reader.child.id())?).context("pid 0")?;
    if !is_frozen {
        kill_process(pid, Signal::STOP)?;
    }
    writer.start()?;
    let written = writer.written(Duration::from_secs(lines / RATE * 2 + 60))?;
    if is_frozen {
        reader.thaw()?;
    } else {
        kill_process(pid, Signal::CONT)?;
    }
    let whole = reader.wait_for(lines, Duration::from_secs(600))?;
    let name = if is_frozen {
        "the store frozen"
    } else {
        "Nonna stopped"
    };
    say(&format!(
        "{name}: longest write {:.2} ms, {whole} of {lines} lines stored",
        written.longest_ms
    ));
    drop(reader);
    drop(writer);
    end_holder(&root)?;
    Ok(Outcome {
        longest_ms: written.longest_ms,
        whole,
        told: 0,
    })
}

/// Nobody reads, and the quota is an eighth of what is written.
fn over_quota(bench: &Bench, lines: u64) -> anyhow::Result<Outcome> {
    let root = bench.folder("pipes")?;
    let options = HolderOptions {
        quota: lines * 100 / 4,
    };
    let pipes = Pipes::start(&root, pipe::this_program(&root, options)?)?;
    let writer = bench.writer(Way::Pipes, lines, RATE, Some(&pipes))?;
    writer.start()?;
    let written = writer.written(Duration::from_secs(lines / RATE * 2 + 60))?;
    let key = writer.key.clone();
    drop(writer);
    pipes.mark_removed(&key);
    let container = Container {
        id: key.as_str().into(),
        service: "bench/production/writer".into(),
        replica: "v1.0".into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (whole, told) = runtime.block_on(async {
        let mut output = pipes.open(&key, &container, None)?;
        let (mut whole, mut told) = (0_u64, 0_u64);
        loop {
            let mut batch = Lines::new(&container);
            let read = output.read(&mut batch).await?;
            for record in batch.batch().iter() {
                let line = String::from_utf8_lossy(record.line);
                match record.source.stream.name() {
                    "proxy" => told += line.split(' ').next().unwrap_or_default().parse().unwrap_or(0),
                    // The head of a line whose end was dropped is among them.
                    _ => whole += u64::from(!line.ends_with("was dropped]")),
                }
            }
            output.kept();
            if read == Read::End {
                return anyhow::Ok((whole, told));
            }
        }
    })?;
    say(&format!(
        "beyond the quota: longest write {:.2} ms, {whole} lines kept, {told} told as dropped, of {lines}",
        written.longest_ms
    ));
    end_holder(&root)?;
    Ok(Outcome {
        longest_ms: written.longest_ms,
        whole,
        told,
    })
}

fn figure(name: &str, value: f64, unit: &str, peer: &str, ratio: f64) -> anyhow::Result<()> {
    Figure {
        bench: "logs-block",
        figure: name,
        value,
        unit,
        peer,
        ratio,
    }
    .print()
}
