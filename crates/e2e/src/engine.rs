//! What the tests ask the container engine themselves, over its API, to check
//! from outside what Nonna left there.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

/// `GET` on the container engine's socket.
///
/// # Errors
/// Where the engine does not answer with JSON.
pub fn get(path: &str) -> anyhow::Result<Value> {
    let body = call("GET", path)?;
    serde_json::from_str(&body).with_context(|| format!("GET {path} answered {body:?}"))
}

/// `POST` without a body, or `DELETE`: returns what was answered.
///
/// # Errors
/// Where the engine cannot be reached.
pub fn call(method: &str, path: &str) -> anyhow::Result<String> {
    send(method, path, "application/json", b"")
}

/// A request with a body: returns what was answered.
///
/// # Errors
/// Where the engine cannot be reached, or answers with a failure.
pub fn send(method: &str, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect("/var/run/docker.sock")
        .context("no container engine answers: run `scripts/setup-engine`")?;
    stream.set_read_timeout(Some(Duration::from_secs(600)))?;
    // HTTP/1.0: the answer is neither chunked nor kept alive.
    write!(
        stream,
        "{method} /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, answer) = text.split_once("\r\n\r\n").context("no end of the head")?;
    let status: u16 = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("no status")?;
    // What is removed already is removed.
    anyhow::ensure!(
        status < 400 || (method == "DELETE" && status == 404),
        "{method} {path}: {status} {answer}"
    );
    Ok(answer.to_owned())
}

/// The names of everything an installation has on the engine: containers,
/// networks and volumes.
///
/// # Errors
/// Where the engine does not answer.
pub fn belongings(installation: &str) -> anyhow::Result<Vec<String>> {
    let filter = encode(&format!(r#"{{"label":["nonna.installation={installation}"]}}"#));
    let mut names = Vec::new();
    for container in list(&format!("/containers/json?all=true&filters={filter}"))? {
        let state = container["State"].as_str().unwrap_or_default();
        names.push(format!(
            "container {} ({state})",
            container["Names"][0].as_str().unwrap_or_default()
        ));
    }
    for network in list(&format!("/networks?filters={filter}"))? {
        names.push(format!(
            "network {}",
            network["Name"].as_str().unwrap_or_default()
        ));
    }
    let volumes = get(&format!("/volumes?filters={filter}"))?;
    for volume in volumes["Volumes"].as_array().into_iter().flatten() {
        names.push(format!("volume {}", volume["Name"].as_str().unwrap_or_default()));
    }
    names.sort();
    Ok(names)
}

/// The containers of an installation, as the engine lists them.
///
/// # Errors
/// Where the engine does not answer.
pub fn containers(installation: &str) -> anyhow::Result<Vec<Value>> {
    let filter = encode(&format!(r#"{{"label":["nonna.installation={installation}"]}}"#));
    list(&format!("/containers/json?all=true&filters={filter}"))
}

/// Removes whatever an installation still has.
///
/// # Errors
/// Where the engine does not answer.
pub fn clean(installation: &str) -> anyhow::Result<()> {
    let filter = encode(&format!(r#"{{"label":["nonna.installation={installation}"]}}"#));
    for container in list(&format!("/containers/json?all=true&filters={filter}"))? {
        if let Some(id) = container["Id"].as_str() {
            call("DELETE", &format!("/containers/{id}?force=true&v=true"))?;
        }
    }
    for network in list(&format!("/networks?filters={filter}"))? {
        if let Some(id) = network["Id"].as_str() {
            call("DELETE", &format!("/networks/{id}"))?;
        }
    }
    let volumes = get(&format!("/volumes?filters={filter}"))?;
    for volume in volumes["Volumes"].as_array().into_iter().flatten() {
        if let Some(name) = volume["Name"].as_str() {
            call("DELETE", &format!("/volumes/{name}?force=true"))?;
        }
    }
    Ok(())
}

fn list(path: &str) -> anyhow::Result<Vec<Value>> {
    match get(path)? {
        Value::Array(items) => Ok(items),
        other => anyhow::bail!("GET {path} answered {other}"),
    }
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        use std::fmt::Write as _;
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
