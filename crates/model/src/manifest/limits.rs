//! How large and how many: the bounds of everything in a manifest. They hold
//! for the same values wherever else they come from.

/// The largest manifest, in bytes.
pub const MAX_FILE: usize = 256 * 1024;
/// The most services a manifest may declare.
pub const MAX_SERVICES: usize = 100;
/// The most environments a manifest may override.
pub const MAX_ENVIRONMENTS: usize = 100;
/// The most replicas of one service.
pub const MAX_REPLICAS: u32 = 100;
/// The most processor cores of one replica.
pub const MAX_CPU: u32 = 1024;
/// The least memory of a replica, in bytes: what container engines ask for.
pub const MIN_MEMORY: u64 = 6 * 1024 * 1024;
/// The most processes of one replica: what Linux can number.
pub const MAX_PIDS: u32 = 4_194_304;
/// The longest duration, in milliseconds: an hour.
pub const MAX_DURATION_MS: u64 = 3_600_000;
/// The shortest interval and timeout of a health check, in milliseconds.
pub const MIN_PROBE_MS: u64 = 100;
/// The most failed probes in a row that may be waited for.
pub const MAX_RETRIES: u32 = 100;
/// The most routes of one service.
pub const MAX_DOMAINS: usize = 100;
/// The most volumes of one service.
pub const MAX_VOLUMES: usize = 20;
/// The most variables, secrets or build arguments of one scope.
pub const MAX_VARIABLES: usize = 500;
/// The most secrets that a build may mount.
pub const MAX_SECRETS: usize = 50;
/// The longest name of a variable, in bytes.
pub const MAX_VARIABLE_NAME: usize = 128;
/// The longest value of a variable or build argument, in bytes.
pub const MAX_VARIABLE_VALUE: usize = 32 * 1024;
/// The most words of a command.
pub const MAX_WORDS: usize = 256;
/// The longest word of a command, in bytes.
pub const MAX_WORD: usize = 8 * 1024;
/// The longest path, in bytes.
pub const MAX_PATH: usize = 1024;
/// The longest image reference, in bytes.
pub const MAX_IMAGE: usize = 512;
/// The longest name of a Dockerfile's stage, in bytes.
pub const MAX_TARGET: usize = 128;
/// The longest host name, in bytes.
pub const MAX_HOST: usize = 253;
/// The longest name of a branch, in bytes: it becomes a file's, with room for
/// `.lock`.
pub const MAX_BRANCH: usize = 240;
/// The most paths that a service watches.
pub const MAX_WATCH: usize = 100;
