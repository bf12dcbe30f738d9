//! How an app behaves in the fake: the faults of the real test app, without
//! its process.

use std::time::Duration;

use nonna_engine::ports::runtime::Launch;
use nonna_engine::{Code, Error};
use nonna_model::ServiceSpec;
use nonna_model::service::{Probe, RestartPolicy};

/// What the replicas of an image do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// They become healthy at once.
    #[default]
    Healthy,
    /// They become healthy after so long.
    Slow(Duration),
    /// They end with this code.
    Exits(i64),
    /// They are killed for the memory they use.
    OutOfMemory,
    /// They run, listen, and answer every health check with this status.
    Answers(u16),
    /// They run and listen nowhere.
    Silent,
    /// They listen on this port instead.
    WrongPort(u16),
    /// They listen on 127.0.0.1 only.
    Loopback,
}

impl Behaviour {
    /// Reads the variables that the real test app (image `nonna-test/app`)
    /// takes its faults from.
    #[must_use]
    pub fn of_variables(spec: &ServiceSpec) -> Self {
        let get = |key: &str| spec.variables.get(key).map(String::as_str);
        let number = |key: &str| get(key).and_then(|text| text.parse::<u64>().ok());
        if let Some(code) = get("EXIT_CODE").and_then(|text| text.parse().ok()) {
            return Self::Exits(code);
        }
        if let (Some(eaten), Some(limit)) = (number("EAT_MB"), spec.resources.memory)
            && eaten << 20 > limit.0
        {
            return Self::OutOfMemory;
        }
        if get("LISTEN") == Some("no") {
            return Self::Silent;
        }
        if get("LISTEN_HOST") == Some("127.0.0.1") {
            return Self::Loopback;
        }
        if let Some(port) = get("LISTEN_PORT").and_then(|text| text.parse().ok()) {
            return Self::WrongPort(port);
        }
        if let (Some(status), Probe::Http { path, .. }) = (number("HEALTH_STATUS"), &spec.health.probe)
            && path == "/health"
        {
            return Self::Answers(u16::try_from(status).unwrap_or(500));
        }
        number("START_DELAY_MS").map_or(Self::Healthy, |delay| Self::Slow(Duration::from_millis(delay)))
    }

    /// How long it takes until it is healthy, or how it fails.
    pub(super) fn start(&self, launch: &Launch, index: u32) -> Result<Duration, Error> {
        let spec = &launch.spec;
        let name = format!("replica {index} of {} {}", launch.service_name, launch.release);
        let port = spec.port.unwrap_or_default();
        let unhealthy = |answer: String| {
            Err(Error::user(
                Code::ReplicaUnhealthy,
                format!("The {name} did not become healthy."),
            )
            .detail(format!("last health check: {answer}"))
            .detail("log: listening"))
        };
        let listens =
            !matches!(spec.health.probe, Probe::Process | Probe::Command { .. }) && spec.port.is_some();
        match self {
            Self::Slow(time) if time.as_millis() > u128::from(spec.health.start_period_ms) => {
                unhealthy("GET / → connection refused".into())
            }
            Self::Slow(time) => Ok(*time),
            Self::Exits(code) => Err(Error::user(
                Code::ReplicaExited,
                format!("The process of {name} ended with exit code {code}."),
            )
            .detail("log: exiting")),
            Self::OutOfMemory => Err(Error::user(
                Code::ReplicaOutOfMemory,
                format!("The kernel killed {name}, because it used more memory than its limit."),
            )),
            Self::Answers(status) if listens && !(200..400).contains(status) => {
                unhealthy(format!("GET / → {status}"))
            }
            Self::Silent if listens => unhealthy("GET / → connection refused".into()),
            Self::WrongPort(other) if listens && *other != port => Err(Error::user(
                Code::WrongPort,
                format!("The app listens on port {other}, but was given PORT={port}."),
            )),
            Self::Loopback if listens => Err(Error::user(
                Code::ListensOnLoopback,
                format!("The app listens on 127.0.0.1:{port}, where only it itself can reach it."),
            )),
            _ => Ok(Duration::ZERO),
        }
    }

    /// Whether an end of the process is followed by a start.
    pub(super) fn is_restarted(spec: &ServiceSpec, code: i64) -> bool {
        match spec.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }
}
