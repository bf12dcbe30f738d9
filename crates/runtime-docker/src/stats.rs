//! What replicas use.

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt;
use futures_util::future::join_all;
use nonna_engine::Result;
use nonna_engine::ports::runtime::ReplicaStats;
use nonna_model::ServiceId;

use crate::client::Client;
use crate::error;
use crate::observe::{self, Replica};

/// More than any machine has: the engine's way to say that there is no limit.
const NO_LIMIT: u64 = 1 << 60;

pub(crate) async fn read(client: &Client, service: &ServiceId) -> Result<Vec<ReplicaStats>> {
    let found = observe::replicas_of(client, service).await?;
    let read = join_all(found.iter().map(|replica| of(client, replica))).await;
    read.into_iter().filter_map(Result::transpose).collect()
}

/// `None` if it does not run.
async fn of(client: &Client, replica: &Replica) -> Result<Option<ReplicaStats>> {
    let options = StatsOptions {
        stream: false,
        one_shot: true,
    };
    let mut answers = std::pin::pin!(client.docker.stats(&replica.id, Some(options)));
    match answers.next().await {
        Some(Ok(seen)) => {
            let limit = match observe::inspect(client, &replica.id).await? {
                Some(seen) => seen.host_config.and_then(|host| host.memory),
                None => return Ok(None),
            };
            Ok(converted(replica, &seen, limit))
        }
        Some(Err(e)) if !error::is_missing(&e) && !error::is_conflict(&e) => {
            Err(client.refused("measure a replica", &e))
        }
        _ => Ok(None),
    }
}

fn converted(replica: &Replica, seen: &ContainerStatsResponse, limit: Option<i64>) -> Option<ReplicaStats> {
    let cpu = seen.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory = seen.memory_stats.as_ref()?;
    let usage = memory.usage?;
    // The page cache that can be had back at any time, in either version of
    // control groups.
    let cache = memory.stats.as_ref().and_then(|stats| {
        stats
            .get("total_inactive_file")
            .or_else(|| stats.get("inactive_file"))
            .copied()
    });
    let limit = limit.and_then(|limit| u64::try_from(limit).ok());
    Some(ReplicaStats {
        release: replica.identity.release,
        index: replica.identity.index,
        cpu_micros: cpu / 1000,
        memory: usage.saturating_sub(cache.unwrap_or_default()),
        memory_limit: limit.filter(|limit| (1..NO_LIMIT).contains(limit)),
    })
}
