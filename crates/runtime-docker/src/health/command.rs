//! A command inside the replica that must exit with 0.

use std::time::Duration;

use bollard::errors::Error as Refusal;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;
use nonna_engine::Result;
use tokio::time::{Instant, timeout};

use super::{Answer, words_of};
use crate::client::Client;
use crate::error;
use crate::text::{printable, shorten};

/// As much of the output is kept.
const OUTPUT_MAX: usize = 64 * 1024;
/// As many characters of it are shown.
const OUTPUT_SHOWN: usize = 200;

pub(super) async fn run(
    client: &Client,
    container: &str,
    command: &[String],
    within: Duration,
) -> Result<Answer> {
    let begun = Instant::now();
    let what = format!("`{}`", shorten(&printable(&command.join(" ")), 80));
    let done = match timeout(within, output_of(client, container, command)).await {
        Err(_) => {
            return Ok(Answer::unhealthy(format!(
                "{what} → did not end within {}",
                words_of(within)
            )));
        }
        Ok(done) => done,
    };
    match done {
        Ok((0, _)) => Ok(Answer::healthy(format!(
            "{what} → exit code 0 in {}",
            words_of(begun.elapsed())
        ))),
        Ok((code, output)) => {
            let last = output.lines().rev().find(|line| !line.trim().is_empty());
            let last = last.map(|line| format!(": {}", shorten(&printable(line), OUTPUT_SHOWN)));
            Ok(Answer::unhealthy(format!(
                "{what} → exit code {code}{}",
                last.unwrap_or_default()
            )))
        }
        // It does not run at the moment.
        Err(e) if error::is_conflict(&e) || error::is_missing(&e) => {
            Ok(Answer::unhealthy(format!("{what} → the replica does not run")))
        }
        Err(e) if error::is_unreachable(&e) => Err(client.refused("run the health check", &e)),
        Err(e) => Ok(Answer::unhealthy(format!("{what} → {}", error::words(&e)))),
    }
}

/// Runs a command in a container and returns its exit code and output.
pub(crate) async fn output_of(
    client: &Client,
    container: &str,
    command: &[String],
) -> Result<(i64, String), Refusal> {
    let options = CreateExecOptions {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let docker = &client.docker;
    let exec = docker.create_exec(container, options).await?;
    let mut kept = Vec::new();
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec.id, None).await? {
        while let Some(chunk) = output.next().await {
            let bytes = chunk?.into_bytes();
            let room = OUTPUT_MAX - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
    let ended = docker.inspect_exec(&exec.id).await?;
    Ok((
        ended.exit_code.unwrap_or(-1),
        String::from_utf8_lossy(&kept).into_owned(),
    ))
}
