//! Putting a build into a registry: pushed by the container engine, signed and
//! described by us.

use async_trait::async_trait;
use nonna_engine::event::Progress;
use nonna_engine::ports::Publisher;
use nonna_engine::ports::registry::Publication;
use nonna_engine::{Error, Result};
use nonna_model::service::Push;
use nonna_registry::sign;
use tokio_util::sync::CancellationToken;

use super::Registries;

/// How many digits of an image's id stand in its tag.
const DIGITS: usize = 12;

/// The tag of a release's image: `v7-0123456789ab`. The number tells people
/// which release it is; the digits keep two environments apart that push to
/// one repository, both of which have a v7.
fn tag(publication: &Publication) -> String {
    let image = &publication.image;
    let digits: String = image
        .strip_prefix("sha256:")
        .unwrap_or(image)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(DIGITS)
        .collect();
    format!("{}-{digits}", publication.release)
}

#[async_trait]
impl Publisher for Registries {
    async fn publish(
        &self,
        publication: &Publication,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<String> {
        let organization = &publication.scope.organization;
        let repository = &publication.repository;
        let reference = format!("{repository}:{}", tag(publication));
        if self.runtime.image(&publication.image).await?.is_none()
            && let Some(known) = self.origin(&publication.image).await?
        {
            progress.message(format!(
                "the image is not on this machine any more: fetching {known}"
            ));
            self.runtime.pull(organization, &known, progress, cancel).await?;
        }
        progress.message(format!("pushing {reference}"));
        let digest = self
            .runtime
            .push(organization, &publication.image, &reference, progress, cancel)
            .await?;
        let origin = format!("{repository}@{digest}");
        let work = async {
            let (remote, digest) = self.repository(organization, &origin).await?;
            sign::sign(&remote, &digest, &self.key(organization).await?).await?;
            // Where the next build on another machine looks for its cache.
            if let Some(manifest) = remote.manifest(&digest).await? {
                let media_type = media_type(&manifest.media_type)?;
                remote
                    .put_manifest(Push::CACHE_TAG, media_type, manifest.bytes)
                    .await?;
            }
            self.attach_contents(publication, &remote, &digest, progress)
                .await
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::cancelled()),
            done = work => done?,
        }
        progress.message(format!("pushed and signed {origin}"));
        Ok(origin)
    }
}

/// The media types under which an engine pushes an image.
fn media_type(found: &str) -> Result<&'static str> {
    const KNOWN: [&str; 4] = [
        nonna_registry::client::OCI_MANIFEST,
        nonna_registry::client::OCI_INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ];
    KNOWN
        .into_iter()
        .find(|known| found.split(';').next().unwrap_or_default().trim() == *known)
        .ok_or_else(|| {
            Error::bug(format!(
                "an image was pushed as `{found}`, which is not known here"
            ))
        })
}
