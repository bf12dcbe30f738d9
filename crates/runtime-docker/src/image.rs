//! Images: looked up, fetched, removed.

use std::time::Duration;

use bollard::errors::Error as Refusal;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{CreateImageOptions, RemoveImageOptions};
use futures_util::StreamExt;
use nonna_engine::event::Progress;
use nonna_engine::ports::runtime::Image;
use nonna_engine::{Code, Error, Result};
use nonna_model::units::Bytes;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::error;

/// No more than one message of progress in this time.
const TELL_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn find(client: &Client, reference: &str) -> Result<Option<Image>> {
    let found = client
        .call(|docker| async move { docker.inspect_image(reference).await })
        .await;
    match found {
        Ok(found) => Ok(Some(image(found, reference))),
        Err(e) if error::is_missing(&e) => Ok(None),
        Err(e) => Err(client.refused(&format!("look at the image {reference}"), &e)),
    }
}

fn image(found: ImageInspect, reference: &str) -> Image {
    let mut ports: Vec<u16> = found
        .config
        .and_then(|config| config.exposed_ports)
        .unwrap_or_default()
        .iter()
        .filter_map(|text| match text.split_once('/') {
            Some((port, "tcp")) => port.parse().ok(),
            Some(_) => None,
            None => text.parse().ok(),
        })
        .collect();
    ports.sort_unstable();
    Image {
        id: found.id.unwrap_or_else(|| reference.to_owned()),
        size: found
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        ports,
    }
}

pub(crate) async fn pull(client: &Client, reference: &str, progress: &Progress) -> Result<Image> {
    let (name, tag) = split(reference);
    let options = CreateImageOptions {
        from_image: Some(name.to_owned()),
        tag: tag.map(str::to_owned),
        ..CreateImageOptions::default()
    };
    let mut said = Box::pin(client.docker.create_image(Some(options), None, None));
    let mut teller = Teller::new(reference, progress);
    let mut stalled_at = Instant::now() + client.pull_stall;
    loop {
        let left = stalled_at.saturating_duration_since(Instant::now());
        match timeout(left, said.next()).await {
            Err(_) => return Err(stalled(reference, client.pull_stall)),
            Ok(None) => break,
            Ok(Some(Err(e))) => return Err(failed(client, reference, &e)),
            Ok(Some(Ok(info))) => {
                if teller.take(&info) {
                    stalled_at = Instant::now() + client.pull_stall;
                }
            }
        }
    }
    find(client, reference)
        .await?
        .ok_or_else(|| not_found(reference, "the registry sent no image"))
}

/// The name and the tag. Without either tag or digest it is `latest`, lest the
/// engine fetches every tag there is.
fn split(reference: &str) -> (&str, Option<&str>) {
    if reference.contains('@') {
        return (reference, None);
    }
    let name_at = reference.rfind('/').map_or(0, |at| at + 1);
    match reference[name_at..].rfind(':') {
        Some(at) => (&reference[..name_at + at], Some(&reference[name_at + at + 1..])),
        None => (reference, Some("latest")),
    }
}

/// Tells how far a fetch is, not too often.
struct Teller<'a> {
    reference: &'a str,
    progress: &'a Progress,
    layers: std::collections::BTreeMap<String, (i64, i64)>,
    last: Option<(Option<String>, Option<String>, Option<i64>)>,
    told: Option<Instant>,
}

impl<'a> Teller<'a> {
    fn new(reference: &'a str, progress: &'a Progress) -> Self {
        Self {
            reference,
            progress,
            layers: std::collections::BTreeMap::new(),
            last: None,
            told: None,
        }
    }

    /// Takes what the engine says. Whether anything moved.
    fn take(&mut self, info: &CreateImageInfo) -> bool {
        let detail = info.progress_detail.as_ref();
        let current = detail.and_then(|detail| detail.current);
        let now = (info.id.clone(), info.status.clone(), current);
        let status = info.status.as_deref().unwrap_or_default();
        let moved = self.last.as_ref() != Some(&now) && !status.starts_with("Retrying");
        self.last = Some(now);
        if let (Some(id), Some(current), Some(total)) = (
            &info.id,
            current,
            detail.and_then(|detail| detail.total).filter(|total| *total > 0),
        ) && status == "Downloading"
        {
            self.layers.insert(id.clone(), (current, total));
        }
        if moved && !self.layers.is_empty() {
            self.tell();
        }
        moved
    }

    fn tell(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let sum = |of: fn(&(i64, i64)) -> i64| {
            let sum: i64 = self.layers.values().map(of).sum();
            Bytes(u64::try_from(sum).unwrap_or_default())
        };
        self.progress.message(format!(
            "fetching {}: {} of {}",
            self.reference,
            sum(|(current, _)| *current),
            sum(|(_, total)| *total)
        ));
    }
}

fn stalled(reference: &str, stall: Duration) -> Error {
    Error::provider(
        Code::RegistryUnavailable,
        format!(
            "The registry of {reference} has sent nothing for {} s.",
            stall.as_secs()
        ),
    )
    .hint("Try again; if it stays so, look at the registry's status and at this machine's network.")
    .retry()
}

fn not_found(reference: &str, said: &str) -> Error {
    Error::user(Code::ImageNotFound, format!("There is no image {reference}."))
        .hint("Check its name and tag. If it is private, log this machine's container engine in to the registry.")
        .said(said)
}

/// Registries tell apart little in numbers, and the engine passes on less: the
/// words have to be read.
fn failed(client: &Client, reference: &str, refusal: &Refusal) -> Error {
    if error::is_unreachable(refusal) {
        return client.refused(&format!("fetch {reference}"), refusal);
    }
    let said = error::words(refusal);
    classify(reference, &said).unwrap_or_else(|| client.refused(&format!("fetch {reference}"), refusal))
}

fn classify(reference: &str, said: &str) -> Option<Error> {
    const AUTH: [&str; 4] = [
        "unauthorized",
        "authentication required",
        "no basic auth credentials",
        "403 Forbidden",
    ];
    const MISSING: [&str; 5] = [
        "manifest unknown",
        "pull access denied",
        "not found",
        "name unknown",
        "does not exist",
    ];
    const DOWN: [&str; 12] = [
        "dial tcp",
        "i/o timeout",
        "no such host",
        "connection refused",
        "connection reset",
        "TLS handshake",
        "x509:",
        "EOF",
        "toomanyrequests",
        "received unexpected HTTP status: 5",
        "Client.Timeout",
        "server gave HTTP response to HTTPS client",
    ];
    let has = |list: &[&str]| list.iter().any(|words| said.contains(words));
    if let Some(full) = error::disk_full(said) {
        return Some(full);
    }
    if said.contains("invalid reference format") || said.contains("invalid tag format") {
        return Some(
            Error::user(
                Code::InvalidInput,
                format!("`{reference}` is not an image reference."),
            )
            .hint("An image is written like `nginx`, `nginx:1.27` or `ghcr.io/owner/app:v1`.")
            .said(said),
        );
    }
    // Before "not found", which a name server says too.
    if has(&DOWN) {
        return Some(
            Error::provider(
                Code::RegistryUnavailable,
                format!("The registry of {reference} cannot be used at the moment."),
            )
            .hint("Look at this machine's network and the registry's status, then try again.")
            .said(said)
            .retry(),
        );
    }
    if has(&AUTH) {
        return Some(
            Error::user(
                Code::RegistryAuth,
                format!("The registry does not let us have {reference}."),
            )
            .hint("Log this machine's container engine in to the registry.")
            .said(said),
        );
    }
    has(&MISSING).then(|| not_found(reference, said))
}

pub(crate) async fn remove(client: &Client, image: &str) -> Result<()> {
    let removed = client
        .call(|docker| async move { docker.remove_image(image, None::<RemoveImageOptions>, None).await })
        .await;
    match removed {
        Ok(_) => Ok(()),
        // Gone already, or in use.
        Err(e) if error::is_missing(&e) || error::is_conflict(&e) => Ok(()),
        Err(e) => Err(client.refused(&format!("remove the image {image}"), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_their_tag() {
        assert_eq!(split("nginx"), ("nginx", Some("latest")));
        assert_eq!(split("nginx:1.27"), ("nginx", Some("1.27")));
        assert_eq!(split("host:5000/a/b"), ("host:5000/a/b", Some("latest")));
        assert_eq!(split("host:5000/a/b:x"), ("host:5000/a/b", Some("x")));
        assert_eq!(split("a@sha256:00"), ("a@sha256:00", None));
    }

    #[test]
    fn what_a_registry_says_is_told_apart() {
        let code = |said| classify("x", said).map(|error| error.code);
        assert_eq!(
            code("manifest for x not found: manifest unknown"),
            Some(Code::ImageNotFound)
        );
        assert_eq!(
            code("pull access denied for x, repository does not exist or may require 'docker login'"),
            Some(Code::ImageNotFound)
        );
        assert_eq!(
            code("Get https://r/v2/: unauthorized: authentication required"),
            Some(Code::RegistryAuth)
        );
        assert_eq!(
            code("Get https://r/v2/: dial tcp: lookup r: no such host"),
            Some(Code::RegistryUnavailable)
        );
        assert_eq!(
            code("write /var/lib/docker/tmp/x: no space left on device"),
            Some(Code::DiskFull)
        );
        assert_eq!(code("invalid reference format"), Some(Code::InvalidInput));
        assert_eq!(code("something new"), None);
    }
}
