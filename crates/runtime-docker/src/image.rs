//! Images: looked up, fetched, removed.

use std::time::Duration;

use bollard::errors::Error as Refusal;
use bollard::models::ImageInspect;
use bollard::query_parameters::RemoveImageOptions;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nonna_engine::event::Progress;
use nonna_engine::ports::registry::{Credential, not_let_in};
use nonna_engine::ports::runtime::{Image, Launch};
use nonna_engine::{Code, Error, Result};
use nonna_model::OrganizationId;
use nonna_model::image::{ImageReference, InvalidReference, RegistryHost};
use nonna_model::units::Bytes as Bytes64;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::{error, raw};

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
        references: found.repo_digests.unwrap_or_default(),
    }
}

pub(crate) async fn pull(
    client: &Client,
    organization: &OrganizationId,
    reference: &str,
    progress: &Progress,
) -> Result<Image> {
    let named = parse(reference)?;
    let credential = client
        .credentials
        .credential(organization, &named.registry)
        .await?;
    let asked = Asked {
        reference,
        registry: &named.registry,
        user: credential.as_ref().map(Credential::user),
        what: "fetch",
    };
    let (name, tag) = split(reference);
    let mut path = format!("/images/create?fromImage={}", raw::escape(name));
    if let Some(tag) = tag {
        path = format!("{path}&tag={}", raw::escape(tag));
    }
    talk(client, &asked, credential.as_ref(), &path, progress).await?;
    find(client, reference)
        .await?
        .ok_or_else(|| not_found(&asked, "the registry sent no image"))
}

/// Fetches the image of a release again if the engine has lost it and it is
/// known from where.
pub(crate) async fn ensure(client: &Client, launch: &Launch, progress: &Progress) -> Result<()> {
    let Some(origin) = &launch.origin else {
        return Ok(());
    };
    if find(client, &launch.image).await?.is_some() {
        return Ok(());
    }
    progress.message(format!(
        "the image of {} {} is not on this machine any more: fetching it again",
        launch.service_name, launch.release
    ));
    let fetched = pull(client, &launch.scope.organization, origin, progress).await?;
    if fetched.id == launch.image {
        return Ok(());
    }
    // A digest is of one image for ever: this engine names images otherwise.
    Err(Error::provider(
        Code::ImageNotFound,
        format!(
            "The image {} is not on this machine any more, and {origin} is known to the container engine as {}.",
            launch.image, fetched.id
        ),
    )
    .hint("Deploy again."))
}

/// What was asked of a registry, for messages.
pub(crate) struct Asked<'a> {
    pub(crate) reference: &'a str,
    pub(crate) registry: &'a RegistryHost,
    /// As whom.
    pub(crate) user: Option<&'a str>,
    /// `fetch` or `push`.
    pub(crate) what: &'a str,
}

/// Has the engine fetch or push, and tells how far it is, until it is done.
/// Answers the digest, where the engine says one.
pub(crate) async fn talk(
    client: &Client,
    asked: &Asked<'_>,
    credential: Option<&Credential>,
    path: &str,
    progress: &Progress,
) -> Result<Option<String>> {
    let words = |failure| match failure {
        raw::Failure::Unreachable(error) => error,
        raw::Failure::Words(status, said) => failed(client, asked, status, &said),
    };
    let mut teller = Teller::new(asked, progress);
    let mut digest = None;
    let mut stalled_at = Instant::now() + client.pull_stall;
    let begun = raw::post(&client.endpoint, path, asked.registry, credential);
    let mut answer = timeout(client.pull_stall, begun)
        .await
        .map_err(|_| stalled(asked, client.pull_stall))?
        .map_err(words)?;
    loop {
        let left = stalled_at.saturating_duration_since(Instant::now());
        let said = match timeout(left, answer.next()).await {
            Err(_) => return Err(stalled(asked, client.pull_stall)),
            Ok(said) => said.map_err(words)?,
        };
        let Some(said) = said else { return Ok(digest) };
        if let Some(error) = &said.error {
            return Err(failed(client, asked, 200, error));
        }
        if let Some(pushed) = said.aux.as_ref().and_then(|aux| aux.digest.clone()) {
            digest = Some(pushed);
        }
        if teller.take(&said) {
            stalled_at = Instant::now() + client.pull_stall;
        }
    }
}

pub(crate) fn parse(reference: &str) -> Result<ImageReference> {
    reference.parse().map_err(|e: InvalidReference| {
        Error::user(
            Code::InvalidInput,
            format!("`{reference}` is not an image reference."),
        )
        .hint("An image is written like `nginx`, `nginx:1.27` or `ghcr.io/owner/app:v1`.")
        .said(e.to_string())
    })
}

pub(crate) async fn export(client: &Client, image: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
    if find(client, image).await?.is_none() {
        return Err(Error::provider(
            Code::ImageNotFound,
            format!("The image {image} is not on this machine any more."),
        ));
    }
    let (client, image) = (client.clone(), image.to_owned());
    let pieces = client.docker.export_image(&image);
    Ok(pieces
        .map(move |piece| piece.map_err(|e| client.refused(&format!("export the image {image}"), &e)))
        .boxed())
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

/// Tells how far a fetch or a push is, not too often.
struct Teller<'a> {
    asked: &'a Asked<'a>,
    progress: &'a Progress,
    layers: std::collections::BTreeMap<String, (i64, i64)>,
    last: Option<(Option<String>, Option<String>, Option<i64>)>,
    told: Option<Instant>,
}

impl<'a> Teller<'a> {
    fn new(asked: &'a Asked<'a>, progress: &'a Progress) -> Self {
        Self {
            asked,
            progress,
            layers: std::collections::BTreeMap::new(),
            last: None,
            told: None,
        }
    }

    /// Takes what the engine says. Whether anything moved.
    fn take(&mut self, said: &raw::Said) -> bool {
        let detail = said.progress.as_ref();
        let current = detail.and_then(|detail| detail.current);
        let now = (said.id.clone(), said.status.clone(), current);
        let status = said.status.as_deref().unwrap_or_default();
        let moved = self.last.as_ref() != Some(&now) && !status.starts_with("Retrying");
        self.last = Some(now);
        if let (Some(id), Some(current), Some(total)) = (
            &said.id,
            current,
            detail.and_then(|detail| detail.total).filter(|total| *total > 0),
        ) && matches!(status, "Downloading" | "Pushing")
        {
            // What is packed on its way may turn out longer than it said.
            self.layers.insert(id.clone(), (current.min(total), total));
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
            Bytes64(u64::try_from(sum).unwrap_or_default())
        };
        self.progress.message(format!(
            "{}ing {}: {} of {}",
            self.asked.what,
            self.asked.reference,
            sum(|(current, _)| *current),
            sum(|(_, total)| *total)
        ));
    }
}

fn stalled(asked: &Asked<'_>, stall: Duration) -> Error {
    let did = if asked.what == "push" { "taken" } else { "sent" };
    Error::provider(
        Code::RegistryUnavailable,
        format!(
            "The registry of {} has {did} nothing for {} s.",
            asked.reference,
            stall.as_secs()
        ),
    )
    .hint("Try again; if it stays so, look at the registry's status and at this machine's network.")
    .retry()
}

fn not_found(asked: &Asked<'_>, said: &str) -> Error {
    let reference = asked.reference;
    let error = Error::user(Code::ImageNotFound, format!("There is no image {reference}."));
    let error = match asked.user {
        Some(user) => error.hint(format!(
            "Check its name and tag, and that `{user}` may read it: some registries hide what one may not."
        )),
        None => error.hint(format!(
            "Check its name and tag. If it is private: `nonna registry login {}`.",
            asked.registry
        )),
    };
    error.said(said)
}

/// Registries tell apart little in numbers, and the engine passes on less: the
/// words have to be read.
fn failed(client: &Client, asked: &Asked<'_>, status: u16, said: &str) -> Error {
    classify(asked, said).unwrap_or_else(|| {
        let refusal = Refusal::DockerResponseServerError {
            status_code: status,
            message: said.to_owned(),
        };
        client.refused(&format!("{} {}", asked.what, asked.reference), &refusal)
    })
}

fn classify(asked: &Asked<'_>, said: &str) -> Option<Error> {
    const AUTH: [&str; 8] = [
        "unauthorized",
        "authentication required",
        "no basic auth credentials",
        "incorrect username or password",
        "insufficient_scope",
        "requested access to the resource is denied",
        "denied:",
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
    let reference = asked.reference;
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
    // Before the words for what is denied: the engine says this, and "denied",
    // both of what is missing and of what is hidden.
    if said.contains("pull access denied") && asked.user.is_some() {
        return Some(not_found(asked, said));
    }
    if has(&AUTH) && !said.contains("pull access denied") {
        let what = format!("{} {reference}", asked.what);
        return Some(not_let_in(asked.registry, asked.user, &what).said(said));
    }
    has(&MISSING).then(|| not_found(asked, said))
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
        let registry: RegistryHost = "r.example".parse().unwrap();
        let asked = |user| Asked {
            reference: "r.example/x",
            registry: &registry,
            user,
            what: "fetch",
        };
        let code = |said| classify(&asked(None), said).map(|error| error.code);
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
        let refused = "Get https://r/v2/: unauthorized: authentication required";
        let stranger = classify(&asked(None), refused).unwrap();
        assert!(stranger.message.contains("none are stored"), "{stranger:?}");
        assert!(stranger.hint.unwrap().contains("nonna registry login r.example"));
        let known = classify(&asked(Some("alice")), refused).unwrap();
        assert!(known.message.contains("`alice`"), "{known:?}");
        assert!(known.hint.unwrap().contains("--username alice"));
    }
}
