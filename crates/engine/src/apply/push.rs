//! The step that puts a built image into a registry.

use std::time::Duration;

use nonna_model::ServiceId;
use nonna_model::plan::Step;
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::error::{Code, Error, Result};
use crate::ports::registry::Publication;

/// The pauses before the second, third and fourth attempt: registries are
/// often away for moments only.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
];

/// Pushes the target's image. It stands before the commit: where the push is
/// required, a release that is current can be started on another machine.
pub(super) async fn push(
    run: &Run<'_>,
    step: &Step,
    service: &ServiceId,
    cancel: &CancellationToken,
) -> Result<()> {
    let planned = run.planned(service)?;
    let release = run.target(service)?;
    let Some(push) = &release.spec.push else {
        return Err(Error::bug(format!(
            "the plan pushes {service}, which names no registry"
        )));
    };
    let image = run.image(service).ok_or_else(|| {
        Error::bug(format!(
            "{} {} has no image to push",
            planned.name, release.number
        ))
    })?;
    let publication = Publication {
        scope: run.plan.scope.clone(),
        service: service.clone(),
        service_name: planned.name.clone(),
        release: release.number,
        image: image.clone(),
        repository: push.repository.clone(),
    };
    match persist(run, step, &publication, cancel).await {
        Ok(origin) => run.engine.journal.keep_origin(&image, &origin).await,
        // Our own bugs and the user's will are never passed over.
        Err(error) if push.required || matches!(error.code, Code::Cancelled | Code::Bug) => Err(error),
        Err(error) => {
            run.progress(step.id).message(format!(
                "{error} The deployment goes on without it, because `push_required` is false."
            ));
            Ok(())
        }
    }
}

async fn persist(
    run: &Run<'_>,
    step: &Step,
    publication: &Publication,
    cancel: &CancellationToken,
) -> Result<String> {
    let progress = run.progress(step.id);
    let mut pauses = PAUSES.iter();
    loop {
        let published = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::cancelled()),
            published = run.engine.publisher.publish(publication, &progress, cancel) => published,
        };
        match (published, pauses.next()) {
            (Err(error), Some(pause)) if error.retryable => {
                progress.message(format!("{error} Trying again in {} s.", pause.as_secs()));
                tokio::select! {
                    () = cancel.cancelled() => return Err(Error::cancelled()),
                    () = tokio::time::sleep(*pause) => {}
                }
            }
            (result, _) => return result,
        }
    }
}
