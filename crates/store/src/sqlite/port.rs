//! The ports, [`Journal`] and [`Store`], each call handed to a thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use nonna_engine::event::{Event, Outcome};
use nonna_engine::ports::Journal;
use nonna_engine::ports::journal::Entry;
use nonna_engine::{Error, Result};
use nonna_model::plan::{Plan, Scope, StepId};
use nonna_model::{
    ConnectionId, DeploymentId, EnvironmentId, Name, OrganizationId, ProjectId, Release, ReleaseNumber,
    ServiceId, TokenId,
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    SqliteStore, access, audit, blobs, deployments, events, forge, journal, places, releases, row, variables,
};
use crate::forge::{Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, NewDelivery};
use crate::records::{
    Audit, BlobInfo, Created, Deployment, DeploymentState, Environment, EnvironmentSnapshot, Installation,
    MergedVariables, NewAudit, NewDeployment, NewToken, Owner, Project, Service, StoredEvent, Token,
    TokenHash, Variable, VariablesChange,
};
use crate::seal::Purpose;
use crate::{ORIGINS, Store};

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[async_trait]
impl Journal for SqliteStore {
    async fn record(&self, deployment: &DeploymentId, entry: Entry) -> Result<()> {
        let deployment = deployment.clone();
        self.threads
            .write(move |c| journal::record(c, &deployment, &entry))
            .await
    }

    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>> {
        let deployment = deployment.clone();
        self.threads.read(move |c| journal::entries(c, &deployment)).await
    }

    async fn turn_back(&self, deployment: &DeploymentId, error: &Error) -> Result<()> {
        let (deployment, error) = (deployment.clone(), error.clone());
        self.threads
            .write(move |c| journal::turn_back(c, &deployment, &error))
            .await
    }

    async fn turned_back(&self, deployment: &DeploymentId) -> Result<Option<Error>> {
        let deployment = deployment.clone();
        self.threads
            .read(move |c| journal::turned_back(c, &deployment))
            .await
    }

    async fn set_image(&self, deployment: &DeploymentId, service: &ServiceId, image: &str) -> Result<()> {
        let (deployment, service, image) = (deployment.clone(), service.clone(), image.to_owned());
        self.threads
            .write(move |c| journal::set_image(c, &deployment, &service, &image))
            .await
    }

    async fn images(&self, deployment: &DeploymentId) -> Result<BTreeMap<ServiceId, String>> {
        let deployment = deployment.clone();
        self.threads.read(move |c| journal::images(c, &deployment)).await
    }

    async fn keep_origin(&self, image: &str, reference: &str) -> Result<()> {
        if self.origin(image).await?.as_deref() == Some(reference) {
            return Ok(());
        }
        self.put_blob(ORIGINS, image, reference.as_bytes()).await
    }

    async fn origin(&self, image: &str) -> Result<Option<String>> {
        let found = self.get_blob(ORIGINS, image).await?;
        Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn commit(&self, deployment: &DeploymentId, plan: &Plan, step: StepId) -> Result<()> {
        let (deployment, plan) = (deployment.clone(), plan.clone());
        self.threads
            .write(move |c| journal::commit(c, &deployment, &plan, step))
            .await
    }

    async fn finish(&self, deployment: &DeploymentId, plan: &Plan, outcome: &Outcome) -> Result<()> {
        let (deployment, plan, outcome) = (deployment.clone(), plan.clone(), outcome.clone());
        self.threads
            .write(move |c| journal::finish(c, now(), &deployment, &plan, &outcome))
            .await
    }

    async fn open_secrets(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>> {
        let (service, versions) = (service.clone(), versions.clone());
        let sealer = Arc::clone(&self.sealer);
        self.threads
            .read(move |c| variables::open_for(c, &sealer, &service, &versions))
            .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn installation(&self) -> Result<Installation> {
        match self.threads.read(places::installation).await? {
            Some(there) => Ok(there),
            None => {
                self.threads
                    .write(move |c| places::make_installation(c, now()))
                    .await
            }
        }
    }

    async fn check(&self) -> Result<()> {
        self.threads
            .read(|c| row::one(c, "SELECT 1", [], |_| Ok(())).map(|_| ()))
            .await
    }

    async fn ensure_project(&self, organization: &OrganizationId, name: &Name) -> Result<Project> {
        let (organization, name) = (organization.clone(), name.clone());
        self.threads
            .write(move |c| places::ensure_project(c, now(), &organization, &name))
            .await
    }

    async fn find_project(&self, organization: &OrganizationId, name: &Name) -> Result<Option<Project>> {
        let (organization, name) = (organization.clone(), name.clone());
        self.threads
            .read(move |c| places::find_project(c, &organization, &name))
            .await
    }

    async fn list_projects(&self, organization: &OrganizationId) -> Result<Vec<Project>> {
        let organization = organization.clone();
        self.threads
            .read(move |c| places::list_projects(c, &organization))
            .await
    }

    async fn ensure_environment(&self, project: &ProjectId, name: &Name) -> Result<Environment> {
        let (project, name) = (project.clone(), name.clone());
        self.threads
            .write(move |c| places::ensure_environment(c, now(), &project, &name))
            .await
    }

    async fn find_environment(&self, project: &ProjectId, name: &Name) -> Result<Option<Environment>> {
        let (project, name) = (project.clone(), name.clone());
        self.threads
            .read(move |c| places::find_environment(c, &project, &name))
            .await
    }

    async fn list_environments(&self, project: &ProjectId) -> Result<Vec<Environment>> {
        let project = project.clone();
        self.threads
            .read(move |c| places::list_environments(c, &project))
            .await
    }

    async fn ensure_service(&self, environment: &EnvironmentId, name: &Name) -> Result<Service> {
        let (environment, name) = (environment.clone(), name.clone());
        self.threads
            .write(move |c| places::ensure_service(c, now(), &environment, &name))
            .await
    }

    async fn find_service(&self, environment: &EnvironmentId, name: &Name) -> Result<Option<Service>> {
        let (environment, name) = (environment.clone(), name.clone());
        self.threads
            .read(move |c| places::find_service(c, &environment, &name))
            .await
    }

    async fn environment_snapshot(
        &self,
        organization: &OrganizationId,
        project: &Name,
        environment: &Name,
    ) -> Result<Option<EnvironmentSnapshot>> {
        let (organization, project, environment) =
            (organization.clone(), project.clone(), environment.clone());
        self.threads
            .read(move |c| places::snapshot(c, &organization, &project, &environment))
            .await
    }

    async fn snapshots(&self) -> Result<Vec<EnvironmentSnapshot>> {
        self.threads.read(places::snapshots).await
    }

    async fn list_releases(
        &self,
        service: &ServiceId,
        before: Option<ReleaseNumber>,
        limit: u32,
    ) -> Result<Vec<Release>> {
        let service = service.clone();
        self.threads
            .read(move |c| releases::list(c, &service, before, limit))
            .await
    }

    async fn release(&self, service: &ServiceId, number: ReleaseNumber) -> Result<Option<Release>> {
        let service = service.clone();
        self.threads
            .read(move |c| releases::get(c, &service, number))
            .await
    }

    async fn create_deployment(&self, new: NewDeployment) -> Result<Created> {
        self.threads
            .write(move |c| deployments::create(c, now(), &new))
            .await
    }

    async fn replace_plan(&self, deployment: &DeploymentId, plan: &Plan) -> Result<()> {
        let (deployment, plan) = (deployment.clone(), plan.clone());
        self.threads
            .write(move |c| deployments::replace_plan(c, now(), &deployment, &plan))
            .await
    }

    async fn start_deployment(&self, deployment: &DeploymentId) -> Result<()> {
        let deployment = deployment.clone();
        self.threads
            .write(move |c| deployments::start(c, now(), &deployment))
            .await
    }

    async fn request_cancel(&self, deployment: &DeploymentId) -> Result<DeploymentState> {
        let deployment = deployment.clone();
        self.threads
            .write(move |c| deployments::request_cancel(c, &deployment))
            .await
    }

    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<Deployment>> {
        let deployment = deployment.clone();
        self.threads
            .read(move |c| deployments::find(c, &deployment))
            .await
    }

    async fn unfinished_deployments(&self) -> Result<Vec<Deployment>> {
        self.threads.read(deployments::unfinished).await
    }

    async fn list_deployments(
        &self,
        environment: &EnvironmentId,
        before: Option<&DeploymentId>,
        limit: u32,
    ) -> Result<Vec<Deployment>> {
        let (environment, before) = (environment.clone(), before.cloned());
        self.threads
            .read(move |c| deployments::list(c, &environment, before.as_ref(), limit))
            .await
    }

    async fn append_events(&self, events: Vec<Event>) -> Result<Vec<u64>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.threads.write(move |c| events::append(c, &events)).await
    }

    async fn events_after(
        &self,
        deployment: &DeploymentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        let deployment = deployment.clone();
        self.threads
            .read(move |c| events::after(c, &deployment, after, limit))
            .await
    }

    async fn prune(&self, before: i64) -> Result<u64> {
        self.threads.write(move |c| events::prune(c, before)).await
    }

    async fn change_variables(&self, change: VariablesChange) -> Result<Vec<String>> {
        change.check()?;
        let sealer = Arc::clone(&self.sealer);
        self.threads
            .write(move |c| variables::change(c, now(), &sealer, &change))
            .await
    }

    async fn list_variables(&self, owner: &Owner) -> Result<Vec<Variable>> {
        let owner = owner.clone();
        self.threads.read(move |c| variables::list(c, &owner)).await
    }

    async fn merged_variables(&self, scope: &Scope, service: &ServiceId) -> Result<MergedVariables> {
        let (scope, service) = (scope.clone(), service.clone());
        self.threads
            .read(move |c| variables::merged(c, &scope, &service))
            .await
    }

    async fn open_secret(&self, owner: &Owner, name: &str) -> Result<Option<SecretString>> {
        let (owner, name) = (owner.clone(), name.to_owned());
        let sealer = Arc::clone(&self.sealer);
        self.threads
            .read(move |c| variables::open_current(c, &sealer, &owner, &name))
            .await
    }

    async fn create_token(&self, token: NewToken) -> Result<Token> {
        self.threads
            .write(move |c| access::create(c, now(), &token))
            .await
    }

    async fn use_token(&self, hash: &TokenHash, now: i64) -> Result<Option<Token>> {
        let hash = hash.clone();
        let Some(mut token) = self.threads.read(move |c| access::valid(c, &hash, now)).await? else {
            return Ok(None);
        };
        if token
            .last_used_at
            .is_none_or(|at| now.saturating_sub(at) >= access::USE_NOTED_EVERY_MS)
        {
            let id = token.id.clone();
            self.threads.write(move |c| access::note_use(c, &id, now)).await?;
            token.last_used_at = Some(now);
        }
        Ok(Some(token))
    }

    async fn list_tokens(&self) -> Result<Vec<Token>> {
        self.threads.read(access::list).await
    }

    async fn revoke_token(&self, token: &TokenId) -> Result<bool> {
        let token = token.clone();
        self.threads
            .write(move |c| access::revoke(c, now(), &token))
            .await
    }

    async fn create_login_code(&self, hash: &TokenHash, expires_at: i64) -> Result<()> {
        let hash = hash.clone();
        self.threads
            .write(move |c| access::create_code(c, &hash, expires_at))
            .await
    }

    async fn redeem_login_code(&self, hash: &TokenHash, at: i64, token: NewToken) -> Result<Token> {
        let hash = hash.clone();
        self.threads
            .write(move |c| access::redeem(c, now(), &hash, at, &token))
            .await
    }

    async fn put_blob(&self, kind: &str, key: &str, bytes: &[u8]) -> Result<()> {
        let (kind, key, bytes) = (kind.to_owned(), key.to_owned(), Zeroizing::new(bytes.to_vec()));
        let sealer = Arc::clone(&self.sealer);
        // Sealed by the writer: not under a key that a rotation has replaced
        // while this waited.
        self.threads
            .write(move |c| {
                let purpose = Purpose::Blob {
                    kind: &kind,
                    key: &key,
                };
                blobs::put(c, now(), &kind, &key, &sealer.seal(purpose, &bytes)?)
            })
            .await
    }

    async fn get_blob(&self, kind: &str, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        let sealer = Arc::clone(&self.sealer);
        self.threads
            .read(move |c| blobs::open(c, &sealer, &kind, &key))
            .await
    }

    async fn list_blobs(&self, kind: &str) -> Result<Vec<BlobInfo>> {
        let kind = kind.to_owned();
        self.threads.read(move |c| blobs::list(c, &kind)).await
    }

    async fn delete_blob(&self, kind: &str, key: &str) -> Result<bool> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        self.threads.write(move |c| blobs::delete(c, &kind, &key)).await
    }

    async fn create_connection(&self, connection: Connection, secrets: ConnectionSecrets) -> Result<()> {
        let sealer = Arc::clone(&self.sealer);
        self.threads
            .write(move |c| forge::create(c, now(), &sealer, &connection, &secrets))
            .await
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>> {
        let id = id.clone();
        self.threads.read(move |c| forge::find(c, &id)).await
    }

    async fn connection_secrets(&self, id: &ConnectionId) -> Result<Option<ConnectionSecrets>> {
        let id = id.clone();
        let sealer = Arc::clone(&self.sealer);
        self.threads.read(move |c| forge::secrets(c, &sealer, &id)).await
    }

    async fn list_connections(
        &self,
        organization: &OrganizationId,
        project: Option<&Name>,
    ) -> Result<Vec<Connection>> {
        let (organization, project) = (organization.clone(), project.cloned());
        self.threads
            .read(move |c| forge::list(c, &organization, project.as_ref()))
            .await
    }

    async fn change_connection(
        &self,
        id: &ConnectionId,
        changes: Vec<ConnectionChange>,
    ) -> Result<Option<Connection>> {
        let id = id.clone();
        let sealer = Arc::clone(&self.sealer);
        self.threads
            .write(move |c| forge::change(c, now(), &sealer, &id, &changes))
            .await
    }

    async fn remove_connection(&self, id: &ConnectionId) -> Result<bool> {
        let id = id.clone();
        self.threads.write(move |c| forge::remove(c, &id)).await
    }

    async fn accept_delivery(&self, new: NewDelivery) -> Result<Option<Accepted>> {
        self.threads.write(move |c| forge::accept(c, now(), &new)).await
    }

    async fn take_delivery(&self, connection: &ConnectionId) -> Result<Option<Delivery>> {
        let connection = connection.clone();
        self.threads.write(move |c| forge::take(c, &connection)).await
    }

    async fn update_delivery(&self, delivery: &Delivery, log: Option<&str>) -> Result<bool> {
        let (delivery, log) = (delivery.clone(), log.map(str::to_owned));
        self.threads
            .write(move |c| forge::update(c, &delivery, log.as_deref()))
            .await
    }

    async fn unfinished_deliveries(&self) -> Result<Vec<Delivery>> {
        self.threads.read(forge::unfinished).await
    }

    async fn list_deliveries(
        &self,
        connection: &ConnectionId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Delivery>> {
        let connection = connection.clone();
        self.threads
            .read(move |c| forge::deliveries(c, &connection, before, limit))
            .await
    }

    async fn delivery(&self, connection: &ConnectionId, number: u64) -> Result<Option<(Delivery, String)>> {
        let connection = connection.clone();
        self.threads
            .read(move |c| forge::delivery(c, &connection, number))
            .await
    }

    async fn append_audit(&self, entry: NewAudit) -> Result<u64> {
        self.threads.write(move |c| audit::append(c, &entry)).await
    }

    async fn list_audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<Audit>> {
        self.threads.read(move |c| audit::list(c, before, limit)).await
    }

    async fn build_result(&self, service: &ServiceId, source: &str) -> Result<Option<String>> {
        let (service, source) = (service.clone(), source.to_owned());
        self.threads
            .read(move |c| audit::build_result(c, &service, &source))
            .await
    }

    async fn put_build_result(&self, service: &ServiceId, source: &str, image: &str) -> Result<()> {
        let (service, source, image) = (service.clone(), source.to_owned(), image.to_owned());
        self.threads
            .write(move |c| audit::put_build_result(c, now(), &service, &source, &image))
            .await
    }
}
