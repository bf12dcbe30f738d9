//! Commands that a deployment runs once: before a release, after the first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nonna_model::ServiceId;
use nonna_model::plan::{Job, Step};
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::error::{Code, Error, Result};
use crate::event::{Event, EventKind, EventSink, Progress};

/// How many of its last lines an error repeats.
const LAST_LINES: usize = 20;

/// How many lines are passed on: what prints without end fills no store.
const MOST_LINES: usize = 5_000;

/// Passes everything on, and remembers the last lines.
struct Tail {
    sink: Arc<dyn EventSink>,
    lines: Mutex<VecDeque<String>>,
    passed: AtomicUsize,
}

impl EventSink for Tail {
    fn emit(&self, mut event: Event) {
        if let EventKind::JobOutput { line, .. } = &event.kind {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(line.clone());
            drop(lines);
            match self.passed.fetch_add(1, Ordering::Relaxed) {
                passed if passed > MOST_LINES => return,
                MOST_LINES => {
                    if let EventKind::JobOutput { line, .. } = &mut event.kind {
                        *line = format!(
                            "(more than {MOST_LINES} lines: the rest is not kept, but for the last of a command that fails)"
                        );
                    }
                }
                _ => {}
            }
        }
        self.sink.emit(event);
    }
}

/// Runs the job, or goes on with it, and waits until it ended well.
pub(super) async fn run(
    run: &Run<'_>,
    step: &Step,
    service: &ServiceId,
    job: Job,
    cancel: &CancellationToken,
) -> Result<()> {
    let planned = run.planned(service)?;
    let release = run.target(service)?;
    let spec = job
        .of(&release.spec)
        .ok_or_else(|| Error::bug(format!("{} has no {}", planned.name, job.title())))?;
    let launch = run.launch(service, planned, release).await?;
    let tail = Arc::new(Tail {
        sink: Arc::clone(&run.sink),
        lines: Mutex::default(),
        passed: AtomicUsize::new(0),
    });
    let progress = Progress::new(
        run.deployment.clone(),
        step.id,
        Arc::clone(&tail) as Arc<dyn EventSink>,
    );
    let what = format!("The {} of {} {}", job.title(), planned.name, release.number);
    // Ends the command both when the deployment is cancelled and when it takes
    // too long.
    let stop = cancel.child_token();
    let limit = Duration::from_millis(spec.timeout_ms);
    let work = run
        .engine
        .runtime
        .run_job(&launch, job, &spec.command, &progress, &stop);
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = tokio::time::sleep(limit) => {
            stop.cancel();
            // It is waited for, so that nothing of it runs on.
            let _ = work.await;
            Err(Error::user(
                Code::JobFailed,
                format!("{what} did not end within {} and was stopped.", seconds(limit)),
            )
            .hint("If it needs the time, raise `release_timeout` in nonna.toml."))
        }
    };
    let error = match ended {
        Ok(0) => return Ok(()),
        Ok(code) => Error::user(Code::JobFailed, format!("{what} ended with exit code {code}."))
            .hint(hint(code, &spec.command)),
        Err(error) => error,
    };
    let lines = tail.lines.lock().unwrap_or_else(PoisonError::into_inner);
    Err(lines
        .iter()
        .fold(error, |error, line| error.detail(format!("log: {line}"))))
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs())
    }
}

fn hint(code: i64, command: &[String]) -> String {
    let program = command.first().map(String::as_str).unwrap_or_default();
    match code {
        126 => format!("`{program}` cannot be executed: see its permissions and its first line."),
        127 => format!("There is no `{program}` in the image: commands are not given to a shell."),
        137 => "It was killed: perhaps it used more memory than the service's `memory` allows.".to_owned(),
        _ => "Its last lines are above. Mend it and deploy again; what served before goes on serving."
            .to_owned(),
    }
}
