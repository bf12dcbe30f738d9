//! A Nonna of the test's own: its folder, its ports, its server process, and a
//! user who is logged in to it.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::io::FdFlags;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::Answer;

/// How an [`Installation`] is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Another program than `nonna server`, and the arguments that come before
    /// the server's own.
    pub program: Option<PathBuf>,
    /// Arguments of the server beside folder and addresses.
    pub arguments: Vec<String>,
    /// Variables of the server's environment.
    pub variables: Vec<(String, String)>,
    /// Whether the listening sockets belong to the test, as they belong to
    /// systemd in an installation made by `nonna server install`: connections
    /// wait while no server runs.
    pub holds_sockets: bool,
    /// Whether the edge listens for HTTPS too.
    pub https: bool,
    /// Put the data folder on a disk of its own, of so many megabytes.
    pub data_megabytes: Option<u32>,
}

/// A Nonna of the test's own. Dropping it ends its server and removes all that
/// it has on the container engine.
#[derive(Debug)]
pub struct Installation {
    folder: TempDir,
    options: Options,
    api: SocketAddr,
    http: SocketAddr,
    https: Option<SocketAddr>,
    disk: Option<crate::disk::Disk>,
    sockets: Option<(TcpListener, TcpListener)>,
    server: Option<Child>,
    id: String,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The same, if the command failed with exit code 1 and this error code.
    ///
    /// # Errors
    /// Where it did not: shows what it printed.
    pub fn failed_with(self, code: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.code == Some(1) && self.stderr.contains(&format!("[{code}]")),
            "exit code {:?}, wanted 1 and [{code}]\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// The same, if the command succeeded.
    ///
    /// # Errors
    /// Where it did not: shows what it printed.
    pub fn ok(self) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.code == Some(0),
            "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}

impl Installation {
    /// Starts a server and logs in.
    ///
    /// # Errors
    /// Where it does not start within 20 seconds: shows its log.
    pub fn start() -> anyhow::Result<Self> {
        Self::with(Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// Where it does not start within 20 seconds: shows its log.
    pub fn with(options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nonna-e2e-").tempdir()?;
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (api_socket, http_socket) = (bind()?, bind()?);
        let (api, http) = (api_socket.local_addr()?, http_socket.local_addr()?);
        let https = if options.https {
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, crate::free_port()?)))
        } else {
            None
        };
        let disk = match options.data_megabytes {
            Some(megabytes) => Some(crate::disk::Disk::mount(&folder.path().join("data"), megabytes)?),
            None => None,
        };
        let sockets = options.holds_sockets.then_some((api_socket, http_socket));
        let mut installation = Self {
            folder,
            options,
            api,
            http,
            https,
            disk,
            sockets,
            server: None,
            id: String::new(),
        };
        installation.start_server()?;
        let code = installation.login_code()?;
        installation
            .nonna(["login", &format!("http://{api}"), "--code", &code])?
            .ok()?;
        let version = installation.nonna(["version", "--json"])?.ok()?.json()?;
        installation.id = find_string(&version, "installation")
            .with_context(|| format!("no installation id in {version}"))?;
        Ok(installation)
    }

    /// The installation's id, which labels all it has on the engine.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the API listens.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where the edge listens for plain HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the edge listens for HTTPS, if it does.
    #[must_use]
    pub fn https(&self) -> Option<SocketAddr> {
        self.https
    }

    /// The token of the user who is logged in.
    ///
    /// # Errors
    /// Where there is none.
    pub fn token(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.folder.path().join("config/nonna/config.toml"))?;
        text.lines()
            .find_map(|line| line.strip_prefix("token = "))
            .map(|token| token.trim_matches('"').to_owned())
            .context("nobody is logged in")
    }

    /// Asks the API as the user who is logged in.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        self.ask_as(Some(&format!("Bearer {}", self.token()?)), method, path, body)
    }

    /// Asks the API with this `Authorization`.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn ask_as(
        &self,
        authorization: Option<&str>,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let authorization =
            authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
        crate::http::request(
            self.api,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        )
    }

    /// Runs `nonna` in a folder below the installation's own.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn nonna_in(&self, folder: &str, arguments: &[&str]) -> anyhow::Result<Ran> {
        let output = self
            .command(arguments)?
            .current_dir(self.folder.path().join(folder))
            .output()?;
        Ok(Ran::from(output))
    }

    /// A folder that is removed at the end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The server's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// The server's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Starts the server, which must not run now, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not within 20 seconds.
    pub fn start_server(&mut self) -> anyhow::Result<()> {
        self.spawn_server()?;
        self.wait_until_up()
    }

    /// Starts the server without waiting for it.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn spawn_server(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.server.is_none(), "the server runs already");
        let program = match &self.options.program {
            Some(program) => program.clone(),
            None => crate::program("nonna")?,
        };
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("server.log"))?;
        let mut command = match &self.sockets {
            None => Command::new(program),
            Some((api, http)) => {
                // The shell knows its own process id, which LISTEN_PID must be,
                // and puts the sockets where systemd would: from 3 on.
                for socket in [api, http] {
                    rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
                }
                let script = format!(
                    "export LISTEN_PID=$$; exec 3<&{} 4<&{}; exec \"$@\"",
                    api.as_raw_fd(),
                    http.as_raw_fd()
                );
                let mut command = Command::new("bash");
                command.args(["-c", &script, "server"]).arg(program);
                command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "api:http");
                command
            }
        };
        command
            .arg("server")
            .arg("--data")
            .arg(self.data())
            .args([
                "--api",
                &self.api.to_string(),
                "--http",
                &self.http.to_string(),
                "--https",
                &self
                    .https
                    .map_or_else(|| "off".to_owned(), |address| address.to_string()),
            ])
            .args(&self.options.arguments)
            .envs(self.options.variables.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.server = Some(command.spawn().context("start the server")?);
        Ok(())
    }

    /// Waits until the server answers.
    ///
    /// # Errors
    /// Where it does not within 20 seconds, or ended.
    pub fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self
                .server
                .as_mut()
                .context("no server was started")?
                .try_wait()?
            {
                self.server = None;
                anyhow::bail!("the server ended with {status}:\n{}", self.log());
            }
            if crate::http::get(self.api, "localhost", "/healthz").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the server does not answer:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server at once (SIGKILL).
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill_server(&mut self) -> anyhow::Result<()> {
        let mut server = self.server.take().context("no server runs")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    /// Waits until the server has ended by itself; returns whether it did.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn server_ended_within(&mut self, limit: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + limit;
        let server = self.server.as_mut().context("no server runs")?;
        while Instant::now() < deadline {
            if server.try_wait()?.is_some() {
                self.server = None;
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(false)
    }

    /// Asks the server to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// Where it does not end within 30 seconds.
    pub fn stop_server(&mut self) -> anyhow::Result<()> {
        let pid = self.pid().context("no server runs")?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        anyhow::ensure!(
            self.server_ended_within(Duration::from_secs(30))?,
            "the server does not end"
        );
        Ok(())
    }

    fn login_code(&self) -> anyhow::Result<String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let log = self.log();
            let code = log.split_whitespace().skip_while(|word| *word != "--code").nth(1);
            if let Some(code) = code {
                return Ok(code.to_owned());
            }
            anyhow::ensure!(Instant::now() < deadline, "no login command in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A `nonna` command of the user who is logged in, not started yet.
    ///
    /// # Errors
    /// Where `nonna` is not built.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Command> {
        let mut command = Command::new(crate::program("nonna")?);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env_remove("NONNA_TOKEN")
            .env_remove("NONNA_SERVER")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `nonna` as the user who is logged in.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn nonna<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> anyhow::Result<Ran> {
        let output = self.command(arguments)?.output()?;
        Ok(Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Makes a project folder with these files and returns its path.
    ///
    /// # Errors
    /// Where the disk says no.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        for (path, contents) in files {
            let file = folder.join(path);
            std::fs::create_dir_all(file.parent().context("a file has a folder")?)?;
            std::fs::write(file, contents)?;
        }
        Ok(folder)
    }

    /// What the edge answers for this host.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn get(&self, host: &str, path: &str) -> anyhow::Result<Answer> {
        crate::http::get(self.http, host, path)
    }

    /// What the installation has on the engine.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub fn belongings(&self) -> anyhow::Result<Vec<String>> {
        crate::engine::belongings(&self.id)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            // The test's output is the place where a failure is looked at.
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("--- the server's log, last lines\n{}\n", tail.join("\n")).as_bytes(),
            );
        }
        if !self.id.is_empty() {
            let _ = crate::engine::clean(&self.id);
        }
        // Before the folder it is mounted in.
        self.disk = None;
    }
}

fn find_string(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(map) => map
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .or_else(|| map.values().find_map(|inner| find_string(inner, key))),
        _ => None,
    }
}
