//! Replicas end: stopped, or stopped and removed.

use std::time::Duration;

use bollard::errors::Error as Refusal;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{RemoveContainerOptions, StopContainerOptions};
use futures_util::future::try_join_all;
use nonna_engine::Result;
use nonna_model::labels as l;
use nonna_model::{ReleaseNumber, ServiceId};

use crate::client::Client;
use crate::error;
use crate::labels::ROLE_RUN;
use crate::observe::{self, Replica};
use crate::output;

/// A call that stops takes as long as the replica takes to end.
const STOP_CALL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How often a removal that is in the way of another is tried again.
const REMOVE_ATTEMPTS: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn stop(client: &Client, service: &ServiceId, release: ReleaseNumber) -> Result<()> {
    let found = observe::replicas_of(client, service).await?;
    let of_release = found.iter().filter(|r| r.identity.release == release);
    try_join_all(of_release.map(|replica| stop_container(client, &replica.id)))
        .await
        .map(drop)
}

pub(crate) async fn retire(
    client: &Client,
    service: &ServiceId,
    keep: Option<(ReleaseNumber, u32)>,
) -> Result<()> {
    let kept = |replica: &&Replica| {
        keep.is_some_and(|(release, count)| {
            replica.identity.release == release && replica.identity.index < count
        })
    };
    let found = observe::replicas_of(client, service).await?;
    try_join_all(found.iter().filter(|r| !kept(r)).map(|replica| async {
        stop_container(client, &replica.id).await?;
        remove_replica(client, &replica.id).await
    }))
    .await?;
    remove_runs(client, &[(l::SERVICE, service.as_str())], Runs::Ended).await?;
    if keep.is_none() {
        crate::job::remove(client, service, None).await?;
    }
    Ok(())
}

/// Which one-off commands' containers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Those that ended and were left behind.
    Ended,
    /// Those that are still under way too.
    All,
}

/// Removes the containers of one-off commands that carry these labels.
pub(crate) async fn remove_runs(client: &Client, wanted: &[(&str, &str)], which: Runs) -> Result<()> {
    use ContainerSummaryStateEnum as S;
    let found = observe::containers(client, ROLE_RUN, wanted).await?;
    let ended = found
        .into_iter()
        .filter(|run| which == Runs::All || matches!(run.state, Some(S::EXITED | S::DEAD)))
        .filter_map(|run| run.id);
    try_join_all(ended.map(|id| async move { remove_container(client, &id).await }))
        .await
        .map(drop)
}

/// Asks a container's process to end, and kills it when its stop timeout is
/// over. One that does not run is fine.
pub(crate) async fn stop_container(client: &Client, id: &str) -> Result<()> {
    let stopped = client
        .call(|docker| async move {
            let docker = docker.with_timeout(STOP_CALL_TIMEOUT);
            docker.stop_container(id, None::<StopContainerOptions>).await
        })
        .await;
    match stopped {
        Err(e) if !error::is_missing(&e) => Err(client.refused("stop a replica", &e)),
        _ => Ok(()),
    }
}

/// Removes a replica's container, as [`remove_container`], and says so to who
/// reads its output.
pub(crate) async fn remove_replica(client: &Client, id: &str) -> Result<()> {
    let pipes = output::key(client, id).await?;
    remove_container(client, id).await?;
    output::discard(client, pipes).await;
    Ok(())
}

/// Removes a container, and kills its process if it runs. One that is gone is
/// fine.
pub(crate) async fn remove_container(client: &Client, id: &str) -> Result<()> {
    let options = RemoveContainerOptions {
        force: true,
        // Volumes without a name, which an image may ask for.
        v: true,
        link: false,
    };
    let mut attempts = 0;
    loop {
        let removed = client
            .call(|docker| {
                let options = options.clone();
                async move { docker.remove_container(id, Some(options)).await }
            })
            .await;
        match removed {
            Ok(()) => return Ok(()),
            Err(e) if error::is_missing(&e) => return Ok(()),
            Err(e) if in_the_way(&e) && attempts < REMOVE_ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(REMOVE_PAUSE).await;
            }
            Err(e) => return Err(client.refused("remove a container", &e)),
        }
    }
}

/// Another removal of the same container is under way.
fn in_the_way(error: &Refusal) -> bool {
    error::is_conflict(error)
}
