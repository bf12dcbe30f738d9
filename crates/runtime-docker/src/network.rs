//! The private network of an environment: one bridge, which no other
//! environment's reaches.

use std::collections::{HashMap, HashSet};

use bollard::errors::Error as Refusal;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use nonna_engine::{Code, Error, Result};
use nonna_model::EnvironmentId;
use nonna_model::labels as l;
use nonna_model::plan::Scope;

use crate::client::Client;
use crate::labels::Labels;
use crate::{error, job, labels, names, podman, stop};

/// A network that exists.
pub(crate) struct Network {
    pub id: String,
    pub labels: Labels,
    pub subnets: Vec<String>,
}

/// This installation's networks: all of them, or an environment's. Sorted by
/// their engine's ids.
pub(crate) async fn list(client: &Client, environment: Option<&EnvironmentId>) -> Result<Vec<Network>> {
    let mut found = every(client).await?;
    found.retain(|network| {
        network.labels.get(l::INSTALLATION) == Some(&client.installation)
            && environment
                .is_none_or(|id| network.labels.get(l::ENVIRONMENT).map(String::as_str) == Some(id.as_str()))
    });
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Every network of the engine, whoever made it.
async fn every(client: &Client) -> Result<Vec<Network>> {
    let refused = |e: &Refusal| client.refused("list networks", e);
    if client.podman {
        return client
            .call(|_| podman::networks(&client.endpoint))
            .await
            .map_err(|e| refused(&e));
    }
    let found = client
        .call(|docker| async move { docker.list_networks(None::<ListNetworksOptions>).await })
        .await
        .map_err(|e| refused(&e))?;
    Ok(found.into_iter().filter_map(converted).collect())
}

fn converted(network: bollard::models::Network) -> Option<Network> {
    let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Some(Network {
        id: network.id?,
        labels: network.labels.unwrap_or_default(),
        subnets: configs.into_iter().filter_map(|config| config.subnet).collect(),
    })
}

pub(crate) async fn ensure(client: &Client, scope: &Scope) -> Result<()> {
    if !list(client, Some(&scope.environment)).await?.is_empty() {
        return Ok(());
    }
    let mut subnet = None;
    loop {
        let request = request(client, scope, subnet.as_deref());
        let made = client
            .call(|docker| {
                let request = request.clone();
                async move { docker.create_network(request).await }
            })
            .await;
        match made {
            Ok(_) => break,
            Err(e) if error::is_conflict(&e) => {
                // Ours from a moment ago, or somebody else's.
                if list(client, Some(&scope.environment)).await?.is_empty() {
                    return Err(not_ours(&names::network(&scope.environment)));
                }
                return Ok(());
            }
            // The engine's own pool is used up: take of ours.
            Err(e) if subnet.is_none() && is_pool_exhausted(&error::words(&e)) => {
                subnet = Some(free_subnet(client).await?);
            }
            Err(e) => return Err(client.refused("make the environment's network", &e)),
        }
    }
    remove_doubles(client, &scope.environment).await
}

fn request(client: &Client, scope: &Scope, subnet: Option<&str>) -> NetworkCreateRequest {
    // Docker keeps bridges apart by itself; Podman has to be told to.
    let options = client
        .podman
        .then(|| HashMap::from([("isolate".to_owned(), "true".to_owned())]));
    NetworkCreateRequest {
        name: names::network(&scope.environment),
        driver: Some("bridge".into()),
        labels: Some(labels::of_environment(&client.installation, scope)),
        options,
        ipam: subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_owned()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        ..NetworkCreateRequest::default()
    }
}

/// Docker permits two networks of one name. Where a request that was cut off
/// and its repetition both made one, all but the first go.
async fn remove_doubles(client: &Client, environment: &EnvironmentId) -> Result<()> {
    for double in list(client, Some(environment)).await?.iter().skip(1) {
        remove_by_id(client, &double.id).await?;
    }
    Ok(())
}

pub(crate) async fn remove(client: &Client, environment: &EnvironmentId) -> Result<()> {
    for network in list(client, Some(environment)).await? {
        // One-off commands that are still under way end with their network.
        let ours = [(l::ENVIRONMENT, environment.as_str())];
        stop::remove_runs(client, &ours, stop::Runs::All).await?;
        job::remove_labelled(client, &ours).await?;
        remove_by_id(client, &network.id).await?;
    }
    Ok(())
}

async fn remove_by_id(client: &Client, id: &str) -> Result<()> {
    let removed = client
        .call(|docker| async move { docker.remove_network(id).await })
        .await;
    match removed {
        Err(e) if !error::is_missing(&e) => Err(client.refused("remove the environment's network", &e)),
        _ => Ok(()),
    }
}

fn not_ours(name: &str) -> Error {
    Error::provider(
        Code::Conflict,
        format!("There is a network `{name}` already, which this installation of Nonna did not make."),
    )
    .hint("Another installation may have been moved or restored here; remove its network by hand if it is not needed.")
}

fn is_pool_exhausted(said: &str) -> bool {
    said.contains("non-overlapping IPv4 address pool")
        || said.contains("predefined address pools have been fully subnetted")
        || said.contains("could not find free subnet")
}

/// A /24 of our pool that no network of the engine has.
async fn free_subnet(client: &Client) -> Result<String> {
    let networks = every(client).await?;
    let taken: HashSet<String> = networks.into_iter().flat_map(|network| network.subnets).collect();
    let (a, b) = client.subnet_pool;
    (0..=255_u8)
        .map(|c| format!("{a}.{b}.{c}.0/24"))
        .find(|subnet| !taken.contains(subnet))
        .ok_or_else(|| {
            Error::provider(
                Code::LimitExceeded,
                format!("All 256 private networks of {a}.{b}.0.0/16 are in use."),
            )
            .hint("Destroy environments that are not needed, or give the container engine more addresses (`default-address-pools`).")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_address_pool_is_recognised() {
        assert!(is_pool_exhausted(
            "400: could not find an available, non-overlapping IPv4 address pool among the defaults"
        ));
        assert!(!is_pool_exhausted("500: permission denied"));
    }
}
