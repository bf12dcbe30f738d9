//! Containers that write, on an engine of the benchmark's own, and what the
//! processes around them cost.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use nonna_e2e::second_engine::SecondEngine;
use nonna_logs::capture::pipe::{self, HolderOptions, LAUNCHER_IN_CONTAINER, PIPES_IN_CONTAINER, Pipes};
use nonna_logs::capture::{Container, Lines, Read as Progress};
use nonna_logs::{LogProxy, Options};
use tempfile::TempDir;

/// The first argument of a child of the benchmark that reads what is captured.
const READER: &str = "reader";

/// Where a container's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nowhere: the engine's driver `none`.
    None,
    /// The engine's `json-file`.
    JsonFile,
    /// The same in its non-blocking mode.
    NonBlocking,
    /// Nonna's pipes, read and cut into lines.
    Pipes,
    /// Nonna's pipes, through the log proxy into its store.
    PipesToStore,
}

impl Way {
    /// What it is called in figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::JsonFile => "json-file",
            Self::NonBlocking => "json-file non-blocking",
            Self::Pipes => "pipes",
            Self::PipesToStore => "pipes to store",
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Pipes | Self::PipesToStore)
    }
}

/// What the writing container says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long the longest `write(2)` took, in milliseconds.
    pub longest_ms: f64,
}

/// What a run gave.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// What the container says.
    pub written: Written,
    /// CPU time outside the container, in microseconds for each line.
    pub cpu_us: f64,
    /// Lines that arrived.
    pub delivered: u64,
}

/// An engine, a program that writes, and a folder for both.
#[derive(Debug)]
pub struct Bench {
    engine: SecondEngine,
    folder: TempDir,
}

impl Bench {
    /// Starts the engine and compiles the writer.
    ///
    /// # Errors
    /// Where one of them is not to be had.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nonna-bench-").tempdir()?;
        let source = folder.path().join("writer.c");
        std::fs::write(&source, include_str!("writer.c"))?;
        let status = Command::new("cc")
            .args(["-O2", "-static", "-o"])
            .arg(folder.path().join("writer"))
            .arg(&source)
            .status()
            .context("cc")?;
        anyhow::ensure!(status.success(), "the writer was not compiled");
        let engine = SecondEngine::start(2048)?;
        engine.load("busybox:latest")?;
        Ok(Self { engine, folder })
    }

    /// A folder of its own for a run.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Starts a container that writes.
    ///
    /// # Errors
    /// Where the engine says no.
    pub fn writer(
        &self,
        way: Way,
        lines: u64,
        rate: u64,
        pipes: Option<&Pipes>,
    ) -> anyhow::Result<Writer<'_>> {
        let said = tempfile::NamedTempFile::new_in(self.folder.path())?;
        let program = self.folder.path().join("writer");
        let mut binds = vec![
            format!("{}:/writer:ro", program.display()),
            format!("{}:/said", said.path().display()),
        ];
        let mut entrypoint = vec!["/writer".to_owned()];
        let mut key = String::new();
        if let Some(pipes) = pipes {
            let prepared = pipes.make_ready()?;
            binds.push(format!(
                "{}:{LAUNCHER_IN_CONTAINER}:ro",
                prepared.launcher.display()
            ));
            binds.push(format!("{}:{PIPES_IN_CONTAINER}:ro", prepared.pipes.display()));
            entrypoint.insert(0, LAUNCHER_IN_CONTAINER.to_owned());
            key = prepared.key;
        }
        let log = match way {
            Way::None => serde_json::json!({"Type": "none"}),
            Way::NonBlocking => serde_json::json!({"Type": "json-file", "Config": {"mode": "non-blocking"}}),
            _ => serde_json::json!({"Type": "json-file"}),
        };
        let body = serde_json::json!({
            "Image": "busybox:latest",
            "Entrypoint": entrypoint,
            "Cmd": [lines.to_string(), rate.to_string(), "/said"],
            "HostConfig": {"Init": true, "NetworkMode": "none", "Binds": binds, "LogConfig": log},
        });
        let answer = self
            .engine
            .post("/containers/create", &serde_json::to_vec(&body)?)?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let id = answer["Id"].as_str().context("no id")?.to_owned();
        Ok(Writer {
            bench: self,
            id,
            key,
            said,
            lines,
        })
    }

    /// Runs a writer as fast as it can.
    ///
    /// # Errors
    /// Where something on the way fails.
    pub fn run(&self, way: Way, lines: u64) -> anyhow::Result<Run> {
        let root = self.folder("pipes")?;
        let pipes = match way.is_ours() {
            true => Some(Pipes::start(
                &root,
                pipe::this_program(&root, HolderOptions::default())?,
            )?),
            false => None,
        };
        let writer = self.writer(way, lines, 0, pipes.as_ref())?;
        let store = self.folder("store")?;
        let mut reader = match &pipes {
            Some(_) => Some(Reader::start(
                &root,
                &writer.key,
                &store,
                way == Way::PipesToStore,
                false,
            )?),
            None => None,
        };
        let before = self.cpu(&writer.id, &root)?
            + reader.as_ref().map_or(Ok(0.0), |reader| cpu(reader.child.id()))?;
        writer.start()?;
        let written = writer.written(Duration::from_secs(600))?;
        let delivered = match &mut reader {
            Some(reader) => reader.wait_for(lines, Duration::from_secs(60))?,
            None => writer.lines_in_log()?,
        };
        let after = self.cpu(&writer.id, &root)?
            + reader.as_ref().map_or(Ok(0.0), |reader| cpu(reader.child.id()))?;
        drop(reader);
        drop(writer);
        if pipes.is_some() {
            end_holder(&root)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "lines")]
        let cpu_us = (after - before) * 1e6 / lines as f64;
        Ok(Run {
            written,
            cpu_us,
            delivered,
        })
    }

    /// CPU seconds of what is around a container: the engine, containerd, the
    /// container's shim, and the holder of these pipes.
    fn cpu(&self, container: &str, pipes: &Path) -> anyhow::Result<f64> {
        let pidfile = self.engine.socket().with_file_name("pid");
        let engine: u32 = std::fs::read_to_string(pidfile)?.trim().parse()?;
        let mut all = cpu(engine)?;
        let pipes = pipes.display().to_string();
        for pid in processes()? {
            let arguments = arguments(pid);
            let is_containerd = parent(pid) == Some(engine)
                && arguments.first().is_some_and(|name| name.ends_with("containerd"));
            let is_shim = arguments
                .first()
                .is_some_and(|name| name.contains("containerd-shim"))
                && arguments.iter().any(|argument| argument == container);
            let is_holder = arguments.len() > 2 && arguments[2] == pipes && arguments[1] == "hold-output";
            if is_containerd || is_shim || is_holder {
                all += cpu(pid).unwrap_or_default();
            }
        }
        Ok(all)
    }
}

/// A container that writes. Dropping it removes it.
#[derive(Debug)]
pub struct Writer<'a> {
    bench: &'a Bench,
    id: String,
    /// Its pipes' key, where it has pipes.
    pub key: String,
    said: tempfile::NamedTempFile,
    lines: u64,
}

impl Writer<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// Where the engine says no.
    pub fn start(&self) -> anyhow::Result<()> {
        self.bench
            .engine
            .post(&format!("/containers/{}/start", self.id), b"")?;
        Ok(())
    }

    /// Waits until it has written everything.
    ///
    /// # Errors
    /// Where it has not within this time.
    pub fn written(&self, within: Duration) -> anyhow::Result<Written> {
        let deadline = Instant::now() + within;
        loop {
            let text = std::fs::read_to_string(self.said.path())?;
            if text.ends_with('\n') {
                let mut numbers = text.split_whitespace().map(str::parse::<f64>);
                let mut next = || numbers.next().context("a number is missing");
                return Ok(Written {
                    seconds: next()??,
                    longest_ms: next()??,
                });
            }
            anyhow::ensure!(Instant::now() < deadline, "the writer does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many lines the engine's own file has, when it grows no more.
    fn lines_in_log(&self) -> anyhow::Result<u64> {
        let answer = self.bench.engine.get(&format!("/containers/{}/json", self.id))?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let path = PathBuf::from(answer["LogPath"].as_str().unwrap_or_default());
        if path.as_os_str().is_empty() {
            return Ok(0);
        }
        let mut size = 0;
        loop {
            let now = std::fs::metadata(&path)?.len();
            if now == size {
                break;
            }
            size = now;
            std::thread::sleep(Duration::from_millis(300));
        }
        let (mut file, mut buffer, mut lines) = (std::fs::File::open(path)?, vec![0; 1 << 20], 0);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(lines);
            }
            lines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
        }
    }

    /// How many lines it writes.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let _ = self
            .bench
            .engine
            .delete(&format!("/containers/{}?force=true", self.id));
    }
}

/// A child that reads what is captured.
#[derive(Debug)]
pub struct Reader {
    /// Its process.
    pub child: Child,
    stdin: ChildStdin,
    counts: std::sync::mpsc::Receiver<u64>,
    count: u64,
}

impl Reader {
    /// Starts one: into a store, or only counting; frozen: with a store whose
    /// blocks cannot be written until [`Reader::thaw`].
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(root: &Path, key: &str, store: &Path, stores: bool, frozen: bool) -> anyhow::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args([
                READER.into(),
                root.as_os_str().to_owned(),
                key.into(),
                store.as_os_str().to_owned(),
            ])
            .args([stores.to_string(), frozen.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (send, counts) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(count) = line.parse() else { return };
                if send.send(count).is_err() {
                    return;
                }
            }
        });
        let mut reader = Self {
            child,
            stdin,
            counts,
            count: 0,
        };
        // It is there when it says so.
        reader.count = reader.counts.recv_timeout(Duration::from_secs(20))?;
        Ok(reader)
    }

    /// Its store is not frozen any more.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        Ok(writeln!(self.stdin, "thaw")?)
    }

    /// Waits until it has so many lines, or gets no more.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn wait_for(&mut self, lines: u64, within: Duration) -> anyhow::Result<u64> {
        let deadline = Instant::now() + within;
        while self.count < lines && Instant::now() < deadline {
            match self.counts.recv_timeout(Duration::from_millis(100)) {
                Ok(count) => self.count = count,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.count)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the reader or the holder, where this program was started as one.
///
/// # Errors
/// What goes wrong in it.
pub fn run_if_asked() -> anyhow::Result<bool> {
    if pipe::run_if_asked().is_some() {
        return Ok(true);
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [first, root, key, store, stores, frozen] = arguments.as_slice() else {
        return Ok(false);
    };
    if first != READER {
        return Ok(false);
    }
    let key = key.to_str().context("a key that is no text")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(read(
        Path::new(root),
        key,
        Path::new(store),
        stores == "true",
        frozen == "true",
    ))?;
    Ok(true)
}

/// Says how many lines came, ten times a second; dropped ones that were told
/// count.
async fn read(root: &Path, key: &str, store: &Path, stores: bool, frozen: bool) -> anyhow::Result<()> {
    let say = |count: u64| writeln!(std::io::stdout().lock(), "{count}");
    // There is a holder: none is started.
    let pipes = Pipes::start(root, Vec::new())?;
    let container = Container {
        id: key.into(),
        service: "bench/production/writer".into(),
        replica: "v1.0".into(),
    };
    if !stores {
        let mut output = pipes.open(key, &container, None)?;
        say(0)?;
        let (mut count, mut said) = (0, Instant::now());
        loop {
            let mut lines = Lines::new(&container);
            let read = tokio::time::timeout(Duration::from_millis(100), output.read(&mut lines)).await;
            for record in lines.batch().iter() {
                let number = std::str::from_utf8(record.line.get(..10).unwrap_or_default())?;
                anyhow::ensure!(number.parse() == Ok(count), "line {count} is {number}");
                count += 1;
            }
            output.kept();
            if said.elapsed() > Duration::from_millis(100) {
                said = Instant::now();
                say(count)?;
            }
            if let Ok(read) = read
                && read? == Progress::End
            {
                return Ok(());
            }
        }
    }
    let proxy = Arc::new(LogProxy::open(store, Options::default())?);
    proxy.freeze(frozen);
    let thawing = Arc::clone(&proxy);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            thawing.freeze(line != "thaw");
        }
    });
    say(0)?;
    let counting = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let stored = proxy.counters().stored.load(std::sync::atomic::Ordering::Relaxed);
            if say(stored).is_err() {
                return;
            }
        }
    };
    let capture = OneContainer(pipes);
    tokio::select! {
        result = nonna_logs::capture::pump(&proxy, &capture, &container) => { result?; }
        () = counting => {}
    }
    Ok(())
}

struct OneContainer(Pipes);

#[async_trait::async_trait]
impl nonna_logs::capture::Capture for OneContainer {
    async fn open(
        &self,
        container: &Container,
        position: Option<&[u8]>,
    ) -> nonna_engine::Result<Box<dyn nonna_logs::capture::Output>> {
        self.0.open(&container.id, container, position)
    }
}

/// Ends the holder of a folder's pipes, by its process's number.
///
/// # Errors
/// Where it does not end.
pub fn end_holder(root: &Path) -> anyhow::Result<()> {
    let root = root.display().to_string();
    let is_it = |pid: &u32| {
        let arguments = arguments(*pid);
        arguments.len() > 2 && arguments[1] == "hold-output" && arguments[2] == root
    };
    let holder = processes()?
        .into_iter()
        .find(is_it)
        .context("there is no holder")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(holder)?).context("pid 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    while Path::new(&format!("/proc/{holder}")).exists() && is_it(&holder) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn processes() -> anyhow::Result<Vec<u32>> {
    let names = std::fs::read_dir("/proc")?
        .flatten()
        .map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

fn arguments(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// The fields of a process's `stat` behind its name.
fn stat(pid: u32) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("no name")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid).ok()?.get(1)?.parse().ok()
}

/// CPU seconds of a process so far, from the scheduler's own count.
fn cpu(pid: u32) -> anyhow::Result<f64> {
    let mut nanos = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread may end while we look.
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanos += text
            .split(' ')
            .next()
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or_default();
    }
    if nanos > 0.0 {
        return Ok(nanos / 1e9);
    }
    let fields = stat(pid)?;
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or_default()
    };
    Ok((ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64)
}
