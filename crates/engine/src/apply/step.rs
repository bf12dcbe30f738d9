//! What each kind of step does.

use std::net::SocketAddr;
use std::time::Duration;

use nonna_model::observed::Observed;
use nonna_model::plan::{PlannedService, Step, StepKind};
use nonna_model::release::Release;
use nonna_model::service::Source;
use nonna_model::{ReleaseNumber, ServiceId};
use tokio_util::sync::CancellationToken;

use super::{Run, job, push};
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::ports::builder::BuildRequest;
use crate::ports::router::ServiceRoutes;
use crate::ports::runtime::Launch;

/// Does the step. Doing it again changes nothing more.
pub(super) async fn perform(run: &Run<'_>, step: &Step, cancel: CancellationToken) -> Result<()> {
    let runtime = &run.engine.runtime;
    let scope = &run.plan.scope;
    match &step.kind {
        StepKind::EnsureNetwork => runtime.ensure_network(scope).await,
        StepKind::EnsureVolume { service, volume } => runtime.ensure_volume(scope, service, volume).await,
        StepKind::Build {
            service,
            also,
            no_cache,
        } => build(run, step, service, also, *no_cache, &cancel).await,
        StepKind::Pull { service } => pull(run, step, service, &cancel).await,
        StepKind::Push { service } => push::push(run, step, service, &cancel).await,
        StepKind::StopReplicas { service, release } => runtime.stop_replicas(service, *release).await,
        StepKind::RunJob { service, job } => job::run(run, step, service, *job, &cancel).await,
        StepKind::StartReplicas { service } => {
            let planned = run.planned(service)?;
            let launch = run.launch(service, planned, run.target(service)?).await?;
            runtime
                .start_replicas(&launch, planned.running, &run.progress(step.id), &cancel)
                .await?;
            Ok(())
        }
        StepKind::SwitchRoutes { service } => switch(run, step, service).await,
        StepKind::RetireReplicas { service } => {
            let planned = run.planned(service)?;
            let keep = planned.release.as_ref().map(|r| (r.number, planned.running));
            retire(run, service, keep, stop_timeout(planned)).await
        }
        StepKind::RemoveRoutes { service } => run.engine.router.remove_routes(service).await,
        StepKind::RemoveVolume { service, volume } => runtime.remove_volume(service, volume).await,
        StepKind::RemoveNetwork => runtime.remove_network(&scope.environment).await,
        StepKind::Commit => Err(Error::bug("the commit is the journal's, not a step's")),
    }
}

impl Run<'_> {
    pub(super) fn planned(&self, service: &ServiceId) -> Result<&PlannedService> {
        self.plan.services.get(service).ok_or_else(|| {
            Error::bug(format!(
                "the plan has a step for {service}, which it does not name"
            ))
        })
    }

    pub(super) fn target(&self, service: &ServiceId) -> Result<&Release> {
        self.planned(service)?
            .release
            .as_ref()
            .ok_or_else(|| Error::bug(format!("the plan starts {service}, which it removes")))
    }

    /// All a runtime needs to start this release. Opens the secrets.
    pub(super) async fn launch(
        &self,
        service: &ServiceId,
        planned: &PlannedService,
        release: &Release,
    ) -> Result<Launch> {
        let is_target = planned
            .release
            .as_ref()
            .is_some_and(|r| r.number == release.number);
        let image = if is_target {
            self.image(service)
        } else {
            release.image.clone()
        };
        let image =
            image.ok_or_else(|| Error::bug(format!("{} {} has no image", planned.name, release.number)))?;
        Ok(Launch {
            origin: self.engine.journal.origin(&image).await?,
            scope: self.plan.scope.clone(),
            service: service.clone(),
            service_name: planned.name.clone(),
            release: release.number,
            image,
            spec: release.spec.clone(),
            secrets: self
                .engine
                .journal
                .open_secrets(service, &release.spec.secrets)
                .await?,
        })
    }

    /// What the edge should know of a release whose replicas run.
    pub(super) fn routes(
        &self,
        service: &ServiceId,
        planned: &PlannedService,
        release: &Release,
        running: u32,
        observed: &Observed,
    ) -> ServiceRoutes {
        let scope = &self.plan.scope;
        ServiceRoutes {
            service: service.clone(),
            label: format!(
                "{}/{}/{}",
                scope.project_name, scope.environment_name, planned.name
            ),
            routes: release.spec.routes.clone(),
            upstreams: addresses(observed, service, |number, index| {
                number == release.number && index < running
            }),
            protocol: release.spec.protocol,
            paused: running == 0,
        }
    }
}

/// The addresses of the service's running replicas that `wanted` picks by
/// release and index.
pub(super) fn addresses(
    observed: &Observed,
    service: &ServiceId,
    wanted: impl Fn(ReleaseNumber, u32) -> bool,
) -> Vec<SocketAddr> {
    observed
        .replicas_of(service)
        .into_iter()
        .filter(|r| r.state.is_running() && wanted(r.release, r.index))
        .filter_map(|r| r.address)
        .collect()
}

fn stop_timeout(planned: &PlannedService) -> Duration {
    let millis = planned
        .previous
        .as_ref()
        .map(|p| p.release.spec.stop_timeout_ms)
        .or_else(|| planned.release.as_ref().map(|r| r.spec.stop_timeout_ms))
        .unwrap_or(nonna_model::service::DEFAULT_STOP_TIMEOUT_MS);
    Duration::from_millis(millis)
}

async fn build(
    run: &Run<'_>,
    step: &Step,
    service: &ServiceId,
    also: &[ServiceId],
    no_cache: bool,
    cancel: &CancellationToken,
) -> Result<()> {
    let release = run.target(service)?;
    let Source::Build(source) = &release.spec.source else {
        return Err(Error::bug(format!(
            "the plan builds {service}, which has an image"
        )));
    };
    let mut versions = release.spec.secrets.clone();
    versions.retain(|name, _| source.secrets.contains(name));
    let secrets = run.engine.journal.open_secrets(service, &versions).await?;
    let request = BuildRequest {
        scope: run.plan.scope.clone(),
        service: service.clone(),
        service_name: run.planned(service)?.name.clone(),
        release: release.number,
        source: source.clone(),
        cache: release.spec.push.as_ref().map(nonna_model::service::Push::cache),
        port: release.spec.port,
        timeout: source
            .timeout_ms
            .map_or(run.engine.limits.timeout, Duration::from_millis)
            .min(run.engine.limits.timeout),
        output_limit: run.engine.limits.output,
        no_cache,
        secrets,
    };
    let built = run
        .engine
        .builder
        .build(&request, &run.progress(step.id), cancel)
        .await?;
    for other in also {
        run.keep_image(other, built.image.clone()).await?;
    }
    run.keep_image(service, built.image).await
}

async fn pull(run: &Run<'_>, step: &Step, service: &ServiceId, cancel: &CancellationToken) -> Result<()> {
    let Source::Image { reference } = &run.target(service)?.spec.source else {
        return Err(Error::bug(format!("the plan pulls {service}, which is built")));
    };
    let runtime = &run.engine.runtime;
    let image = match runtime.image(reference).await? {
        Some(image) => image,
        None => {
            let organization = &run.plan.scope.organization;
            runtime
                .pull(organization, reference, &run.progress(step.id), cancel)
                .await?
        }
    };
    if let Some(origin) = image.origin(reference) {
        run.engine.journal.keep_origin(&image.id, origin).await?;
    }
    run.keep_image(service, image.id).await
}

async fn switch(run: &Run<'_>, step: &Step, service: &ServiceId) -> Result<()> {
    let planned = run.planned(service)?;
    let release = run.target(service)?;
    let router = &run.engine.router;
    if release.spec.port.is_none() {
        return router.remove_routes(service).await;
    }
    let observed = run.engine.runtime.observe(&run.plan.scope.environment).await?;
    let routes = run.routes(service, planned, release, planned.running, &observed);
    if routes.upstreams.is_empty() && !routes.paused {
        // They were healthy a moment ago: never switch to nobody.
        return Err(Error::provider(
            crate::Code::ReplicaUnhealthy,
            format!(
                "The replicas of {} {} were healthy and are gone.",
                planned.name, release.number
            ),
        )
        .hint("See `nonna logs` for what ended them."));
    }
    let urls = release.spec.routes.iter().map(|r| router.url(r)).collect();
    let took = router.set_routes(routes).await?;
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    run.progress(step.id).emit(EventKind::RoutesSwitched {
        step: step.id,
        micros,
        urls,
    });
    Ok(())
}

/// Lets what is under way to the replicas that go end, and removes them.
pub(super) async fn retire(
    run: &Run<'_>,
    service: &ServiceId,
    keep: Option<(ReleaseNumber, u32)>,
    deadline: Duration,
) -> Result<()> {
    let observed = run.engine.runtime.observe(&run.plan.scope.environment).await?;
    let leaving = addresses(&observed, service, |number, index| {
        keep.is_none_or(|(kept, count)| number != kept || index >= count)
    });
    if !leaving.is_empty() {
        run.engine.router.drain(&leaving, deadline).await?;
    }
    run.engine.runtime.retire_replicas(service, keep).await
}
