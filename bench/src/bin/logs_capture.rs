//! `bench-logs-capture`: what it costs to capture the output of a container
//! that writes as fast as it can: lines a second, CPU time outside the container
//! for each line, lines delivered.
//!
//! Nonna's pipes against the container engine's `json-file`, its non-blocking
//! mode, and no logging at all, in interleaved rounds, on an engine of the
//! benchmark's own.
//!
//! Environment: `NONNA_BENCH_CAPTURE_LINES` (500,000),
//! `NONNA_BENCH_CAPTURE_ROUNDS` (3).
#![expect(clippy::cast_precision_loss, reason = "lines as figures")]

use nonna_bench::capture::{Bench, Run, Way, run_if_asked};
use nonna_bench::{Figure, median, number, say};

const WAYS: [Way; 5] = [
    Way::None,
    Way::JsonFile,
    Way::NonBlocking,
    Way::Pipes,
    Way::PipesToStore,
];

fn main() -> anyhow::Result<()> {
    if run_if_asked()? {
        return Ok(());
    }
    let lines = number("NONNA_BENCH_CAPTURE_LINES", 500_000);
    let rounds = number("NONNA_BENCH_CAPTURE_ROUNDS", 3);
    let bench = Bench::start()?;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); WAYS.len()];
    for _ in 0..rounds {
        for (way, runs) in WAYS.iter().zip(&mut runs) {
            let run = bench.run(*way, lines)?;
            say(&format!(
                "{}: {:.0} lines a second, {:.2} µs a line outside, {} of {lines} delivered, longest write {:.1} ms",
                way.name(),
                lines as f64 / run.written.seconds,
                run.cpu_us,
                run.delivered,
                run.written.longest_ms
            ));
            runs.push(run);
        }
    }
    let of = |way: Way, value: &dyn Fn(&Run) -> f64| {
        let runs = WAYS.iter().zip(&runs).find(|(known, _)| **known == way);
        let values: Vec<f64> = runs
            .into_iter()
            .flat_map(|(_, runs)| runs.iter().map(value))
            .collect();
        median(&values)
    };
    let pace = |run: &Run| lines as f64 / run.written.seconds;
    let cpu = |run: &Run| run.cpu_us;
    let delivered = |run: &Run| run.delivered as f64 / lines as f64;
    for way in WAYS {
        let name = way.name().replace([' ', '-'], "_");
        figure(&format!("{name}_lines_per_s"), of(way, &pace), "lines/s", "", 0.0)?;
        figure(&format!("{name}_cpu_us"), of(way, &cpu), "us/line", "", 0.0)?;
        if way != Way::None {
            figure(
                &format!("{name}_delivered"),
                of(way, &delivered),
                "ratio",
                "",
                0.0,
            )?;
        }
    }
    let json = (of(Way::JsonFile, &pace), of(Way::JsonFile, &cpu));
    let faster = of(Way::Pipes, &pace) / json.0;
    figure(
        "capture_lines_vs_json_file",
        faster,
        "ratio",
        "aim of at least 2",
        faster / 2.0,
    )?;
    let cheaper = of(Way::Pipes, &cpu) / json.1;
    figure(
        "capture_cpu_vs_json_file",
        cheaper,
        "ratio",
        "aim of at most 0.25",
        cheaper / 0.25,
    )?;
    let to_store = of(Way::PipesToStore, &cpu) / json.1;
    figure(
        "capture_to_store_cpu_vs_json_file",
        to_store,
        "ratio",
        "json-file alone",
        to_store,
    )?;
    let all = of(Way::Pipes, &delivered).min(of(Way::PipesToStore, &delivered));
    figure("capture_delivered", all, "ratio", "aim of 1", all)
}

fn figure(name: &str, value: f64, unit: &str, peer: &str, ratio: f64) -> anyhow::Result<()> {
    Figure {
        bench: "logs-capture",
        figure: name,
        value,
        unit,
        peer,
        ratio,
    }
    .print()
}
