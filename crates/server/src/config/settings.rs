//! Every setting once: its key, what it means, and how a text becomes it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use nonna_model::units::{Bytes, parse_duration};

use super::{AcmeMode, Capture, Config, LogFormat, Problem};

/// A setting.
pub struct Setting {
    /// Its key in the file: `build.timeout`. As a flag `--build-timeout`, as a
    /// variable `NONNA_BUILD_TIMEOUT`.
    pub key: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    apply: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// The environment variable of this setting.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("NONNA_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    pub(super) fn example(&self) -> String {
        if self.default.is_empty() {
            "\"…\"".to_owned()
        } else {
            format!("\"{}\"", self.default)
        }
    }
}

/// All settings, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data",
        help: "The folder of the server's state.",
        default: super::DEFAULT_DATA,
        apply: |c, v| absolute(v).map(|p| c.data = p),
    },
    Setting {
        key: "api",
        help: "Where the API listens.",
        default: "127.0.0.1:8400",
        apply: |c, v| address(v).map(|a| c.api = a),
    },
    Setting {
        key: "http",
        help: "Where the edge listens for HTTP, or `off`.",
        default: "0.0.0.0:80",
        apply: |c, v| optional_address(v).map(|a| c.http = a),
    },
    Setting {
        key: "https",
        help: "Where the edge listens for HTTPS, or `off`.",
        default: "0.0.0.0:443",
        apply: |c, v| optional_address(v).map(|a| c.https = a),
    },
    Setting {
        key: "domain",
        help: "The domain that services get their hosts under. A public one must point here, with a wildcard.",
        default: "localhost",
        apply: |c, v| domain(v).map(|d| c.domain = d),
    },
    Setting {
        key: "webhooks",
        help: "The host at which forges reach webhooks through the edge: `hooks.example.org`. Of the API nothing else is reached there.",
        default: "",
        apply: |c, v| {
            c.webhooks = match v {
                "" => None,
                host => Some(domain(host)?),
            };
            Ok(())
        },
    },
    Setting {
        key: "redirect",
        help: "Redirect HTTP to HTTPS where the host has a certificate: `on` or `off`.",
        default: "on",
        apply: |c, v| switch(v).map(|on| c.redirect = on),
    },
    Setting {
        key: "engine",
        help: "The container engine's address: `unix:///run/podman/podman.sock`. Empty: the usual socket.",
        default: "",
        apply: |c, v| engine(v).map(|e| c.engine = e),
    },
    Setting {
        key: "pull_timeout",
        help: "How long a registry may send nothing, while an image is fetched, until it is given up.",
        default: "60s",
        apply: |c, v| {
            parse_duration(v)
                .map(|d| c.pull_timeout = d)
                .map_err(|e| e.to_string())
        },
    },
    Setting {
        key: "trusted_proxies",
        help: "The networks whose X-Forwarded-* headers are believed, separated by commas.",
        default: "",
        apply: |c, v| networks(v).map(|n| c.trusted_proxies = n),
    },
    Setting {
        key: "body_limit",
        help: "The largest request body that the edge passes on: `100MB`, or `off`.",
        default: "off",
        apply: |c, v| optional_bytes(v).map(|b| c.body_limit = b),
    },
    Setting {
        key: "max_replicas",
        help: "The most replicas a service may have.",
        default: "50",
        apply: |c, v| number(v, 1, 10_000).map(|n| c.max_replicas = n),
    },
    Setting {
        key: "allow_host_paths",
        help: "The paths of this machine that services may mount, and all below them, separated by commas. Who can write to one may have the machine.",
        default: "",
        apply: |c, v| paths(v).map(|p| c.allow_host_paths = p),
    },
    Setting {
        key: "allow_privileged",
        help: "Whether services may be privileged, which gives them this machine: `on` or `off`.",
        default: "off",
        apply: |c, v| switch(v).map(|on| c.allow_privileged = on),
    },
    Setting {
        key: "shutdown_timeout",
        help: "How long requests and deployments under way get when the server stops.",
        default: "20s",
        apply: |c, v| {
            parse_duration(v)
                .map(|d| c.shutdown_timeout = d)
                .map_err(|e| e.to_string())
        },
    },
    Setting {
        key: "acme.mode",
        help: "Certificates by ACME: `auto` (for public hosts, if the domain is one), `on` or `off`.",
        default: "auto",
        apply: |c, v| {
            c.acme.mode = match v {
                "auto" => AcmeMode::Auto,
                "on" => AcmeMode::On,
                "off" => AcmeMode::Off,
                _ => return Err(format!("`{v}` is not `auto`, `on` or `off`")),
            };
            Ok(())
        },
    },
    Setting {
        key: "acme.email",
        help: "Whom the certificate authority writes to.",
        default: "",
        apply: |c, v| email(v).map(|e| c.acme.email = e),
    },
    Setting {
        key: "acme.directory",
        help: "The certificate authority's directory URL. Empty: Let's Encrypt.",
        default: "",
        apply: |c, v| directory(v).map(|d| c.acme.directory = d),
    },
    Setting {
        key: "acme.extra_root",
        help: "A PEM file: who signed the directory's own certificate, if the system does not know.",
        default: "",
        apply: |c, v| pem_file(v).map(|p| c.acme.extra_root = p),
    },
    Setting {
        key: "build.timeout",
        help: "The longest a build may take.",
        default: "30m",
        apply: |c, v| {
            parse_duration(v)
                .map(|d| c.build.timeout = d)
                .map_err(|e| e.to_string())
        },
    },
    Setting {
        key: "build.output_limit",
        help: "The most a build may print.",
        default: "64MiB",
        apply: |c, v| bytes(v).map(|b| c.build.output_limit = b),
    },
    Setting {
        key: "build.context_limit",
        help: "The largest build context.",
        default: "2GiB",
        apply: |c, v| bytes(v).map(|b| c.build.context_limit = b),
    },
    Setting {
        key: "build.extra_ca",
        help: "A PEM file of certificate authorities that builds trust too: an inspecting proxy's, a company's.",
        default: "",
        apply: |c, v| pem_file(v).map(|p| c.build.extra_ca = p),
    },
    Setting {
        key: "build.concurrency",
        help: "How many builds run at the same time, or `auto`: half as many as there are processors, at least one.",
        default: "auto",
        apply: |c, v| match v {
            "auto" => {
                c.build.concurrency = 0;
                Ok(())
            }
            _ => number(v, 1, 64).map(|n| c.build.concurrency = n),
        },
    },
    Setting {
        key: "build.cpu_share",
        help: "Processor time of builds where services want it too, in percent of what one service gets.",
        default: "10",
        apply: |c, v| number(v, 1, 100).map(|n| c.build.cpu_share = n),
    },
    Setting {
        key: "build.cpu",
        help: "The most processor time of all builds together, in cores: `1.5`, or `off`.",
        default: "off",
        apply: |c, v| cores(v).map(|n| c.build.cpu_millis = n),
    },
    Setting {
        key: "build.memory",
        help: "The most memory of all builds together: `2GB`, a part of the machine's (`75%`), or `off`.",
        default: "75%",
        apply: |c, v| memory(v).map(|n| c.build.memory = n),
    },
    Setting {
        key: "build.processes",
        help: "The most processes and threads of all builds together, or `off`.",
        default: "4096",
        apply: |c, v| match v {
            "off" => {
                c.build.processes = None;
                Ok(())
            }
            _ => number(v, 16, 1_000_000).map(|n| c.build.processes = Some(n)),
        },
    },
    Setting {
        key: "build.disk",
        help: "The most that may be written to the container engine's disk while a build runs, or `off`.",
        default: "50GB",
        apply: |c, v| optional_bytes(v).map(|b| c.build.disk = b),
    },
    Setting {
        key: "build.engine_cgroup",
        help: "The container engine's own control group: what it was given as `--cgroup-parent`.",
        default: "docker",
        apply: |c, v| group(v).map(|g| c.build.engine_cgroup = g),
    },
    Setting {
        key: "build.log_limit",
        help: "How much of the log of each build is kept: of its beginning and its end.",
        default: "1MiB",
        apply: |c, v| bytes(v).map(|b| c.build.log_limit = b),
    },
    Setting {
        key: "build.shared_cache",
        help: "All services share their caches of dependencies: `on` or `off` (each service has its own).",
        default: "off",
        apply: |c, v| switch(v).map(|on| c.build.shared_cache = on),
    },
    Setting {
        key: "retention.releases",
        help: "The images and sources of how many releases of a service are kept, to go back to.",
        default: "10",
        apply: |c, v| number(v, 1, 1000).map(|n| c.retention.releases = n),
    },
    Setting {
        key: "retention.logs",
        help: "The build logs of how many releases of a service are kept.",
        default: "50",
        apply: |c, v| number(v, 1, 1000).map(|n| c.retention.logs = n),
    },
    Setting {
        key: "retention.cache_age",
        help: "Caches of builds that were not used for this long are removed.",
        default: "30d",
        apply: |c, v| {
            parse_duration(v)
                .map(|d| c.retention.cache_age = d)
                .map_err(|e| e.to_string())
        },
    },
    Setting {
        key: "retention.cache_size",
        help: "The most that caches of builds may take: what was not used for longest is removed.",
        default: "20GB",
        apply: |c, v| bytes(v).map(|b| c.retention.cache_size = b),
    },
    Setting {
        key: "retention.grace",
        help: "What builds left is kept at least this long, an hour at most.",
        default: "1h",
        apply: |c, v| {
            parse_duration(v)
                .map(|d| c.retention.grace = d)
                .map_err(|e| e.to_string())
        },
    },
    Setting {
        key: "retention.free",
        help: "A disk with less free than this, in percent, is nearly full: less is kept then, and at once.",
        default: "10",
        apply: |c, v| number(v, 0, 90).map(|n| c.retention.free = n),
    },
    Setting {
        key: "log.level",
        help: "What the server logs: `error`, `warn`, `info`, `debug`, `trace`, or directives.",
        default: "info",
        apply: |c, v| level(v).map(|l| c.log_level = l),
    },
    Setting {
        key: "log.format",
        help: "How the server's own log lines look: `text` or `json`.",
        default: "text",
        apply: |c, v| {
            c.log_format = match v {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("`{v}` is not `text` or `json`")),
            };
            Ok(())
        },
    },
    Setting {
        key: "logs.limit",
        help: "How much of the services' logs is kept, access logs included: the oldest goes first.",
        default: "1GB",
        apply: |c, v| bytes(v).map(|b| c.logs.limit = b),
    },
    Setting {
        key: "logs.age",
        help: "How old logs may become: `30d`, or `off` (as old as there is room).",
        default: "off",
        apply: |c, v| match v {
            "off" => {
                c.logs.age = None;
                Ok(())
            }
            _ => parse_duration(v)
                .map(|d| c.logs.age = Some(d))
                .map_err(|e| e.to_string()),
        },
    },
    Setting {
        key: "logs.spool",
        help: "How much may wait in the logs' journal while the disk does not take it.",
        default: "256MiB",
        apply: |c, v| bytes(v).map(|b| c.logs.spool = b),
    },
    Setting {
        key: "logs.rate",
        help: "How many lines a second one service may print over ten seconds, or `off`. What is beyond is dropped, and a line says how much.",
        default: "off",
        apply: |c, v| match v {
            "off" => {
                c.logs.rate = None;
                Ok(())
            }
            _ => number(v, 1, 10_000_000).map(|n| c.logs.rate = Some(u64::from(n))),
        },
    },
    Setting {
        key: "logs.sync",
        help: "Every batch of logs waits for the disk, so that a power failure loses none: `on` or `off` (it may lose a second's).",
        default: "off",
        apply: |c, v| switch(v).map(|on| c.logs.sync = on),
    },
    Setting {
        key: "logs.capture",
        help: "Where what replicas print is read: `auto` (the container engine's files, else its API), `engine` (its API), or `pipes` (new replicas print into pipes of Nonna's; see docs/logs.md).",
        default: "auto",
        apply: |c, v| {
            c.logs.capture = match v {
                "auto" => Capture::Auto,
                "engine" => Capture::Engine,
                "pipes" => Capture::Pipes,
                _ => return Err(format!("`{v}` is not `auto`, `engine` or `pipes`")),
            };
            Ok(())
        },
    },
];

/// Makes the text this setting, or notes what is wrong with it.
pub(super) fn set(
    config: &mut Config,
    setting: &Setting,
    value: &str,
    place: &str,
    problems: &mut Vec<Problem>,
) {
    if let Err(message) = (setting.apply)(config, value.trim()) {
        problems.push(Problem {
            place: place.to_owned(),
            message: format!("`{}`: {message}", setting.key),
        });
    }
}

/// What to say of a key that is none.
pub(super) fn unknown(key: &str) -> String {
    let key: String = key.chars().take(64).collect();
    let near = SETTINGS
        .iter()
        .map(|s| (strsim::damerau_levenshtein(s.key, &key), s.key))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3))
        .min();
    match near {
        Some((_, near)) => format!("`{key}` is no setting: did you mean `{near}`?"),
        None => format!("`{key}` is no setting"),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let hint = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("write \"0.0.0.0:{port}\" or \"127.0.0.1:{port}\""),
        Err(_) => "write an address and a port, such as \"127.0.0.1:8400\" or \"[::]:80\"".to_owned(),
    };
    Err(format!("`{}` is not an address: {hint}", shorten(text)))
}

fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        Ok(None)
    } else {
        address(text).map(Some)
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("`{}` is not an absolute path", shorten(text)))
    }
}

fn pem_file(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = absolute(text)?;
    let content = std::fs::read(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if content.windows(marker.len()).any(|w| w == marker) {
        Ok(Some(path))
    } else {
        Err(format!("{} holds no PEM certificate", path.display()))
    }
}

/// Whether this is a host name: labels of letters, digits and dashes.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        })
}

fn domain(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if lower.parse::<IpAddr>().is_ok() {
        return Err(format!(
            "`{lower}` is an address: services need names below it, so give a domain (or leave `localhost`)"
        ));
    }
    // 64: a label and its dot must still fit before it.
    if is_host(&lower) && lower.len() <= 253 - 64 {
        Ok(lower)
    } else {
        Err(format!(
            "`{}` is not a domain such as \"apps.example.org\"",
            shorten(text)
        ))
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("`{}` is not `on` or `off`", shorten(text))),
    }
}

fn engine(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        Ok(None)
    } else if text.starts_with("unix:///") || text.starts_with("tcp://") || text.starts_with("http://") {
        Ok(Some(text.to_owned()))
    } else if text.starts_with('/') {
        Ok(Some(format!("unix://{text}")))
    } else {
        Err(format!(
            "`{}` is no engine's address such as \"unix:///var/run/docker.sock\"",
            shorten(text)
        ))
    }
}

fn paths(text: &str) -> Result<Vec<PathBuf>, String> {
    let each = text.split(',').map(str::trim).filter(|path| !path.is_empty());
    each.map(|path| {
        let path = absolute(path)?;
        if path.parent().is_none() {
            return Err("`/` is the whole machine: name the folders that services may have".to_owned());
        }
        Ok(path)
    })
    .collect()
}

fn networks(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (ip, bits) = part.split_once('/').unwrap_or((part, ""));
        let ip: IpAddr = ip
            .parse()
            .map_err(|_| format!("`{}` is no network such as \"10.0.0.0/8\"", shorten(part)))?;
        let most = if ip.is_ipv4() { 32_u8 } else { 128 };
        let bits: u8 = if bits.is_empty() {
            most
        } else {
            bits.parse()
                .ok()
                .filter(|b| *b <= most)
                .ok_or_else(|| format!("`{}`: the part after `/` must be 0 to {most}", shorten(part)))?
        };
        found.push(format!("{ip}/{bits}"));
    }
    Ok(found)
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<Bytes>().map(|b| b.0).map_err(|e| e.to_string())
}

fn optional_bytes(text: &str) -> Result<Option<u64>, String> {
    if text == "off" {
        Ok(None)
    } else {
        bytes(text).map(Some)
    }
}

/// So many percent of the machine's memory, in bytes; `None` where it is not
/// known.
pub(super) fn part_of_memory(percent: u64) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib * 1024 / 100 * percent)
}

fn memory(text: &str) -> Result<Option<u64>, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return optional_bytes(text);
    };
    match percent.trim().parse::<u64>() {
        Ok(percent) if (1..=100).contains(&percent) => Ok(part_of_memory(percent)),
        _ => Err(format!("`{}` is no part such as \"75%\"", shorten(text))),
    }
}

fn cores(text: &str) -> Result<Option<u32>, String> {
    if text == "off" {
        return Ok(None);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    match text.parse::<f64>() {
        Ok(cores) if (0.05..=1024.0).contains(&cores) => Ok(Some((cores * 1000.0).round() as u32)),
        _ => Err(format!(
            "`{}` is no number of cores such as \"1.5\", nor `off`",
            shorten(text)
        )),
    }
}

/// The path of a control group, as the kernel has it.
fn group(text: &str) -> Result<String, String> {
    let good = !text.is_empty()
        && text.split('/').all(|part| {
            part != ".."
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.:@".contains(&b))
        });
    if good {
        Ok(text.trim_matches('/').to_owned())
    } else {
        Err(format!(
            "`{}` is no control group such as \"docker\"",
            shorten(text)
        ))
    }
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("`{}` is not a whole number from {least} to {most}", shorten(text)))
}

fn email(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.split_once('@') {
        Some((who, host))
            if !who.is_empty() && is_host(&host.to_ascii_lowercase()) && !text.contains(' ') =>
        {
            Ok(Some(text.to_owned()))
        }
        _ => Err(format!("`{}` is not an e-mail address", shorten(text))),
    }
}

fn directory(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        Ok(None)
    } else if text.starts_with("https://") && text.len() > "https://".len() {
        Ok(Some(text.to_owned()))
    } else {
        Err(format!("`{}` is not an https:// URL", shorten(text)))
    }
}

fn level(text: &str) -> Result<String, String> {
    text.parse::<tracing_subscriber::filter::EnvFilter>()
        .map(|_| text.to_owned())
        .map_err(|_| {
            format!(
                "`{}` is no level: write `error`, `warn`, `info`, `debug` or `trace`",
                shorten(text)
            )
        })
}
