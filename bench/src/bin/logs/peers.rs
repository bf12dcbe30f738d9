//! rsyslog, syslog-ng, zstd and ripgrep.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

fn program(name: &str) -> anyhow::Result<String> {
    if let Ok(file) = std::env::var("NONNA_BENCH_PEERS") {
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        return found
            .map(str::to_owned)
            .with_context(|| format!("{name} is not installed"));
    }
    Ok(name.to_owned())
}

/// CPU seconds that a log daemon takes to write what is sent to its TCP port
/// into a file.
pub(crate) fn cpu(
    name: &str,
    folder: &Path,
    send: impl FnOnce(u16) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (out, pid, config) = (folder.join("out"), folder.join("pid"), folder.join("conf"));
    let text = |path: &Path| path.display().to_string();
    let mut command = Command::new(program(name)?);
    match name {
        "rsyslog" => {
            let modules = program("rsyslog-modules")?;
            std::fs::write(
                &config,
                format!(
                    "global(workDirectory=\"{}\" maxMessageSize=\"64k\")\nmodule(load=\"imptcp\")\n\
                     template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
                     input(type=\"imptcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
                     action(type=\"omfile\" file=\"{}\" template=\"raw\" asyncWriting=\"on\" ioBufferSize=\"256k\" flushOnTXEnd=\"off\")\n",
                    text(&folder),
                    text(&out)
                ),
            )?;
            command.args(["-n", "-f", &text(&config), "-i", &text(&pid), "-M", &modules]);
        }
        _ => {
            let modules = program("syslog-ng-modules")?;
            std::fs::write(
                &config,
                format!(
                    "@version: 3.38\n@module affile\n@module afsocket\noptions {{ stats-freq(0); }};\n\
                     source s {{ network(ip(\"127.0.0.1\") port({port}) transport(\"tcp\") flags(no-parse) log-msg-size(65536) log-iw-size(10000)); }};\n\
                     destination d {{ file(\"{}\" template(\"$MSG\\n\") flush-lines(1000)); }};\n\
                     log {{ source(s); destination(d); flags(flow-control); }};\n",
                    text(&out)
                ),
            )?;
            command.args(["-F", "--no-caps", "-f", &text(&config), "-p", &text(&pid)]);
            command.args([
                "-R",
                &text(&folder.join("persist")),
                "-c",
                &text(&folder.join("ctl")),
            ]);
            command.arg(format!("--module-path={modules}"));
            if let Ok(libraries) = program("syslog-ng-libraries") {
                command.env("LD_LIBRARY_PATH", libraries);
            }
        }
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.with_context(|| format!("starting {name}"))?;
    let id = child.id().to_string();
    let measured = measure(&id, port, &out, send);
    // What did not end by itself is ended here; nothing is to be saved.
    let _ = child.kill();
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure(
    id: &str,
    port: u16,
    out: &Path,
    send: impl FnOnce(u16) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        anyhow::ensure!(start.elapsed() < Duration::from_secs(10), "it does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = crate::cpu_seconds(id)?.0;
    send(port)?;
    // Until its file grows no more.
    let mut size = 0;
    loop {
        std::thread::sleep(Duration::from_millis(700));
        let now = std::fs::metadata(out).map_or(0, |data| data.len());
        if now == size && now > 0 {
            break;
        }
        anyhow::ensure!(start.elapsed() < Duration::from_secs(300), "it wrote nothing");
        size = now;
    }
    Ok(crate::cpu_seconds(id)?.0 - before)
}

fn children() -> anyhow::Result<f64> {
    Ok(crate::cpu_seconds("self")?.1)
}

/// CPU seconds of `zstd -1`.
pub(crate) fn zstd(corpus: &Path) -> anyhow::Result<f64> {
    let before = children()?;
    let status = Command::new(program("zstd")?)
        .args(["-q", "-1", "--single-thread", "-c"])
        .arg(corpus)
        .stdout(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "zstd: {status}");
    Ok(children()? - before)
}

/// How many bytes `zstd -1` makes of it.
pub(crate) fn zstd_bytes(corpus: &Path) -> anyhow::Result<u64> {
    let out = corpus.with_extension("zst");
    let status = Command::new(program("zstd")?)
        .args(["-q", "-f", "-1", "-o"])
        .arg(&out)
        .arg(corpus)
        .status()?;
    anyhow::ensure!(status.success(), "zstd: {status}");
    let bytes = std::fs::metadata(&out)?.len();
    std::fs::remove_file(out)?;
    Ok(bytes)
}

/// CPU seconds of ripgrep.
pub(crate) fn ripgrep(corpus: &Path, text: &str) -> anyhow::Result<f64> {
    let before = children()?;
    let status = Command::new(program("rg")?)
        .args(["-j1", "-c", "-F", text])
        .arg(corpus)
        .stdout(Stdio::null())
        .status()?;
    anyhow::ensure!(status.code().is_some_and(|code| code < 2), "rg: {status}");
    Ok(children()? - before)
}
