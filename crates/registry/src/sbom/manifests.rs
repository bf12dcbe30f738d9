//! What languages' package managers leave beside what they install.

use serde::Deserialize;

use super::package::{Kind, Package};

#[derive(Deserialize)]
struct PackageJson {
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    license: serde_json::Value,
}

/// An installed Node.js package's `package.json`.
pub(super) fn npm(text: &str, path: &str) -> Vec<Package> {
    let Ok(found) = serde_json::from_str::<PackageJson>(text) else {
        return Vec::new();
    };
    let (Some(name), Some(version)) = (found.name, found.version) else {
        // A folder of a package may have one only to say how it is loaded.
        return Vec::new();
    };
    let mut package = Package::new(Kind::Npm, name, version, path);
    package.license = match &found.license {
        serde_json::Value::String(license) => Some(license.clone()),
        serde_json::Value::Object(old) => old.get("type").and_then(|kind| kind.as_str()).map(str::to_owned),
        _ => None,
    };
    vec![package]
}

/// An installed Python distribution's metadata.
pub(super) fn python(text: &str, path: &str) -> Vec<Package> {
    // The headers end where the description begins.
    let headers = text.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| {
        headers
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let (Some(name), Some(version)) = (field("Name"), field("Version")) else {
        return Vec::new();
    };
    let mut package = Package::new(Kind::Pypi, name, version, path);
    package.license = field("License-Expression").or_else(|| {
        // Some put the whole text there.
        field("License").filter(|license| license.len() < 100)
    });
    vec![package]
}

/// A gem, by the name of its specification: `rake-13.0.6.gemspec`,
/// `nokogiri-1.15.4-x86_64-linux.gemspec`.
pub(super) fn gem(path: &str) -> Vec<Package> {
    let stem = path
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_suffix(".gemspec"))
        .unwrap_or_default();
    let split = stem
        .match_indices('-')
        .find(|(at, _)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let Some((at, _)) = split else { return Vec::new() };
    let version = stem[at + 1..].split('-').next().unwrap_or_default();
    vec![Package::new(Kind::Gem, &stem[..at], version, path)]
}

#[derive(Deserialize)]
struct ComposerPackage {
    name: String,
    version: String,
    #[serde(default)]
    license: Vec<String>,
}

/// What Composer installed.
pub(super) fn composer(text: &str, path: &str) -> Vec<Package> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Installed {
        Two { packages: Vec<ComposerPackage> },
        One(Vec<ComposerPackage>),
    }
    let packages = match serde_json::from_str(text) {
        Ok(Installed::Two { packages } | Installed::One(packages)) => packages,
        Err(_) => return Vec::new(),
    };
    packages
        .into_iter()
        .map(|found| {
            let mut package = Package::new(Kind::Composer, found.name, found.version, path);
            package.license = (!found.license.is_empty()).then(|| found.license.join(" OR "));
            package
        })
        .collect()
}

/// A Maven artifact's `pom.properties`.
pub(super) fn maven(text: &str, path: &str) -> Option<Package> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let name = format!("{}/{}", value("groupId")?, value("artifactId")?);
    Some(Package::new(Kind::Maven, name, value("version")?, path))
}

/// An archive of which only its name tells anything: `guava-31.1-jre.jar`.
pub(super) fn named_archive(path: &str) -> Option<Package> {
    let stem = path.rsplit('/').next()?.rsplit_once('.')?.0;
    let (at, _) = stem
        .match_indices('-')
        .find(|(at, _)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?;
    Some(Package::new(Kind::Generic, &stem[..at], &stem[at + 1..], path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(packages: &[Package]) -> Vec<(&str, &str, Option<&str>)> {
        packages
            .iter()
            .map(|p| (p.name.as_str(), p.version.as_str(), p.license.as_deref()))
            .collect()
    }

    #[test]
    fn each_managers_traces_are_read() {
        let found = npm(
            r#"{"name":"@a/b","version":"1.0.0","license":{"type":"MIT"}}"#,
            "p",
        );
        assert_eq!(names(&found), [("@a/b", "1.0.0", Some("MIT"))]);
        assert!(npm(r#"{"type":"module"}"#, "p").is_empty());
        assert!(npm("{", "p").is_empty());
        let found = python(
            "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0\nLicense: BSD-3-Clause\n\nName: no\n",
            "p",
        );
        assert_eq!(names(&found), [("Flask", "3.0", Some("BSD-3-Clause"))]);
        let found = gem("usr/lib/ruby/specifications/nokogiri-1.15.4-x86_64-linux.gemspec");
        assert_eq!(names(&found), [("nokogiri", "1.15.4", None)]);
        let found = gem("a/net-http-persistent-4.0.2.gemspec");
        assert_eq!(names(&found), [("net-http-persistent", "4.0.2", None)]);
        let one = composer(r#"[{"name":"a/b","version":"v1"}]"#, "p");
        let two = composer(
            r#"{"packages":[{"name":"a/b","version":"v1","license":["MIT"]}],"dev":false}"#,
            "p",
        );
        assert_eq!(names(&one), [("a/b", "v1", None)]);
        assert_eq!(names(&two), [("a/b", "v1", Some("MIT"))]);
        let found = maven(
            "#Generated\nversion=2.0.9\ngroupId=org.slf4j\nartifactId = slf4j-api\n",
            "p",
        )
        .unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("org.slf4j/slf4j-api", "2.0.9")
        );
        let found = named_archive("lib/guava-31.1-jre.jar").unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("guava", "31.1-jre")
        );
        assert!(named_archive("app.jar").is_none());
    }
}
