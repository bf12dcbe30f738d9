//! What the store holds, and the changes that are more than one line.

use std::collections::{BTreeMap, BTreeSet};

use nonna_engine::event::Outcome;
use nonna_engine::ports::journal::{Entry, Mark};
use nonna_engine::{Code, Error, Result};
use nonna_model::plan::{CurrentRelease, Plan, Scope, StepId};
use nonna_model::{
    DeploymentId, EnvironmentId, Name, Release, ReleaseNumber, ReleaseState, ServiceId, TokenId,
};
use nonna_store::records::{
    Audit, BlobInfo, Created, Deployment, DeploymentState, Environment, EnvironmentSnapshot, Idempotency,
    Installation, NewDeployment, NewToken, Owner, Project, Service, StoredEvent, Token, TokenHash, Variable,
    VariableValue, VariablesChange,
};
use secrecy::{ExposeSecret, SecretString};

#[derive(Clone)]
pub(super) struct ServiceRow {
    pub(super) service: Service,
    current: Option<(ReleaseNumber, u32, bool)>,
}

#[derive(Clone)]
pub(super) struct DeploymentRow {
    pub(super) deployment: Deployment,
    idempotency: Option<Idempotency>,
    pub(super) turned_back: Option<Error>,
    pub(super) journal: Vec<Entry>,
    pub(super) images: BTreeMap<ServiceId, String>,
    pub(super) events: Vec<StoredEvent>,
    pub(super) last_event: u64,
}

#[derive(Clone)]
pub(super) struct Version {
    owner: Owner,
    name: String,
    value: SecretString,
    replaced_at: Option<i64>,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) installation: Option<Installation>,
    pub(super) projects: Vec<Project>,
    pub(super) environments: Vec<Environment>,
    pub(super) services: Vec<ServiceRow>,
    pub(super) releases: BTreeMap<(ServiceId, ReleaseNumber), (Release, DeploymentId)>,
    pub(super) deployments: Vec<DeploymentRow>,
    pub(super) variables: BTreeMap<(Owner, String), Variable>,
    pub(super) versions: BTreeMap<u64, Version>,
    pub(super) last_version: u64,
    pub(super) tokens: Vec<(TokenHash, Token)>,
    pub(super) codes: Vec<(TokenHash, i64)>,
    pub(super) blobs: BTreeMap<(String, String), (BlobInfo, Vec<u8>)>,
    pub(super) audit: Vec<Audit>,
    pub(super) builds: BTreeMap<(ServiceId, String), String>,
    pub(super) forges: super::forge::Forges,
}

pub(super) fn not_found(what: &str, id: impl std::fmt::Display) -> Error {
    Error::user(Code::NotFound, format!("There is no {what} {id}."))
}

fn plan_changed() -> Error {
    Error::user(
        Code::PlanChanged,
        "What the plan was made of has changed meanwhile.",
    )
    .retry()
}

impl State {
    // ── Places ──────────────────────────────────────────────────────────

    pub(super) fn complete(&self, row: &ServiceRow) -> Service {
        let mut service = row.service.clone();
        let numbers = self.releases.keys().filter(|(id, _)| *id == service.id);
        service.next_release = ReleaseNumber(numbers.map(|(_, number)| number.0).max().unwrap_or(0) + 1);
        service.current = row.current.and_then(|(number, replicas, paused)| {
            let (release, _) = self.releases.get(&(service.id.clone(), number))?;
            Some(CurrentRelease {
                release: release.clone(),
                replicas,
                paused,
            })
        });
        service.volumes.sort();
        service
    }

    pub(super) fn service(&self, environment: &EnvironmentId, name: &Name) -> Option<Service> {
        let found = self
            .services
            .iter()
            .find(|row| row.service.environment == *environment && row.service.name == *name);
        found.map(|row| self.complete(row))
    }

    pub(super) fn add_service(&mut self, now: i64, environment: &EnvironmentId, id: &ServiceId, name: &Name) {
        self.services.push(ServiceRow {
            service: Service {
                id: id.clone(),
                environment: environment.clone(),
                name: name.clone(),
                current: None,
                next_release: ReleaseNumber(1),
                volumes: Vec::new(),
                created_at: now,
            },
            current: None,
        });
    }

    pub(super) fn snapshot(&self, environment: &Environment) -> Option<EnvironmentSnapshot> {
        let project = self.projects.iter().find(|p| p.id == environment.project)?;
        let mut services: Vec<Service> = self
            .services
            .iter()
            .filter(|row| row.service.environment == environment.id)
            .map(|row| self.complete(row))
            .collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Some(EnvironmentSnapshot {
            scope: Scope {
                organization: project.organization.clone(),
                project: project.id.clone(),
                project_name: project.name.clone(),
                environment: environment.id.clone(),
                environment_name: environment.name.clone(),
            },
            services,
            unfinished: self
                .deployments
                .iter()
                .filter(|row| row.deployment.plan.scope.environment == environment.id)
                .filter(|row| !row.deployment.state.is_finished())
                .map(|row| row.deployment.id.clone())
                .collect(),
        })
    }

    // ── Deployments ─────────────────────────────────────────────────────

    pub(super) fn row(&mut self, id: &DeploymentId) -> Result<&mut DeploymentRow> {
        self.deployments
            .iter_mut()
            .find(|row| row.deployment.id == *id)
            .ok_or_else(|| not_found("deployment", id))
    }

    pub(super) fn create(&mut self, now: i64, new: NewDeployment) -> Result<Created> {
        if let Some(wanted) = &new.idempotency {
            let before = self.deployments.iter().find(|row| {
                row.deployment.actor == new.actor
                    && row.idempotency.as_ref().is_some_and(|i| i.key == wanted.key)
            });
            if let Some(row) = before {
                return if row.idempotency.as_ref() == Some(wanted) {
                    Ok(Created {
                        deployment: row.deployment.clone(),
                        existed: true,
                    })
                } else {
                    Err(Error::user(
                        Code::Conflict,
                        "This key was used for another request.",
                    ))
                };
            }
        }
        if self.row(&new.id).is_ok() {
            return Err(Error::user(Code::Conflict, "The deployment is there already."));
        }
        let deployment = Deployment {
            id: new.id,
            kind: new.kind,
            plan: new.plan,
            actor: new.actor,
            state: DeploymentState::Queued,
            cancel_requested: false,
            outcome: None,
            created_at: now,
            started_at: None,
            finished_at: None,
        };
        self.adopt(now, &deployment.id, &deployment.plan)?;
        self.deployments.push(DeploymentRow {
            deployment: deployment.clone(),
            idempotency: new.idempotency,
            turned_back: None,
            journal: Vec::new(),
            images: BTreeMap::new(),
            events: Vec::new(),
            last_event: 0,
        });
        Ok(Created {
            deployment,
            existed: false,
        })
    }

    fn adopt(&mut self, now: i64, id: &DeploymentId, plan: &Plan) -> Result<()> {
        let scope = &plan.scope;
        let project = self
            .projects
            .iter()
            .find(|p| p.organization == scope.organization && p.name == scope.project_name);
        match project {
            Some(project) if project.id != scope.project => return Err(plan_changed()),
            Some(_) => {}
            None => self.projects.push(Project {
                id: scope.project.clone(),
                organization: scope.organization.clone(),
                name: scope.project_name.clone(),
                created_at: now,
            }),
        }
        let environment = self
            .environments
            .iter()
            .find(|e| e.project == scope.project && e.name == scope.environment_name);
        match environment {
            Some(environment) if environment.id != scope.environment => return Err(plan_changed()),
            Some(_) => {}
            None => self.environments.push(Environment {
                id: scope.environment.clone(),
                project: scope.project.clone(),
                name: scope.environment_name.clone(),
                created_at: now,
            }),
        }
        self.check_previous(plan)?;
        for (service, planned) in &plan.services {
            let Some(release) = &planned.release else {
                continue;
            };
            match self.service(&scope.environment, &planned.name) {
                Some(there) if there.id != *service => return Err(plan_changed()),
                Some(_) => {}
                None => self.add_service(now, &scope.environment, service, &planned.name),
            }
            self.reserve(now, id, service, release, planned.new_release)?;
        }
        Ok(())
    }

    fn check_previous(&self, plan: &Plan) -> Result<()> {
        for (id, planned) in &plan.services {
            let current = self
                .services
                .iter()
                .find(|row| row.service.id == *id)
                .and_then(|row| row.current);
            let previous = planned
                .previous
                .as_ref()
                .map(|p| (p.release.number, p.replicas, p.paused));
            if current != previous {
                return Err(plan_changed());
            }
        }
        Ok(())
    }

    fn reserve(
        &mut self,
        now: i64,
        deployment: &DeploymentId,
        service: &ServiceId,
        release: &Release,
        is_new: bool,
    ) -> Result<()> {
        let key = (service.clone(), release.number);
        if !is_new {
            return self.releases.get(&key).map(|_| ()).ok_or_else(plan_changed);
        }
        let highest = self
            .releases
            .keys()
            .filter(|(id, _)| id == service)
            .map(|(_, n)| *n)
            .max();
        if highest.is_some_and(|highest| release.number <= highest) {
            return Err(plan_changed());
        }
        if release
            .spec
            .secrets
            .values()
            .any(|v| !self.versions.contains_key(v))
        {
            return Err(plan_changed());
        }
        let mut release = release.clone();
        release.state = ReleaseState::Pending;
        if release.created_at <= 0 {
            release.created_at = now;
        }
        for row in self.services.iter_mut().filter(|row| row.service.id == *service) {
            for volume in &release.spec.volumes {
                if !row.service.volumes.contains(&volume.name) {
                    row.service.volumes.push(volume.name.clone());
                }
            }
        }
        self.releases.insert(key, (release, deployment.clone()));
        Ok(())
    }

    pub(super) fn replace_plan(&mut self, now: i64, id: &DeploymentId, plan: &Plan) -> Result<()> {
        let row = self.row(id)?;
        let names = |plan: &Plan| {
            let s = &plan.scope;
            (
                s.organization.clone(),
                s.project_name.clone(),
                s.environment_name.clone(),
            )
        };
        if row.deployment.state != DeploymentState::Queued || names(&row.deployment.plan) != names(plan) {
            return Err(Error::user(Code::Conflict, "The plan cannot be replaced."));
        }
        row.deployment.plan = plan.clone();
        self.releases
            .retain(|_, (release, by)| by != id || release.state != ReleaseState::Pending);
        self.adopt(now, id, plan)
    }

    pub(super) fn start(&mut self, now: i64, id: &DeploymentId) -> Result<()> {
        let row = self.row(id)?;
        match row.deployment.state {
            DeploymentState::Running => Ok(()),
            DeploymentState::Queued => {
                let plan = row.deployment.plan.clone();
                self.check_previous(&plan)?;
                let deployment = &mut self.row(id)?.deployment;
                deployment.state = DeploymentState::Running;
                deployment.started_at = Some(now);
                Ok(())
            }
            _ => Err(Error::user(Code::Conflict, "The deployment is finished.")),
        }
    }

    pub(super) fn commit(&mut self, id: &DeploymentId, plan: &Plan, step: StepId) -> Result<()> {
        let done = Entry {
            step,
            mark: Mark::Done,
        };
        if self.row(id)?.journal.contains(&done) {
            return Ok(());
        }
        self.keep_images(id)?;
        for (service, planned) in &plan.services {
            let Some(release) = &planned.release else {
                continue;
            };
            let (kept, _) = self
                .releases
                .get_mut(&(service.clone(), release.number))
                .ok_or_else(|| Error::bug("It was never reserved."))?;
            kept.state = ReleaseState::Succeeded;
            for row in self.services.iter_mut().filter(|row| row.service.id == *service) {
                row.current = Some((release.number, planned.replicas, planned.paused));
            }
        }
        self.row(id)?.journal.push(done);
        Ok(())
    }

    fn keep_images(&mut self, id: &DeploymentId) -> Result<()> {
        let images = self.row(id)?.images.clone();
        for ((service, _), (release, by)) in &mut self.releases {
            if by == id
                && let Some(image) = images.get(service)
            {
                release.image = Some(image.clone());
            }
        }
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        now: i64,
        id: &DeploymentId,
        plan: &Plan,
        outcome: &Outcome,
    ) -> Result<()> {
        if self.row(id)?.deployment.state.is_finished() {
            return Ok(());
        }
        self.keep_images(id)?;
        for (release, by) in self.releases.values_mut() {
            if by == id && release.state == ReleaseState::Pending {
                release.state = ReleaseState::Failed;
            }
        }
        if *outcome == Outcome::Succeeded {
            for (service, planned) in &plan.services {
                if planned.release.is_none() {
                    self.forget_service(service);
                }
            }
            if plan.remove_environment {
                self.forget_environment(&plan.scope);
            }
        }
        let deployment = &mut self.row(id)?.deployment;
        deployment.state = DeploymentState::of(outcome);
        deployment.outcome = Some(outcome.clone());
        deployment.finished_at = Some(now);
        Ok(())
    }

    fn forget_owner(&mut self, owner: &Owner) {
        self.variables.retain(|(whose, _), _| whose != owner);
        self.versions.retain(|_, version| version.owner != *owner);
    }

    fn forget_service(&mut self, id: &ServiceId) {
        self.forget_owner(&Owner::Service(id.clone()));
        self.services.retain(|row| row.service.id != *id);
        self.releases.retain(|(service, _), _| service != id);
        self.builds.retain(|(service, _), _| service != id);
    }

    fn forget_environment(&mut self, scope: &Scope) {
        let rest: Vec<ServiceRow> = self
            .services
            .iter()
            .filter(|row| row.service.environment == scope.environment)
            .cloned()
            .collect();
        if rest.iter().any(|row| row.current.is_some()) {
            return;
        }
        for row in rest {
            self.forget_service(&row.service.id);
        }
        self.forget_owner(&Owner::Environment(scope.environment.clone()));
        self.environments.retain(|e| e.id != scope.environment);
        let owner = Owner::Project(scope.project.clone());
        let in_use = self.environments.iter().any(|e| e.project == scope.project)
            || self.variables.keys().any(|(whose, _)| *whose == owner)
            || self.versions.values().any(|version| version.owner == owner);
        if !in_use {
            self.projects.retain(|p| p.id != scope.project);
        }
    }

    pub(super) fn prune(&mut self, before: i64) -> u64 {
        let mut gone = 0;
        for row in &mut self.deployments {
            if row.deployment.finished_at.is_some_and(|at| at < before) {
                gone += row.events.len() + row.journal.len() + row.images.len();
                row.events.clear();
                row.journal.clear();
                row.images.clear();
            }
        }
        let used: BTreeSet<u64> = self
            .releases
            .values()
            .flat_map(|(release, _)| release.spec.secrets.values().copied())
            .collect();
        let counted = self.versions.len() + self.codes.len();
        self.versions.retain(|number, version| {
            used.contains(number) || version.replaced_at.is_none_or(|at| at >= before)
        });
        self.codes.retain(|(_, expires)| *expires >= before);
        gone += counted - self.versions.len() - self.codes.len();
        let of_releases = self
            .releases
            .values()
            .filter_map(|(release, _)| release.image.clone());
        let of_deployments = self
            .deployments
            .iter()
            .flat_map(|row| row.images.values().cloned());
        let needed: BTreeSet<String> = of_releases
            .chain(of_deployments)
            .chain(self.builds.values().cloned())
            .collect();
        let counted = self.blobs.len();
        self.blobs.retain(|(kind, image), (info, _)| {
            !(kind == nonna_store::ORIGINS || kind == nonna_store::CONTENTS)
                || info.updated_at >= before
                || needed.contains(image)
        });
        gone += counted - self.blobs.len();
        gone as u64
    }

    // ── Variables and secrets ───────────────────────────────────────────

    fn owner_exists(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Organization(id) => self.installation.as_ref().is_some_and(|i| i.organization == *id),
            Owner::Project(id) => self.projects.iter().any(|p| p.id == *id),
            Owner::Environment(id) => self.environments.iter().any(|e| e.id == *id),
            Owner::Service(id) => self.services.iter().any(|row| row.service.id == *id),
        }
    }

    pub(super) fn change(&mut self, now: i64, change: VariablesChange) -> Result<Vec<String>> {
        change.check()?;
        let owner = change.owner;
        if !self.owner_exists(&owner) {
            return Err(not_found(owner.scope(), owner.id()));
        }
        let mut changed = BTreeSet::new();
        let plain = change.set.into_iter().map(|(name, value)| (name, Ok(value)));
        let secret = change
            .set_secrets
            .into_iter()
            .map(|(name, value)| (name, Err(value)));
        for (name, value) in plain.chain(secret) {
            let before = self
                .variables
                .get(&(owner.clone(), name.clone()))
                .map(|v| v.value.clone());
            let same = match (&before, &value) {
                (Some(VariableValue::Plain(old)), Ok(new)) => old == new,
                (Some(VariableValue::Secret(version)), Err(new)) => self
                    .versions
                    .get(version)
                    .is_some_and(|old| old.value.expose_secret() == new.expose_secret()),
                _ => false,
            };
            if same {
                continue;
            }
            self.replaced(now, &owner, &name);
            let value = match value {
                Ok(plain) => VariableValue::Plain(plain),
                Err(secret) => {
                    self.last_version += 1;
                    self.versions.insert(
                        self.last_version,
                        Version {
                            owner: owner.clone(),
                            name: name.clone(),
                            value: secret,
                            replaced_at: None,
                        },
                    );
                    VariableValue::Secret(self.last_version)
                }
            };
            self.variables.insert(
                (owner.clone(), name.clone()),
                Variable {
                    owner: owner.clone(),
                    name: name.clone(),
                    value,
                    updated_at: now,
                    updated_by: change.actor.clone(),
                },
            );
            changed.insert(name);
        }
        for name in change.unset {
            if self.variables.remove(&(owner.clone(), name.clone())).is_some() {
                self.replaced(now, &owner, &name);
                changed.insert(name);
            }
        }
        Ok(changed.into_iter().collect())
    }

    fn replaced(&mut self, now: i64, owner: &Owner, name: &str) {
        for version in self.versions.values_mut() {
            if version.owner == *owner && version.name == name && version.replaced_at.is_none() {
                version.replaced_at = Some(now);
            }
        }
    }

    pub(super) fn open_current(&self, owner: &Owner, name: &str) -> Option<SecretString> {
        match self.variables.get(&(owner.clone(), name.to_owned()))?.value {
            VariableValue::Secret(version) => Some(self.versions.get(&version)?.value.clone()),
            VariableValue::Plain(_) => None,
        }
    }

    pub(super) fn open_for(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>> {
        if versions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let scope = self
            .services
            .iter()
            .find(|row| row.service.id == *service)
            .and_then(|row| self.environments.iter().find(|e| e.id == row.service.environment))
            .and_then(|environment| self.snapshot(environment))
            .ok_or_else(|| not_found("service", service))?
            .scope;
        let owners = Owner::seen_by(&scope, service);
        versions
            .iter()
            .map(|(name, number)| {
                self.versions
                    .get(number)
                    .filter(|version| version.name == *name && owners.contains(&version.owner))
                    .map(|version| (name.clone(), version.value.clone()))
                    .ok_or_else(|| Error::user(Code::MissingSecret, format!("The secret {name} is missing.")))
            })
            .collect()
    }

    // ── Who may come in ─────────────────────────────────────────────────

    pub(super) fn create_token(&mut self, now: i64, new: NewToken) -> Result<Token> {
        if self.tokens.iter().any(|(hash, _)| *hash == new.hash) {
            return Err(Error::user(Code::Conflict, "This token is there already."));
        }
        let token = Token {
            id: TokenId::generate(),
            name: new.name,
            created_at: now,
            last_used_at: None,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        self.tokens.push((new.hash, token.clone()));
        Ok(token)
    }

    pub(super) fn use_token(&mut self, hash: &TokenHash, now: i64) -> Option<Token> {
        let (_, token) = self.tokens.iter_mut().find(|(h, _)| h == hash)?;
        if token.revoked_at.is_some() || token.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        if token.last_used_at.is_none_or(|at| now - at >= 60_000) {
            token.last_used_at = Some(now);
        }
        Some(token.clone())
    }
}
