//! Commands that a deployment runs once. Each is a container that is found
//! again by its labels, so that whoever goes on with the deployment after a
//! crash waits for the one that runs rather than begin another.

use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{CreateContainerOptions, LogsOptions, StartContainerOptions};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use nonna_engine::event::Progress;
use nonna_engine::ports::runtime::Launch;
use nonna_engine::{Code, Error, Result};
use nonna_model::ServiceId;
use nonna_model::labels as l;
use nonna_model::plan::Job;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::labels::{self, ROLE_JOB};
use crate::{files, image, launch as body, names, observe, session, stop};

/// The longest line that is passed on, in bytes; what is longer is cut.
const MAX_LINE: usize = 16 * 1024;

pub(crate) async fn run(
    client: &Client,
    launch: &Launch,
    job: Job,
    arguments: &[String],
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<i64> {
    let what = format!("run the {} of {}", job.title(), launch.service_name);
    let (id, seen) = ready(client, launch, job, arguments, progress, &what).await?;
    if cancel.is_cancelled() {
        return Err(Error::cancelled());
    }
    let started = seen.and_then(|seen| seen.state?.status);
    if started.is_none_or(|status| status == ContainerStateStatusEnum::CREATED)
        && let Err(refusal) = client
            .docker
            .start_container(&id, None::<StartContainerOptions>)
            .await
    {
        let (code, said) = session::cannot_start(client, &what, &refusal)?;
        progress.job_output(&said);
        return Ok(code);
    }
    let follow = async {
        pass_on(client, &id, progress).await;
        session::wait(client, &id, &what).await
    };
    let code = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            stop::stop_container(client, &id).await?;
            return Err(Error::cancelled());
        }
        code = follow => code?,
    };
    let seen = observe::inspect(client, &id).await?;
    let killed = seen.and_then(|seen| seen.state?.oom_killed).unwrap_or_default();
    if killed {
        return Err(Error::user(
            Code::JobFailed,
            format!(
                "The {} of {} was killed, because it used more memory than its limit.",
                job.title(),
                launch.service_name
            ),
        )
        .hint("Raise the service's `memory` in nonna.toml."));
    }
    Ok(code)
}

/// The container of the job: the one that is there, else a new one.
async fn ready(
    client: &Client,
    launch: &Launch,
    job: Job,
    arguments: &[String],
    progress: &Progress,
    what: &str,
) -> Result<(String, Option<ContainerInspectResponse>)> {
    let name = names::job(&launch.service, launch.release, job);
    let config = labels::config(launch);
    if let Some(seen) = observe::inspect(client, &name).await? {
        let labels = seen
            .config
            .as_ref()
            .and_then(|c| c.labels.clone())
            .unwrap_or_default();
        let is_ours = labels.get(l::INSTALLATION).map(String::as_str) == Some(&client.installation)
            && labels.get(l::CONFIG) == Some(&config);
        // What was made and never started may lack its files.
        let is_begun = seen
            .state
            .as_ref()
            .and_then(|state| state.status)
            .is_some_and(|status| status != ContainerStateStatusEnum::CREATED);
        if let (true, true, Some(id)) = (is_ours, is_begun, seen.id.clone()) {
            progress.message("It was begun before Nonna was started again: going on with it.");
            return Ok((id, Some(seen)));
        }
    }
    image::ensure(client, launch, progress).await?;
    // What an earlier deployment left of this service must not run beside it.
    remove(client, &launch.service, Some(job)).await?;
    let options = CreateContainerOptions {
        name: Some(name),
        ..CreateContainerOptions::default()
    };
    let body = body::job(&client.installation, launch, job, arguments);
    let made = client
        .call(|docker| {
            let (options, body) = (options.clone(), body.clone());
            async move { docker.create_container(Some(options), body).await }
        })
        .await
        .map_err(|e| client.refused(what, &e))?;
    files::put(client, &made.id, launch, what).await?;
    Ok((made.id, None))
}

/// Passes on what it prints, line by line, until it ends.
async fn pass_on(client: &Client, id: &str, progress: &Progress) {
    let options = LogsOptions {
        follow: true,
        stdout: true,
        stderr: true,
        tail: "all".into(),
        ..LogsOptions::default()
    };
    let mut output = client.docker.logs(id, Some(options));
    let mut lines = Lines::default();
    // A cut connection is an end as well: its exit code is waited for.
    while let Some(Ok(chunk)) = output.next().await {
        let stderr = matches!(chunk, LogOutput::StdErr { .. });
        lines.take(stderr, &chunk.into_bytes(), |line| progress.job_output(line));
    }
    lines.end(|line| progress.job_output(line));
}

/// Cuts what is printed into lines, each of the two streams by itself.
#[derive(Default)]
struct Lines([Vec<u8>; 2]);

impl Lines {
    fn take(&mut self, stderr: bool, bytes: &[u8], mut line: impl FnMut(&str)) {
        let [out, err] = &mut self.0;
        let rest = if stderr { err } else { out };
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let room = MAX_LINE.saturating_sub(rest.len());
            rest.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            if part.ends_with(b"\n") {
                line(String::from_utf8_lossy(rest).trim_end());
                rest.clear();
            }
        }
    }

    fn end(&mut self, mut line: impl FnMut(&str)) {
        for rest in &mut self.0 {
            if !rest.is_empty() {
                line(String::from_utf8_lossy(rest).trim_end());
                rest.clear();
            }
        }
    }
}

/// Ends and removes the containers of a service's jobs, or of one of them.
pub(crate) async fn remove(client: &Client, service: &ServiceId, job: Option<Job>) -> Result<()> {
    let mut wanted = vec![(l::SERVICE, service.as_str())];
    wanted.extend(job.map(|job| (l::JOB, labels::job_name(job))));
    remove_labelled(client, &wanted).await
}

/// Ends and removes the containers of jobs that carry these labels.
pub(crate) async fn remove_labelled(client: &Client, wanted: &[(&str, &str)]) -> Result<()> {
    let found = observe::containers(client, ROLE_JOB, wanted).await?;
    let ids = found.into_iter().filter_map(|job| job.id);
    try_join_all(ids.map(|id| async move { stop::remove_container(client, &id).await }))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_end_and_where_they_are_too_long() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        lines.take(false, b"a\nb", |line| seen.push(line.to_owned()));
        lines.take(true, b"err\r\n", |line| seen.push(line.to_owned()));
        lines.take(false, b"c\n", |line| seen.push(line.to_owned()));
        lines.take(false, &vec![b'x'; MAX_LINE + 9], |line| {
            seen.push(line.to_owned());
        });
        lines.end(|line| seen.push(line.len().to_string()));
        assert_eq!(seen, ["a", "err", "bc", &MAX_LINE.to_string()]);
    }
}
