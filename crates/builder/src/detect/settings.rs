//! What a build is given beside the source.

use nonna_model::service::{BuildOverrides, DEFAULT_PORT};

use crate::build::CA_SECRET;

/// Where the extra certificate authorities are while a step runs.
const CA_FILE: &str = "/run/secrets/nonna-ca";
/// What programs of all languages are told of them.
const CA_VARIABLES: [&str; 12] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "YARN_HTTPS_CA_FILE_PATH",
    "DENO_CERT",
    "COMPOSER_CAFILE",
    "CARGO_HTTP_CAINFO",
    "HEX_CACERTS_PATH",
    "GIT_SSL_CAINFO",
];

/// What the user says in place of what would be detected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The detector that plans, by its name.
    pub language: Option<String>,
    /// A line for the shell in place of the install command; empty: nothing is installed.
    pub install: Option<String>,
    /// A line for the shell in place of the build command; empty: nothing is built.
    pub build: Option<String>,
    /// A line for the shell in place of the start command.
    pub start: Option<String>,
    /// The folder whose files are served as they are, once the build has run.
    pub output: Option<String>,
    /// Whether replicas get a command of their own, so that the image needs none.
    pub command_is_given: bool,
}

impl From<&BuildOverrides> for Overrides {
    fn from(said: &BuildOverrides) -> Self {
        Self {
            language: said.language.clone(),
            install: said.install.clone(),
            build: said.command.clone(),
            start: said.start.clone(),
            output: said.output.clone(),
            command_is_given: false,
        }
    }
}

/// What a build is given beside the source.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where the app shall listen, if it listens.
    pub port: Option<u16>,
    /// Whether builds are given extra certificate authorities.
    pub extra_ca: bool,
    /// Whose caches of dependencies are used: builds with the same text share
    /// them, others never do. Empty: nobody's in particular.
    pub cache: String,
    /// What the user says in place of what would be detected.
    pub overrides: Overrides,
    /// The names of the secrets that the commands that install and build find
    /// as variables.
    pub secrets: Vec<String>,
}

impl Settings {
    /// The port, or the one that apps have when nothing is said.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// The mount of a cache, for as long as a step runs. It is the service's
    /// and not the lockfile's, so that another lockfile finds all that has
    /// stayed the same.
    pub(super) fn cache_mount(&self, cache: &Cache) -> String {
        let id = match self.cache.as_str() {
            "" => String::new(),
            owner => format!("id=nonna-{owner}-{},", cache.name),
        };
        format!(
            " --mount=type=cache,{id}target={}{}",
            cache.folder,
            // Tools that do not lock their cache take turns.
            if cache.shared { "" } else { ",sharing=locked" }
        )
    }

    /// The mounts of the secrets.
    pub(super) fn secret_mounts(&self) -> String {
        self.secrets
            .iter()
            .map(|name| format!(" --mount=type=secret,id={name}"))
            .collect()
    }

    /// What makes variables of them, before a command of the same shell. A
    /// secret that is not there is empty.
    pub(super) fn secret_variables(&self) -> String {
        self.secrets
            .iter()
            .map(|name| format!("export {name}=\"$(cat /run/secrets/{name} 2>/dev/null)\" && "))
            .collect()
    }

    /// The mount of the extra certificate authorities, if there are any.
    pub(super) fn ca_mount(&self) -> String {
        if self.extra_ca {
            format!(" --mount=type=secret,id={CA_SECRET},target={CA_FILE}")
        } else {
            String::new()
        }
    }

    /// The line that makes a build stage trust them. Never for the stage that
    /// becomes the image.
    pub(super) fn ca_environment(&self) -> String {
        if !self.extra_ca {
            return String::new();
        }
        let all: Vec<String> = CA_VARIABLES
            .iter()
            .map(|name| format!("{name}={CA_FILE}"))
            .collect();
        format!("ENV {}\n", all.join(" "))
    }

    /// The same in front of one command, for what system tools fetch.
    pub(super) fn ca_assignments(&self) -> String {
        if !self.extra_ca {
            return String::new();
        }
        ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"]
            .iter()
            .map(|name| format!("{name}={CA_FILE} "))
            .collect()
    }
}

/// A folder that outlives the builds of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// What it is for: `npm`, `pip` … Two of one name are the same folder.
    pub name: &'static str,
    /// Where a step finds it.
    pub folder: &'static str,
    /// Whether two builds may use it at the same time.
    pub shared: bool,
}

impl Cache {
    /// A cache whose tool bears several users at the same time.
    pub(super) const fn shared(name: &'static str, folder: &'static str) -> Self {
        Self {
            name,
            folder,
            shared: true,
        }
    }

    /// A cache that one build uses at a time.
    pub(super) const fn locked(name: &'static str, folder: &'static str) -> Self {
        Self {
            name,
            folder,
            shared: false,
        }
    }
}
