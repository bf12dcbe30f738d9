//! Putting images into registries.

use bollard::query_parameters::{RemoveImageOptions, TagImageOptions};
use nonna_engine::event::Progress;
use nonna_engine::ports::registry::Credential;
use nonna_engine::{Code, Error, Result};
use nonna_model::OrganizationId;
use nonna_model::image::ImageReference;

use crate::client::Client;
use crate::image::{Asked, parse, talk};
use crate::{error, raw};

/// Pushes the image under this reference and answers its manifest's digest.
pub(crate) async fn push(
    client: &Client,
    organization: &OrganizationId,
    image: &str,
    reference: &str,
    progress: &Progress,
) -> Result<String> {
    let target = parse(reference)?;
    let tag = target.tag.clone().unwrap_or_else(|| "latest".to_owned());
    let repository = target.name();
    let credential = client
        .credentials
        .credential(organization, &target.registry)
        .await?;
    let named = TagImageOptions {
        repo: Some(repository.clone()),
        tag: Some(tag.clone()),
    };
    let tagged = client
        .call(|docker| {
            let named = named.clone();
            async move { docker.tag_image(image, Some(named)).await }
        })
        .await;
    tagged.map_err(|e| {
        if error::is_missing(&e) {
            Error::provider(
                Code::ImageNotFound,
                format!("The image {image} is not on this machine any more."),
            )
            .hint("Deploy again: it will be built anew.")
        } else {
            client.refused(&format!("name the image {image}"), &e)
        }
    })?;
    let asked = Asked {
        reference,
        registry: &target.registry,
        user: credential.as_ref().map(Credential::user),
        what: "push",
    };
    let path = format!(
        "/images/{}/push?tag={}",
        raw::escape(&repository),
        raw::escape(&tag)
    );
    let pushed = talk(client, &asked, credential.as_ref(), &path, progress).await;
    forget_names(client, image, &target).await;
    pushed?.ok_or_else(|| {
        Error::provider(
            Code::RuntimeRefused,
            format!(
                "The container engine pushed {reference} and did not say by which digest it is known there."
            ),
        )
        .retry()
    })
}

/// Takes the names away that the push gave the image on this machine: where
/// it is in the registry is kept elsewhere, and an image with names in several
/// repositories cannot be removed by its id. The last name stays.
async fn forget_names(client: &Client, image: &str, target: &ImageReference) {
    let Ok(seen) = client.docker.inspect_image(image).await else {
        return;
    };
    let names: Vec<String> = seen
        .repo_tags
        .into_iter()
        .chain(seen.repo_digests)
        .flatten()
        .collect();
    let (ours, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| {
        name.parse::<ImageReference>()
            .is_ok_and(|name| name.is_same_repository(target))
    });
    if others.is_empty() {
        return;
    }
    for name in ours {
        let removed = client
            .docker
            .remove_image(&name, None::<RemoveImageOptions>, None)
            .await;
        if let Err(error) = removed {
            tracing::debug!(%error, %name, "a name of an image that was pushed could not be taken away");
        }
    }
}
