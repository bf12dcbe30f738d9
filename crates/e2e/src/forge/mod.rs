//! A forge of the test's own: it serves bare repositories over git's smart
//! HTTP (`git http-backend`), takes commit statuses, and sends webhooks as
//! each kind of forge signs and words them.

mod serve;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::git::WorkingCopy;
use crate::http::{self, Answer};
use crate::{Installation, Ran};

/// A kind of forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket.
    Bitbucket,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Github, Self::Gitlab, Self::Gitea, Self::Bitbucket];

    /// As `--forge` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }

    fn payload(self) -> &'static str {
        match self {
            Self::Github => include_str!("github.json"),
            Self::Gitlab => include_str!("gitlab.json"),
            Self::Gitea => include_str!("gitea.json"),
            Self::Bitbucket => include_str!("bitbucket.json"),
        }
    }
}

/// A status that was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The path of the request.
    pub path: String,
    /// The header with the token: its name and value.
    pub token: String,
    /// The body.
    pub body: Value,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    token: Option<String>,
    statuses: Mutex<Vec<Told>>,
    /// How many statuses are refused yet, with 503.
    refusing: AtomicU32,
    /// How long the next status takes, in milliseconds.
    delay: AtomicU64,
    /// Whether fetches wait.
    held: Mutex<bool>,
    fetches: AtomicU64,
    /// Whether the token stood in a process's arguments during a fetch.
    leaked: Mutex<Option<String>>,
}

/// A forge. Dropped, it is gone.
#[derive(Debug)]
pub struct Forge {
    folder: tempfile::TempDir,
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A webhook's message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Message {
    /// Sends it to a webhook of the installation.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn send(&self, nonna: &Installation, path: &str) -> anyhow::Result<Answer> {
        self.send_to(nonna.api(), "localhost", path)
    }

    /// The same to any address.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn send_to(&self, address: SocketAddr, host: &str, path: &str) -> anyhow::Result<Answer> {
        let mut text = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!(
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        ));
        http::request(address, &text)
    }

    /// The same with another header in place of the one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn hmac_of(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    HEXLOWER.encode(hmac::sign(&key, body.as_bytes()).as_ref())
}

/// An id that nothing else of this process has.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "7ad5a3f0-3a04-11ef-{:04x}-{number:012x}",
        std::process::id() & 0xffff
    )
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Signs a body as this kind of forge does.
#[must_use]
pub fn sign(kind: Kind, secret: &str, event: &str, body: String) -> Message {
    let id = unique();
    let hmac = hmac_of(secret, &body);
    let with_kind = format!("sha256={hmac}");
    let headers = match kind {
        Kind::Github => pairs(&[
            ("User-Agent", "GitHub-Hookshot/044aadd"),
            ("X-GitHub-Delivery", &id),
            ("X-GitHub-Event", event),
            ("X-GitHub-Hook-ID", "292430182"),
            ("X-Hub-Signature-256", &with_kind),
        ]),
        Kind::Gitlab => pairs(&[
            ("User-Agent", "GitLab/17.0.0"),
            ("Idempotency-Key", &id),
            ("X-Gitlab-Event", event),
            ("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e"),
            ("X-Gitlab-Token", secret),
        ]),
        Kind::Gitea => pairs(&[
            ("X-Gitea-Delivery", &id),
            ("X-Gitea-Event", event),
            ("X-Gitea-Signature", &hmac),
            ("X-GitHub-Event", event),
            ("X-Hub-Signature-256", &with_kind),
        ]),
        Kind::Bitbucket => pairs(&[
            ("User-Agent", "Bitbucket-Webhooks/2.0"),
            ("X-Event-Key", event),
            ("X-Hook-UUID", "5b3f0b8e-5f2c-4a7c-9a7e-2f6a0f6f0d2b"),
            ("X-Request-UUID", &id),
            ("X-Hub-Signature", &with_kind),
        ]),
    };
    Message { headers, body }
}

/// The message of a push. `at`: when, in seconds since 1970, for the forge that
/// says so.
#[must_use]
pub fn push(kind: Kind, secret: &str, repository: &str, branch: &str, after: &str, at: u64) -> Message {
    let body = kind
        .payload()
        .replace("{branch}", branch)
        .replace("{before}", &"1".repeat(40))
        .replace("{after}", after)
        .replace("{repository}", repository)
        .replace("\"pushed_at\": 0", &format!("\"pushed_at\": {at}"));
    let event = match kind {
        Kind::Github | Kind::Gitea => "push",
        Kind::Gitlab => "Push Hook",
        Kind::Bitbucket => "repo:push",
    };
    sign(kind, secret, event, body)
}

/// The message by which a forge tries a webhook out, where it has one.
#[must_use]
pub fn ping(kind: Kind, secret: &str, repository: &str) -> Option<Message> {
    let body =
        json!({ "zen": "Design for failure.", "hook_id": 1, "repository": { "full_name": repository } });
    match kind {
        Kind::Github => Some(sign(kind, secret, "ping", body.to_string())),
        Kind::Bitbucket => Some(sign(kind, secret, "diagnostics:ping", body.to_string())),
        Kind::Gitlab | Kind::Gitea => None,
    }
}

impl Forge {
    /// Starts one on a free port. With a token, nothing is fetched without it.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn start(token: Option<&str>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nonna-forge-").tempdir()?;
        let shared = Arc::new(Shared {
            root: folder.path().join("repositories"),
            token: token.map(str::to_owned),
            statuses: Mutex::default(),
            refusing: AtomicU32::new(0),
            delay: AtomicU64::new(0),
            held: Mutex::new(false),
            fetches: AtomicU64::new(0),
            leaked: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve::serve(listener, serving, stopped));
        Ok(Self {
            folder,
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Makes a repository, and pushes all branches of a working copy to it.
    ///
    /// # Errors
    /// Where git fails.
    pub fn create(&self, repository: &str) -> anyhow::Result<()> {
        let output = crate::git::command(self.folder.path())
            .args(["init", "--quiet", "--bare", "--initial-branch=main"])
            .arg(self.path(repository))
            .output()?;
        Ran::from(output).ok()?;
        Ok(())
    }

    /// Where a repository is on the disk.
    #[must_use]
    pub fn path(&self, repository: &str) -> PathBuf {
        self.shared.root.join(format!("{repository}.git"))
    }

    /// Pushes a working copy's `HEAD` to a branch of a repository, as a
    /// developer does; answers the commit.
    ///
    /// # Errors
    /// Where git fails.
    pub fn receive(&self, copy: &WorkingCopy<'_>, repository: &str, branch: &str) -> anyhow::Result<String> {
        let path = self.path(repository).display().to_string();
        let refspec = format!("HEAD:refs/heads/{branch}");
        copy.push(&["--quiet", "--force", &path, &refspec])?.ok()?;
        copy.head()
    }

    /// The address that a repository is fetched from.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}.git", self.address)
    }

    /// Where the API is.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Refuses the next statuses.
    pub fn refuse_statuses(&self, count: u32) {
        self.shared.refusing.store(count, Ordering::SeqCst);
    }

    /// Takes long over the next status.
    pub fn delay_next_status(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay.store(millis, Ordering::SeqCst);
    }

    /// Looks for the token in the arguments and the environment of every
    /// process but the test's own, as it does whenever something is fetched.
    #[must_use]
    pub fn look_for_token(&self) -> Option<String> {
        self.shared.token.as_deref().and_then(serve::look_for)
    }

    /// Holds fetches up, or lets them go.
    pub fn hold(&self, held: bool) {
        *self.shared.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// How many fetches have begun.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// The arguments of a process in which the token stood while something was
    /// fetched, if there was one.
    #[must_use]
    pub fn leaked(&self) -> Option<String> {
        self.shared
            .leaked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The statuses that were told so far.
    #[must_use]
    pub fn statuses(&self) -> Vec<Told> {
        self.shared
            .statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a status of a commit in this state, as the forge words it.
    ///
    /// # Errors
    /// Where none comes within a minute: shows those that came.
    pub fn wait_for_status(&self, commit: &str, state: &str) -> anyhow::Result<Told> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let all = self.statuses();
            if let Some(found) = all
                .iter()
                .find(|told| told.path.contains(commit) && told.body["state"] == state)
            {
                return Ok(found.clone());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "no status {state} of {commit} came: {all:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.hold(false);
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An SSH server of the test's own (Debian's `sshd`), that lets in who has the
/// key. Dropped, it is ended.
#[derive(Debug)]
pub struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<std::process::Child>,
}

impl Sshd {
    /// Starts one on a free port, that nobody may come in to yet.
    ///
    /// # Errors
    /// Where it is not installed: `scripts/setup-test-tools`.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nonna-sshd-").tempdir()?;
        std::fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
        let mut sshd = Self {
            folder,
            port: crate::free_port()?,
            process: None,
        };
        std::fs::write(sshd.folder.path().join("authorized"), "")?;
        sshd.new_host_key()?;
        Ok(sshd)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets in who has this key, for reading repositories.
    ///
    /// # Errors
    /// Where the disk says no.
    pub fn let_in(&self, public_key: &str) -> anyhow::Result<()> {
        let line = format!("restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {public_key}\n");
        Ok(std::fs::write(self.folder.path().join("authorized"), line)?)
    }

    /// Starts it again with another key of its own.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn new_host_key(&mut self) -> anyhow::Result<()> {
        self.end();
        let key = self.folder.path().join("host");
        for path in [key.clone(), key.with_extension("pub")] {
            let _ = std::fs::remove_file(path);
        }
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .output()?;
        Ran::from(made).ok()?;
        let config = self.folder.path().join("sshd_config");
        std::fs::write(
            &config,
            format!(
                "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
                 UsePAM no\nStrictModes no\n",
                self.port,
                key.display(),
                self.folder.path().join("authorized").display()
            ),
        )?;
        let program = Path::new("/usr/local/sbin/sshd");
        anyhow::ensure!(
            program.is_file(),
            "sshd is not installed: run `scripts/setup-test-tools`"
        );
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let process = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            anyhow::ensure!(Instant::now() < deadline, "sshd does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}
