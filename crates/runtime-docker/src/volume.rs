//! Volumes: made by name, kept over releases, removed only when asked to.

use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use nonna_engine::{Code, Error, Result};
use nonna_model::labels as l;
use nonna_model::plan::Scope;
use nonna_model::{EnvironmentId, Name, ServiceId};

use crate::client::Client;
use crate::{error, labels, names, stop};

/// This installation's volumes: all of them, or an environment's.
pub(crate) async fn list(client: &Client, environment: Option<&EnvironmentId>) -> Result<Vec<Volume>> {
    let mut wanted = vec![(l::INSTALLATION, client.installation.as_str())];
    wanted.extend(environment.map(|id| (l::ENVIRONMENT, id.as_str())));
    let options = ListVolumesOptions {
        filters: Some(labels::filter(wanted)),
    };
    let found = client
        .call(|docker| {
            let options = options.clone();
            async move { docker.list_volumes(Some(options)).await }
        })
        .await
        .map_err(|e| client.refused("list volumes", &e))?;
    Ok(found.volumes.unwrap_or_default())
}

pub(crate) async fn ensure(client: &Client, scope: &Scope, service: &ServiceId, volume: &Name) -> Result<()> {
    let name = names::volume(service, volume);
    // Asked for first, for engines differ in what they say to a second one.
    if let Some(found) = find(client, &name).await? {
        return if found.labels.get(l::INSTALLATION) == Some(&client.installation) {
            Ok(())
        } else {
            Err(Error::provider(
                Code::Conflict,
                format!("There is a volume `{name}` already, which this installation of Nonna did not make."),
            )
            .hint("If its data is not needed, remove it by hand; else copy it away first."))
        };
    }
    let request = VolumeCreateRequest {
        name: Some(name),
        driver: Some("local".into()),
        labels: Some(labels::of_volume(&client.installation, scope, service, volume)),
        ..VolumeCreateRequest::default()
    };
    client
        .call(|docker| {
            let request = request.clone();
            async move { docker.create_volume(request).await }
        })
        .await
        .map(drop)
        .map_err(|e| client.refused(&format!("make the volume {volume}"), &e))
}

async fn find(client: &Client, name: &str) -> Result<Option<Volume>> {
    match client
        .call(|docker| async move { docker.inspect_volume(name).await })
        .await
    {
        Ok(found) => Ok(Some(found)),
        Err(e) if error::is_missing(&e) => Ok(None),
        Err(e) => Err(client.refused("look at a volume", &e)),
    }
}

pub(crate) async fn remove(client: &Client, service: &ServiceId, volume: &Name) -> Result<()> {
    let name = names::volume(service, volume);
    match find(client, &name).await? {
        Some(found) if found.labels.get(l::INSTALLATION) == Some(&client.installation) => {}
        _ => return Ok(()),
    }
    stop::remove_runs(client, &[(l::SERVICE, service.as_str())], stop::Runs::All).await?;
    let name = name.as_str();
    let removed = client
        .call(|docker| async move { docker.remove_volume(name, None::<RemoveVolumeOptions>).await })
        .await;
    match removed {
        Err(e) if !error::is_missing(&e) => Err(client.refused(&format!("remove the volume {volume}"), &e)),
        _ => Ok(()),
    }
}
