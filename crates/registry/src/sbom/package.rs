//! One package, and its package URL
//! (<https://github.com/package-url/purl-spec>).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What kind of package it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A Debian package.
    Deb,
    /// An Alpine package.
    Apk,
    /// A Node.js package.
    Npm,
    /// A Python distribution.
    Pypi,
    /// A Go module.
    Golang,
    /// A Rust crate.
    Cargo,
    /// A Ruby gem.
    Gem,
    /// A Maven artifact.
    Maven,
    /// A PHP package.
    Composer,
    /// Something of which only a name and a version are known.
    Generic,
}

/// A package of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// What kind.
    pub kind: Kind,
    /// Its name, with its group or scope: `@scope/name`, `org.slf4j/slf4j-api`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The processor it is for, where its database says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Its licence, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The file that tells of it.
    pub found_in: String,
}

impl Package {
    pub(super) fn new(
        kind: Kind,
        name: impl Into<String>,
        version: impl Into<String>,
        found_in: &str,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            architecture: None,
            license: None,
            found_in: found_in.to_owned(),
        }
    }

    /// Its package URL. `distribution` is the image's own.
    #[must_use]
    pub fn purl(&self, distribution: Option<&(String, String)>) -> String {
        let (kind, name) = match self.kind {
            Kind::Deb => ("deb", self.of_distribution(distribution, "debian")),
            Kind::Apk => ("apk", self.of_distribution(distribution, "alpine")),
            Kind::Npm => ("npm", self.name.clone()),
            // Names that pip takes for one another have one form.
            Kind::Pypi => ("pypi", self.name.to_ascii_lowercase().replace('_', "-")),
            Kind::Golang => ("golang", self.name.clone()),
            Kind::Cargo => ("cargo", self.name.clone()),
            Kind::Gem => ("gem", self.name.clone()),
            Kind::Maven => ("maven", self.name.clone()),
            Kind::Composer => ("composer", self.name.to_ascii_lowercase()),
            Kind::Generic => ("generic", self.name.clone()),
        };
        let mut purl = format!("pkg:{kind}/");
        for (index, part) in name.split('/').enumerate() {
            if index > 0 {
                purl.push('/');
            }
            escape(&mut purl, part);
        }
        if !self.version.is_empty() {
            purl.push('@');
            escape(&mut purl, &self.version);
        }
        let mut mark = '?';
        let mut qualifier = |purl: &mut String, key: &str, value: &str| {
            let _ = write!(purl, "{mark}{key}=");
            escape(purl, value);
            mark = '&';
        };
        if matches!(self.kind, Kind::Deb | Kind::Apk) {
            if let Some(architecture) = &self.architecture {
                qualifier(&mut purl, "arch", architecture);
            }
            if let Some((id, version)) = distribution.filter(|(_, version)| !version.is_empty()) {
                qualifier(&mut purl, "distro", &format!("{id}-{version}"));
            }
        }
        purl
    }

    fn of_distribution(&self, distribution: Option<&(String, String)>, usual: &str) -> String {
        format!(
            "{}/{}",
            distribution.map_or(usual, |(id, _)| id.as_str()),
            self.name
        )
    }

    /// Its licence, if that is an identifier of SPDX's list.
    pub(super) fn spdx_license(&self) -> Option<&'static str> {
        let own = self.license.as_deref()?;
        super::LICENSES
            .iter()
            .find(|id| id.eq_ignore_ascii_case(own))
            .copied()
    }
}

fn escape(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_as_their_specification_has_them() {
        let debian = ("debian".to_owned(), "12".to_owned());
        let purl = |kind, name: &str, version: &str, architecture: Option<&str>| {
            let mut package = Package::new(kind, name, version, "x");
            package.architecture = architecture.map(str::to_owned);
            package.purl(Some(&debian))
        };
        assert_eq!(
            purl(Kind::Deb, "libstdc++6", "12.2.0-14+deb12u1", Some("amd64")),
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
        );
        assert_eq!(
            purl(Kind::Npm, "@babel/core", "7.0.0", None),
            "pkg:npm/%40babel/core@7.0.0"
        );
        assert_eq!(
            purl(Kind::Pypi, "Typing_Extensions", "4.1", None),
            "pkg:pypi/typing-extensions@4.1"
        );
        assert_eq!(
            purl(Kind::Golang, "golang.org/x/text", "v0.3.7", None),
            "pkg:golang/golang.org/x/text@v0.3.7"
        );
        assert_eq!(
            purl(Kind::Maven, "org.slf4j/slf4j-api", "2.0", None),
            "pkg:maven/org.slf4j/slf4j-api@2.0"
        );
    }
}
