//! The labels (tags, in a cloud) that every created resource carries, so that
//! all of it can be found again with no database, and swept.

/// The organization's id.
pub const ORGANIZATION: &str = "nonna.organization";
/// The project's name, for people.
pub const PROJECT: &str = "nonna.project";
/// The environment's id.
pub const ENVIRONMENT: &str = "nonna.environment";
/// The environment's name, for people.
pub const ENVIRONMENT_NAME: &str = "nonna.environment-name";
/// The service's id.
pub const SERVICE: &str = "nonna.service";
/// The service's name, for people.
pub const SERVICE_NAME: &str = "nonna.service-name";
/// The release's number.
pub const RELEASE: &str = "nonna.release";
/// Which of the release's replicas this is, from 0.
pub const REPLICA: &str = "nonna.replica";
/// The digest of the configuration the replica was started with.
pub const CONFIG: &str = "nonna.config";
/// The volume's name, for people.
pub const VOLUME: &str = "nonna.volume";
/// What the container is for: `replica`, `run` (a one-off command), `job`.
pub const ROLE: &str = "nonna.role";
/// Which command of a deployment a container with the role `job` runs:
/// `release`, `post-deploy`.
pub const JOB: &str = "nonna.job";
/// When the resource may be swept: seconds since 1970, UTC.
pub const EXPIRES_AT: &str = "nonna.expires-at";
/// Which Nonna made it: the installation's id, so that two on one engine
/// never touch each other's resources.
pub const INSTALLATION: &str = "nonna.installation";
/// The port that the service listens on inside its replicas.
pub const PORT: &str = "nonna.port";
/// The key of the pipes that a replica prints into, where it has some.
pub const OUTPUT: &str = "nonna.output";
/// On an image: the installation that built it. Images have keys of their own
/// because containers inherit their image's labels: one that somebody starts
/// by hand must not look like a replica.
pub const IMAGE_INSTALLATION: &str = "nonna.image.installation";
/// On an image: the environment's id.
pub const IMAGE_ENVIRONMENT: &str = "nonna.image.environment";
/// On an image: the service's id.
pub const IMAGE_SERVICE: &str = "nonna.image.service";
/// On an image: the digest of all that it was built from and how. Two builds
/// with the same one need not both be made.
pub const IMAGE_BUILD: &str = "nonna.image.build";
/// On an image: the images that its build began from, by the references that
/// the Dockerfile has, as a JSON object of ids; those that only the builder
/// fetched are not in it.
pub const IMAGE_BASES: &str = "nonna.image.bases";
/// On an image: what built it: `Dockerfile`, `python` …
pub const IMAGE_BUILDER: &str = "nonna.image.builder";
