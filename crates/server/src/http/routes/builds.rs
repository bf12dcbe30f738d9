//! Builds: the queue, the log of a release's build, caches, and removing what
//! nobody needs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event as SseEvent;
use futures_util::stream::{self, StreamExt};
use nonna_api::{
    BuildAnswer, BuildLogAnswer, BuildLogLine, BuildPlanAnswer, BuildsAnswer, CacheAnswer, CachesAnswer,
    ClearCachesRequest, DesiredRequest, GcAnswer, GcRequest, paths,
};
use nonna_engine::ports::storage::{CacheOwner, StoredCache};
use nonna_engine::{Code, Error};
use nonna_model::service::{BuildSource, Source};
use nonna_model::{Release, ReleaseNumber, ServiceId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::failure::Answer;
use super::super::input::{InEnvironment, Input, OfRelease, OfService, parse_name};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::deployments::{error_event, respond};
use super::services::{must, must_release};
use crate::auth::Permission;
use crate::build::{Place, log};
use crate::gc;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::BUILDS,
                Permission::Read,
                "What is being built, and what waits for its turn.",
            )
            .answers::<BuildsAnswer>(),
            queue,
        )
        .add(
            post(
                paths::ENVIRONMENT_BUILDS,
                Permission::Deploy,
                "Builds what a deploy would build and deploys nothing, as server-sent events; ends with the connection.",
            )
            .takes::<DesiredRequest>()
            .answers_kind("text/event-stream"),
            build,
        )
        .add(
            get(
                paths::BUILD_LOG,
                Permission::Read,
                "What the build of a release said.",
            )
            .answers::<BuildLogAnswer>(),
            build_log,
        )
        .add(
            get(
                paths::BUILD_PLAN,
                Permission::Read,
                "How the image of a release is built, and why.",
            )
            .answers::<BuildPlanAnswer>(),
            build_plan,
        )
        .add(
            get(
                paths::CACHES,
                Permission::Read,
                "What builds keep to be quicker next time.",
            )
            .answers::<CachesAnswer>(),
            caches,
        )
        .add(
            post(
                paths::CACHES_CLEAR,
                Permission::Deploy,
                "Removes caches of builds that nothing uses.",
            )
            .takes::<ClearCachesRequest>()
            .answers::<CachesAnswer>(),
            clear,
        )
        .add(
            post(
                paths::GC,
                Permission::Administer,
                "Removes what builds left and nobody needs.",
            )
            .takes::<GcRequest>()
            .answers::<GcAnswer>(),
            collect,
        )
}

/// How many events wait for a slow reader.
const AHEAD: usize = 4096;

async fn build(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: InEnvironment,
    Input(request): Input<DesiredRequest>,
) -> Answer<Response> {
    let place = (at.project, at.environment);
    let orders = app.deployments.orders(&place, &request).await?;
    app.audit(&caller, "build", format!("{}/{}", place.0, place.1), None)
        .await;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let cancel = CancellationToken::new();
    // Dropped with the answer: whoever goes away needs no build.
    let guard = cancel.clone().drop_guard();
    let deployments = app.deployments.clone();
    app.deployments
        .tasks
        .spawn(async move { deployments.build(orders, sender, cancel).await });
    let events = stream::unfold((receiver, guard), |(mut receiver, guard)| async move {
        let event = match receiver.recv().await? {
            Ok(event) => SseEvent::default().json_data(&event).unwrap_or_default(),
            Err(error) => error_event(error),
        };
        Some((Ok::<_, Infallible>(event), (receiver, guard)))
    })
    .take_until(app.closing.clone().cancelled_owned());
    Ok(respond(events))
}

async fn queue(State(app): State<Arc<App>>) -> Json<BuildsAnswer> {
    let builds = app.builds.list().into_iter().map(|(about, place)| BuildAnswer {
        project: about.project,
        environment: about.environment,
        service: about.service,
        release: about.release,
        deployment: about.deployment,
        since: about.since,
        state: match place {
            Place::Running => "running",
            Place::Waiting { .. } => "waiting",
        }
        .to_owned(),
        position: match place {
            Place::Running => None,
            Place::Waiting { position, .. } => Some(position),
        },
    });
    Json(BuildsAnswer {
        concurrency: u32::try_from(app.builds.limit()).unwrap_or(u32::MAX),
        builds: builds.collect(),
    })
}

/// How many releases are looked at for the one whose image another took.
const LOOK_BACK: u32 = 500;

async fn build_log(
    State(app): State<Arc<App>>,
    OfRelease { service: at, release }: OfRelease,
) -> Answer<Json<BuildLogAnswer>> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let service = must(&snapshot, &at)?;
    if let Some(kept) = log::read(app.store.as_ref(), &service.id, release).await? {
        return Ok(Json(log_answer(release, kept)));
    }
    let found = must_release(&app, service, release).await?;
    source_of(&found, &at)?;
    // It took the image of an earlier release: that one's build it was.
    if found.image.is_some() {
        let earlier = app
            .store
            .list_releases(&service.id, Some(release), LOOK_BACK)
            .await?;
        for other in earlier.iter().filter(|other| other.image == found.image) {
            if let Some(kept) = log::read(app.store.as_ref(), &service.id, other.number).await? {
                return Ok(Json(log_answer(other.number, kept)));
            }
        }
        // Or one build was for several services, and the log is another's.
        for beside in snapshot.services.iter().filter(|other| other.id != service.id) {
            let releases = app.store.list_releases(&beside.id, None, LOOK_BACK).await?;
            for other in releases.iter().filter(|other| other.image == found.image) {
                if let Some(kept) = log::read(app.store.as_ref(), &beside.id, other.number).await? {
                    return Ok(Json(log_answer(release, kept)));
                }
            }
        }
    }
    Err(Error::user(
        Code::NotFound,
        format!("No build log of {release} of `{}` is kept.", at.service),
    )
    .hint("It was not built yet, or the log was removed: the server's setting `retention.logs` says how many are kept.")
    .into())
}

/// What was built for a release; refuses one that runs an image.
fn source_of<'r>(found: &'r Release, at: &OfService) -> Answer<&'r BuildSource> {
    let Source::Build(source) = &found.spec.source else {
        return Err(Error::user(
            Code::NotFound,
            format!(
                "{} of `{}` runs an image that exists already: nothing was built.",
                found.number, at.service
            ),
        )
        .into());
    };
    Ok(source)
}

async fn build_plan(
    State(app): State<Arc<App>>,
    OfRelease { service: at, release }: OfRelease,
) -> Answer<Json<BuildPlanAnswer>> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let service = must(&snapshot, &at)?;
    let found = must_release(&app, service, release).await?;
    let source = source_of(&found, &at)?;
    let plan = app
        .deployments
        .explain(source, found.spec.port)
        .await
        .map_err(|error| match error.code {
            Code::NotFound => Error::user(
                Code::NotFound,
                format!("The source of {release} of `{}` is no longer kept.", at.service),
            )
            .hint("The server's setting `retention.releases` says how many are kept. `nonna build --explain` says it of a folder."),
            _ => error,
        })?;
    Ok(Json(BuildPlanAnswer {
        release: release.to_string(),
        plan,
    }))
}

fn log_answer(release: ReleaseNumber, kept: log::BuildLog) -> BuildLogAnswer {
    let first = kept.first.len();
    BuildLogAnswer {
        release: release.to_string(),
        state: kept.state,
        lines: kept
            .first
            .into_iter()
            .chain(kept.last)
            .map(|line| BuildLogLine {
                at: line.at,
                line: line.line,
            })
            .collect(),
        left_out: kept.left_out,
        left_out_after: u64::try_from(first).unwrap_or_default(),
    }
}

/// The names that a service goes by.
type Names = HashMap<ServiceId, (String, String, String)>;

async fn names(app: &App) -> Answer<Names> {
    let mut names = Names::new();
    for snapshot in app.store.snapshots().await? {
        let scope = &snapshot.scope;
        for service in &snapshot.services {
            names.insert(
                service.id.clone(),
                (
                    scope.project_name.to_string(),
                    scope.environment_name.to_string(),
                    service.name.to_string(),
                ),
            );
        }
    }
    Ok(names)
}

fn answer(caches: Vec<StoredCache>, names: &Names) -> CachesAnswer {
    CachesAnswer {
        bytes: caches.iter().map(|cache| cache.size).sum(),
        caches: caches.into_iter().map(|cache| one(cache, names)).collect(),
    }
}

fn one(cache: StoredCache, names: &Names) -> CacheAnswer {
    let place = names.get(&cache.service);
    CacheAnswer {
        kind: gc::kind(cache.kind).to_owned(),
        project: place.map(|place| place.0.clone()),
        environment: place.map(|place| place.1.clone()),
        service: place.map(|place| place.2.clone()),
        shared: matches!(cache.owner, CacheOwner::Organization(_)),
        description: cache.description,
        bytes: cache.size,
        used_at: cache.used_at,
        in_use: cache.in_use,
        id: cache.id,
    }
}

async fn caches(State(app): State<Arc<App>>) -> Answer<Json<CachesAnswer>> {
    let names = names(&app).await?;
    Ok(Json(answer(app.collector.list_caches().await?, &names)))
}

async fn clear(
    State(app): State<Arc<App>>,
    caller: Caller,
    Input(request): Input<ClearCachesRequest>,
) -> Answer<Json<CachesAnswer>> {
    let invalid = |message: &str| Error::user(Code::InvalidInput, message);
    if request.all == request.project.is_some() {
        return Err(invalid("Say either `all`, or of which `project`.").into());
    }
    if request.service.is_some() && request.environment.is_none() {
        return Err(invalid("A service is named together with its `environment`.").into());
    }
    if let Some(project) = &request.project {
        let project = parse_name(project, "the project")?;
        let organization = &app.installation.organization;
        if app.store.find_project(organization, &project).await?.is_none() {
            return Err(
                Error::user(Code::NotFound, format!("There is no project `{project}`."))
                    .hint("`nonna cache` shows whose caches there are.")
                    .into(),
            );
        }
        if let (Some(environment), Some(service)) = (&request.environment, &request.service) {
            let environment = parse_name(environment, "the environment")?;
            let snapshot = app.snapshot(&project, &environment).await?;
            let at = OfService {
                project,
                environment,
                service: parse_name(service, "the service")?,
            };
            must(&snapshot, &at)?;
        }
    }
    let names = names(&app).await?;
    let is_meant = |cache: &StoredCache| {
        if request.all {
            return true;
        }
        // What all services share is nobody's to clear alone.
        let Some((project, environment, service)) = names.get(&cache.service) else {
            return false;
        };
        !matches!(cache.owner, CacheOwner::Organization(_))
            && request.project.as_ref() == Some(project)
            && request
                .environment
                .as_ref()
                .is_none_or(|wanted| wanted == environment)
            && request.service.as_ref().is_none_or(|wanted| wanted == service)
    };
    let meant: Vec<StoredCache> = app
        .collector
        .list_caches()
        .await?
        .into_iter()
        .filter(is_meant)
        .collect();
    let cleared = app.collector.clear_caches(&meant).await?;
    let target = match (&request.project, &request.environment, &request.service) {
        (Some(project), Some(environment), Some(service)) => format!("{project}/{environment}/{service}"),
        (Some(project), Some(environment), None) => format!("{project}/{environment}"),
        (Some(project), ..) => project.clone(),
        _ => "server".to_owned(),
    };
    app.audit(
        &caller,
        "cache.clear",
        target,
        Some(format!("{} caches", cleared.len())),
    )
    .await;
    Ok(Json(answer(cleared, &names)))
}

async fn collect(
    State(app): State<Arc<App>>,
    caller: Caller,
    Input(request): Input<GcRequest>,
) -> Answer<Json<GcAnswer>> {
    let answer = app.collector.run(request.dry_run).await?;
    if !request.dry_run {
        let detail = format!("{} things, {} bytes", answer.items.len(), answer.bytes);
        app.audit(&caller, "gc", "server".to_owned(), Some(detail)).await;
    }
    Ok(Json(answer))
}
