//! A container engine of a test's own, which may be restarted and whose disk
//! may be filled: the one of the machine is everybody's.
//!
//! It lives in a network namespace of its own, joined to the machine's by a
//! pair of interfaces and a route: two engines in one namespace take each
//! other's bridge and packet filter away.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::disk::Disk;

/// How many engines there can be at the same time.
const NUMBERS: u32 = 24;

fn name_of(number: u32) -> String {
    format!("nonna-e2e{number}")
}

/// A `dockerd` of the test's own. Dropping it ends it and takes its disk and
/// its network namespace away.
#[derive(Debug)]
pub struct SecondEngine {
    folder: TempDir,
    /// Of the network namespace, and of this machine's end of the pair.
    name: String,
    number: u32,
    daemon: Option<Child>,
    disk: Option<Disk>,
}

impl SecondEngine {
    /// Starts one with a disk of this size.
    ///
    /// # Errors
    /// Where it does not answer within 30 seconds: shows its log.
    pub fn start(megabytes: u32) -> anyhow::Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::Builder::new().prefix("nonna-engine-").tempdir()?;
        // Networks of two engines must not overlap, those of another program's
        // either: who has the namespace has the addresses.
        let wished = std::process::id() + 7 * STARTED.fetch_add(1, Ordering::Relaxed);
        let free = (0..NUMBERS).map(|more| (wished + more) % NUMBERS).find(|number| {
            let mut add = Command::new("ip");
            add.args(["netns", "add", &name_of(*number)]);
            add.output().is_ok_and(|output| output.status.success())
        });
        let number = free.context("no network namespace could be made")?;
        let mut engine = Self {
            name: name_of(number),
            number,
            daemon: None,
            disk: Some(Disk::mount(&folder.path().join("data"), megabytes)?),
            folder,
        };
        let (name, far) = (engine.name.as_str(), format!("nonna-far{number}"));
        let address = |last: u8| format!("10.{}.255.{last}", 220 + number);
        engine.ip(&[
            "link", "add", name, "type", "veth", "peer", "name", &far, "netns", name,
        ])?;
        engine.ip(&["address", "add", &format!("{}/30", address(1)), "dev", name])?;
        engine.ip(&["link", "set", name, "up"])?;
        engine.ip(&[
            "-n",
            name,
            "address",
            "add",
            &format!("{}/30", address(2)),
            "dev",
            &far,
        ])?;
        engine.ip(&["-n", name, "link", "set", &far, "up"])?;
        engine.ip(&["-n", name, "link", "set", "lo", "up"])?;
        engine.ip(&["-n", name, "route", "add", "default", "via", &address(1)])?;
        // What the engine gives its networks is found there.
        engine.ip(&[
            "route",
            "add",
            &format!("10.{}.0.0/17", 220 + number),
            "via",
            &address(2),
        ])?;
        engine.start_daemon()?;
        Ok(engine)
    }

    fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let status = Command::new("ip").args(arguments).status().context("ip")?;
        anyhow::ensure!(status.success(), "ip {arguments:?}: {status}");
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("docker.sock")
    }

    /// Its address, as the server's setting `engine` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The control group that it puts its containers and builds in.
    #[must_use]
    pub fn control_group(&self) -> String {
        format!("nonna-e2e-{}-{}", std::process::id(), self.number)
    }

    /// Starts it again after [`SecondEngine::stop_daemon`].
    ///
    /// # Errors
    /// Where it does not answer within 30 seconds: shows its log.
    pub fn start_daemon(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))?;
        let namespace = format!("nonna-e2e-{}-{}", std::process::id(), self.number);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.name))
            .args(["unshare", "--mount", "dockerd"])
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .args(["--host", &self.address()])
            .args(["--bip", &format!("10.{}.128.1/24", 220 + self.number)])
            .arg("--default-address-pool")
            .arg(format!("base=10.{}.0.0/17,size=24", 220 + self.number))
            .args(["--containerd-namespace", &namespace])
            .args(["--containerd-plugins-namespace", &format!("{namespace}-plugins")])
            // It would keep the machine's end of the pair out of its networks.
            .arg("--iptables=false")
            .arg(format!("--cgroup-parent=/{}", self.control_group()))
            .args(["--live-restore=false", "--shutdown-timeout", "2"])
            .args(["--config-file", &self.path("none.json").display().to_string()])
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::fs::write(self.path("none.json"), "{}")?;
        self.daemon = Some(command.spawn().context("start dockerd")?);
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.get("/_ping").is_err() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the second engine does not answer:\n{}",
                std::fs::read_to_string(self.path("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends it as a service manager does, and its containers with it.
    ///
    /// # Errors
    /// Where it does not end within 30 seconds.
    pub fn stop_daemon(&mut self) -> anyhow::Result<()> {
        let mut daemon = self.daemon.take().context("the second engine does not run")?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.id())?).context("pid 0")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while daemon.try_wait()?.is_none() {
            if Instant::now() > deadline {
                daemon.kill()?;
                daemon.wait()?;
                anyhow::bail!("the second engine does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Copies an image from the machine's engine.
    ///
    /// # Errors
    /// Where the image is not there, or one of the two says no.
    pub fn load(&self, image: &str) -> anyhow::Result<()> {
        let archive = call(
            Path::new("/var/run/docker.sock"),
            "GET",
            &format!("/images/{image}/get"),
            &[],
        )?;
        call(&self.socket(), "POST", "/images/load?quiet=1", &archive)?;
        Ok(())
    }

    /// `GET` on its socket.
    ///
    /// # Errors
    /// Where it does not answer with a success.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&call(&self.socket(), "GET", path, &[])?).into_owned())
    }

    /// `POST` on its socket, of a JSON document.
    ///
    /// # Errors
    /// Where it does not answer with a success.
    pub fn post(&self, path: &str, body: &[u8]) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&call(&self.socket(), "POST", path, body)?).into_owned())
    }

    /// `DELETE` on its socket.
    ///
    /// # Errors
    /// Where it does not answer with a success.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        call(&self.socket(), "DELETE", path, &[]).map(drop)
    }

    /// Its containers, networks beside its own three, and volumes, by name.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn belongings(&self) -> anyhow::Result<Vec<String>> {
        let parse = |path: &str| -> anyhow::Result<Value> { Ok(serde_json::from_str(&self.get(path)?)?) };
        let mut names = Vec::new();
        for container in parse("/containers/json?all=true")?
            .as_array()
            .into_iter()
            .flatten()
        {
            names.push(format!(
                "container {} {}",
                container["Names"][0], container["State"]
            ));
        }
        for network in parse("/networks")?.as_array().into_iter().flatten() {
            if !["bridge", "host", "none"].contains(&network["Name"].as_str().unwrap_or_default()) {
                names.push(format!("network {}", network["Name"]));
            }
        }
        for volume in parse("/volumes")?["Volumes"].as_array().into_iter().flatten() {
            names.push(format!("volume {}", volume["Name"]));
        }
        names.sort();
        Ok(names)
    }

    /// The containers, running or not, as it lists them.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn containers(&self) -> anyhow::Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.get("/containers/json?all=true")?)?)
    }

    fn remove_containers(&self) {
        for container in self.containers().unwrap_or_default() {
            let id = container["Id"].as_str().unwrap_or_default();
            let _ = call(
                &self.socket(),
                "DELETE",
                &format!("/containers/{id}?force=true"),
                &[],
            );
        }
        let networks = self.get("/networks").unwrap_or_default();
        let networks: Value = serde_json::from_str(&networks).unwrap_or_default();
        for network in networks.as_array().into_iter().flatten() {
            // The bridges of networks outlive the engine.
            let id = network["Id"].as_str().unwrap_or_default();
            let _ = call(&self.socket(), "DELETE", &format!("/networks/{id}"), &[]);
        }
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            let _ = self.start_daemon();
        }
        self.remove_containers();
        let _ = self.stop_daemon();
        // The route goes with the interface.
        let _ = self.ip(&["link", "delete", &self.name]);
        let _ = self.ip(&["netns", "delete", &self.name]);
        self.disk = None;
        // Groups outlive the processes that were in them: of version 1 one in
        // each hierarchy, of version 2 one.
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain([root.to_owned()]) {
            let group = hierarchy.join(self.control_group());
            let _ = std::fs::remove_dir(group.join("buildkit"));
            let _ = std::fs::remove_dir(group);
        }
    }
}

fn call(socket: &Path, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let content = match body.first() {
        Some(b'{') => "json",
        _ => "x-tar",
    };
    write!(
        stream,
        "{method} /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/{content}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("no end of the head")?;
    let answer = bytes.split_off(end + 4);
    let head = String::from_utf8_lossy(&bytes);
    let status: u16 = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("no status")?;
    anyhow::ensure!(
        status < 400,
        "{method} {path}: {status} {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(answer)
}
