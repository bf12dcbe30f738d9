//! Why a replica did not become healthy, in words that lead to the mend.

use std::time::Duration;

use bollard::query_parameters::{EventsOptions, LogsOptions};
use futures_util::StreamExt;
use nonna_engine::ports::runtime::Launch;
use nonna_engine::{Code, Error};

use crate::client::Client;
use crate::health::{Check, words_of};
use crate::image;
use crate::kernel_log;
use crate::listeners::Misplaced;
use crate::output;
use crate::text::{printable, shorten};

/// As many of the last log lines are told.
const LOG_LINES: usize = 20;
/// As many characters of each.
const LOG_LINE_MAX: usize = 500;
/// The exit code for a command that does not exist.
const NOT_FOUND: i64 = 127;
/// No longer is waited for what only rounds the picture off.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a replica's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub code: i64,
    pub out_of_memory: bool,
}

/// Which replica, for people: `replica 0 of web v3`.
pub(crate) fn name(launch: &Launch, index: u32) -> String {
    format!("replica {index} of {} {}", launch.service_name, launch.release)
}

/// The error for a replica whose process ended `times` times.
pub(crate) async fn ended(
    client: &Client,
    launch: &Launch,
    index: u32,
    container: &str,
    exit: Exit,
    times: u32,
) -> Error {
    let name = name(launch, index);
    let log = last_lines(client, container).await;
    let mut exit = exit;
    if log.iter().any(|line| is_init_without_command(line)) {
        exit.code = NOT_FOUND;
    }
    let killed = exit.out_of_memory || (exit.code == 137 && was_killed_for_memory(client, container).await);
    let error = if killed {
        let limit = launch.spec.resources.memory;
        let limit = limit.map_or_else(
            || "the machine has".to_owned(),
            |limit| format!("its limit of {limit}"),
        );
        Error::user(
            Code::ReplicaOutOfMemory,
            format!("The kernel killed {name}, because it used more memory than {limit}."),
        )
        .hint("Give it more with `memory` in nonna.toml, or find out what uses so much.")
    } else {
        let often = match times {
            0 | 1 => String::new(),
            times => format!(" {times} times in a row"),
        };
        let code = exit.code;
        let error = Error::user(
            Code::ReplicaExited,
            format!(
                "The process of {name} ended{often} with exit code {code}{}.",
                meaning(code)
            ),
        );
        error.hint(hint(code))
    };
    with_log(&log, error)
}

/// The error for a replica that runs and never answered as it should.
pub(crate) async fn unhealthy(
    client: &Client,
    launch: &Launch,
    index: u32,
    container: &str,
    failure: Failure<'_>,
) -> Error {
    let name = name(launch, index);
    let mut error = match (failure.misplaced, failure.check.port()) {
        (Some(Misplaced::Loopback(at)), Some(port)) => Error::user(
            Code::ListensOnLoopback,
            format!(
                "The app listens on {at}, where only it itself can reach it; it must listen on \
                 0.0.0.0:{port} (the PORT variable)."
            ),
        )
        .hint("Look for `localhost` or `127.0.0.1` in the app's start command or configuration, and make it `0.0.0.0`."),
        (Some(Misplaced::OtherPorts(found)), Some(port)) => wrong_port(client, launch, found, port).await,
        (misplaced, _) => {
            let nowhere = match (misplaced, failure.check.port()) {
                (Some(Misplaced::Nowhere), Some(port)) => format!(" Nothing listens on port {port}."),
                _ => String::new(),
            };
            let within = words_of(failure.waited);
            Error::user(
                Code::ReplicaUnhealthy,
                format!("{} did not become healthy within {within}.{nowhere}", capital(&name)),
            )
            .hint(match (failure.check, misplaced) {
                (_, Some(Misplaced::Nowhere)) => {
                    "See in the log below what the app waits for; if it only needs longer, raise the health \
                     check's start period in nonna.toml."
                }
                (Check::Http { limit: 500, .. }, _) => {
                    "If the app does not speak HTTP, set another health check in nonna.toml (tcp, or a command)."
                }
                _ => "See the last answer and the log below; the health check is set in nonna.toml.",
            })
        }
    };
    if let Some(answer) = failure.answer {
        error = error.detail(format!("last health check: {answer}"));
    }
    with_log(&last_lines(client, container).await, error)
}

/// What was seen of a replica that did not become healthy.
pub(crate) struct Failure<'a> {
    pub check: &'a Check,
    pub waited: Duration,
    pub answer: Option<&'a str>,
    pub misplaced: Option<&'a Misplaced>,
}

async fn wrong_port(
    client: &Client,
    launch: &Launch,
    found: &std::collections::BTreeSet<u16>,
    port: u16,
) -> Error {
    let list: Vec<_> = found.iter().map(u16::to_string).collect();
    let ports = match list.as_slice() {
        [one] => format!("port {one}"),
        many => format!("the ports {}", many.join(", ")),
    };
    let first = found.first().copied().unwrap_or_default();
    let given = if launch.spec.port == Some(port) {
        format!("but was given PORT={port}; listen on $PORT or set `port = {first}` in nonna.toml.")
    } else {
        format!("but its health check asks port {port}; mend the one or the other.")
    };
    let error = Error::user(Code::WrongPort, format!("The app listens on {ports}, {given}"));
    let exposed = image::find(client, &launch.image).await.ok().flatten();
    match exposed.map(|image| image.ports).as_deref() {
        Some([exposed]) if *exposed != port => error.detail(format!(
            "the image says that it listens on port {exposed} (EXPOSE)"
        )),
        _ => error,
    }
}

/// What an exit code usually means.
fn meaning(code: i64) -> &'static str {
    match code {
        126 => " (its command cannot be executed)",
        127 => " (its command was not found)",
        130 => " (interrupted, SIGINT)",
        132 => " (illegal instruction, SIGILL: built for another processor?)",
        134 => " (it aborted itself, SIGABRT)",
        137 => " (killed, SIGKILL)",
        139 => " (it crashed, SIGSEGV)",
        143 => " (told to end, SIGTERM)",
        _ => "",
    }
}

fn hint(code: i64) -> &'static str {
    match code {
        0 => {
            "A service's process must keep running: start the server in the foreground, or use `nonna run` for \
             a command that ends."
        }
        126 => "Is the start command executable, and built for this machine's processor?",
        127 => "Check the start command in nonna.toml or the Dockerfile for a misspelt or missing program.",
        _ => "See the app's last log lines below.",
    }
}

/// The engine forgets why once it has restarted a container, if it ever knew;
/// the kernel's log and the engine's events do not.
async fn was_killed_for_memory(client: &Client, container: &str) -> bool {
    if kernel_log::killed_for_memory(container) {
        return true;
    }
    let filters = [
        ("container".to_owned(), vec![container.to_owned()]),
        ("event".to_owned(), vec!["oom".to_owned()]),
    ];
    let now = jiff::Timestamp::now().as_second();
    let options = EventsOptions {
        since: Some((now - 3600).to_string()),
        until: Some(now.to_string()),
        filters: Some(filters.into()),
    };
    let mut events = std::pin::pin!(client.docker.events(Some(options)));
    matches!(
        tokio::time::timeout(PATIENCE, events.next()).await,
        Ok(Some(Ok(_)))
    )
}

/// Whether this is the first process (tini, catatonit, our launcher) saying that the command
/// does not exist. Not every one has the exit code for it.
fn is_init_without_command(line: &str) -> bool {
    line.contains("No such file or directory")
        && ["failed to exec pid1", "[FATAL tini", "[FATAL nonna]"]
            .iter()
            .any(|said| line.contains(said))
}

fn with_log(lines: &[String], error: Error) -> Error {
    if lines.is_empty() {
        return error.detail("it printed nothing");
    }
    lines
        .iter()
        .fold(error, |error, line| error.detail(format!("log: {line}")))
}

/// The last lines a container printed, fit to be shown.
async fn last_lines(client: &Client, container: &str) -> Vec<String> {
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        tail: LOG_LINES.to_string(),
        ..LogsOptions::default()
    };
    let mut text = Vec::new();
    let mut output = std::pin::pin!(client.docker.logs(container, Some(options)));
    let reading = async {
        while let Some(Ok(chunk)) = output.next().await {
            text.extend_from_slice(chunk.as_ref());
        }
    };
    // What was read until then will do.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    output::add_last_lines(client, container, LOG_LINES, &mut text).await;
    let lines: Vec<_> = text
        .lines()
        .map(|line| shorten(&printable(line), LOG_LINE_MAX))
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
