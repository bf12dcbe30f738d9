//! What an environment should be, of a folder and flags: reads the manifest,
//! scans what is built and sends what the server lacks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nonna_api::DesiredRequest;
use nonna_client::context::{ScanOptions, Scanned, scan};
use nonna_client::{Client, Place};
use nonna_engine::{Code, Error};
use nonna_model::Name;
use nonna_model::manifest::{DEFAULT_SERVICE, DeclaredSource, ServiceDeclaration};
use nonna_model::service::Source;

use crate::args::DesiredArgs;
use crate::commands::Context;
use crate::commands::build::plan_of;
use crate::fail::{Failure, Result};
use crate::output::units::{bytes, count};
use crate::project::{self, Project};

use super::secrets;

/// What an answer is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Only to be shown: nothing is set.
    Plan,
    /// To be carried out.
    Deploy,
}

/// How often contents are sent again that got lost on the way.
const ATTEMPTS: usize = 3;

/// Finds the project and puts together what is asked of the server.
pub(crate) async fn desired(
    context: &Context,
    client: &Client,
    args: &DesiredArgs,
    purpose: Purpose,
) -> Result<(Place, DesiredRequest)> {
    let project = Project::find(args.path.as_deref())?;
    let declared = project.declare(context.global.environment.as_ref())?;
    let place = project::place_of(&context.global, &project, &declared)?;
    for note in &declared.notes {
        context.printer.warning(note);
    }
    let mut wanted = chosen(&declared.services, &args.services)?;
    if args.image.is_some() && args.services.is_empty() && wanted.len() > 1 {
        wanted.retain(|service| service.name.as_str() == DEFAULT_SERVICE);
    }
    let replaced = args.image.as_ref().map(|_| by_image(&wanted)).transpose()?;

    let mut contexts = BTreeMap::new();
    let mut sent: BTreeMap<(PathBuf, String), String> = BTreeMap::new();
    for service in &wanted {
        if replaced.as_deref() == Some(service.name.as_str()) {
            continue;
        }
        match &service.source {
            DeclaredSource::Image { reference } => {
                if args.pull {
                    pull(context, client, reference).await?;
                }
            }
            DeclaredSource::Folder { path, dockerfile, .. } => {
                let mut options = ScanOptions::default();
                if let Some(dockerfile) = dockerfile {
                    options.dockerfile.clone_from(dockerfile);
                }
                let key = (project.folder.join(path), options.dockerfile.clone());
                let digest = match sent.get(&key) {
                    Some(digest) => digest.clone(),
                    None => {
                        let scanned = send(context, client, service, &key.0, &options).await?;
                        if args.pull {
                            for base in bases(&scanned, service) {
                                pull(context, client, &base).await?;
                            }
                        }
                        sent.insert(key, scanned.digest.clone());
                        scanned.digest
                    }
                };
                contexts.insert(service.name.to_string(), digest);
            }
        }
    }
    if let Some(reference) = args.image.as_ref().filter(|_| args.pull) {
        pull(context, client, reference).await?;
    }
    let promised_secrets = secrets::provide(context, client, &place, &project, &declared, purpose).await?;
    let mut services: Vec<String> = args.services.iter().map(ToString::to_string).collect();
    if let (Some(name), true) = (&replaced, services.is_empty()) {
        // An image is for one service; what else the folder may hold is not
        // asked for.
        services.push(name.clone());
    }
    Ok((
        place,
        DesiredRequest {
            contexts,
            services,
            image: args.image.clone(),
            prune: args.prune,
            force: args.force,
            no_cache: args.no_cache,
            pull: args.pull,
            promised_secrets,
            ..DesiredRequest::of_words(declared.words)
        },
    ))
}

/// The services that are asked for: all, where none is named.
pub(crate) fn chosen<'d>(
    declared: &'d [ServiceDeclaration],
    names: &[Name],
) -> Result<Vec<&'d ServiceDeclaration>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !declared.iter().any(|service| service.name == **name))
    {
        let known: Vec<&str> = declared.iter().map(|service| service.name.as_str()).collect();
        return Err(Failure::usage_hint(
            format!("There is no service `{unknown}` in this folder."),
            format!("There is: {}.", known.join(", ")),
        ));
    }
    Ok(declared
        .iter()
        .filter(|service| names.is_empty() || names.contains(&service.name))
        .collect())
}

/// The service that `--image` is for.
fn by_image(wanted: &[&ServiceDeclaration]) -> Result<String> {
    match wanted {
        [only] => Ok(only.name.to_string()),
        _ => Err(Failure::usage_hint(
            "An image is for one service, and there are several.",
            "Say which one with `--service NAME`.",
        )),
    }
}

async fn pull(context: &Context, client: &Client, reference: &str) -> Result {
    context.printer.note(&format!(
        "Fetching {}",
        context.printer.paint_err(crate::output::Paint::Strong, reference)
    ));
    Ok(client.pull(reference).await?)
}

/// Scans a folder and sends what the server lacks of it.
async fn send(
    context: &Context,
    client: &Client,
    service: &ServiceDeclaration,
    folder: &std::path::Path,
    options: &ScanOptions,
) -> Result<Scanned> {
    if !folder.is_dir() {
        return Err(Error::user(
            Code::InvalidContext,
            format!(
                "The folder {} of the service {} is not there.",
                folder.display(),
                service.name
            ),
        )
        .hint("Mend `source` in nonna.toml, or `context` in the Compose file.")
        .into());
    }
    let scanned = scan(folder, options)?;
    for warning in &scanned.warnings {
        context.printer.warning(warning);
    }
    for attempt in 1.. {
        let answer = client.announce_context(&scanned.manifest).await?;
        if answer.digest != scanned.digest {
            return Err(
                Error::bug("Client and server disagree about the digest of the build context.")
                    .hint("They may be of different versions: see `nonna version`.")
                    .into(),
            );
        }
        if answer.missing.is_empty() {
            break;
        }
        let frames = scanned.frames(&answer.missing);
        context.printer.note(&format!(
            "Sending {} of {} ({}) for {}",
            answer.missing.len(),
            count(scanned.manifest.blobs().len(), "file"),
            bytes(frames.remaining()),
            service.name
        ));
        match client
            .send_blobs(&answer.digest, scanned.frame_stream(&answer.missing))
            .await
        {
            Ok(()) => break,
            // What arrived is kept: only the rest is sent again.
            Err(error) if error.retryable && attempt < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(scanned)
}

/// The images that a service's build begins from. What cannot be built has
/// none: the server says why.
fn bases(scanned: &Scanned, service: &ServiceDeclaration) -> Vec<String> {
    let Source::Build(source) = service.source.with_context("") else {
        return Vec::new();
    };
    plan_of(scanned, &source, service.port.number())
        .map(|plan| plan.base_images)
        .unwrap_or_default()
}
