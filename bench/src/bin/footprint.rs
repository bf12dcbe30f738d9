//! `bench-footprint`: resident memory of `nonna server` idle, with 50 services,
//! and under load; and whether the whole demo passes with all of Nonna's own
//! processes confined to 128 MB and one processor.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nonna_bench::{Figure, median, resident_mb, say};
use nonna_e2e::Installation;

const SERVICES: usize = 50;

/// The median of what the kernel says over ten seconds.
fn settled_mb(nonna: &Installation) -> anyhow::Result<f64> {
    let pid = nonna.pid().context("the server does not run")?;
    let mut values = Vec::new();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        values.push(resident_mb(pid)?);
    }
    Ok(median(&values))
}

fn figure(name: &str, value: f64, unit: &str, peer: &str, ratio: f64) -> anyhow::Result<()> {
    Figure {
        bench: "footprint",
        figure: name,
        value,
        unit,
        peer,
        ratio,
    }
    .print()
}

fn main() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    say("footprint: idle");
    let idle = settled_mb(&nonna)?;
    figure("idle_mb", idle, "MB", "aim of 24 MB", idle / 24.0)?;

    say(&format!("footprint: {SERVICES} services"));
    let mut manifest = "project = \"many\"\n".to_owned();
    for number in 0..SERVICES {
        write!(
            manifest,
            "[services.service-{number}]\nimage = \"nonna-test/app:v1\"\nmemory = \"32MB\"\n"
        )?;
    }
    let folder = nonna.project("many", &[("nonna.toml", &manifest)])?;
    nonna.nonna(["deploy".as_ref(), folder.as_os_str()])?.ok()?;
    let many = settled_mb(&nonna)?;
    figure("services50_mb", many, "MB", "aim of 48 MB", many / 48.0)?;

    say("footprint: under load");
    let status = nonna
        .nonna(["status", "--json", "--project", "many", "-e", "production"])?
        .ok()?;
    let host = status
        .stdout
        .split('"')
        .find_map(|part| part.strip_prefix("http://"))
        .and_then(|rest| rest.split([':', '/']).next())
        .context("no URL in the status")?
        .to_owned();
    let mut load = Command::new("wrk")
        .args([
            "-t1",
            "-c64",
            "-d15s",
            "-H",
            &format!("Host: {host}"),
            &format!("http://{}/", nonna.http()),
        ])
        .stdout(Stdio::null())
        .spawn()
        .context("start wrk: `apt-get install wrk`")?;
    let loaded = settled_mb(&nonna)?;
    load.wait()?;
    figure("loaded_mb", loaded, "MB", "idle", loaded / idle)?;
    drop(nonna);

    say("footprint: the demo within 128 MB and one processor");
    let root = std::env::current_dir()?;
    let passed = Command::new(root.join("scripts/check-demo"))
        .args(["--confined", "--shared"])
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .context("run scripts/check-demo from the checkout's root")?
        .success();
    figure(
        "confined_demo",
        f64::from(u8::from(passed)),
        "passed",
        "128 MB, one processor",
        1.0,
    )
}
