//! From what was asked for to what should be, and the plan from there.

use std::collections::{BTreeMap, BTreeSet};

use nonna_api::DesiredRequest;
use nonna_engine::ports::runtime::Image;
use nonna_engine::{Code, Error, Result};
use nonna_model::manifest::{DeclaredPort, ServiceDeclaration};
use nonna_model::observed::Observed;
use nonna_model::plan::{CurrentRelease, DesiredEnvironment, DesiredService, Plan, Scope, Target};
use nonna_model::release::ReleaseState;
use nonna_model::service::{BuildSource, RouteSpec, Source};
use nonna_model::{Name, ReleaseNumber, ServiceId, ServiceSpec};
use nonna_store::records::{EnvironmentSnapshot, Service};

use super::declared::{self, SameCode};
use super::host_access;
use super::intent::{Destroy, Intent};
use super::manager::Deployments;
use super::queue::Place;
use crate::build::source_digest;
use crate::hosts::default_host;

/// The kind of the blobs that keep a release's variables as its manifest
/// declared them, under those that were set by hand.
const DECLARED: &str = "declared-variables";

/// A plan, and what must be kept with it.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The manifests' own variables of the services that get a new release.
    declared: BTreeMap<ServiceId, BTreeMap<String, String>>,
}

impl Planned {
    /// A plan that was kept before.
    pub(super) fn again(plan: Plan) -> Self {
        Self {
            plan,
            declared: BTreeMap::new(),
        }
    }
}

/// What a request wants of all its services.
struct Wish<'a> {
    /// A new release even where nothing differs.
    force: bool,
    /// Everything is built anew.
    no_cache: bool,
    /// The base images were fetched just now.
    pull: bool,
    /// Secrets that will be set before the deployment begins.
    coming_secrets: Vec<&'a String>,
}

/// Where an environment stands, made or not.
pub(super) struct Ground {
    pub(super) scope: Scope,
    /// It is in the store.
    exists: bool,
    services: Vec<Service>,
}

impl Ground {
    pub(super) fn service(&self, name: &Name) -> Option<&Service> {
        self.services.iter().find(|s| s.name == *name)
    }

    /// A service that must be there.
    fn must(&self, name: &Name) -> Result<&Service> {
        self.service(name).ok_or_else(|| {
            let names: Vec<&str> = self.services.iter().map(|s| s.name.as_str()).collect();
            unknown_service(name.as_str(), &self.scope, &names)
        })
    }

    /// A service that must have been deployed.
    fn deployed(&self, name: &Name) -> Result<(&Service, &CurrentRelease)> {
        let service = self.must(name)?;
        match &service.current {
            Some(current) => Ok((service, current)),
            None => Err(Error::user(
                Code::Conflict,
                format!("The service `{name}` was never deployed."),
            )
            .hint("Deploy it first: `nonna deploy`.")),
        }
    }
}

/// The error for a service that is not there.
pub(crate) fn unknown_service(name: &str, scope: &Scope, names: &[&str]) -> Error {
    let place = format!("{}/{}", scope.project_name, scope.environment_name);
    let error = Error::user(
        Code::NotFound,
        format!("There is no service `{name}` in {place}."),
    );
    let near = names
        .iter()
        .map(|n| (strsim::damerau_levenshtein(n, name), *n))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    match near {
        Some((_, near)) => error.hint(format!("Did you mean `{near}`?")),
        None if names.is_empty() => error.hint("The environment has no services yet."),
        None => error.hint(format!("Its services: {}.", names.join(", "))),
    }
}

/// The error for an environment that is not there.
pub(crate) fn no_environment(place: &Place) -> Error {
    Error::user(
        Code::NotFound,
        format!(
            "There is no environment `{}` in a project `{}`.",
            place.1, place.0
        ),
    )
    .hint("`nonna projects` lists what there is; the first `nonna deploy` makes it.")
}

impl Deployments {
    /// Plans what was asked for from where things stand now.
    pub(crate) async fn plan(&self, place: &Place, intent: &Intent) -> Result<Planned> {
        let ground = self.ground(place).await?;
        if !ground.exists && !matches!(intent, Intent::Deploy(_)) {
            return Err(no_environment(place));
        }
        let mut declared = BTreeMap::new();
        let mut remove = false;
        let (targets, observed) = {
            let observing = async {
                if ground.exists {
                    self.parts.runtime.observe(&ground.scope.environment).await
                } else {
                    Ok(Observed::nothing(ground.scope.environment.clone()))
                }
            };
            let deciding = async {
                match intent {
                    Intent::Deploy(request) => self.deploy(place, &ground, request, &mut declared).await,
                    Intent::Rollback { service, release } => {
                        self.roll_back(&ground, service, *release, &mut declared).await
                    }
                    Intent::Scale { service, replicas } => self.scale(&ground, service, *replicas),
                    Intent::Variables { reason } => self.variables(&ground, reason, &mut declared).await,
                    Intent::Pause { service, paused } => pause(&ground, service, *paused),
                    Intent::Destroy(what) => destroy(&ground, what, &mut remove),
                }
            };
            // At the same time: the engine's answer takes the longest.
            tokio::join!(deciding, observing)
        };
        let services = targets?;
        self.check_routes(&ground, &services).await?;
        let desired = DesiredEnvironment {
            scope: ground.scope,
            services,
            remove,
        };
        let plan = nonna_engine::plan::plan(&desired, &observed?);
        declared.retain(|id, variables: &mut BTreeMap<String, String>| {
            !variables.is_empty() && plan.services.get(id).is_some_and(|s| s.new_release)
        });
        Ok(Planned { plan, declared })
    }

    /// Keeps what belongs to a plan beside the plan itself.
    pub(super) async fn keep_declared(&self, planned: &Planned) -> Result<()> {
        for (id, variables) in &planned.declared {
            let number = planned
                .plan
                .services
                .get(id)
                .and_then(|s| s.release.as_ref())
                .map(|r| r.number);
            if let Some(number) = number {
                let text = serde_json::to_vec(variables)
                    .map_err(|e| Error::bug(format!("variables cannot be written: {e}")))?;
                self.parts
                    .store
                    .put_blob(DECLARED, &format!("{id}/{number}"), &text)
                    .await?;
            }
        }
        Ok(())
    }

    async fn declared_of(&self, id: &ServiceId, number: ReleaseNumber) -> Result<BTreeMap<String, String>> {
        let kept = self
            .parts
            .store
            .get_blob(DECLARED, &format!("{id}/{number}"))
            .await?;
        match kept {
            Some(text) => serde_json::from_slice(&text)
                .map_err(|e| Error::bug(format!("kept variables cannot be read: {e}"))),
            None => Ok(BTreeMap::new()),
        }
    }

    /// The id of a service that is there, or of one that will be.
    pub(super) fn id_of(&self, place: &Place, ground: &Ground, name: &Name) -> ServiceId {
        ground.service(name).map_or_else(
            || self.provisional.service(&place.0, &place.1, name),
            |service| service.id.clone(),
        )
    }

    pub(super) async fn ground(&self, place: &Place) -> Result<Ground> {
        let (project, environment) = place;
        let store = &self.parts.store;
        let organization = &self.parts.organization;
        if let Some(EnvironmentSnapshot { scope, services, .. }) = store
            .environment_snapshot(organization, project, environment)
            .await?
        {
            return Ok(Ground {
                scope,
                exists: true,
                services,
            });
        }
        let project_id = match store.find_project(organization, project).await? {
            Some(found) => found.id,
            None => self.provisional.project(project),
        };
        Ok(Ground {
            scope: Scope {
                organization: organization.clone(),
                project: project_id,
                project_name: project.clone(),
                environment: self.provisional.environment(project, environment),
                environment_name: environment.clone(),
            },
            exists: false,
            services: Vec::new(),
        })
    }

    async fn deploy(
        &self,
        place: &Place,
        ground: &Ground,
        request: &DesiredRequest,
        declared: &mut BTreeMap<ServiceId, BTreeMap<String, String>>,
    ) -> Result<Vec<DesiredService>> {
        let declared_services = declared::read(&ground.scope, request)?;
        let declarations = &declared_services.services;
        let mut wanted = Vec::new();
        for declaration in declarations {
            let id = self.id_of(place, ground, &declaration.name);
            let source = declared::source(declaration, request)?;
            wanted.push((id, declaration, source));
        }
        let wish = Wish {
            force: request.force,
            no_cache: request.no_cache,
            pull: request.pull,
            coming_secrets: request
                .promised_secrets
                .iter()
                .chain(&declared_services.generated)
                .collect(),
        };
        let mut services = Vec::new();
        for (id, declaration, source) in &wanted {
            let existing = ground.service(&declaration.name);
            let code = SameCode::of(source, &wanted);
            let target = self
                .run_target(ground, declaration, id, existing, &wish, &code)
                .await?;
            declared.insert(id.clone(), declaration.variables.clone());
            services.push(DesiredService {
                id: id.clone(),
                name: declaration.name.clone(),
                current: existing.and_then(|s| s.current.clone()),
                next_release: existing.map_or(ReleaseNumber(1), |s| s.next_release),
                after: declaration.after.clone(),
                target,
            });
        }
        let kept: BTreeSet<&Name> = declarations.iter().map(|d| &d.name).collect();
        let (stay, gone): (Vec<&Service>, Vec<&Service>) =
            ground.services.iter().partition(|s| kept.contains(&s.name));
        // A process type that the Procfile no longer has would go on running
        // code that nobody deploys any more. What holds data is asked for.
        let whole = request.services.is_empty() && request.image.is_none();
        for service in gone {
            let was_process = whole
                && declared_services.has_processes
                && service.volumes.is_empty()
                && self.runs_code_of(service, &stay).await?;
            if request.prune || was_process {
                services.push(removal(service));
            }
        }
        Ok(services)
    }

    /// Whether a service runs code that was, now or before, built for one of
    /// these others.
    async fn runs_code_of(&self, service: &Service, others: &[&Service]) -> Result<bool> {
        let Some(current) = &service.current else {
            return Ok(false);
        };
        let Source::Build(build) = &current.release.spec.source else {
            return Ok(false);
        };
        for other in others {
            let Some(there) = &other.current else { continue };
            if there.release.spec.source == current.release.spec.source {
                return Ok(true);
            }
            let digest = source_digest(build, there.release.spec.port);
            if self.parts.store.build_result(&other.id, &digest).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn run_target(
        &self,
        ground: &Ground,
        declaration: &ServiceDeclaration,
        id: &ServiceId,
        existing: Option<&Service>,
        wish: &Wish<'_>,
        code: &SameCode<'_>,
    ) -> Result<Target> {
        let name = &declaration.name;
        let current = existing.and_then(|s| s.current.as_ref());
        let mut merged = self.parts.store.merged_variables(&ground.scope, id).await?;
        for coming in &wish.coming_secrets {
            merged.secrets.entry((*coming).clone()).or_insert(1);
        }
        if let Some(first) = declaration.missing_secrets(&merged.secrets).first() {
            let all = declaration.missing_secrets(&merged.secrets).join(", ");
            return Err(Error::user(
                Code::MissingSecret,
                format!("The service `{name}` requires secrets that are not set: {all}."),
            )
            .hint(format!(
                "Set it: `nonna secret set {first} --project {} --environment {}`.",
                ground.scope.project_name, ground.scope.environment_name
            )));
        }
        if let Some(first) = declaration
            .missing_variables(&merged.variables, &merged.secrets)
            .first()
        {
            return Err(Error::user(
                Code::MissingSecret,
                format!("The service `{name}` requires variables that are not set: {}.",
                    declaration.missing_variables(&merged.variables, &merged.secrets).join(", ")),
            )
            .hint(format!(
                "Set it: `nonna env set {first}=VALUE --project {} --environment {}`, or `nonna secret set {first} …` where nobody may read it.",
                ground.scope.project_name, ground.scope.environment_name
            )));
        }
        let mut declaration = declaration.clone();
        let source = code.source.clone();
        let anew = wish.no_cache && matches!(source, Source::Build(_));
        let mut image = if anew {
            None
        } else {
            self.known_image(current, code, declaration.port).await?
        };
        let mut rebuild = None;
        if let (Source::Build(_), Some(known)) = (&source, &image)
            && let Some(base) = self.parts.builder.moved_base(&known.id, wish.pull).await?
        {
            rebuild = Some(format!("its base image {base} is another one now"));
            image = None;
        }
        if declaration.port == DeclaredPort::Unsaid
            && matches!(source, Source::Image { .. })
            && let Some(port) = image.as_ref().and_then(only_port)
        {
            declaration.port = DeclaredPort::Number(port);
        }
        if image.is_none()
            && let Source::Build(build) = &source
            && !self.is_in_registry(code, build).await?
            && !self.parts.builder.has_context(&build.context).await?
        {
            return Err(Error::user(
                Code::InvalidContext,
                format!(
                    "The build context of `{name}` has not been received: {}.",
                    build.context
                ),
            )
            .hint("Send it first; `nonna deploy` does.")
            .retry());
        }
        let replicas = declaration
            .replicas
            .or(current.map(|c| c.replicas))
            .or(declaration.initial_replicas)
            .unwrap_or(1);
        self.check_replicas(replicas)?;
        let mut spec = declaration.spec(source, &merged.variables, merged.secrets);
        host_access::check(&self.parts.config, name, &spec.host)?;
        self.add_default_route(&ground.scope, name, &mut spec);
        Ok(Target::Run {
            spec,
            image: image.map(|i| i.id),
            replicas,
            paused: false,
            force: wish.force,
            jobs: true,
            no_cache: anew,
            rebuild,
            reason: "deploy".to_owned(),
        })
    }

    /// The image of a source, where it is on the machine.
    async fn known_image(
        &self,
        current: Option<&CurrentRelease>,
        code: &SameCode<'_>,
        port: DeclaredPort,
    ) -> Result<Option<Image>> {
        let runtime = &self.parts.runtime;
        match code.source {
            Source::Image { reference } => runtime.image(reference).await,
            Source::Build(build) => {
                let digest = source_digest(build, code.port);
                let mut known = current
                    .filter(|c| {
                        c.release.spec.source == *code.source
                            && c.release.spec.port == port.number()
                            && code.port == port.number()
                    })
                    .and_then(|c| c.release.image.clone());
                // Whichever process type it was built for: it is one image.
                for id in &code.services {
                    if known.is_some() {
                        break;
                    }
                    known = self.parts.store.build_result(id, &digest).await?;
                }
                match known {
                    // An image that was removed meanwhile is built again.
                    Some(known) => runtime.image(&known).await,
                    None => Ok(None),
                }
            }
        }
    }

    /// Whether what was built of this source can be fetched again.
    async fn is_in_registry(&self, code: &SameCode<'_>, source: &BuildSource) -> Result<bool> {
        let digest = source_digest(source, code.port);
        for id in &code.services {
            if let Some(image) = self.parts.store.build_result(id, &digest).await?
                && self.parts.journal.origin(&image).await?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add_default_route(&self, scope: &Scope, service: &Name, spec: &mut ServiceSpec) {
        if spec.port.is_none() {
            return;
        }
        let route = RouteSpec {
            host: default_host(
                &self.parts.config.domain,
                &scope.project_name,
                &scope.environment_name,
                service,
            ),
            path: "/".to_owned(),
        };
        if !spec.routes.contains(&route) {
            spec.routes.insert(0, route);
        }
    }

    fn check_replicas(&self, replicas: u32) -> Result<()> {
        let most = self.parts.config.max_replicas;
        if replicas <= most {
            return Ok(());
        }
        Err(Error::user(
            Code::LimitExceeded,
            format!("A service may have {most} replicas on this server, not {replicas}."),
        )
        .hint("The server's setting `max_replicas` says how many."))
    }

    async fn roll_back(
        &self,
        ground: &Ground,
        name: &Name,
        number: Option<ReleaseNumber>,
        declared: &mut BTreeMap<ServiceId, BTreeMap<String, String>>,
    ) -> Result<Vec<DesiredService>> {
        let (service, current) = ground.deployed(name)?;
        let store = &self.parts.store;
        let release = match number {
            Some(number) => store.release(&service.id, number).await?.ok_or_else(|| {
                Error::user(Code::NotFound, format!("`{name}` has no release {number}."))
                    .hint("`nonna releases` lists them.")
            })?,
            None => store
                .list_releases(&service.id, Some(current.release.number), 100)
                .await?
                .into_iter()
                .find(|r| r.state == ReleaseState::Succeeded)
                .ok_or_else(|| {
                    Error::user(
                        Code::Conflict,
                        format!("`{name}` has no release before {}.", current.release.number),
                    )
                })?,
        };
        if release.number == current.release.number {
            return Err(
                Error::user(Code::Conflict, format!("{} is current already.", release.number))
                    .hint("`nonna releases` lists the others."),
            );
        }
        if release.state != ReleaseState::Succeeded {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "{} of `{name}` never became current: it cannot be gone back to.",
                    release.number
                ),
            )
            .hint("`nonna releases` lists those that did."));
        }
        let image = match &release.image {
            Some(image) => match self.parts.runtime.image(image).await? {
                Some(found) => Some(found.id),
                // What a registry has is fetched from there when it starts.
                None => self.parts.journal.origin(image).await?.map(|_| image.clone()),
            },
            None => None,
        };
        if image.is_none()
            && let Source::Build(build) = &release.spec.source
            && !self.parts.builder.has_context(&build.context).await?
        {
            return Err(Error::user(
                Code::ImageNotFound,
                format!(
                    "The image and the source of {} are no longer on this machine.",
                    release.number
                ),
            )
            .hint("Check the old source out and `nonna deploy` it."));
        }
        declared.insert(
            service.id.clone(),
            self.declared_of(&service.id, release.number).await?,
        );
        let mut spec = release.spec;
        // The administrator may have thought better of it since.
        host_access::check(&self.parts.config, name, &spec.host)?;
        self.add_default_route(&ground.scope, name, &mut spec);
        Ok(vec![desired(
            service,
            Target::Run {
                spec,
                image,
                replicas: current.replicas,
                paused: current.paused,
                force: true,
                jobs: false,
                no_cache: false,
                rebuild: None,
                reason: format!("rollback to {}", release.number),
            },
        )])
    }

    fn scale(&self, ground: &Ground, name: &Name, replicas: u32) -> Result<Vec<DesiredService>> {
        let (service, current) = ground.deployed(name)?;
        if replicas == 0 {
            return Err(Error::user(
                Code::InvalidInput,
                "A service that runs has at least one replica.",
            )
            .hint("To stop it and keep its volumes: `nonna pause`."));
        }
        self.check_replicas(replicas)?;
        Ok(vec![desired(
            service,
            Target::Run {
                spec: current.release.spec.clone(),
                image: current.release.image.clone(),
                replicas,
                paused: current.paused,
                force: false,
                jobs: true,
                no_cache: false,
                rebuild: None,
                reason: format!("scale to {replicas}"),
            },
        )])
    }

    async fn variables(
        &self,
        ground: &Ground,
        reason: &str,
        declared: &mut BTreeMap<ServiceId, BTreeMap<String, String>>,
    ) -> Result<Vec<DesiredService>> {
        let mut services = Vec::new();
        for service in &ground.services {
            let Some(current) = &service.current else {
                continue;
            };
            let base = self.declared_of(&service.id, current.release.number).await?;
            let merged = self
                .parts
                .store
                .merged_variables(&ground.scope, &service.id)
                .await?;
            let mut spec = current.release.spec.clone();
            spec.variables = base.clone();
            spec.variables.extend(merged.variables);
            spec.variables
                .retain(|name, _| !merged.secrets.contains_key(name));
            spec.secrets = merged.secrets;
            let withheld = spec.withheld_secrets.clone();
            spec.secrets.retain(|name, _| !withheld.contains(name));
            declared.insert(service.id.clone(), base);
            services.push(desired(
                service,
                Target::Run {
                    spec,
                    image: current.release.image.clone(),
                    replicas: current.replicas,
                    paused: current.paused,
                    force: false,
                    jobs: true,
                    no_cache: false,
                    rebuild: None,
                    reason: reason.to_owned(),
                },
            ));
        }
        Ok(services)
    }

    /// Refuses routes that another service has.
    async fn check_routes(&self, ground: &Ground, services: &[DesiredService]) -> Result<()> {
        let mut wanted: BTreeMap<&RouteSpec, &DesiredService> = BTreeMap::new();
        let mut is_new = false;
        for service in services {
            let Target::Run { spec, .. } = &service.target else {
                continue;
            };
            let old = service
                .current
                .as_ref()
                .map(|c| c.release.spec.routes.as_slice())
                .unwrap_or_default();
            for route in &spec.routes {
                is_new |= !old.contains(route);
                if let Some(other) = wanted.insert(route, service)
                    && other.id != service.id
                {
                    return Err(Error::user(
                        Code::Conflict,
                        format!(
                            "The services `{}` and `{}` both want the route {}{}.",
                            other.name, service.name, route.host, route.path
                        ),
                    )
                    .hint("Give one of them another `domains` entry in nonna.toml."));
                }
            }
        }
        if !is_new {
            return Ok(());
        }
        for snapshot in self.parts.store.snapshots().await? {
            for other in &snapshot.services {
                // What this plan is about is judged by what it will be.
                if services.iter().any(|s| s.id == other.id) {
                    continue;
                }
                let Some(current) = &other.current else { continue };
                for route in &current.release.spec.routes {
                    let Some(service) = wanted.get(route) else {
                        continue;
                    };
                    let owner = format!(
                        "{}/{}/{}",
                        snapshot.scope.project_name, snapshot.scope.environment_name, other.name
                    );
                    return Err(Error::user(
                        Code::Conflict,
                        format!(
                            "The route {}{} that `{}` of {}/{} wants belongs to {owner}.",
                            route.host,
                            route.path,
                            service.name,
                            ground.scope.project_name,
                            ground.scope.environment_name
                        ),
                    )
                    .hint("Take it from there first, or choose another host or path."));
                }
            }
        }
        Ok(())
    }
}

/// The only port an image says it listens on; the lowest of several.
fn only_port(image: &Image) -> Option<u16> {
    image.ports.iter().copied().min()
}

fn desired(service: &Service, target: Target) -> DesiredService {
    DesiredService {
        id: service.id.clone(),
        name: service.name.clone(),
        current: service.current.clone(),
        next_release: service.next_release,
        after: Vec::new(),
        target,
    }
}

fn removal(service: &Service) -> DesiredService {
    desired(
        service,
        Target::Remove {
            volumes: service.volumes.clone(),
        },
    )
}

fn pause(ground: &Ground, name: &Name, paused: bool) -> Result<Vec<DesiredService>> {
    let (service, current) = ground.deployed(name)?;
    Ok(vec![desired(
        service,
        Target::Run {
            spec: current.release.spec.clone(),
            image: current.release.image.clone(),
            replicas: current.replicas,
            paused,
            force: false,
            jobs: true,
            no_cache: false,
            rebuild: None,
            reason: if paused { "pause" } else { "resume" }.to_owned(),
        },
    )])
}

fn destroy(ground: &Ground, what: &Destroy, remove: &mut bool) -> Result<Vec<DesiredService>> {
    match what {
        Destroy::Service(name) => Ok(vec![removal(ground.must(name)?)]),
        Destroy::Environment => {
            *remove = true;
            Ok(ground.services.iter().map(removal).collect())
        }
    }
}
