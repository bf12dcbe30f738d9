//! Why a build failed, in Nonna's words. Builders report all of it as text,
//! so this is the one place that reads their sentences.

use nonna_engine::{Code, Error};
use nonna_model::image::ImageReference;

use super::dockerfile::Dockerfile;
use super::output::{Failed, shown};
use crate::engine::{disk_full, is_disk_full};

/// Turns a builder's words into an error that says how to mend it.
pub(super) fn explain(failed: &Failed, dockerfile: &Dockerfile) -> Error {
    let words = failed.words.as_str();
    let step = failed.step.as_deref().map(strip_place);
    if let Some(full) = std::iter::once(words)
        .chain(failed.lines.iter().map(String::as_str))
        .find(|line| is_disk_full(line))
    {
        return with_lines(disk_full(full), failed);
    }
    if words.contains("failed to create endpoint") {
        // The step never began: the engine could not give it a network.
        return Error::provider(
            Code::RuntimeRefused,
            "The container engine could not give the build a network.",
        )
        .hint("Its bridge may be gone: restart the container engine, then deploy again.")
        .said(words)
        .retry();
    }
    if let Some(error) = syntax(words, dockerfile) {
        return error;
    }
    if let Some(code) = exit_code(words) {
        return exited(failed, step, code, dockerfile);
    }
    if let Some(error) = base_image(words, failed.step.as_deref().unwrap_or_default(), dockerfile) {
        return error;
    }
    if words.contains("not found")
        && step.is_some_and(|step| step.starts_with("COPY") || step.starts_with("ADD"))
    {
        let step = step.unwrap_or_default();
        return with_lines(
            Error::user(Code::BuildFailed, format!("The build failed at `{step}`: there is no such file in the build context."))
                .hint("See that the file is there, relative to the folder that is built, and that neither `.dockerignore` nor `.gitignore` leaves it out.")
                .said(words),
            failed,
        );
    }
    let at = step
        .map(|step| format!(" at `{}`", shown(step)))
        .unwrap_or_default();
    with_lines(
        Error::user(
            Code::BuildFailed,
            format!("The build failed{at}: {}.", brief(words).trim_end_matches('.')),
        )
        .said(words),
        failed,
    )
}

fn with_lines(error: Error, failed: &Failed) -> Error {
    failed
        .lines
        .iter()
        .fold(error, |error, line| error.detail(line.clone()))
}

/// `[build 2/3] RUN x` and `Step 2/3 : RUN x` are `RUN x`.
fn strip_place(step: &str) -> &str {
    if let Some((_, rest)) = step.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        return rest;
    }
    match step.split_once(": ") {
        Some((place, rest)) if place.to_ascii_lowercase().starts_with("step ") => rest,
        _ => step,
    }
}

/// The engine's sentence without the layers through which it came.
fn brief(words: &str) -> &str {
    let mut text = words.trim();
    for prefix in [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to create LLB definition: ",
        "rpc error: code = Unknown desc = ",
        "failed to read dockerfile: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text
}

fn number_after(words: &str, marker: &str) -> Option<i64> {
    let (_, rest) = words.rsplit_once(marker)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn exit_code(words: &str) -> Option<i64> {
    ["exit code: ", "non-zero code: ", "exit status "]
        .iter()
        .find_map(|marker| number_after(words, marker))
}

fn exited(failed: &Failed, step: Option<&str>, code: i64, dockerfile: &Dockerfile) -> Error {
    let at = step.map_or_else(|| "a step".to_owned(), |step| format!("`{}`", shown(step)));
    let error = Error::user(
        Code::BuildFailed,
        format!("The build failed: {at} ended with exit code {code}."),
    );
    let hint = match code {
        137 => "It was killed, most likely for lack of memory: give the machine swap or memory, or let the step do less at once.".to_owned(),
        126 | 127 => "The command was not found or may not be run: see that the base image has it and that its file is executable.".to_owned(),
        _ if certificate(failed) => format!(
            "The step does not trust a certificate. Behind an inspecting proxy, set the server's extra certificate authorities for builds; a Dockerfile of your own mounts them with `RUN --mount=type=secret,id={},target=/etc/ssl/certs/ca-certificates.crt …`.",
            super::CA_SECRET
        ),
        _ if let Some(hint) = super::tools::hint(&failed.lines) => hint.to_owned(),
        _ if dockerfile.generated => "The step's last lines are below. To build in another way, add a Dockerfile.".to_owned(),
        _ => "The step's last lines are below.".to_owned(),
    };
    with_lines(error.hint(hint).said(brief(&failed.words)), failed)
}

fn certificate(failed: &Failed) -> bool {
    failed.lines.iter().any(|line| {
        let line = line.to_ascii_lowercase();
        [
            "certificate verify failed",
            "self-signed certificate",
            "self signed certificate",
            "unable to get local issuer",
            "unknown authority",
        ]
        .iter()
        .any(|words| line.contains(words))
    })
}

/// A Dockerfile that cannot be read.
fn syntax(words: &str, dockerfile: &Dockerfile) -> Option<Error> {
    let lower = words.to_ascii_lowercase();
    let at = lower.find("parse error").or_else(|| {
        [
            "unknown instruction",
            "dockerfile syntax",
            "cannot be empty",
            "no build stage in current context",
            "file with no instructions",
        ]
        .iter()
        .find_map(|sign| lower.find(sign))
    })?;
    let number = lower
        .get(at..)
        .and_then(|rest| rest.split_once("line "))
        .and_then(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().ok()
        });
    let why = number.map_or_else(
        || brief(words),
        |number| {
            let marker = format!("line {number}:");
            words
                .rsplit_once(marker.as_str())
                .map_or_else(|| brief(words), |(_, why)| why.trim())
        },
    );
    let place = number
        .map(|number| format!(", line {number}"))
        .unwrap_or_default();
    let mut error = Error::user(
        Code::BuildFailed,
        format!(
            "{}{place}, is no valid Dockerfile: {}.",
            dockerfile.path,
            why.trim_end_matches('.')
        ),
    )
    .said(brief(words));
    if let Some((number, line)) = number.and_then(|number| Some((number, dockerfile.line(number)?))) {
        error = error.detail(format!("{number}: {line}"));
        if line.contains("<<") || why.contains("<<") {
            return Some(error.hint("This engine's builder does not know here-documents: write a file in the context and COPY it, or use a newer engine."));
        }
    }
    Some(error.hint("See https://docs.docker.com/reference/dockerfile/ for what an instruction may be."))
}

/// An image of a `FROM` line that cannot be had.
fn base_image(words: &str, step: &str, dockerfile: &Dockerfile) -> Option<Error> {
    let lower = words.to_ascii_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let refused = has(&[
        "pull access denied",
        "authorization failed",
        "401 unauthorized",
        "no basic auth",
        "403 forbidden",
    ]);
    let unreachable = has(&[
        "dial tcp",
        "i/o timeout",
        "no such host",
        "connection refused",
        "tls handshake",
        "x509:",
        "failed to do request",
        "unexpected eof",
        "server misbehaving",
        "500 internal server error",
        "503 service unavailable",
        "too many requests",
        "429 ",
    ]);
    let missing = has(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "repository name not known",
    ]);
    if !(refused || unreachable || missing) {
        return None;
    }
    // The step is called `[internal] load metadata for docker.io/library/x:1`.
    let from = dockerfile
        .base_line_in(words)
        .or_else(|| dockerfile.base_line_in(step));
    if from.is_none() {
        let syntax = dockerfile
            .syntax()
            .filter(|image| words.contains(image.split([':', '@']).next().unwrap_or(image)))?;
        return Some(
            Error::user(
                Code::ImageNotFound,
                format!(
                    "{}, line 1, asks for the builder `{syntax}`, which cannot be pulled.",
                    dockerfile.path
                ),
            )
            .hint("Remove the `# syntax=` line: the engine's own builder knows `RUN --mount` without it.")
            .said(brief(words)),
        );
    }
    let (number, image) = from?;
    let place = if dockerfile.generated {
        format!("The base image `{image}`")
    } else {
        format!("The base image `{image}` ({}, line {number})", dockerfile.path)
    };
    // "Pull access denied" is said of what is missing and of what is hidden.
    if refused
        && !lower.contains("pull access denied")
        && let Ok(reference) = image.parse::<ImageReference>()
    {
        let registry = reference.registry;
        return Some(
            Error::user(
                Code::RegistryAuth,
                format!("{place} is private: the registry {registry} does not let us have it."),
            )
            .hint(format!(
                "Store credentials for it, or better ones: `nonna registry login {registry}`."
            ))
            .said(brief(words)),
        );
    }
    let error = if unreachable && !refused {
        Error::provider(
            Code::RegistryUnavailable,
            format!("{place} is not on this machine, and its registry cannot be reached."),
        )
        .hint("See that the server reaches the registry, then deploy again; or load the image by hand (`docker load`).")
        .retry()
    } else {
        let error = Error::user(
            Code::ImageNotFound,
            format!("{place} does not exist, or is private."),
        );
        if dockerfile.versions.is_empty() {
            error.hint("See that name and tag are spelt right. If it is private, store credentials for its registry: `nonna registry login HOST`.")
        } else {
            error.hint("There is no such version, most likely: name another one where the lines below say that it is asked for.")
        }
    };
    let error = error.said(brief(words));
    Some(
        dockerfile
            .versions
            .iter()
            .fold(error, |error, version| error.detail(version.clone())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_does_not_exist_is_named_with_the_file_that_asks_for_it() {
        let dockerfile = Dockerfile::new("Dockerfile", "FROM python:3.99-slim\n", true)
            .using(["Python 3.99: .python-version asks for it".to_owned()].into_iter());
        let failed = Failed {
            step: Some("[internal] load metadata for docker.io/library/python:3.99-slim".into()),
            words: "docker.io/library/python:3.99-slim: not found".into(),
            lines: Vec::new(),
        };
        let error = explain(&failed, &dockerfile);
        assert_eq!(error.code, Code::ImageNotFound);
        assert!(error.message.contains("`python:3.99-slim`"), "{error}");
        assert_eq!(error.details, ["Python 3.99: .python-version asks for it"]);
        assert!(error.hint.unwrap().contains("no such version"));
    }

    fn explained(words: &str, step: Option<&str>, lines: &[&str]) -> Error {
        let dockerfile = Dockerfile::new("Dockerfile", "FROM nope:1\nRUN x\nFOO bar\n", false);
        let failed = Failed {
            step: step.map(str::to_owned),
            words: words.into(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        explain(&failed, &dockerfile)
    }

    #[test]
    fn a_failing_step_is_named_with_its_exit_code_and_lines() {
        for words in [
            "executor failed running [/bin/sh -c exit 3]: exit code: 3",
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
            "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
            "building at STEP \"RUN exit 3\": while running runtime: exit status 3",
        ] {
            let error = explained(
                words,
                Some("[2/2] RUN --mount=type=cache,target=/x exit 3"),
                &["a", "b"],
            );
            assert_eq!(error.code, Code::BuildFailed);
            assert_eq!(
                error.message,
                "The build failed: `RUN exit 3` ended with exit code 3."
            );
            assert_eq!(error.details, ["a", "b"]);
        }
    }

    #[test]
    fn a_full_disk_is_not_the_user_s_fault() {
        let error = explained(
            "exit code: 1",
            Some("[2/2] RUN x"),
            &["write: No space left on device"],
        );
        assert_eq!((error.code, error.retryable), (Code::DiskFull, true));
    }

    #[test]
    fn an_engine_without_a_network_is_not_the_user_s_fault() {
        let error = explained(
            "executor failed running [/bin/sh -c x]: failed to create endpoint q on network bridge: could not find bridge docker0",
            Some("[2/2] RUN x"),
            &[],
        );
        assert_eq!((error.code, error.retryable), (Code::RuntimeRefused, true));
    }

    #[test]
    fn a_dockerfile_s_mistake_has_its_line() {
        let error = explained(
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 3: unknown instruction: FOO",
            None,
            &[],
        );
        assert_eq!(
            error.message,
            "Dockerfile, line 3, is no valid Dockerfile: unknown instruction: FOO."
        );
        assert_eq!(error.details, ["3: FOO bar"]);
    }

    #[test]
    fn a_missing_base_image_is_told_from_a_registry_that_is_away() {
        let prefix = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: ";
        let error = explained(&format!("{prefix}docker.io/library/nope:1: not found"), None, &[]);
        assert_eq!(error.code, Code::ImageNotFound);
        assert!(error.message.contains("`nope:1` (Dockerfile, line 1)"), "{error}");
        let error = explained(
            &format!(
                "{prefix}pull access denied, repository does not exist or may require authorization: docker.io/library/nope:1"
            ),
            None,
            &[],
        );
        assert_eq!(error.code, Code::ImageNotFound);
        let error = explained(
            &format!(
                "{prefix}failed to do request: Head \"https://registry-1.docker.io/v2/library/nope/manifests/1\": dial tcp: lookup registry-1.docker.io: no such host: docker.io/library/nope:1"
            ),
            None,
            &[],
        );
        assert_eq!((error.code, error.retryable), (Code::RegistryUnavailable, true));
    }
}
