//! Documents beside an image, as OCI 1.1 has them: a manifest whose `subject`
//! is the image, and for registries that keep no lists of such manifests
//! themselves, a list under the tag `sha256-<digest>`
//! (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema>).

use nonna_engine::{Error, Result};
use serde_json::{Value, json};

use crate::client::{OCI_INDEX, OCI_MANIFEST, Repository, digest_of};

/// The kind of an SPDX document in JSON.
pub const SPDX: &str = "application/spdx+json";

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The most documents that a list may have; older ones fall off.
const MOST: usize = 50;

/// Puts a document of this kind beside the image of this digest.
///
/// # Errors
/// `RegistryAuth`, `RegistryUnavailable`, `ImageNotFound`.
pub async fn attach(repository: &Repository, digest: &str, kind: &str, document: Vec<u8>) -> Result<()> {
    let image = repository.manifest(digest).await?.ok_or_else(|| {
        Error::provider(
            nonna_engine::Code::ImageNotFound,
            format!("The registry does not have {}@{digest}.", repository.name()),
        )
    })?;
    let size = document.len();
    let layer = repository.put_blob(document).await?;
    let config = repository.put_blob(b"{}".to_vec()).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": { "mediaType": EMPTY, "digest": config, "size": 2 },
        "layers": [{ "mediaType": kind, "digest": layer, "size": size }],
        "subject": {
            "mediaType": image.media_type,
            "digest": digest,
            "size": image.bytes.len(),
        },
    })
    .to_string()
    .into_bytes();
    let own = digest_of(&manifest);
    let entry = json!({
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "digest": own,
        "size": manifest.len(),
    });
    let kept = repository.put_manifest(&own, OCI_MANIFEST, manifest).await?;
    if kept {
        return Ok(());
    }
    let tag = digest.replace(':', "-");
    let mut entries: Vec<Value> = match repository.manifest(&tag).await? {
        Some(list) => serde_json::from_slice::<Value>(&list.bytes)
            .ok()
            .and_then(|list| list.get("manifests")?.as_array().cloned())
            .unwrap_or_default(),
        None => Vec::new(),
    };
    entries.retain(|old| old.get("digest") != entry.get("digest"));
    entries.push(entry);
    if entries.len() > MOST {
        entries.drain(..entries.len() - MOST);
    }
    let list = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": entries,
    });
    repository
        .put_manifest(&tag, OCI_INDEX, list.to_string().into_bytes())
        .await?;
    Ok(())
}
