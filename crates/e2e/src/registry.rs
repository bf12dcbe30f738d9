//! A real image registry of the test's own (Debian's `docker-registry`), with
//! users and passwords.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use data_encoding::{BASE64, BASE64URL};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Answer};

/// A registry that lets in who knows the password. Dropped, it is gone with
/// all it holds.
#[derive(Debug)]
pub struct Registry {
    folder: TempDir,
    address: SocketAddr,
    process: Child,
    user: String,
    password: String,
}

impl Registry {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// Where it, or `htpasswd`, is not installed: `scripts/setup-test-tools`.
    pub fn start(user: &str, password: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nonna-registry-").tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], crate::free_port()?));
        let users = folder.path().join("users");
        write_user(&users, user, password)?;
        let config = folder.path().join("config.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n\
                 storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
                 http:\n  addr: {address}\n  secret: of-the-test\n\
                 auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                folder.path().join("data").display(),
                users.display()
            ),
        )?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("docker-registry is not installed: run `scripts/setup-test-tools`")?;
        let registry = Self {
            folder,
            address,
            process,
            user: user.to_owned(),
            password: password.to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while http::get(address, "localhost", "/v2/").is_err() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the registry does not answer: {}",
                std::fs::read_to_string(registry.folder.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// Its host and port, as images are named.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Changes the password: the one before is worth nothing any more.
    ///
    /// # Errors
    /// Where the disk says no.
    pub fn change_password(&mut self, password: &str) -> anyhow::Result<()> {
        // The registry reads the file again when its time has changed.
        std::thread::sleep(Duration::from_millis(1100));
        write_user(&self.folder.path().join("users"), &self.user, password)?;
        password.clone_into(&mut self.password);
        Ok(())
    }

    /// Asks the registry as its user.
    ///
    /// # Errors
    /// Where no whole answer comes.
    pub fn ask(&self, method: &str, path: &str, content_type: &str, body: &str) -> anyhow::Result<Answer> {
        let secret = BASE64.encode(format!("{}:{}", self.user, self.password).as_bytes());
        http::request(
            self.address,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {secret}\r\n\
                 Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                 application/vnd.docker.distribution.manifest.v2+json\r\n\
                 Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                self.host(),
                body.len()
            ),
        )
    }

    /// A manifest as it is there.
    ///
    /// # Errors
    /// Where there is none.
    pub fn manifest(&self, repository: &str, reference: &str) -> anyhow::Result<Value> {
        let answer = self.ask("GET", &format!("/v2/{repository}/manifests/{reference}"), "", "")?;
        anyhow::ensure!(answer.status == 200, "{repository}:{reference}: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Puts an image of the container engine into the registry, not through
    /// Nonna.
    ///
    /// # Errors
    /// Where the engine or the registry says no.
    pub fn push(&self, image: &str, repository: &str, tag: &str) -> anyhow::Result<()> {
        let name = format!("{}/{repository}", self.host());
        crate::engine::call("POST", &format!("/images/{image}/tag?repo={name}&tag={tag}"))?;
        let auth = json!({ "username": self.user, "password": self.password, "serveraddress": self.host() });
        let auth = BASE64URL.encode(auth.to_string().as_bytes());
        let mut stream = UnixStream::connect("/var/run/docker.sock")?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        write!(
            stream,
            "POST /v1.41/images/{name}/push?tag={tag} HTTP/1.0\r\nHost: engine\r\nX-Registry-Auth: {auth}\r\n\
             Content-Length: 0\r\n\r\n"
        )?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        anyhow::ensure!(said.contains("digest: sha256:"), "the push failed: {said}");
        crate::engine::call("DELETE", &format!("/images/{name}:{tag}"))?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_user(file: &Path, user: &str, password: &str) -> anyhow::Result<()> {
    let mut child = Command::new("htpasswd")
        .args(["-niB", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("htpasswd is not installed: run `scripts/setup-test-tools`")?;
    child
        .stdin
        .take()
        .context("htpasswd has no standard input")?
        .write_all(password.as_bytes())?;
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "htpasswd failed");
    std::fs::write(file, output.stdout)?;
    Ok(())
}

/// Builds a small image of its own on the container engine: that of the test
/// app with a label, so that removing it touches nobody else's.
///
/// # Errors
/// Where the engine says no.
pub fn own_image(name: &str, label: &str) -> anyhow::Result<()> {
    let dockerfile = format!("FROM nonna-test/app:v1\nLABEL of-the-test={label}\n");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, "Dockerfile", dockerfile.as_bytes())?;
    crate::engine::send(
        "POST",
        &format!("/build?t={name}&rm=1"),
        "application/x-tar",
        &archive.into_inner()?,
    )?;
    Ok(())
}

/// Removes the records of a build's cache whose description holds this text,
/// and no others; how many there were.
///
/// # Errors
/// Where the engine says no.
pub fn forget_build_cache(text: &str) -> anyhow::Result<usize> {
    let mut removed = 0;
    // Those on which others rest go after them.
    for _ in 0..10 {
        let ids = build_cache(text)?;
        if ids.is_empty() {
            break;
        }
        removed += ids.len();
        for id in ids {
            let filters = format!("%7B%22id%22%3A%5B%22{id}%22%5D%7D");
            crate::engine::call("POST", &format!("/build/prune?all=1&filters={filters}"))?;
        }
    }
    Ok(removed)
}

/// The records of builds' cache whose description holds this text, and those
/// that were made on top of them, these first.
///
/// # Errors
/// Where the engine says no.
pub fn build_cache(text: &str) -> anyhow::Result<Vec<String>> {
    let used = crate::engine::get("/system/df")?;
    let records: Vec<&Value> = used["BuildCache"].as_array().into_iter().flatten().collect();
    let is =
        |record: &Value, key: &str, wanted: &dyn Fn(&str) -> bool| record[key].as_str().is_some_and(wanted);
    let mut found: Vec<String> = records
        .iter()
        .filter(|record| is(record, "Description", &|d| d.contains(text)))
        .filter_map(|record| record["ID"].as_str().map(str::to_owned))
        .collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).cloned() {
        at += 1;
        for record in records
            .iter()
            .filter(|record| is(record, "Parent", &|p| p == parent))
        {
            if let Some(id) = record["ID"].as_str().map(str::to_owned)
                && !found.contains(&id)
            {
                found.push(id);
            }
        }
    }
    found.reverse();
    Ok(found)
}
