//! The port between the control plane and its database.

use async_trait::async_trait;
use nonna_engine::Result;
use nonna_engine::event::Event;
use nonna_engine::ports::Journal;
use nonna_model::plan::{Plan, Scope};
use nonna_model::{
    ConnectionId, DeploymentId, EnvironmentId, Name, OrganizationId, ProjectId, Release, ReleaseNumber,
    ServiceId, TokenId,
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::forge::{Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, NewDelivery};
use crate::records::{
    Audit, BlobInfo, Created, Deployment, DeploymentState, Environment, EnvironmentSnapshot, Installation,
    MergedVariables, NewAudit, NewDeployment, NewToken, Owner, Project, Service, StoredEvent, Token,
    TokenHash, Variable, VariablesChange,
};

/// The kind of the blobs that keep where images can be fetched again, by image.
pub const ORIGINS: &str = "image-origin";

/// The kind of the blobs that keep what images are made of, by image.
pub const CONTENTS: &str = "image-contents";

/// Keeps the state of the control plane.
///
/// A call that has returned is on disk. Every call is one transaction: all of
/// it happened or none. One live process uses a store at a time.
///
/// # Errors
/// Beside what a method says: `StoreUnavailable` where the database cannot be
/// read or written, `DiskFull` where there is no room, `SealBroken` where the
/// key does not open what was sealed. Nothing was changed then.
#[async_trait]
pub trait Store: Journal {
    // ── Who and where ───────────────────────────────────────────────────

    /// This installation; the first call of all makes it.
    async fn installation(&self) -> Result<Installation>;

    /// Whether the store answers: for health checks.
    async fn check(&self) -> Result<()>;

    /// The project of that name, made if it is not there.
    async fn ensure_project(&self, organization: &OrganizationId, name: &Name) -> Result<Project>;

    /// The project of that name.
    async fn find_project(&self, organization: &OrganizationId, name: &Name) -> Result<Option<Project>>;

    /// All projects, by name.
    async fn list_projects(&self, organization: &OrganizationId) -> Result<Vec<Project>>;

    /// The environment of that name, made if it is not there.
    ///
    /// # Errors
    /// `NotFound` where there is no such project.
    async fn ensure_environment(&self, project: &ProjectId, name: &Name) -> Result<Environment>;

    /// The environment of that name.
    async fn find_environment(&self, project: &ProjectId, name: &Name) -> Result<Option<Environment>>;

    /// The project's environments, by name.
    async fn list_environments(&self, project: &ProjectId) -> Result<Vec<Environment>>;

    /// The service of that name, made if it is not there.
    ///
    /// # Errors
    /// `NotFound` where there is no such environment.
    async fn ensure_service(&self, environment: &EnvironmentId, name: &Name) -> Result<Service>;

    /// The service of that name.
    async fn find_service(&self, environment: &EnvironmentId, name: &Name) -> Result<Option<Service>>;

    /// The environment of those names as it stands: all that the planner needs
    /// of the store, read in one transaction.
    ///
    /// For an environment that is not there yet, make ids with `generate()`
    /// and plan with them: [`Store::create_deployment`] makes what the plan
    /// names.
    async fn environment_snapshot(
        &self,
        organization: &OrganizationId,
        project: &Name,
        environment: &Name,
    ) -> Result<Option<EnvironmentSnapshot>>;

    /// Every environment as it stands, read in one transaction: what a start
    /// rebuilds the edge's routes from.
    async fn snapshots(&self) -> Result<Vec<EnvironmentSnapshot>>;

    // ── Releases ────────────────────────────────────────────────────────

    /// The service's releases, newest first, older than `before`, at most
    /// `limit`.
    async fn list_releases(
        &self,
        service: &ServiceId,
        before: Option<ReleaseNumber>,
        limit: u32,
    ) -> Result<Vec<Release>>;

    /// One release.
    async fn release(&self, service: &ServiceId, number: ReleaseNumber) -> Result<Option<Release>>;

    // ── Deployments ─────────────────────────────────────────────────────

    /// Keeps a new deployment, queued, and reserves its new releases as
    /// pending, under the numbers the plan gives them. Projects, environments
    /// and services of the plan that are not there yet are made, with the ids
    /// the plan gives them.
    ///
    /// # Errors
    /// `PlanChanged` (retryable: plan again) where the plan was made of
    /// another state: a number is taken, a name has another id, a secret's
    /// version is gone, or a service is not current as the plan says.
    /// `Conflict` where the idempotency key was used for another request, or
    /// the deployment's id is taken.
    async fn create_deployment(&self, new: NewDeployment) -> Result<Created>;

    /// Gives a queued deployment another plan, for when its turn came and the
    /// state it was planned on has changed. Releases reserved for the old plan
    /// are forgotten, the new plan's reserved.
    ///
    /// # Errors
    /// As [`Store::create_deployment`]; `NotFound`; `Conflict` where it is no
    /// longer queued, or the plan is for an environment of another name.
    async fn replace_plan(&self, deployment: &DeploymentId, plan: &Plan) -> Result<()>;

    /// Marks that its turn has come. Doing it twice is doing it once.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it is finished already; `PlanChanged`
    /// (retryable) where it was queued and what is current is no longer what
    /// the plan was made of: plan again and [`Store::replace_plan`].
    async fn start_deployment(&self, deployment: &DeploymentId) -> Result<()>;

    /// Asks that it be cancelled, and tells how far it is: the caller cancels
    /// what runs and finishes ([`Journal::finish`]) what never began. Nothing
    /// happens to one that is finished.
    ///
    /// # Errors
    /// `NotFound`.
    async fn request_cancel(&self, deployment: &DeploymentId) -> Result<DeploymentState>;

    /// One deployment.
    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<Deployment>>;

    /// Those that are not finished, oldest first: what a start resumes.
    async fn unfinished_deployments(&self) -> Result<Vec<Deployment>>;

    /// The environment's deployments, newest first, older than `before`, at
    /// most `limit`.
    ///
    /// # Errors
    /// `NotFound` where there is no deployment `before`.
    async fn list_deployments(
        &self,
        environment: &EnvironmentId,
        before: Option<&DeploymentId>,
        limit: u32,
    ) -> Result<Vec<Deployment>>;

    // ── Events ──────────────────────────────────────────────────────────

    /// Keeps events in this order and gives each the next number of its
    /// deployment; answers the numbers.
    ///
    /// # Errors
    /// `NotFound` where there is no such deployment.
    async fn append_events(&self, events: Vec<Event>) -> Result<Vec<u64>>;

    /// The deployment's events with numbers greater than `after` (0: all), in
    /// order, at most `limit`.
    async fn events_after(
        &self,
        deployment: &DeploymentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>>;

    /// Removes the events and the journal of deployments that finished before
    /// this time, secrets' versions that were replaced before it and that no
    /// release refers to, login codes that expired before it, and what was
    /// kept before it of images ([`ORIGINS`], [`CONTENTS`]) that no release
    /// and no build's result names. Answers how many records went.
    async fn prune(&self, before: i64) -> Result<u64>;

    // ── Variables and secrets ───────────────────────────────────────────

    /// Changes an owner's variables and secrets, all or nothing. Answers the
    /// names that really changed, in order; setting what is set already and
    /// removing what is not there change nothing.
    ///
    /// # Errors
    /// `InvalidInput` for names and values that cannot be; `NotFound` where
    /// there is no such owner.
    async fn change_variables(&self, change: VariablesChange) -> Result<Vec<String>>;

    /// The owner's own variables and secrets, by name; secrets stay sealed.
    async fn list_variables(&self, owner: &Owner) -> Result<Vec<Variable>>;

    /// What a service of this scope sees, the nearest winning. Ids that are
    /// not there yet own nothing.
    async fn merged_variables(&self, scope: &Scope, service: &ServiceId) -> Result<MergedVariables>;

    /// Opens an owner's current secret of that name; `None` where there is no
    /// such secret.
    async fn open_secret(&self, owner: &Owner, name: &str) -> Result<Option<SecretString>>;

    // ── Who may come in ─────────────────────────────────────────────────

    /// Keeps a new token.
    ///
    /// # Errors
    /// `Conflict` where the hash is there already.
    async fn create_token(&self, token: NewToken) -> Result<Token>;

    /// The token of this hash, if it is valid at the time `now`; notes that it
    /// was used (at most once a minute, so that reading costs no writing).
    async fn use_token(&self, hash: &TokenHash, now: i64) -> Result<Option<Token>>;

    /// Every token, newest first, revoked ones too.
    async fn list_tokens(&self) -> Result<Vec<Token>>;

    /// Ends a token for good; answers whether it was there and valid.
    async fn revoke_token(&self, token: &TokenId) -> Result<bool>;

    /// Keeps a one-time code that can be exchanged for a token until
    /// `expires_at`.
    async fn create_login_code(&self, hash: &TokenHash, expires_at: i64) -> Result<()>;

    /// Exchanges a one-time code for a token, once.
    ///
    /// # Errors
    /// `Unauthenticated` where the code is unknown, used or expired at the
    /// time `now`.
    async fn redeem_login_code(&self, hash: &TokenHash, now: i64, token: NewToken) -> Result<Token>;

    // ── Sealed blobs ────────────────────────────────────────────────────

    /// Seals bytes under a kind (`certificate`, `acme-account`) and a key (a
    /// domain), in place of what was there.
    async fn put_blob(&self, kind: &str, key: &str, bytes: &[u8]) -> Result<()>;

    /// Opens a blob.
    async fn get_blob(&self, kind: &str, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>>;

    /// The keys of a kind, in order.
    async fn list_blobs(&self, kind: &str) -> Result<Vec<BlobInfo>>;

    /// Removes a blob; answers whether it was there.
    async fn delete_blob(&self, kind: &str, key: &str) -> Result<bool>;

    // ── Deploys from a forge ────────────────────────────────────────────

    /// Keeps a new connection, its secrets sealed.
    ///
    /// # Errors
    /// `Conflict` where the project is connected to that address already.
    async fn create_connection(&self, connection: Connection, secrets: ConnectionSecrets) -> Result<()>;

    /// One connection.
    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>>;

    /// Opens what is secret of a connection.
    async fn connection_secrets(&self, id: &ConnectionId) -> Result<Option<ConnectionSecrets>>;

    /// The organization's connections, or those of one project, by project and
    /// address.
    async fn list_connections(
        &self,
        organization: &OrganizationId,
        project: Option<&Name>,
    ) -> Result<Vec<Connection>>;

    /// Changes a connection, all or nothing; answers what it is then, `None`
    /// where there is none.
    async fn change_connection(
        &self,
        id: &ConnectionId,
        changes: Vec<ConnectionChange>,
    ) -> Result<Option<Connection>>;

    /// Removes a connection with its secrets and its deliveries; answers
    /// whether it was there.
    async fn remove_connection(&self, id: &ConnectionId) -> Result<bool>;

    /// Keeps a delivery that was not accepted before, and ends those of the
    /// same branch that still wait: what is deployed is the branch as it is,
    /// so the last one does for all. One that happened before another of the
    /// branch that was accepted is kept and over. Of those that are over, the
    /// oldest are forgotten beyond the number that is given.
    ///
    /// `None` where there is no such connection.
    async fn accept_delivery(&self, new: NewDelivery) -> Result<Option<Accepted>>;

    /// The connection's oldest delivery that waits or runs, which runs from
    /// now on.
    async fn take_delivery(&self, connection: &ConnectionId) -> Result<Option<Delivery>>;

    /// Keeps what became of a delivery, and what was said of it if anything is
    /// given; answers whether it is there.
    async fn update_delivery(&self, delivery: &Delivery, log: Option<&str>) -> Result<bool>;

    /// The deliveries that are not over, oldest first: what a start resumes.
    async fn unfinished_deliveries(&self) -> Result<Vec<Delivery>>;

    /// The connection's deliveries, newest first, older than `before`, at most
    /// `limit`.
    async fn list_deliveries(
        &self,
        connection: &ConnectionId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Delivery>>;

    /// One delivery of a connection, and what was said of it.
    async fn delivery(&self, connection: &ConnectionId, number: u64) -> Result<Option<(Delivery, String)>>;

    // ── The rest ────────────────────────────────────────────────────────

    /// Adds a line to the audit log; answers its number.
    async fn append_audit(&self, entry: NewAudit) -> Result<u64>;

    /// The audit log, newest first, older than `before`, at most `limit`.
    async fn list_audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<Audit>>;

    /// The image that was built for the service from this source, if one was.
    /// Whether the image still is on the machine is not known here.
    async fn build_result(&self, service: &ServiceId, source: &str) -> Result<Option<String>>;

    /// Keeps which image was built for the service from this source (its
    /// digest: [`nonna_model::service::BuildSource::context`] and the rest).
    async fn put_build_result(&self, service: &ServiceId, source: &str, image: &str) -> Result<()>;
}
