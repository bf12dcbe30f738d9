//! What is there: by labels, in one call a kind of thing, and a look at each
//! replica for what a list does not tell.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use nonna_engine::Result;
use nonna_model::labels as l;
use nonna_model::observed::{Observed, ObservedReplica, ObservedVolume, ReplicaState};
use nonna_model::{EnvironmentId, Name, ReleaseNumber, ServiceId};

use crate::client::Client;
use crate::labels::{Identity, ROLE_REPLICA};
use crate::{error, labels, names, network, volume};

/// How many replicas are looked at at once.
const AT_ONCE: usize = 16;

/// A replica's container.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub id: String,
    pub identity: Identity,
}

/// This installation's replicas that also carry these labels, in any state,
/// ordered by service, release and index.
pub(crate) async fn replicas(client: &Client, wanted: &[(&str, &str)]) -> Result<Vec<Replica>> {
    let mut found: Vec<_> = containers(client, ROLE_REPLICA, wanted)
        .await?
        .into_iter()
        .filter_map(|container| {
            Some(Replica {
                id: container.id?,
                identity: Identity::read(&container.labels?)?,
            })
        })
        .collect();
    found.sort_by(|a, b| {
        let key = |r: &Replica| (r.identity.service.clone(), r.identity.release, r.identity.index);
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// A service's replicas.
pub(crate) async fn replicas_of(client: &Client, service: &ServiceId) -> Result<Vec<Replica>> {
    replicas(client, &[(l::SERVICE, service.as_str())]).await
}

/// This installation's containers of this role that also carry these labels.
pub(crate) async fn containers(
    client: &Client,
    role: &str,
    wanted: &[(&str, &str)],
) -> Result<Vec<ContainerSummary>> {
    let ours = [(l::INSTALLATION, client.installation.as_str()), (l::ROLE, role)];
    let options = ListContainersOptions {
        all: true,
        filters: Some(labels::filter(ours.into_iter().chain(wanted.iter().copied()))),
        ..ListContainersOptions::default()
    };
    client
        .call(|docker| {
            let options = options.clone();
            async move { docker.list_containers(Some(options)).await }
        })
        .await
        .map_err(|e| client.refused("list containers", &e))
}

/// All the engine knows of a container; `None` if it is gone.
pub(crate) async fn inspect(client: &Client, id: &str) -> Result<Option<ContainerInspectResponse>> {
    let found = client
        .call(|docker| async move {
            docker
                .inspect_container(id, None::<InspectContainerOptions>)
                .await
        })
        .await;
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if error::is_missing(&e) => Ok(None),
        Err(e) => Err(client.refused("look at a container", &e)),
    }
}

pub(crate) async fn one(client: &Client, environment: &EnvironmentId) -> Result<Observed> {
    let found = gather(client, Some(environment)).await?;
    let nothing = || Observed::nothing(environment.clone());
    Ok(found
        .into_iter()
        .find(|observed| observed.environment == *environment)
        .unwrap_or_else(nothing))
}

pub(crate) async fn all(client: &Client) -> Result<Vec<Observed>> {
    gather(client, None).await
}

async fn gather(client: &Client, environment: Option<&EnvironmentId>) -> Result<Vec<Observed>> {
    let only: Vec<_> = environment
        .map(|id| (l::ENVIRONMENT, id.as_str()))
        .into_iter()
        .collect();
    let (networks, volumes, replicas) = tokio::try_join!(
        network::list(client, environment),
        volume::list(client, environment),
        observed_replicas(client, &only),
    )?;
    let mut found = BTreeMap::<EnvironmentId, Observed>::new();
    let mut at = |id: EnvironmentId, change: &dyn Fn(&mut Observed)| {
        change(found.entry(id.clone()).or_insert_with(|| Observed::nothing(id)));
    };
    for network in networks {
        if let Some(id) = parsed(&network.labels, l::ENVIRONMENT) {
            at(id, &|observed| observed.network = true);
        }
    }
    for volume in volumes {
        let ids = (
            parsed(&volume.labels, l::ENVIRONMENT),
            parsed::<ServiceId>(&volume.labels, l::SERVICE),
            parsed::<Name>(&volume.labels, l::VOLUME),
        );
        if let (Some(id), Some(service), Some(name)) = ids {
            at(id, &|observed| {
                observed.volumes.push(ObservedVolume {
                    service: service.clone(),
                    name: name.clone(),
                });
            });
        }
    }
    for (id, replica) in replicas {
        at(id, &|observed| observed.replicas.push(replica.clone()));
    }
    let mut found: Vec<_> = found.into_values().collect();
    for observed in &mut found {
        observed
            .volumes
            .sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        observed
            .replicas
            .sort_by(|a, b| (&a.service, a.release, a.index).cmp(&(&b.service, b.release, b.index)));
    }
    Ok(found)
}

fn parsed<T: std::str::FromStr>(labels: &labels::Labels, key: &str) -> Option<T> {
    labels.get(key)?.parse().ok()
}

async fn observed_replicas(
    client: &Client,
    wanted: &[(&str, &str)],
) -> Result<Vec<(EnvironmentId, ObservedReplica)>> {
    let found = replicas(client, wanted).await?;
    stream::iter(found)
        .map(|replica| async move {
            let seen = inspect(client, &replica.id).await?;
            Ok(seen.map(|seen| {
                let environment = replica.identity.environment.clone();
                (environment, observed(&replica, &seen))
            }))
        })
        .buffered(AT_ONCE)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

fn observed(replica: &Replica, seen: &ContainerInspectResponse) -> ObservedReplica {
    let state = state(seen);
    let address = state
        .is_running()
        .then(|| address(seen, &replica.identity))
        .flatten();
    ObservedReplica {
        id: replica.id.clone(),
        service: replica.identity.service.clone(),
        release: replica.identity.release,
        index: replica.identity.index,
        state,
        address,
        started_at: started_at(seen),
        restarts: restarts(seen),
    }
}

/// How a container is.
pub(crate) fn state(seen: &ContainerInspectResponse) -> ReplicaState {
    use ContainerStateStatusEnum as S;
    let Some(state) = &seen.state else {
        return ReplicaState::Other {
            words: "unknown".into(),
        };
    };
    match state.status {
        Some(S::CREATED) => ReplicaState::Created,
        Some(S::RUNNING) => ReplicaState::Running,
        Some(S::RESTARTING) => ReplicaState::Restarting,
        Some(S::EXITED) => ReplicaState::Exited {
            code: state.exit_code.unwrap_or_default(),
            out_of_memory: state.oom_killed.unwrap_or_default(),
        },
        Some(other) => ReplicaState::Other {
            words: other.to_string(),
        },
        None => ReplicaState::Other {
            words: "unknown".into(),
        },
    }
}

/// How often the engine has restarted it.
pub(crate) fn restarts(seen: &ContainerInspectResponse) -> u32 {
    u32::try_from(seen.restart_count.unwrap_or_default()).unwrap_or(u32::MAX)
}

/// When it was last started: milliseconds since 1970, UTC.
fn started_at(seen: &ContainerInspectResponse) -> Option<i64> {
    let text = seen.state.as_ref()?.started_at.as_ref()?;
    let at = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    // The engine writes the year 1 for never.
    (at > 0).then_some(at)
}

/// Its address on its environment's network, and its service's port.
pub(crate) fn address(seen: &ContainerInspectResponse, identity: &Identity) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip(seen, &identity.environment)?, identity.port?))
}

/// Its address on its environment's network.
pub(crate) fn ip(seen: &ContainerInspectResponse, environment: &EnvironmentId) -> Option<IpAddr> {
    let networks = seen.network_settings.as_ref()?.networks.as_ref()?;
    let endpoint = networks.get(&names::network(environment))?;
    endpoint.ip_address.as_ref()?.parse().ok()
}

/// The newest release's first replica that runs, or the one of this index.
pub(crate) async fn running(
    client: &Client,
    service: &ServiceId,
    index: Option<u32>,
) -> Result<Option<Replica>> {
    let mut found = replicas_of(client, service).await?;
    found.sort_by_key(|r| {
        (
            std::cmp::Reverse::<ReleaseNumber>(r.identity.release),
            r.identity.index,
        )
    });
    for replica in found {
        if index.is_some_and(|index| index != replica.identity.index) {
            continue;
        }
        let seen = inspect(client, &replica.id).await?;
        if seen.is_some_and(|seen| state(&seen).is_running()) {
            return Ok(Some(replica));
        }
    }
    Ok(None)
}
