//! Where what replicas print can be read without the engine's help, and
//! replicas that print into pipes of Nonna's.

use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, Mount, MountType};
use nonna_engine::Result;
use nonna_engine::ports::output::{OutputFile, OutputFormat, OutputPlace, PreparedPipes};
use nonna_engine::ports::runtime::Launch;
use nonna_model::labels as l;

use crate::client::Client;
use crate::observe;

/// Where a replica's output is; `None` for one that is gone.
pub(crate) async fn place(client: &Client, id: &str) -> Result<Option<OutputPlace>> {
    let Some(seen) = observe::inspect(client, id).await? else {
        return Ok(None);
    };
    Ok(Some(OutputPlace {
        pipes: key_of(&seen),
        file: file_of(&seen),
    }))
}

/// The file that the engine writes, if this process can read it: engines may
/// be on another machine, or in a container.
fn file_of(seen: &ContainerInspectResponse) -> Option<OutputFile> {
    let driver = seen.host_config.as_ref()?.log_config.as_ref()?.typ.clone()?;
    let format = match driver.as_str() {
        "json-file" => OutputFormat::Json,
        "k8s-file" => OutputFormat::Kubernetes,
        _ => return None,
    };
    let path = PathBuf::from(seen.log_path.clone()?);
    // Before it is started for the first time only its folder is there.
    let is_readable = path.is_absolute()
        && match std::fs::File::open(&path) {
            Ok(_) => true,
            Err(error) => {
                error.kind() == std::io::ErrorKind::NotFound
                    && path.parent().is_some_and(|folder| folder.read_dir().is_ok())
            }
        };
    is_readable.then_some(OutputFile { path, format })
}

fn key_of(seen: &ContainerInspectResponse) -> Option<String> {
    seen.config.as_ref()?.labels.as_ref()?.get(l::OUTPUT).cloned()
}

/// The key of a replica's pipes, if it has any.
pub(crate) async fn key(client: &Client, id: &str) -> Result<Option<String>> {
    if client.pipes.is_none() {
        return Ok(None);
    }
    let seen = observe::inspect(client, id).await?;
    Ok(seen.as_ref().and_then(key_of))
}

/// Has a replica that will be made print into pipes; answers their key.
/// Where that cannot be, it prints as ever.
pub(crate) async fn redirect(
    client: &Client,
    launch: &Launch,
    body: &mut ContainerCreateBody,
) -> Option<String> {
    let pipes = client.pipes.clone()?;
    let image = client
        .call(|docker| async move { docker.inspect_image(&launch.image).await })
        .await
        .ok()?;
    let config = image.config.unwrap_or_default();
    let command = command(
        body,
        config.entrypoint.unwrap_or_default(),
        config.cmd.unwrap_or_default(),
    );
    if command.is_empty() {
        // The engine says what is wrong with that.
        return None;
    }
    let prepared = match tokio::task::spawn_blocking(move || pipes.prepare()).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(error)) => {
            tracing::warn!(%error, service = %launch.service_name, "a replica is started without pipes for its output");
            return None;
        }
        Err(error) => {
            tracing::warn!(%error, "pipes for output could not be made");
            return None;
        }
    };
    let key = prepared.key.clone();
    if image
        .architecture
        .is_some_and(|architecture| architecture != prepared.architecture)
    {
        discard(client, Some(key)).await;
        return None;
    }
    apply(body, &prepared, command);
    Some(key)
}

/// What the container would execute: an entrypoint of its own leaves the
/// image's command out, as the engine does.
fn command(body: &ContainerCreateBody, entrypoint: Vec<String>, command: Vec<String>) -> Vec<String> {
    let (entrypoint, image_command) = match body.entrypoint.clone() {
        Some(own) => (own, Vec::new()),
        None => (entrypoint, command),
    };
    let command = body.cmd.clone().unwrap_or(image_command);
    // An entrypoint of one empty text is none.
    let entrypoint = entrypoint.into_iter().filter(|part| !part.is_empty());
    entrypoint.chain(command).collect()
}

fn apply(body: &mut ContainerCreateBody, prepared: &PreparedPipes, command: Vec<String>) {
    body.entrypoint = Some(vec![prepared.launcher.clone()]);
    body.cmd = Some(command);
    body.labels
        .get_or_insert_default()
        .insert(l::OUTPUT.into(), prepared.key.clone());
    let mounts = prepared.mounts.iter().map(|(from, to)| Mount {
        typ: Some(MountType::BIND),
        source: Some(from.display().to_string()),
        target: Some(to.clone()),
        read_only: Some(true),
        ..Mount::default()
    });
    let host = body.host_config.get_or_insert_default();
    host.mounts.get_or_insert_default().extend(mounts);
}

/// The replica of these pipes is gone, or never came to be.
pub(crate) async fn discard(client: &Client, key: Option<String>) {
    if let (Some(pipes), Some(key)) = (client.pipes.clone(), key) {
        // It only leaves a note.
        let _ = tokio::task::spawn_blocking(move || pipes.removed(&key)).await;
    }
}

/// Adds the last lines of a replica that prints into pipes.
pub(crate) async fn add_last_lines(client: &Client, id: &str, count: usize, text: &mut String) {
    let (Some(pipes), Ok(Some(key))) = (client.pipes.clone(), key(client, id).await) else {
        return;
    };
    let lines = tokio::task::spawn_blocking(move || pipes.last_lines(&key, count)).await;
    for line in lines.unwrap_or_default() {
        text.push_str(&String::from_utf8_lossy(&line));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    #[test]
    fn the_command_is_what_the_engine_would_execute() {
        let body = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| ContainerCreateBody {
            entrypoint: entrypoint.map(parts),
            cmd: cmd.map(parts),
            ..ContainerCreateBody::default()
        };
        let of = |body: &ContainerCreateBody| command(body, parts(&["/e", "-x"]), parts(&["a"]));
        assert_eq!(of(&body(None, None)), ["/e", "-x", "a"]);
        assert_eq!(of(&body(None, Some(&["b"]))), ["/e", "-x", "b"]);
        assert_eq!(of(&body(Some(&["/f"]), None)), ["/f"]);
        assert_eq!(of(&body(Some(&["/f"]), Some(&["b"]))), ["/f", "b"]);
        assert_eq!(of(&body(Some(&[""]), Some(&["b"]))), ["b"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_place() {
        let temp = tempfile::tempdir().unwrap();
        let seen = |driver: &str, path: &std::path::Path| ContainerInspectResponse {
            log_path: Some(path.display().to_string()),
            host_config: Some(bollard::models::HostConfig {
                log_config: Some(bollard::models::HostConfigLogConfig {
                    typ: Some(driver.into()),
                    config: None,
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let path = temp.path().join("c-json.log");
        let found = file_of(&seen("json-file", &path)).unwrap();
        assert_eq!((found.path, found.format), (path.clone(), OutputFormat::Json));
        assert!(file_of(&seen("k8s-file", &path)).is_some());
        assert_eq!(file_of(&seen("journald", &path)), None);
        assert_eq!(file_of(&seen("json-file", &temp.path().join("no/c.log"))), None);
        assert_eq!(file_of(&seen("json-file", std::path::Path::new(""))), None);
    }
}
