//! A log proxy of the test's own: the real binary, `nonna logs proxy`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// A log proxy in a folder that it does not own: started again there, it finds
/// what it had.
#[derive(Debug)]
pub struct LogProxy {
    process: Child,
    listening: BTreeMap<String, String>,
}

/// A program that `scripts/setup-log-clients` prepared.
///
/// # Errors
/// Where it is not there.
pub fn client(name: &str) -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("NONNA_CACHE_DIR").unwrap_or_else(|| "/var/cache/nonna".into());
    let paths = PathBuf::from(cache).join("log-clients/paths");
    let text = std::fs::read_to_string(&paths)
        .with_context(|| format!("{}: run `scripts/setup-log-clients`", paths.display()))?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found
        .map(PathBuf::from)
        .with_context(|| format!("no {name}: run `scripts/setup-log-clients`"))
}

impl LogProxy {
    /// Starts one with this configuration in a folder, and waits for its
    /// listeners. Addresses may have port 0.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(folder: &Path, config: &str) -> anyhow::Result<Self> {
        let file = folder.join("proxy.toml");
        std::fs::write(&file, config)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("proxy.log"))?;
        let mut process = Command::new(crate::program("nonna")?)
            .args(["logs", "proxy", "--config"])
            .arg(&file)
            .arg("--data")
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("nonna logs proxy")?;
        let wanted = config.matches("listen =").count() + config.matches("[[unix]]").count();
        let out = process.stdout.take().context("no output")?;
        let mut listening = BTreeMap::new();
        for line in BufReader::new(out).lines().take(wanted) {
            let line = line?;
            let (name, address) = line
                .strip_prefix("listening: ")
                .and_then(|rest| rest.split_once(' '))
                .with_context(|| format!("`{line}`"))?;
            listening.insert(name.to_owned(), address.to_owned());
        }
        let proxy = Self { process, listening };
        anyhow::ensure!(
            proxy.listening.len() == wanted,
            "it did not start: {}",
            std::fs::read_to_string(folder.join("proxy.log")).unwrap_or_default()
        );
        Ok(proxy)
    }

    /// Where the listener of this name listens: `http`, `syslog/udp` …
    ///
    /// # Errors
    /// Where there is none.
    pub fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let address = self.listening.get(name).with_context(|| format!("no {name}"))?;
        Ok(address.parse()?)
    }

    /// A metric's value now.
    ///
    /// # Errors
    /// Where it does not answer, or has no such metric.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let answer = crate::http::get(self.address("http")?, "localhost", "/metrics")?;
        let found = answer
            .body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(found.with_context(|| format!("no {name}"))?.parse()?)
    }

    /// Waits until a metric is at least this.
    ///
    /// # Errors
    /// Where it is not within a minute.
    pub fn wait_for(&self, name: &str, least: f64) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let value = self.metric(name)?;
            if value >= least {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{name} is {value}, not {least}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Resident memory now, in kilobytes.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn resident_kb(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line
            .and_then(|line| line.split_whitespace().next())
            .context("VmRSS")?;
        Ok(number.parse()?)
    }

    /// Ends it as the system would, and waits.
    ///
    /// # Errors
    /// Where it does not end well.
    pub fn end(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no pid")?, Signal::TERM)?;
        let status = self.process.wait()?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for LogProxy {
    fn drop(&mut self) {
        // Gone already, or gone now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
