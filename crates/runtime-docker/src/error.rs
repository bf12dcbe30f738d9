//! The engine's errors in Nonna's words. The engine's own stay in `provider`.

use bollard::errors::Error as Refusal;
use nonna_engine::{Code, Error};

/// The HTTP status with which the engine refused, if it did.
pub(crate) fn status(error: &Refusal) -> Option<u16> {
    match error {
        Refusal::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine says that there is no such thing.
pub(crate) fn is_missing(error: &Refusal) -> bool {
    status(error) == Some(404)
}

/// Whether the engine says that it is in the way of something else.
pub(crate) fn is_conflict(error: &Refusal) -> bool {
    status(error) == Some(409)
}

/// Whether the engine could not be reached, or was cut off: it may be
/// restarting, and every call of ours can be made again.
pub(crate) fn is_unreachable(error: &Refusal) -> bool {
    match error {
        Refusal::IOError { .. }
        | Refusal::HyperResponseError { .. }
        | Refusal::HyperLegacyError { .. }
        | Refusal::SocketNotFoundError(_) => true,
        // Said while it shuts down.
        Refusal::DockerResponseServerError { status_code, .. } => *status_code == 503,
        _ => false,
    }
}

/// Whether the answer holds a state that Docker does not have: Podman says
/// `stopped` for the moment between the end of a process and `exited`.
pub(crate) fn is_in_between(error: &Refusal) -> bool {
    matches!(error, Refusal::JsonDataError { message, .. } if message.contains("unknown variant `stopp"))
}

/// The engine's own words.
pub(crate) fn words(error: &Refusal) -> String {
    match error {
        Refusal::DockerResponseServerError { status_code, message } => {
            format!("{status_code}: {}", message.trim())
        }
        Refusal::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                source = inner.source();
            }
            text
        }
    }
}

/// Nobody answers at this endpoint.
pub(crate) fn unavailable(endpoint: &str, said: &str) -> Error {
    let hint = if said.contains("ermission denied") {
        "Run Nonna as root, or as a user of the group that owns the socket (often `docker`)."
    } else {
        "Start it (`systemctl start docker`, or `systemctl start podman.socket`), install one \
         (`apt-get install docker.io`), or name another endpoint with DOCKER_HOST."
    };
    Error::provider(
        Code::RuntimeUnavailable,
        format!("No container engine answers at {endpoint}."),
    )
    .hint(hint)
    .said(said)
    .retry()
}

/// What the engine refused while doing `what` (`start the replica web v3/0`).
pub(crate) fn refused(endpoint: &str, what: &str, error: &Refusal) -> Error {
    let said = words(error);
    if is_unreachable(error) {
        return unavailable(endpoint, &said);
    }
    if let Some(full) = disk_full(&said) {
        return full;
    }
    match error {
        Refusal::RequestTimeoutError => Error::provider(
            Code::Timeout,
            format!("The container engine did not answer in time: could not {what}."),
        )
        .hint("It may be overloaded, or its disk may be; try again.")
        .said(said)
        .retry(),
        _ => {
            let retryable = status(error).is_none_or(|code| code >= 500);
            let mut mapped = Error::provider(
                Code::RuntimeRefused,
                format!("The container engine refused to {what}."),
            )
            .said(said);
            mapped.retryable = retryable;
            mapped
        }
    }
}

/// The error for a full disk, if that is what these words say.
pub(crate) fn disk_full(said: &str) -> Option<Error> {
    said.contains("no space left on device").then(|| {
        Error::provider(
            Code::DiskFull,
            "There is no room left on the container engine's disk.",
        )
        .hint("Remove unused images (`docker image prune`), or give the machine a larger disk.")
        .said(said)
        .retry()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(status_code: u16, message: &str) -> Refusal {
        Refusal::DockerResponseServerError {
            status_code,
            message: message.into(),
        }
    }

    #[test]
    fn the_engines_words_and_whether_to_retry_are_kept() {
        let error = refused(
            "unix:///x",
            "make the network",
            &server(403, "denied by policy\n"),
        );
        assert_eq!(error.code, Code::RuntimeRefused);
        assert_eq!(error.provider.as_deref(), Some("403: denied by policy"));
        assert!(!error.retryable);
        assert!(refused("x", "x", &server(500, "boom")).retryable);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let error = refused(
            "x",
            "make it",
            &server(500, "mkdir /var/lib/docker/x: no space left on device"),
        );
        assert_eq!(error.code, Code::DiskFull);
    }

    #[test]
    fn a_missing_socket_says_how_to_mend_it() {
        let error = refused("unix:///x", "list", &Refusal::SocketNotFoundError("/x".into()));
        assert_eq!(error.code, Code::RuntimeUnavailable);
        assert!(error.hint.is_some());
    }
}
