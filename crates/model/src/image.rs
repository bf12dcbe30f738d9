//! Image references taken apart, and the names of registries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manifest::value::check_image;

/// The registry that a reference without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// A registry's host and, where it is not the usual one, its port, in the one
/// form under which it is known here: `docker.io`, `ghcr.io`,
/// `registry.example:5000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryHost(String);

/// A text that names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no registry: expected a host such as `ghcr.io` or `registry.example:5000`")]
pub struct InvalidRegistry(String);

impl RegistryHost {
    /// As it is known here.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its API is: Docker Hub's is elsewhere than its name says.
    #[must_use]
    pub fn api_host(&self) -> &str {
        if self.0 == DOCKER_HUB {
            "registry-1.docker.io"
        } else {
            &self.0
        }
    }

    /// Whether it is on this very machine. Container engines speak plain HTTP
    /// to such a one.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RegistryHost> for String {
    fn from(host: RegistryHost) -> Self {
        host.0
    }
}

impl TryFrom<String> for RegistryHost {
    type Error = InvalidRegistry;

    fn try_from(text: String) -> Result<Self, InvalidRegistry> {
        text.parse()
    }
}

impl FromStr for RegistryHost {
    type Err = InvalidRegistry;

    /// Reads what people, Docker's own configuration and BuildKit write:
    /// `https://index.docker.io/v1/` and `registry-1.docker.io` are
    /// `docker.io`.
    fn from_str(text: &str) -> Result<Self, InvalidRegistry> {
        let invalid = || InvalidRegistry(text.chars().filter(|c| !c.is_control()).take(100).collect());
        let bare = text.trim().to_ascii_lowercase();
        let bare = bare
            .strip_prefix("https://")
            .or_else(|| bare.strip_prefix("http://"))
            .unwrap_or(&bare);
        let bare = bare.trim_end_matches('/');
        let bare = bare
            .strip_suffix("/v1")
            .or_else(|| bare.strip_suffix("/v2"))
            .unwrap_or(bare);
        if matches!(
            bare,
            "docker.io"
                | "index.docker.io"
                | "registry-1.docker.io"
                | "hub.docker.com"
                | "registry.hub.docker.com"
        ) {
            return Ok(Self(DOCKER_HUB.to_owned()));
        }
        if bare.contains('/') || !(bare.contains(['.', ':']) || bare == "localhost") {
            return Err(invalid());
        }
        // The same rules as within an image's reference.
        check_image(&format!("{bare}/x")).map_err(|_| invalid())?;
        let bare = bare.strip_suffix(":443").unwrap_or(bare);
        Ok(Self(bare.to_owned()))
    }
}

/// An image reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// Where it is.
    pub registry: RegistryHost,
    /// Its name there: `library/nginx`, `team/app`.
    pub repository: String,
    /// Its tag; `None` where only a digest was given.
    pub tag: Option<String>,
    /// The digest of its manifest: `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no image reference: {why}")]
pub struct InvalidReference {
    text: String,
    why: String,
}

impl FromStr for ImageReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let invalid = |why: String| InvalidReference {
            text: text.chars().filter(|c| !c.is_control()).take(200).collect(),
            why,
        };
        check_image(text).map_err(|problem| invalid(problem.message))?;
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.to_owned())),
            None => (text, None),
        };
        let last = named.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match named[last..].find(':') {
            Some(colon) => (&named[..last + colon], Some(named[last + colon + 1..].to_owned())),
            None => (named, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                let registry: RegistryHost = first
                    .parse()
                    .map_err(|e: InvalidRegistry| invalid(e.to_string()))?;
                (registry, rest.to_owned())
            }
            _ => (RegistryHost(DOCKER_HUB.to_owned()), name.to_owned()),
        };
        let repository = if registry.as_str() == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag,
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

impl ImageReference {
    /// The repository with its registry, in full: `docker.io/library/nginx`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Whether both are of one repository.
    #[must_use]
    pub fn is_same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_docker_hub_is_one_registry() {
        for text in [
            "docker.io",
            "index.docker.io",
            "https://index.docker.io/v1/",
            "registry-1.docker.io",
            "HTTPS://Registry-1.Docker.io/v2/",
        ] {
            assert_eq!(
                text.parse::<RegistryHost>().unwrap().as_str(),
                "docker.io",
                "{text}"
            );
        }
        assert_eq!(
            "docker.io".parse::<RegistryHost>().unwrap().api_host(),
            "registry-1.docker.io"
        );
    }

    #[test]
    fn hosts_are_hosts() {
        for (text, want) in [
            ("ghcr.io", "ghcr.io"),
            ("https://GHCR.io/", "ghcr.io"),
            ("registry.example:443", "registry.example"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("localhost", "localhost"),
            ("localhost:5000/v2/", "localhost:5000"),
        ] {
            assert_eq!(text.parse::<RegistryHost>().unwrap().as_str(), want, "{text}");
        }
        for text in [
            "",
            "registry",
            "a b.c",
            "ghcr.io/team",
            "x@y.z",
            "user:pass@ghcr.io",
            "ghcr.io:99999",
            "-a.b",
        ] {
            assert!(text.parse::<RegistryHost>().is_err(), "{text}");
        }
        assert!("127.0.0.9:5000".parse::<RegistryHost>().unwrap().is_loopback());
        assert!(!"10.0.0.9:5000".parse::<RegistryHost>().unwrap().is_loopback());
    }

    #[test]
    fn references_are_taken_apart_and_put_together() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, name, tag, by_digest) in [
            ("nginx", "docker.io/library/nginx", Some("latest"), false),
            ("nginx:1.27", "docker.io/library/nginx", Some("1.27"), false),
            ("team/app", "docker.io/team/app", Some("latest"), false),
            (
                "index.docker.io/team/app:x",
                "docker.io/team/app",
                Some("x"),
                false,
            ),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b", Some("c"), false),
            ("localhost/a@DIGEST", "localhost/a", None, true),
            ("ghcr.io/a/b:c@DIGEST", "ghcr.io/a/b", Some("c"), true),
        ] {
            let text = text.replace("DIGEST", &digest);
            let parsed: ImageReference = text.parse().unwrap();
            assert_eq!(parsed.name(), name, "{text}");
            assert_eq!(parsed.tag.as_deref(), tag, "{text}");
            assert_eq!(parsed.digest.is_some(), by_digest, "{text}");
            assert_eq!(parsed.to_string().parse::<ImageReference>().unwrap(), parsed);
        }
        assert!("UPPER".parse::<ImageReference>().is_err());
    }
}
