//! The paths of the API. `{…}` are path parameters.

/// `GET`: the server's version; needs no token.
pub const VERSION: &str = "/v1/version";
/// `GET`: 200 when the server is up; needs no token.
pub const HEALTH: &str = "/healthz";
/// `GET`: Prometheus metrics.
pub const METRICS: &str = "/metrics";
/// `GET`: the OpenAPI document; needs no token.
pub const OPENAPI: &str = "/v1/openapi.json";
/// `POST`: one-time code → token.
pub const LOGIN: &str = "/v1/login";
/// `GET`: projects.
pub const PROJECTS: &str = "/v1/projects";
/// `POST`: announce a build context.
pub const CONTEXTS: &str = "/v1/contexts";
/// `PUT`: missing contents, as a stream of frames
/// (`nonna_model::context`): when all are there, the context is committed.
pub const CONTEXT_BLOBS: &str = "/v1/contexts/{digest}/blobs";
/// `GET`: an environment's state.
pub const ENVIRONMENT: &str = "/v1/projects/{project}/environments/{environment}";
/// `POST`: plan.
pub const PLAN: &str = "/v1/projects/{project}/environments/{environment}/plan";
/// `POST`: deploy. `GET`: past deployments.
pub const DEPLOYMENTS: &str = "/v1/projects/{project}/environments/{environment}/deployments";
/// `POST`: destroy the environment.
pub const ENVIRONMENT_DESTROY: &str = "/v1/projects/{project}/environments/{environment}/destroy";
/// `GET`, `POST`: variables and secrets.
pub const VARIABLES: &str = "/v1/projects/{project}/environments/{environment}/variables";
/// `GET`: one secret's value, opened: `nonna secret get`.
pub const SECRET: &str = "/v1/projects/{project}/environments/{environment}/secrets/{name}";
/// `GET`: export.
pub const EXPORT: &str = "/v1/projects/{project}/environments/{environment}/export";
/// `GET`: log lines of the whole environment (server-sent events).
pub const ENVIRONMENT_LOGS: &str = "/v1/projects/{project}/environments/{environment}/logs";
/// `GET`: the same as JSON lines, oldest first.
pub const ENVIRONMENT_LOGS_EXPORT: &str = "/v1/projects/{project}/environments/{environment}/logs/export";
/// `GET`: releases.
pub const RELEASES: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/releases";
/// `GET`: what the build of a release said.
pub const BUILD_LOG: &str =
    "/v1/projects/{project}/environments/{environment}/services/{service}/releases/{release}/build-log";
/// `POST`: builds what a deploy would build, and deploys nothing (server-sent
/// events). The build ends with the connection.
pub const ENVIRONMENT_BUILDS: &str = "/v1/projects/{project}/environments/{environment}/builds";
/// `GET`: how a release's image is built, and why.
pub const BUILD_PLAN: &str =
    "/v1/projects/{project}/environments/{environment}/services/{service}/releases/{release}/build-plan";
/// `GET`: what a release's image is made of. `{release}` is `v7`, or `current`.
pub const RELEASE_SBOM: &str =
    "/v1/projects/{project}/environments/{environment}/services/{service}/releases/{release}/sbom";
/// `GET`: whether a release's image is signed.
pub const RELEASE_VERIFY: &str =
    "/v1/projects/{project}/environments/{environment}/services/{service}/releases/{release}/verify";
/// `POST`: push a release's image.
pub const RELEASE_PUSH: &str =
    "/v1/projects/{project}/environments/{environment}/services/{service}/releases/{release}/push";
/// `POST`: roll back.
pub const ROLLBACK: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/rollback";
/// `POST`: scale.
pub const SCALE: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/scale";
/// `POST`: pause.
pub const PAUSE: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/pause";
/// `POST`: resume.
pub const RESUME: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/resume";
/// `POST`: destroy the service.
pub const SERVICE_DESTROY: &str =
    "/v1/projects/{project}/environments/{environment}/services/{service}/destroy";
/// `GET`: log lines (server-sent events).
pub const LOGS: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/logs";
/// `GET` with `Upgrade: websocket`: a command in a running replica.
pub const EXEC: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/exec";
/// `GET` with `Upgrade: websocket`: a command in a fresh replica.
pub const RUN: &str = "/v1/projects/{project}/environments/{environment}/services/{service}/run";
/// `GET`: a deployment.
pub const DEPLOYMENT: &str = "/v1/deployments/{deployment}";
/// `GET`: its events (server-sent; `id:` is the event's number, honoured in
/// `Last-Event-ID`; the stream ends after `finished`).
pub const DEPLOYMENT_EVENTS: &str = "/v1/deployments/{deployment}/events";
/// `POST`: cancel it.
pub const DEPLOYMENT_CANCEL: &str = "/v1/deployments/{deployment}/cancel";
/// `GET`: what is being built, and what waits.
pub const BUILDS: &str = "/v1/builds";
/// `GET`: what builds keep to be quicker next time.
pub const CACHES: &str = "/v1/caches";
/// `POST`: remove such caches.
pub const CACHES_CLEAR: &str = "/v1/caches/clear";
/// `POST`: remove what builds left and nobody needs.
pub const GC: &str = "/v1/gc";
/// `GET`, `POST`: credentials for registries.
pub const REGISTRIES: &str = "/v1/registries";
/// `POST`: forget a credential.
pub const REGISTRY_LOGOUT: &str = "/v1/registries/logout";
/// `GET`: the key that images are signed with.
pub const SIGNING_KEY: &str = "/v1/registries/key";
/// `GET`: what is wrong on the server's machine.
pub const DOCTOR: &str = "/v1/doctor";
/// `GET`: a backup of Nonna's own state, one file.
pub const BACKUP: &str = "/v1/backup";
/// `POST`: fetches the registries' current image of a tag, so that the next
/// plan sees whether it moved. Query: `reference`.
pub const PULL: &str = "/v1/images/pull";
/// `GET`: how the project is deployed by git.
pub const GIT: &str = "/v1/projects/{project}/git";
/// `GET`, `POST`: the repositories on forges that the project is deployed from.
pub const GIT_CONNECTIONS: &str = "/v1/projects/{project}/git/connections";
/// `POST`: disconnects one, or one branch of it.
pub const GIT_DISCONNECT: &str = "/v1/projects/{project}/git/connections/{connection}/disconnect";
/// `POST`: deploys a branch as it is on the forge now.
pub const GIT_DEPLOY: &str = "/v1/projects/{project}/git/connections/{connection}/deploy";
/// `GET`: what its webhook said, and what came of it.
pub const GIT_DELIVERIES: &str = "/v1/projects/{project}/git/connections/{connection}/deliveries";
/// `GET`: one of them, with all that was said.
pub const GIT_DELIVERY: &str = "/v1/projects/{project}/git/connections/{connection}/deliveries/{delivery}";
/// `POST`: where a forge's webhook tells of a push; it needs no token, but a
/// signature.
pub const GIT_HOOK: &str = "/v1/git/hooks/{connection}";
/// `POST`: which environment follows a branch.
pub const GIT_BRANCHES: &str = "/v1/projects/{project}/git/branches";
