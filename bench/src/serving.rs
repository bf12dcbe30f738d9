//! How an app is served while a build runs flat out, against peace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nonna_e2e::{Installation, Options};

use crate::{Figure, median, percentile, say};

/// How long one stretch is measured.
const STRETCH: Duration = Duration::from_secs(6);
/// How often peace and build are measured, in turn.
const ROUNDS: usize = 5;
/// How many ask at the same time, each with a pause after each answer: far
/// below what the machine can serve, because the question is how long an
/// answer takes and not how many there are.
const USERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// How long a build takes to begin with its steps, at most.
const BEGINNING: Duration = Duration::from_secs(30);

/// What one setting of the server led to.
struct Measured {
    peace: f64,
    building: f64,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.building / self.peace
    }
}

/// Measures and prints: with the limits that a server has by itself, and as a
/// peer without any.
///
/// # Errors
/// Where the machine has no container engine.
pub fn measure(bench: &str) -> anyhow::Result<()> {
    let limited = run(&[])?;
    let free = run(&["--build-cpu-share", "100", "--build-memory", "off"])?;
    let figure = |figure, value, unit, peer, ratio| Figure {
        bench,
        figure,
        value,
        unit,
        peer,
        ratio,
    };
    figure("serving_p99_peace_ms", limited.peace, "ms", "", 0.0).print()?;
    figure("serving_p99_building_ms", limited.building, "ms", "", 0.0).print()?;
    figure(
        "serving_p99_ratio_unlimited",
        free.ratio(),
        "ratio",
        "builds without limits",
        free.ratio(),
    )
    .print()?;
    figure(
        "serving_p99_ratio",
        limited.ratio(),
        "ratio",
        "aim of 2",
        limited.ratio() / 2.0,
    )
    .print()
}

fn run(arguments: &[&str]) -> anyhow::Result<Measured> {
    let nonna = Installation::with(Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Options::default()
    })?;
    nonna.project(
        "served",
        &[(
            "nonna.toml",
            "project = \"served\"\n[services.web]\nimage = \"nonna-test/app:v1\"\nhealth = \"/health\"\n",
        )],
    )?;
    nonna.nonna_in("served", &["deploy"])?.ok()?;
    let (mut peace, mut building) = (vec![], vec![]);
    for round in 0..ROUNDS {
        say(&format!("serving: round {} of {ROUNDS}", round + 1));
        peace.push(p99(&nonna)?);
        let build = Build::start(&nonna, round)?;
        building.push(p99(&nonna)?);
        build.stop()?;
    }
    Ok(Measured {
        peace: median(&peace),
        building: median(&building),
    })
}

/// The 99th percentile of the time to a whole answer, in milliseconds.
fn p99(nonna: &Installation) -> anyhow::Result<f64> {
    let address: SocketAddr = nonna.http();
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..USERS)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || -> anyhow::Result<Vec<f64>> {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = nonna_e2e::http::get(address, "served.localhost", "/")?;
                    anyhow::ensure!(answer.status == 200, "status {}", answer.status);
                    took.push(asked.elapsed().as_secs_f64() * 1000.0);
                    std::thread::sleep(PAUSE);
                }
                Ok(took)
            })
        })
        .collect();
    std::thread::sleep(STRETCH);
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for user in users {
        all.extend(user.join().map_err(|_| anyhow::anyhow!("a user died"))??);
    }
    Ok(percentile(&all, 0.99))
}

/// A build that uses all the processors it can get, and writes.
struct Build {
    child: std::process::Child,
    log: std::path::PathBuf,
}

impl Build {
    fn start(nonna: &Installation, round: usize) -> anyhow::Result<Self> {
        let busy = 2 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let salt = format!("{}-{round}", std::process::id());
        let spin: String = (0..busy).map(|_| "yes > /dev/null & ").collect();
        let dockerfile = format!(
            "FROM busybox:latest\nRUN echo begun-{salt}; {spin} while :; do dd if=/dev/zero of=/fill bs=1M count=64 2>/dev/null; done\n"
        );
        let folder = nonna.project("flat-out", &[("Dockerfile", &dockerfile)])?;
        let log = nonna.folder().join(format!("flat-out-{round}.log"));
        let output = std::fs::File::create(&log)?;
        let child = nonna
            .command(["deploy"])?
            .current_dir(&folder)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let this = Self { child, log };
        let deadline = Instant::now() + BEGINNING;
        while !std::fs::read_to_string(&this.log)?.contains(&format!("| begun-{salt}")) {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the build does not begin: {}",
                std::fs::read_to_string(&this.log)?
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(this)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("pid 0")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.child.wait()?;
        Ok(())
    }
}
