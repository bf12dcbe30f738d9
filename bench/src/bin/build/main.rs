//! `bench-build`: what builds cost the second time, for a real project in each
//! language: cold, one source line changed, one dependency added, nothing
//! changed; against the rebuild of a plain single-stage Dockerfile without
//! cache mounts, in the same run and in turn.
//!
//! Ours is the time from the start of `nonna deploy` (scanning and sending the
//! folder, planning, waiting for the turn) to the end of the build step; for
//! nothing changed, of the whole command. Cold is `--no-cache`: no layers and no
//! dependencies of before, base images are there. Theirs is the whole `docker
//! build`.
//!
//! `bench-build LANGUAGE…` measures these only. The last figures are those of
//! `bench-serve-while-building`, unless languages were named.

mod plain;
mod projects;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nonna_bench::{Figure, median, say, seconds};
use nonna_e2e::{Installation, Options};
use serde_json::Value;

use self::plain::Plain;
use self::projects::{PROJECTS, Project};

/// How often a changed line and nothing changed are measured.
const ROUNDS: usize = 3;
/// What the machine trusts, builds trust too: a company's inspecting proxy.
const MACHINE_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

fn main() -> anyhow::Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = named
        .iter()
        .find(|name| !PROJECTS.iter().any(|p| p.language == **name))
    {
        let known: Vec<&str> = PROJECTS.iter().map(|p| p.language).collect();
        anyhow::bail!("there is no project in `{unknown}`: {}", known.join(", "));
    }
    let mut failed = Vec::new();
    for project in PROJECTS {
        if named.is_empty() || named.iter().any(|name| name == project.language) {
            say(&format!("build: {}", project.language));
            // The other languages' figures are worth having.
            if let Err(error) = measure(project) {
                say(&format!("build: {} failed: {error:#}", project.language));
                failed.push(project.language);
            }
        }
    }
    if named.is_empty() {
        nonna_bench::serving::measure("build")?;
    }
    anyhow::ensure!(failed.is_empty(), "these failed: {}", failed.join(", "));
    Ok(())
}

fn measure(project: &Project) -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        arguments: vec!["--build-extra-ca".into(), MACHINE_CA.into()],
        ..Options::default()
    })?;
    let ours = nonna.folder().join(format!("bench-{}", project.language));
    let theirs = nonna.folder().join(format!("plain-{}", project.language));
    project.write(&ours)?;
    project.write(&theirs)?;
    let plain = Plain::new(project, &theirs)?;

    say("  cold");
    let cold = seconds(deploy(&nonna, &ours, &["--no-cache"])?);
    say(&format!(
        "  cold took {cold:.1} s; the plain Dockerfile for the first time"
    ));
    let plain_cold = seconds(plain.build()?);
    let (mut line, mut plain_line, mut same) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        say(&format!("  one line changed: round {} of {ROUNDS}", round + 1));
        let text = format!("{}-{round}", std::process::id());
        project.change_line(&ours, &text)?;
        line.push(seconds(deploy(&nonna, &ours, &[])?));
        project.change_line(&theirs, &text)?;
        plain_line.push(seconds(plain.build()?));
        same.push(seconds(unchanged(&nonna, &ours)?));
    }
    say("  one dependency added");
    project.add_dependency(&ours)?;
    let dependency = seconds(deploy(&nonna, &ours, &[])?);
    project.add_dependency(&theirs)?;
    let plain_dependency = seconds(plain.build()?);

    let (line, plain_line, same) = (median(&line), median(&plain_line), median(&same));
    let print = |name: &str, value: f64, unit: &'static str, peer: &str, ratio: f64| {
        Figure {
            bench: "build",
            figure: &format!("{}_{name}", project.language),
            value,
            unit,
            peer,
            ratio,
        }
        .print()
    };
    print("cold_s", cold, "s", "plain Dockerfile, cold", cold / plain_cold)?;
    print("one_line_s", line, "s", "plain Dockerfile", line / plain_line)?;
    print(
        "dependency_s",
        dependency,
        "s",
        "plain Dockerfile",
        dependency / plain_dependency,
    )?;
    print("plain_one_line_s", plain_line, "s", "", 0.0)?;
    let speedup = cold / line;
    print("one_line_speedup", speedup, "ratio", "aim of 5", speedup / 5.0)?;
    let versus = plain_line / line;
    print("vs_plain", versus, "ratio", "aim of 3", versus / 3.0)?;
    print("no_change_s", same, "s", "aim of 0.2 s", same / 0.2)
}

/// From the start of the command to the end of the build.
fn deploy(nonna: &Installation, folder: &Path, flags: &[&str]) -> anyhow::Result<Duration> {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut arguments = vec!["deploy", "--json"];
    arguments.extend(flags);
    let output = nonna.command(&arguments)?.current_dir(folder).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(
        output.status.success(),
        "the deployment failed:\n{}\n{}",
        text.lines().rev().take(30).collect::<Vec<_>>().join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    let events: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("the events are no JSON")?;
    let step = events
        .iter()
        .find(|event| event["event"] == "step_started" && event["do"]["step"] == "build")
        .or_else(|| {
            events
                .iter()
                .find(|event| event["event"] == "step_started" && event["do"].to_string().contains("build"))
        })
        .context("nothing was built")?["step"]
        .clone();
    let ended = events
        .iter()
        .find(|event| event["event"] == "step_finished" && event["step"] == step)
        .and_then(|event| event["at"].as_u64())
        .context("the build did not end")?;
    Ok(Duration::from_millis(ended).saturating_sub(begun))
}

/// The whole command where nothing changed.
fn unchanged(nonna: &Installation, folder: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let output = nonna.command(["deploy"])?.current_dir(folder).output()?;
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success() && said.contains("Nothing to do"),
        "it found something to do: {said}"
    );
    Ok(took)
}
