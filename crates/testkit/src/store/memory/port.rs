//! The ports.

use std::collections::BTreeMap;

use async_trait::async_trait;
use nonna_engine::event::{Event, Outcome};
use nonna_engine::ports::Journal;
use nonna_engine::ports::journal::Entry;
use nonna_engine::{Code, Error, Result};
use nonna_model::plan::{Plan, Scope, StepId};
use nonna_model::{
    ConnectionId, DeploymentId, EnvironmentId, InstallationId, Name, OrganizationId, ProjectId, Release,
    ReleaseNumber, ServiceId, TokenId,
};
use nonna_store::Store;
use nonna_store::forge::{Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, NewDelivery};
use nonna_store::records::{
    Audit, BlobInfo, Created, Deployment, DeploymentState, Environment, EnvironmentSnapshot, Installation,
    MergedVariables, NewAudit, NewDeployment, NewToken, Owner, Project, Service, StoredEvent, Token,
    TokenHash, Variable, VariableValue, VariablesChange,
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::state::not_found;
use super::{MemoryStore, now};

#[async_trait]
impl Journal for MemoryStore {
    async fn record(&self, deployment: &DeploymentId, entry: Entry) -> Result<()> {
        self.write(|state| {
            state.row(deployment)?.journal.push(entry);
            Ok(())
        })
    }

    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>> {
        Ok(self
            .read()
            .row(deployment)
            .map(|row| row.journal.clone())
            .unwrap_or_default())
    }

    async fn turn_back(&self, deployment: &DeploymentId, error: &Error) -> Result<()> {
        self.write(|state| {
            state
                .row(deployment)?
                .turned_back
                .get_or_insert_with(|| error.clone());
            Ok(())
        })
    }

    async fn turned_back(&self, deployment: &DeploymentId) -> Result<Option<Error>> {
        Ok(self
            .read()
            .row(deployment)
            .ok()
            .and_then(|row| row.turned_back.clone()))
    }

    async fn set_image(&self, deployment: &DeploymentId, service: &ServiceId, image: &str) -> Result<()> {
        self.write(|state| {
            state
                .row(deployment)?
                .images
                .insert(service.clone(), image.to_owned());
            Ok(())
        })
    }

    async fn images(&self, deployment: &DeploymentId) -> Result<BTreeMap<ServiceId, String>> {
        Ok(self
            .read()
            .row(deployment)
            .map(|row| row.images.clone())
            .unwrap_or_default())
    }

    async fn keep_origin(&self, image: &str, reference: &str) -> Result<()> {
        self.put_blob(nonna_store::ORIGINS, image, reference.as_bytes())
            .await
    }

    async fn origin(&self, image: &str) -> Result<Option<String>> {
        let found = self.get_blob(nonna_store::ORIGINS, image).await?;
        Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn commit(&self, deployment: &DeploymentId, plan: &Plan, step: StepId) -> Result<()> {
        self.write(|state| state.commit(deployment, plan, step))
    }

    async fn finish(&self, deployment: &DeploymentId, plan: &Plan, outcome: &Outcome) -> Result<()> {
        self.write(|state| state.finish(now(), deployment, plan, outcome))
    }

    async fn open_secrets(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>> {
        self.read().open_for(service, versions)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn installation(&self) -> Result<Installation> {
        self.write(|state| {
            Ok(state
                .installation
                .get_or_insert_with(|| Installation {
                    id: InstallationId::generate(),
                    organization: OrganizationId::generate(),
                    created_at: now(),
                })
                .clone())
        })
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn ensure_project(&self, organization: &OrganizationId, name: &Name) -> Result<Project> {
        if let Some(there) = self.find_project(organization, name).await? {
            return Ok(there);
        }
        self.write(|state| {
            if state
                .installation
                .as_ref()
                .is_none_or(|i| i.organization != *organization)
            {
                return Err(not_found("organization", organization));
            }
            let project = Project {
                id: ProjectId::generate(),
                organization: organization.clone(),
                name: name.clone(),
                created_at: now(),
            };
            state.projects.push(project.clone());
            Ok(project)
        })
    }

    async fn find_project(&self, organization: &OrganizationId, name: &Name) -> Result<Option<Project>> {
        let state = self.read();
        let mut projects = state.projects.iter();
        Ok(projects
            .find(|p| p.organization == *organization && p.name == *name)
            .cloned())
    }

    async fn list_projects(&self, organization: &OrganizationId) -> Result<Vec<Project>> {
        let state = self.read();
        let projects = state.projects.iter().filter(|p| p.organization == *organization);
        let mut projects: Vec<Project> = projects.cloned().collect();
        projects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(projects)
    }

    async fn ensure_environment(&self, project: &ProjectId, name: &Name) -> Result<Environment> {
        if let Some(there) = self.find_environment(project, name).await? {
            return Ok(there);
        }
        self.write(|state| {
            if !state.projects.iter().any(|p| p.id == *project) {
                return Err(not_found("project", project));
            }
            let environment = Environment {
                id: EnvironmentId::generate(),
                project: project.clone(),
                name: name.clone(),
                created_at: now(),
            };
            state.environments.push(environment.clone());
            Ok(environment)
        })
    }

    async fn find_environment(&self, project: &ProjectId, name: &Name) -> Result<Option<Environment>> {
        let state = self.read();
        let mut environments = state.environments.iter();
        Ok(environments
            .find(|e| e.project == *project && e.name == *name)
            .cloned())
    }

    async fn list_environments(&self, project: &ProjectId) -> Result<Vec<Environment>> {
        let state = self.read();
        let environments = state.environments.iter().filter(|e| e.project == *project);
        let mut environments: Vec<Environment> = environments.cloned().collect();
        environments.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(environments)
    }

    async fn ensure_service(&self, environment: &EnvironmentId, name: &Name) -> Result<Service> {
        self.write(|state| {
            if let Some(there) = state.service(environment, name) {
                return Ok(there);
            }
            if !state.environments.iter().any(|e| e.id == *environment) {
                return Err(not_found("environment", environment));
            }
            state.add_service(now(), environment, &ServiceId::generate(), name);
            state
                .service(environment, name)
                .ok_or_else(|| Error::bug("A service was lost."))
        })
    }

    async fn find_service(&self, environment: &EnvironmentId, name: &Name) -> Result<Option<Service>> {
        Ok(self.read().service(environment, name))
    }

    async fn environment_snapshot(
        &self,
        organization: &OrganizationId,
        project: &Name,
        environment: &Name,
    ) -> Result<Option<EnvironmentSnapshot>> {
        let Some(project) = self.find_project(organization, project).await? else {
            return Ok(None);
        };
        let environment = self.find_environment(&project.id, environment).await?;
        Ok(environment.and_then(|environment| self.read().snapshot(&environment)))
    }

    async fn snapshots(&self) -> Result<Vec<EnvironmentSnapshot>> {
        let state = self.read();
        let mut all: Vec<EnvironmentSnapshot> = state
            .environments
            .iter()
            .filter_map(|e| state.snapshot(e))
            .collect();
        all.sort_by_key(|s| {
            (
                s.scope.organization.clone(),
                s.scope.project_name.clone(),
                s.scope.environment_name.clone(),
            )
        });
        Ok(all)
    }

    async fn list_releases(
        &self,
        service: &ServiceId,
        before: Option<ReleaseNumber>,
        limit: u32,
    ) -> Result<Vec<Release>> {
        let state = self.read();
        let releases = state.releases.values().rev().map(|(release, _)| release);
        Ok(releases
            .filter(|r| r.service == *service && before.is_none_or(|before| r.number < before))
            .take(limit as usize)
            .cloned()
            .collect())
    }

    async fn release(&self, service: &ServiceId, number: ReleaseNumber) -> Result<Option<Release>> {
        let state = self.read();
        Ok(state
            .releases
            .get(&(service.clone(), number))
            .map(|(release, _)| release.clone()))
    }

    async fn create_deployment(&self, new: NewDeployment) -> Result<Created> {
        self.write(|state| state.create(now(), new))
    }

    async fn replace_plan(&self, deployment: &DeploymentId, plan: &Plan) -> Result<()> {
        self.write(|state| state.replace_plan(now(), deployment, plan))
    }

    async fn start_deployment(&self, deployment: &DeploymentId) -> Result<()> {
        self.write(|state| state.start(now(), deployment))
    }

    async fn request_cancel(&self, deployment: &DeploymentId) -> Result<DeploymentState> {
        self.write(|state| {
            let deployment = &mut state.row(deployment)?.deployment;
            deployment.cancel_requested |= !deployment.state.is_finished();
            Ok(deployment.state)
        })
    }

    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<Deployment>> {
        Ok(self.read().row(deployment).ok().map(|row| row.deployment.clone()))
    }

    async fn unfinished_deployments(&self) -> Result<Vec<Deployment>> {
        let state = self.read();
        let all = state.deployments.iter().map(|row| &row.deployment);
        Ok(all.filter(|d| !d.state.is_finished()).cloned().collect())
    }

    async fn list_deployments(
        &self,
        environment: &EnvironmentId,
        before: Option<&DeploymentId>,
        limit: u32,
    ) -> Result<Vec<Deployment>> {
        let mut state = self.read();
        if let Some(before) = before {
            state.row(before)?;
        }
        let all = state.deployments.iter().map(|row| &row.deployment);
        let older = all.take_while(|d| Some(&d.id) != before);
        let mut found: Vec<Deployment> = older
            .filter(|d| d.plan.scope.environment == *environment)
            .cloned()
            .collect();
        found.reverse();
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn append_events(&self, events: Vec<Event>) -> Result<Vec<u64>> {
        self.write(|state| {
            let mut numbers = Vec::new();
            for event in events {
                let row = state.row(&event.deployment)?;
                row.last_event += 1;
                row.events.push(StoredEvent {
                    sequence: row.last_event,
                    event,
                });
                numbers.push(row.last_event);
            }
            Ok(numbers)
        })
    }

    async fn events_after(
        &self,
        deployment: &DeploymentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        let mut state = self.read();
        let Ok(row) = state.row(deployment) else {
            return Ok(Vec::new());
        };
        let later = row.events.iter().filter(|event| event.sequence > after);
        Ok(later.take(limit as usize).cloned().collect())
    }

    async fn prune(&self, before: i64) -> Result<u64> {
        self.write(|state| Ok(state.prune(before)))
    }

    async fn change_variables(&self, change: VariablesChange) -> Result<Vec<String>> {
        self.write(|state| state.change(now(), change))
    }

    async fn list_variables(&self, owner: &Owner) -> Result<Vec<Variable>> {
        let state = self.read();
        let variables = state.variables.values().filter(|v| v.owner == *owner);
        Ok(variables.cloned().collect())
    }

    async fn merged_variables(&self, scope: &Scope, service: &ServiceId) -> Result<MergedVariables> {
        let mut nearest = BTreeMap::new();
        for owner in Owner::seen_by(scope, service) {
            for variable in self.list_variables(&owner).await? {
                nearest.insert(variable.name, variable.value);
            }
        }
        let mut merged = MergedVariables::default();
        for (name, value) in nearest {
            match value {
                VariableValue::Plain(plain) => drop(merged.variables.insert(name, plain)),
                VariableValue::Secret(version) => drop(merged.secrets.insert(name, version)),
            }
        }
        Ok(merged)
    }

    async fn open_secret(&self, owner: &Owner, name: &str) -> Result<Option<SecretString>> {
        Ok(self.read().open_current(owner, name))
    }

    async fn create_token(&self, token: NewToken) -> Result<Token> {
        self.write(|state| state.create_token(now(), token))
    }

    async fn use_token(&self, hash: &TokenHash, now: i64) -> Result<Option<Token>> {
        self.write(|state| Ok(state.use_token(hash, now)))
    }

    async fn list_tokens(&self) -> Result<Vec<Token>> {
        let state = self.read();
        let mut tokens: Vec<Token> = state.tokens.iter().map(|(_, token)| token.clone()).collect();
        tokens.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
        Ok(tokens)
    }

    async fn revoke_token(&self, token: &TokenId) -> Result<bool> {
        self.write(|state| {
            let now = now();
            let valid =
                state.tokens.iter_mut().map(|(_, token)| token).find(|t| {
                    t.id == *token && t.revoked_at.is_none() && t.expires_at.is_none_or(|at| at > now)
                });
            Ok(valid.map(|token| token.revoked_at = Some(now)).is_some())
        })
    }

    async fn create_login_code(&self, hash: &TokenHash, expires_at: i64) -> Result<()> {
        self.write(|state| {
            state.codes.retain(|(code, _)| code != hash);
            state.codes.push((hash.clone(), expires_at));
            Ok(())
        })
    }

    async fn redeem_login_code(&self, hash: &TokenHash, at: i64, token: NewToken) -> Result<Token> {
        self.write(|state| {
            let before = state.codes.len();
            state
                .codes
                .retain(|(code, expires)| code != hash || *expires <= at);
            if state.codes.len() == before {
                return Err(Error::user(
                    Code::Unauthenticated,
                    "The one-time code is not valid.",
                ));
            }
            state.create_token(now(), token)
        })
    }

    async fn put_blob(&self, kind: &str, key: &str, bytes: &[u8]) -> Result<()> {
        self.write(|state| {
            let info = BlobInfo {
                key: key.to_owned(),
                updated_at: now(),
            };
            state
                .blobs
                .insert((kind.to_owned(), key.to_owned()), (info, bytes.to_vec()));
            Ok(())
        })
    }

    async fn get_blob(&self, kind: &str, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let state = self.read();
        let found = state.blobs.get(&(kind.to_owned(), key.to_owned()));
        Ok(found.map(|(_, bytes)| Zeroizing::new(bytes.clone())))
    }

    async fn list_blobs(&self, kind: &str) -> Result<Vec<BlobInfo>> {
        let state = self.read();
        let blobs = state.blobs.iter().filter(|((k, _), _)| k == kind);
        Ok(blobs.map(|(_, (info, _))| info.clone()).collect())
    }

    async fn delete_blob(&self, kind: &str, key: &str) -> Result<bool> {
        self.write(|state| Ok(state.blobs.remove(&(kind.to_owned(), key.to_owned())).is_some()))
    }

    async fn create_connection(&self, connection: Connection, secrets: ConnectionSecrets) -> Result<()> {
        self.write(|state| state.forges.create(connection, secrets))
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>> {
        Ok(self.read().forges.connection(id))
    }

    async fn connection_secrets(&self, id: &ConnectionId) -> Result<Option<ConnectionSecrets>> {
        Ok(self.read().forges.secrets(id))
    }

    async fn list_connections(
        &self,
        organization: &OrganizationId,
        project: Option<&Name>,
    ) -> Result<Vec<Connection>> {
        Ok(self.read().forges.list(organization, project))
    }

    async fn change_connection(
        &self,
        id: &ConnectionId,
        changes: Vec<ConnectionChange>,
    ) -> Result<Option<Connection>> {
        self.write(|state| Ok(state.forges.change(id, &changes)))
    }

    async fn remove_connection(&self, id: &ConnectionId) -> Result<bool> {
        self.write(|state| Ok(state.forges.remove(id)))
    }

    async fn accept_delivery(&self, new: NewDelivery) -> Result<Option<Accepted>> {
        self.write(|state| Ok(state.forges.accept(now(), new)))
    }

    async fn take_delivery(&self, connection: &ConnectionId) -> Result<Option<Delivery>> {
        self.write(|state| Ok(state.forges.take(connection)))
    }

    async fn update_delivery(&self, delivery: &Delivery, log: Option<&str>) -> Result<bool> {
        self.write(|state| Ok(state.forges.update(delivery, log)))
    }

    async fn unfinished_deliveries(&self) -> Result<Vec<Delivery>> {
        Ok(self.read().forges.unfinished())
    }

    async fn list_deliveries(
        &self,
        connection: &ConnectionId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Delivery>> {
        Ok(self.read().forges.deliveries(connection, before, limit))
    }

    async fn delivery(&self, connection: &ConnectionId, number: u64) -> Result<Option<(Delivery, String)>> {
        Ok(self.read().forges.delivery(connection, number))
    }

    async fn append_audit(&self, entry: NewAudit) -> Result<u64> {
        self.write(|state| {
            let sequence = state.audit.len() as u64 + 1;
            state.audit.push(Audit { sequence, entry });
            Ok(sequence)
        })
    }

    async fn list_audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<Audit>> {
        let state = self.read();
        let older = state
            .audit
            .iter()
            .rev()
            .filter(|a| before.is_none_or(|before| a.sequence < before));
        Ok(older.take(limit as usize).cloned().collect())
    }

    async fn build_result(&self, service: &ServiceId, source: &str) -> Result<Option<String>> {
        Ok(self
            .read()
            .builds
            .get(&(service.clone(), source.to_owned()))
            .cloned())
    }

    async fn put_build_result(&self, service: &ServiceId, source: &str, image: &str) -> Result<()> {
        self.write(|state| {
            if state.services.iter().any(|row| row.service.id == *service) {
                state
                    .builds
                    .insert((service.clone(), source.to_owned()), image.to_owned());
            }
            Ok(())
        })
    }
}
