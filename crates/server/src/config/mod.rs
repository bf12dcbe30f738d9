//! The server's settings: the file `nonna-server.toml`, `NONNA_*` environment
//! variables, and flags; the later wins. All mistakes are reported at once,
//! each with its place and a suggestion.

mod file;
pub(crate) mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};

pub use settings::{SETTINGS, Setting};

/// The folder of the server's state where nothing else is said.
pub const DEFAULT_DATA: &str = "/var/lib/nonna";

/// Where the settings' file is looked for where nothing else is said.
pub const DEFAULT_FILE: &str = "/etc/nonna/nonna-server.toml";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How certificates are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeMode {
    /// By ACME for public hosts, by the local authority for `*.localhost`.
    Auto,
    /// By ACME for every host but `*.localhost`.
    On,
    /// By the local authority only.
    Off,
}

/// Automatic certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Whether, and for which hosts.
    pub mode: AcmeMode,
    /// Whom the certificate authority writes to.
    pub email: Option<String>,
    /// The authority's directory URL; `None`: Let's Encrypt.
    pub directory: Option<String>,
    /// A PEM file with the authority that signed the directory's own TLS
    /// certificate, where the system does not know it.
    pub extra_root: Option<PathBuf>,
}

/// What builds may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builds {
    /// The longest a build may take.
    pub timeout: Duration,
    /// The most a build may print, in bytes.
    pub output_limit: u64,
    /// A PEM file of certificate authorities that builds trust besides the
    /// image's own: an inspecting proxy's, or a company's.
    pub extra_ca: Option<PathBuf>,
    /// The largest build context, in bytes.
    pub context_limit: u64,
    /// How many builds may run at the same time; 0: as the processors allow.
    pub concurrency: u32,
    /// How much of a build's log is kept, in bytes.
    pub log_limit: u64,
    /// Processor time where services want it too, in percent of a service's.
    pub cpu_share: u32,
    /// The most processor time of all builds together, in thousandths of a
    /// core; `None`: any.
    pub cpu_millis: Option<u32>,
    /// The most memory of all builds together, in bytes; `None`: any.
    pub memory: Option<u64>,
    /// The most processes of all builds together; `None`: any.
    pub processes: Option<u32>,
    /// The most that a build may write to the engine's disk, in bytes;
    /// `None`: any.
    pub disk: Option<u64>,
    /// The container engine's own control group.
    pub engine_cgroup: String,
    /// All services of the organization share caches of dependencies.
    pub shared_cache: bool,
}

impl Builds {
    /// How many builds may run at the same time.
    #[must_use]
    pub fn at_once(&self) -> usize {
        if self.concurrency > 0 {
            return usize::try_from(self.concurrency).unwrap_or(usize::MAX);
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (processors / 2).max(1)
    }
}

/// What is kept of what builds leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The images and sources of so many releases of a service.
    pub releases: u32,
    /// The build logs of so many releases of a service.
    pub logs: u32,
    /// Caches that were not used for this long are removed.
    pub cache_age: Duration,
    /// The most that caches may take, in bytes.
    pub cache_size: u64,
    /// What is younger than this stays, whatever it is.
    pub grace: Duration,
    /// A disk with less free than this, in percent, is nearly full: less is
    /// kept then.
    pub free: u32,
}

/// How what replicas print is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// From the container engine's own files; where they cannot be read, from
    /// its API.
    Auto,
    /// From the container engine's API.
    Engine,
    /// Through pipes that Nonna owns; what has none, as with `Auto`.
    Pipes,
}

/// How the logs of services are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// How many bytes are kept; the oldest go first.
    pub limit: u64,
    /// How old they may become; `None`: as old as there is room.
    pub age: Option<Duration>,
    /// How many bytes may wait for a disk that is slow or full.
    pub spool: u64,
    /// How many lines a second one service may print; `None`: any.
    pub rate: Option<u64>,
    /// Every batch waits for the disk: a power failure loses nothing either.
    pub sync: bool,
    /// Where what replicas print is read.
    pub capture: Capture,
}

/// All settings of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder of the server's state.
    pub data: PathBuf,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where the edge listens for HTTP; `None`: not at all.
    pub http: Option<SocketAddr>,
    /// Where the edge listens for HTTPS; `None`: not at all.
    pub https: Option<SocketAddr>,
    /// The domain that services get their hosts under.
    pub domain: String,
    /// The host at which forges reach webhooks through the edge; `None`: they
    /// do not.
    pub webhooks: Option<String>,
    /// Answer plain HTTP of hosts that have a certificate with a redirect.
    pub redirect: bool,
    /// Automatic certificates.
    pub acme: Acme,
    /// The container engine's address; `None`: the usual socket.
    pub engine: Option<String>,
    /// How long a registry may send nothing, while an image is fetched, until
    /// it is given up.
    pub pull_timeout: Duration,
    /// Builds.
    pub build: Builds,
    /// What is kept of what they leave.
    pub retention: Retention,
    /// The addresses whose `X-Forwarded-*` the edge believes, as
    /// `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// The largest request body that the edge passes on, in bytes; `None`:
    /// any.
    pub body_limit: Option<u64>,
    /// What is logged: a level, or directives such as `info,nonna_edge=debug`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How long requests and deployments under way get when the server stops.
    pub shutdown_timeout: Duration,
    /// The most replicas a service may have.
    pub max_replicas: u32,
    /// The paths of this machine that services may mount, and all below them.
    pub allow_host_paths: Vec<PathBuf>,
    /// Whether services may be privileged.
    pub allow_privileged: bool,
    /// The logs of services.
    pub logs: Logs,
}

impl Default for Config {
    fn default() -> Self {
        let v4 = |a: [u8; 4], port| SocketAddr::from((a, port));
        Self {
            data: PathBuf::from(DEFAULT_DATA),
            api: v4([127, 0, 0, 1], 8400),
            http: Some(v4([0, 0, 0, 0], 80)),
            https: Some(v4([0, 0, 0, 0], 443)),
            domain: "localhost".to_owned(),
            webhooks: None,
            redirect: true,
            acme: Acme {
                mode: AcmeMode::Auto,
                email: None,
                directory: None,
                extra_root: None,
            },
            engine: None,
            pull_timeout: Duration::from_secs(60),
            build: Builds {
                timeout: Duration::from_secs(30 * 60),
                output_limit: 64 * 1024 * 1024,
                extra_ca: None,
                context_limit: 2 * 1024 * 1024 * 1024,
                concurrency: 0,
                log_limit: 1024 * 1024,
                cpu_share: 10,
                cpu_millis: None,
                memory: settings::part_of_memory(75),
                processes: Some(4096),
                disk: Some(50_000_000_000),
                engine_cgroup: "docker".to_owned(),
                shared_cache: false,
            },
            retention: Retention {
                releases: 10,
                logs: 50,
                cache_age: Duration::from_secs(30 * 24 * 3600),
                cache_size: 20_000_000_000,
                grace: Duration::from_secs(3600),
                free: 10,
            },
            trusted_proxies: Vec::new(),
            body_limit: None,
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            shutdown_timeout: Duration::from_secs(20),
            max_replicas: 50,
            allow_host_paths: Vec::new(),
            allow_privileged: false,
            logs: Logs {
                limit: 1_000_000_000,
                age: None,
                spool: 256 * 1024 * 1024,
                rate: None,
                sync: false,
                capture: Capture::Auto,
            },
        }
    }
}

/// What the settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that was named; it must exist. `None`: `/etc/nonna` if there.
    pub file: Option<PathBuf>,
    /// The process's environment; other variables than `NONNA_*` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags as keys of [`SETTINGS`] and their values.
    pub flags: Vec<(String, String)>,
}

/// One mistake and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `nonna-server.toml:3`, `$NONNA_API`, `--api`.
    place: String,
    /// What is wrong.
    message: String,
}

impl Config {
    /// Reads the settings from the file, the environment and the flags.
    ///
    /// # Errors
    /// `InvalidInput` with every mistake among the details; `NotFound` where a
    /// file was named that cannot be read.
    pub fn load(sources: &Sources) -> Result<Self> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        let named = sources
            .environment
            .iter()
            .find(|(name, _)| name == "NONNA_SERVER_CONFIG")
            .map(|(_, value)| PathBuf::from(value));
        let (path, must_exist) = match sources.file.clone().or(named) {
            Some(path) => (path, true),
            None => (PathBuf::from(DEFAULT_FILE), false),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let name = path.file_name().map_or_else(
                    || path.display().to_string(),
                    |n| n.to_string_lossy().into_owned(),
                );
                file::read(&mut config, &name, &text, &mut problems);
            }
            Err(error) if must_exist || error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::user(
                    Code::NotFound,
                    format!("The settings' file {} cannot be read: {error}.", path.display()),
                )
                .hint("Name another file with --config, or none: every setting has a default."));
            }
            Err(_) => {}
        }
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Some((_, value)) = sources.environment.iter().find(|(name, _)| *name == variable) {
                settings::set(
                    &mut config,
                    setting,
                    value,
                    &format!("${variable}"),
                    &mut problems,
                );
            }
        }
        for (key, value) in &sources.flags {
            let flag = format!("--{}", key.replace(['.', '_'], "-"));
            match SETTINGS.iter().find(|s| s.key == key) {
                Some(setting) => settings::set(&mut config, setting, value, &flag, &mut problems),
                None => problems.push(Problem {
                    place: flag,
                    message: settings::unknown(key),
                }),
            }
        }
        config.check(&mut problems);
        if problems.is_empty() {
            return Ok(config);
        }
        let count = problems.len();
        let mut error = Error::user(
            Code::InvalidInput,
            format!(
                "The server's settings have {count} mistake{}.",
                if count == 1 { "" } else { "s" }
            ),
        )
        .hint("Every setting and its default: `nonna server settings`.");
        for problem in problems {
            error = error.detail(format!("{}: {}", problem.place, problem.message));
        }
        Err(error)
    }

    /// What no single setting can tell.
    fn check(&self, problems: &mut Vec<Problem>) {
        let mut listeners: Vec<(&str, SocketAddr)> = vec![("api", self.api)];
        listeners.extend(self.http.map(|a| ("http", a)));
        listeners.extend(self.https.map(|a| ("https", a)));
        for (i, (name, address)) in listeners.iter().enumerate() {
            for (other_name, other) in listeners.iter().skip(i + 1) {
                let same_host = address.ip() == other.ip()
                    || address.ip().is_unspecified()
                    || other.ip().is_unspecified();
                if address.port() != 0 && address.port() == other.port() && same_host {
                    problems.push(Problem {
                        place: (*other_name).to_owned(),
                        message: format!(
                            "`{other_name}` and `{name}` cannot both listen on port {}",
                            other.port()
                        ),
                    });
                }
            }
        }
        if self.acme.mode == AcmeMode::On && self.http.is_none() && self.https.is_none() {
            problems.push(Problem {
                place: "acme.mode".to_owned(),
                message: "certificates need `http` or `https`, and both are off".to_owned(),
            });
        }
    }

    /// Whether the base domain is one that only this machine knows.
    #[must_use]
    pub fn is_local_domain(&self) -> bool {
        self.domain == "localhost" || self.domain.ends_with(".localhost")
    }

    /// Whether certificates are asked for by ACME at all.
    #[must_use]
    pub fn uses_acme(&self) -> bool {
        match self.acme.mode {
            AcmeMode::On => true,
            AcmeMode::Off => false,
            AcmeMode::Auto => !self.is_local_domain(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Result<Config> {
        Config::load(&Sources {
            file: None,
            environment: vec![],
            flags: pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        })
    }

    #[test]
    fn the_later_source_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nonna-server.toml");
        std::fs::write(
            &file,
            "api = \"127.0.0.1:1\"\ndomain = \"a.example\"\n[build]\ntimeout = \"5m\"\n",
        )
        .unwrap();
        let config = Config::load(&Sources {
            file: Some(file),
            environment: vec![
                ("NONNA_API".into(), "127.0.0.1:2".into()),
                ("NONNA_HTTPS".into(), "off".into()),
                ("HOME".into(), "/root".into()),
            ],
            flags: vec![("api".into(), "127.0.0.1:3".into())],
        })
        .unwrap();
        assert_eq!(config.api.port(), 3);
        assert_eq!(config.https, None);
        assert_eq!(config.domain, "a.example");
        assert_eq!(config.build.timeout, Duration::from_secs(300));
        assert!(config.uses_acme());
    }

    #[test]
    fn every_mistake_is_reported_with_its_line_and_a_suggestion() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nonna-server.toml");
        std::fs::write(
            &file,
            "appi = \"x\"\nhttp = 80\ndomain = \"not a domain\"\n[build]\ntimeuot = \"1m\"\ntimeout = [1]\n",
        )
        .unwrap();
        let error = Config::load(&Sources {
            file: Some(file),
            ..Sources::default()
        })
        .unwrap_err();
        let text = error.details.join("\n");
        assert!(
            text.contains("nonna-server.toml:1: ") && text.contains("did you mean `api`"),
            "{text}"
        );
        assert!(text.contains("nonna-server.toml:2: "), "{text}");
        assert!(text.contains("nonna-server.toml:3: "), "{text}");
        assert!(text.contains("did you mean `build.timeout`"), "{text}");
        assert!(text.contains("nonna-server.toml:6: "), "{text}");
        assert_eq!(error.details.len(), 5, "{text}");
    }

    #[test]
    fn a_file_that_is_no_toml_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nonna-server.toml");
        std::fs::write(&file, "api = \"127.0.0.1:1\"\nhttp = = 3\n").unwrap();
        let error = Config::load(&Sources {
            file: Some(file),
            ..Sources::default()
        })
        .unwrap_err();
        assert!(
            error.details[0].starts_with("nonna-server.toml:2: "),
            "{:?}",
            error.details
        );
    }

    #[test]
    fn one_port_is_not_given_twice() {
        assert!(flags(&[("api", "127.0.0.1:80")]).is_err());
        assert!(flags(&[("api", "127.0.0.1:0"), ("http", "127.0.0.1:0"), ("https", "off")]).is_ok());
    }

    #[test]
    fn wrong_values_are_refused() {
        for (key, value) in [
            ("api", "localhost"),
            ("domain", "-a"),
            ("domain", "a..b"),
            ("trusted_proxies", "10.0.0.0/33"),
            ("trusted_proxies", "everyone"),
            ("log.format", "xml"),
            ("build.timeout", "soon"),
            ("acme.directory", "ftp://x"),
            ("acme.email", "nobody"),
            ("data", "relative"),
            ("max_replicas", "0"),
            ("no_such_setting", "1"),
        ] {
            assert!(flags(&[(key, value)]).is_err(), "{key} = {value}");
        }
    }
}
