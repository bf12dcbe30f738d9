//! A control plane that is not there: it answers the API's paths by a script,
//! and writes down what it was asked.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod answers;
mod routes;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::Notify;

/// What happens when something is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// It succeeds.
    Works,
    /// There is nothing to do.
    NothingToDo,
    /// The new release listens on the wrong port.
    Unhealthy,
    /// It starts, and goes on only when it is cancelled.
    WaitsForCancel,
    /// It succeeds, and the connection breaks once in between.
    Breaks,
}

/// What the fake keeps.
pub(crate) struct State {
    pub(crate) script: Script,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) bodies: Mutex<Vec<serde_json::Value>>,
    pub(crate) known: Mutex<BTreeSet<String>>,
    pub(crate) cancelled: Notify,
    pub(crate) broke: Mutex<bool>,
}

/// A fake server that runs, and a user's home folder.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    pub(crate) home: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Fake {
    pub(crate) fn start(script: Script) -> Self {
        let state = Arc::new(State {
            script,
            asked: Mutex::default(),
            bodies: Mutex::default(),
            known: Mutex::default(),
            cancelled: Notify::new(),
            broke: Mutex::new(false),
        });
        let (send, receive) = std::sync::mpsc::channel();
        let routes = routes::routes(Arc::clone(&state));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap()).unwrap();
                axum::serve(listener, routes).await.unwrap();
            });
        });
        Self {
            address: receive.recv().unwrap(),
            state,
            home: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A folder `shop` with these files.
    pub(crate) fn folder(&self, files: &[(&str, &str)]) -> std::path::PathBuf {
        let folder = self.home.path().join("shop");
        for (path, text) in files {
            let file = folder.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A command that talks to the fake with a good token.
    pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let mut command = bare(self.home.path(), arguments);
        command.env("NONNA_SERVER", self.url()).env("NONNA_TOKEN", "good");
        command.current_dir(self.folder(&[]));
        command
    }

    pub(crate) fn nonna<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Ran {
        ran(self.command(arguments))
    }

    /// Every request so far: `POST /v1/…`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The JSON bodies of the requests so far that have one.
    pub(crate) fn bodies(&self) -> Vec<serde_json::Value> {
        self.state.bodies.lock().unwrap().clone()
    }
}

/// A command of a user of whom nothing is known.
pub(crate) fn bare<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(home: &Path, arguments: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nonna"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/nowhere")
        .env("TZ", "UTC")
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn ran(mut command: Command) -> Ran {
    collect(command.spawn().unwrap())
}

pub(crate) fn collect(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Reads standard error of a child until a text comes; what was read.
pub(crate) fn read_until(child: &mut Child, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    let err = child.stderr.as_mut().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&seen));
        match err.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(seen).unwrap()
}

/// Compares texts so that a difference can be read.
#[track_caller]
pub(crate) fn same(actual: &str, expected: &str) {
    let expected = expected.strip_prefix('\n').unwrap_or(expected);
    assert!(
        actual == expected,
        "--- expected\n{expected}\n--- actual\n{actual}\n--- debug\n{actual:?}"
    );
}
