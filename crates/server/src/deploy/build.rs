//! Building what a deploy would build, and deploying nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nonna_api::{BuildEvent, DesiredRequest};
use nonna_engine::event::{Event, EventKind, EventSink, Progress};
use nonna_engine::ports::builder::BuildRequest;
use nonna_engine::{Code, Error, Result};
use nonna_model::service::{Push, Source};
use nonna_model::{DeploymentId, Name, ReleaseNumber};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::declared::{self, SameCode};
use super::manager::Deployments;
use super::queue::Place;

/// Code that is to be built.
pub(crate) struct Order {
    services: Vec<Name>,
    request: BuildRequest,
}

/// Passes what a build says on to whoever waits for it. A reader that is too
/// slow misses lines, and is told how many: they are in the log.
struct Teller {
    service: String,
    events: mpsc::Sender<Result<BuildEvent>>,
    missed: AtomicU64,
}

impl Teller {
    fn tell(&self, event: BuildEvent) {
        let missed = self.missed.load(Ordering::Relaxed);
        if missed > 0 {
            let line = format!("… {missed} lines left out: they are in the build's log …");
            let told = self.events.try_send(Ok(BuildEvent::Output {
                service: self.service.clone(),
                line,
            }));
            if told.is_err() {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.missed.store(0, Ordering::Relaxed);
        }
        if self.events.try_send(Ok(event)).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl EventSink for Teller {
    fn emit(&self, event: Event) {
        let service = self.service.clone();
        match event.kind {
            EventKind::BuildOutput { line, .. } => self.tell(BuildEvent::Output { service, line }),
            EventKind::StepProgress { message, .. } => {
                self.tell(BuildEvent::Output {
                    service,
                    line: message,
                });
            }
            EventKind::BuildQueued {
                position, running, ..
            } => self.tell(BuildEvent::Waiting {
                service,
                position,
                running,
            }),
            _ => {}
        }
    }
}

impl Deployments {
    /// What a deploy of this would build, each code once.
    pub(crate) async fn orders(&self, place: &Place, request: &DesiredRequest) -> Result<Vec<Order>> {
        let ground = self.ground(place).await?;
        let declared = declared::read(&ground.scope, request)?;
        let mut wanted = Vec::new();
        for declaration in &declared.services {
            let id = self.id_of(place, &ground, &declaration.name);
            wanted.push((id, declaration, declared::source(declaration, request)?));
        }
        let mut orders: Vec<Order> = Vec::new();
        for (id, declaration, source) in &wanted {
            let Source::Build(build) = source else { continue };
            if let Some(order) = orders.iter_mut().find(|order| order.request.source == *build) {
                order.services.push(declaration.name.clone());
                continue;
            }
            let code = SameCode::of(source, &wanted);
            let mut versions = self
                .parts
                .store
                .merged_variables(&ground.scope, id)
                .await?
                .secrets;
            versions.retain(|name, _| build.secrets.contains(name));
            if let Some(missing) = build.secrets.iter().find(|name| !versions.contains_key(*name)) {
                return Err(Error::user(
                    Code::MissingSecret,
                    format!(
                        "The build of `{}` reads the secret {missing}, which is not set.",
                        declaration.name
                    ),
                )
                .hint(format!(
                    "Set it: `nonna secret set {missing} --project {} --environment {}`.",
                    ground.scope.project_name, ground.scope.environment_name
                )));
            }
            let secrets = if versions.is_empty() {
                std::collections::BTreeMap::new()
            } else {
                self.parts.journal.open_secrets(id, &versions).await?
            };
            let limits = &self.parts.config.build;
            orders.push(Order {
                services: vec![declaration.name.clone()],
                request: BuildRequest {
                    scope: ground.scope.clone(),
                    service: id.clone(),
                    service_name: declaration.name.clone(),
                    release: ground
                        .service(&declaration.name)
                        .map_or(ReleaseNumber(1), |service| service.next_release),
                    source: build.clone(),
                    port: code.port,
                    cache: declaration.push.as_ref().map(Push::cache),
                    timeout: build
                        .timeout_ms
                        .map_or(limits.timeout, Duration::from_millis)
                        .min(limits.timeout),
                    output_limit: limits.output_limit,
                    no_cache: request.no_cache,
                    secrets,
                },
            });
        }
        if orders.is_empty() {
            return Err(Error::user(
                Code::NothingToBuild,
                "Every service of this runs an image that exists already: there is nothing to build.",
            ));
        }
        Ok(orders)
    }

    /// Builds, one after the other, and tells all that happens. Ends when it is
    /// done, when a build fails, or soon after `cancel`.
    pub(crate) async fn build(
        &self,
        orders: Vec<Order>,
        events: mpsc::Sender<Result<BuildEvent>>,
        cancel: CancellationToken,
    ) {
        for order in orders {
            let told = self.build_one(&order, &events, &cancel).await;
            let failed = told.is_err();
            // Nobody listens any more: then there is nobody to build for.
            if events.send(told).await.is_err() || failed {
                return;
            }
        }
        let _ = events.send(Ok(BuildEvent::Finished)).await;
    }

    async fn build_one(
        &self,
        order: &Order,
        events: &mpsc::Sender<Result<BuildEvent>>,
        cancel: &CancellationToken,
    ) -> Result<BuildEvent> {
        let request = &order.request;
        let builder = &self.parts.builder;
        let existing = builder.existing(request).await?;
        let unchanged = existing.is_some();
        let built = match existing {
            Some(built) => built,
            None => {
                let teller = Teller {
                    service: request.service_name.to_string(),
                    events: events.clone(),
                    missed: AtomicU64::new(0),
                };
                let progress = Progress::new(DeploymentId::generate(), 0, Arc::new(teller));
                builder.build(request, &progress, cancel).await?
            }
        };
        Ok(BuildEvent::Built {
            services: order.services.iter().map(ToString::to_string).collect(),
            image: built.image,
            size: built.size,
            builder: built.builder,
            unchanged,
            release: request.release.to_string(),
        })
    }
}
