//! `bench-deploy`: what `nonna deploy` costs beyond the same build and run done
//! directly through the container engine's API, in the same run and
//! interleaved: nothing changed, one line changed, cold.
//!
//! The app is a folder of 200 files with a Dockerfile of four steps. "Cold"
//! means that neither side has built it before: each round has contents of its
//! own from the first layer on.

use std::path::Path;
use std::time::{Duration, Instant};

use nonna_bench::direct::Direct;
use nonna_bench::{Figure, median, say, seconds, wait_for};
use nonna_e2e::{Installation, engine};

const ROUNDS: usize = 7;

fn dockerfile(salt: &str) -> String {
    format!(
        "FROM busybox:latest\nENV SALT={salt}\nRUN mkdir -p /srv && echo {salt} > /srv/salt\n\
         COPY . /srv\nWORKDIR /srv\nRUN cat index.html > built.html\n\
         CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/srv\"]\n"
    )
}

/// Writes the app anew with this salt.
fn write_app(folder: &Path, salt: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder.join("files"))?;
    for number in 0..200 {
        std::fs::write(
            folder.join(format!("files/{number}.txt")),
            format!("file {number}\n").repeat(200),
        )?;
    }
    std::fs::write(folder.join("Dockerfile"), dockerfile(salt))?;
    write_page(folder, salt)
}

/// Changes the one line that the page has.
fn write_page(folder: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(folder.join("index.html"), format!("{text}\n"))?;
    Ok(())
}

/// The floor: build and run through the engine's API, until the app answers;
/// the old container is removed afterwards, as a deployment does.
fn direct_deploy(direct: &mut Direct, folder: &Path, expect: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", folder)?;
    let body = archive.into_inner()?;
    let answer = engine::send(
        "POST",
        "/build?version=2&t=nonna-bench-direct",
        "application/x-tar",
        &body,
    )
    .or_else(|_| engine::send("POST", "/build?t=nonna-bench-direct", "application/x-tar", &body))?;
    anyhow::ensure!(!answer.contains("\"error\""), "the direct build failed: {answer}");
    direct.replace("nonna-bench-direct", |address| {
        nonna_bench::wait_for(address, "app", "/", expect)
    })?;
    Ok(begun.elapsed())
}

fn nonna_deploy(nonna: &Installation, folder: &Path, expect: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    nonna.nonna(["deploy".as_ref(), folder.as_os_str()])?.ok()?;
    let took = begun.elapsed();
    wait_for(nonna.http(), "app.localhost", "/", expect)?;
    Ok(took)
}

fn main() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let ours = nonna.folder().join("app");
    let theirs = nonna.folder().join("direct");
    let mut direct = Direct::new("bench-direct");
    let unique = format!("{}", std::process::id());

    let (mut cold, mut cold_floor, mut line, mut line_floor, mut same) =
        (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        say(&format!("deploy: round {} of {ROUNDS}", round + 1));
        let salt = format!("{unique}-{round}");
        write_app(&theirs, &format!("{salt}-direct"))?;
        cold_floor.push(seconds(direct_deploy(
            &mut direct,
            &theirs,
            &format!("{salt}-direct"),
        )?));
        write_app(&ours, &salt)?;
        cold.push(seconds(nonna_deploy(&nonna, &ours, &salt)?));

        write_page(&theirs, &format!("changed {salt}"))?;
        line_floor.push(seconds(direct_deploy(
            &mut direct,
            &theirs,
            &format!("changed {salt}"),
        )?));
        write_page(&ours, &format!("changed {salt}"))?;
        line.push(seconds(nonna_deploy(&nonna, &ours, &format!("changed {salt}"))?));

        same.push(seconds(nonna_deploy(&nonna, &ours, &format!("changed {salt}"))?));
    }
    drop(direct);
    let _ = engine::call("DELETE", "/images/nonna-bench-direct?force=true");

    let figure = |name, value, peer, ratio| Figure {
        bench: "deploy",
        figure: name,
        value,
        unit: "s",
        peer,
        ratio,
    };
    figure("no_change_s", median(&same), "aim of 0.1 s", median(&same) / 0.1).print()?;
    let over = |a: &[f64], b: &[f64]| {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        median(&differences)
    };
    figure(
        "one_line_s",
        median(&line),
        "engine's API",
        median(&line) / median(&line_floor),
    )
    .print()?;
    figure("one_line_floor_s", median(&line_floor), "engine's API", 1.0).print()?;
    let value = over(&line, &line_floor);
    figure("one_line_over_floor_s", value, "aim of 0.25 s", value / 0.25).print()?;
    figure(
        "cold_s",
        median(&cold),
        "engine's API",
        median(&cold) / median(&cold_floor),
    )
    .print()?;
    figure("cold_floor_s", median(&cold_floor), "engine's API", 1.0).print()?;
    figure(
        "cold_over_floor_s",
        over(&cold, &cold_floor),
        "engine's API",
        median(&cold) / median(&cold_floor),
    )
    .print()
}
