//! npm, pnpm, Yarn and Bun: which one an app uses, and how it installs.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::Cache;
use super::super::tree::{Place, unclear};
use super::super::version::{Version, is_numbers};
use super::package::Package;

const NPM: Cache = Cache::shared("npm", "/root/.npm");
const PNPM: Cache = Cache::shared("pnpm", "/root/.pnpm-store");
const YARN: Cache = Cache::locked("yarn", "/root/.cache/yarn");
const BERRY: Cache = Cache::locked("berry", "/root/.yarn/berry");
const BUN: Cache = Cache::shared("bun", "/root/.bun/install/cache");

/// The release of each that is used where nothing says which.
const PNPM_VERSION: &str = "10";
const YARN_VERSION: &str = "1.22.22";
const BERRY_VERSION: &str = "4";

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Npm,
    Pnpm,
    /// Yarn 1.
    Yarn,
    /// Yarn 2 and later.
    Berry,
    Bun,
}

impl Kind {
    /// What it is called, and the program.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn | Self::Berry => "yarn",
            Self::Bun => "bun",
        }
    }

    fn lockfiles(self) -> &'static [&'static str] {
        match self {
            Self::Npm => &["package-lock.json", "npm-shrinkwrap.json"],
            Self::Pnpm => &["pnpm-lock.yaml"],
            Self::Yarn | Self::Berry => &["yarn.lock"],
            Self::Bun => &["bun.lock", "bun.lockb"],
        }
    }

    /// What else it reads before it installs.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Npm | Self::Yarn => &[".npmrc", ".yarnrc"],
            Self::Pnpm => &[".npmrc", "pnpm-workspace.yaml", ".pnpmfile.cjs"],
            Self::Berry => &[".yarnrc.yml"],
            Self::Bun => &["bunfig.toml", ".npmrc"],
        }
    }
}

/// The package manager of an app.
#[derive(Debug, Clone)]
pub(in super::super) struct Manager {
    pub(in super::super) kind: Kind,
    pub(in super::super) lockfile: Option<&'static str>,
    /// The release; `None`: the one that is in the image.
    pub(in super::super) version: Option<Version>,
    /// What decided for it.
    pub(in super::super) why: String,
    /// What the user should know.
    pub(in super::super) notes: Vec<String>,
}

impl Manager {
    /// That of a folder: the one that `packageManager` names, else the one whose lockfile is
    /// there, else npm.
    pub(in super::super) fn of(place: &Place<'_>, package: &Package) -> Result<Self> {
        let named = package.package_manager.as_deref().map(named).transpose()?;
        let locked = by_lockfile(place)?;
        let kind = named
            .as_ref()
            .map(|(kind, _)| *kind)
            .or(locked)
            .unwrap_or(Kind::Npm);
        let lockfile = place.first(kind.lockfiles());
        let mut notes = Vec::new();
        if let (Some(_), None, Some(other)) = (&named, lockfile, locked)
            && other != kind
        {
            notes.push(format!(
                "package.json names {}, but the lockfile is {}'s: versions are not locked",
                kind.name(),
                other.name()
            ));
        } else if lockfile.is_none() && package.has_dependencies() {
            notes.push(format!(
                "no {}: every build may get other versions",
                kind.lockfiles().first().copied().unwrap_or("lockfile")
            ));
        }
        let others: Vec<&str> = [Kind::Npm, Kind::Pnpm, Kind::Yarn, Kind::Bun]
            .iter()
            .filter(|other| other.lockfiles() != kind.lockfiles())
            .filter_map(|other| place.first(other.lockfiles()))
            .collect();
        if lockfile.is_some() && !others.is_empty() {
            notes.push(format!(
                "{} is there too and is not read: keep one lockfile",
                others.join(", ")
            ));
        }
        let why = match (&named, lockfile) {
            (Some(_), _) => "`packageManager` in package.json".to_owned(),
            (None, Some(file)) => format!("there is {file}"),
            (None, None) => "nothing asks for another".to_owned(),
        };
        let version = match named {
            Some((_, version)) if kind != Kind::Npm => Some(Version::new(
                title(kind),
                version,
                "`packageManager` in package.json",
            )),
            _ => assumed(place, kind)?,
        };
        Ok(Self {
            kind,
            lockfile,
            version,
            why,
            notes,
        })
    }

    /// The release of Bun, where it is Bun.
    pub(in super::super) fn bun(&self) -> Version {
        self.version
            .clone()
            .unwrap_or_else(|| Version::new("Bun", "1", "nothing asks for another"))
    }

    /// The files that decide what is installed.
    pub(in super::super) fn files(&self, place: &Place<'_>) -> Vec<&'static str> {
        std::iter::once("package.json")
            .chain(self.lockfile)
            .chain(
                self.kind
                    .settings()
                    .iter()
                    .copied()
                    .filter(|file| place.has(file)),
            )
            .collect()
    }

    /// The folders of `.yarn` that a release of Yarn 2 and later reads.
    pub(in super::super) fn folders(&self, place: &Place<'_>) -> Vec<&'static str> {
        if self.kind != Kind::Berry {
            return Vec::new();
        }
        [".yarn/releases", ".yarn/plugins", ".yarn/patches"]
            .into_iter()
            .filter(|folder| place.has_folder(folder))
            .collect()
    }

    pub(in super::super) fn cache(&self) -> Cache {
        match self.kind {
            Kind::Npm => NPM,
            Kind::Pnpm => PNPM,
            Kind::Yarn => YARN,
            Kind::Berry => BERRY,
            Kind::Bun => BUN,
        }
    }

    /// What brings the package manager itself into the build, and the cache
    /// that it fills.
    pub(in super::super) fn setup(&self) -> Option<(String, Cache)> {
        let version = self.version.as_ref().map(|version| version.version.as_str());
        let package = match self.kind {
            Kind::Npm | Kind::Bun => return None,
            Kind::Pnpm => format!("pnpm@{}", version.unwrap_or(PNPM_VERSION)),
            Kind::Yarn => format!("yarn@{}", version.unwrap_or(YARN_VERSION)),
            Kind::Berry => format!("@yarnpkg/cli-dist@{}", version.unwrap_or(BERRY_VERSION)),
        };
        // The image may have another one under the same name.
        Some((format!("npm install -g --force {package}"), NPM))
    }

    /// What makes it keep to the caches and ask nothing.
    pub(in super::super) fn environment(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            Kind::Npm => &[],
            Kind::Pnpm => &[("npm_config_store_dir", "/root/.pnpm-store"), ("CI", "true")],
            Kind::Yarn => &[("YARN_CACHE_FOLDER", "/root/.cache/yarn"), ("CI", "true")],
            // The app runs without Yarn, so its packages must lie where Node.js looks.
            Kind::Berry => &[
                ("YARN_NODE_LINKER", "node-modules"),
                ("YARN_ENABLE_GLOBAL_CACHE", "true"),
                ("YARN_GLOBAL_FOLDER", "/root/.yarn/berry"),
                ("YARN_ENABLE_TELEMETRY", "false"),
                ("CI", "true"),
            ],
            Kind::Bun => &[("BUN_INSTALL_CACHE_DIR", "/root/.bun/install/cache")],
        }
    }

    /// The command that installs; `dev`: also what only builds need.
    pub(in super::super) fn install(&self, dev: bool) -> String {
        let locked = self.lockfile.is_some();
        match (self.kind, locked, dev) {
            (Kind::Npm, true, true) => "npm ci",
            (Kind::Npm, true, false) => "npm ci --omit=dev",
            (Kind::Npm, false, true) => "npm install",
            (Kind::Npm, false, false) => "npm install --omit=dev",
            (Kind::Pnpm, true, true) => "pnpm install --frozen-lockfile",
            (Kind::Pnpm, true, false) => "pnpm install --frozen-lockfile --prod",
            (Kind::Pnpm, false, true) => "pnpm install --no-frozen-lockfile",
            (Kind::Pnpm, false, false) => "pnpm install --no-frozen-lockfile --prod",
            (Kind::Yarn, true, true) => "yarn install --frozen-lockfile --non-interactive",
            (Kind::Yarn, true, false) => "yarn install --frozen-lockfile --non-interactive --production",
            (Kind::Yarn, false, true) => "yarn install --non-interactive",
            (Kind::Yarn, false, false) => "yarn install --non-interactive --production",
            (Kind::Berry, true, _) => "yarn install --immutable",
            (Kind::Berry, false, _) => "yarn install --no-immutable",
            (Kind::Bun, true, true) => "bun install --frozen-lockfile",
            (Kind::Bun, true, false) => "bun install --frozen-lockfile --production",
            (Kind::Bun, false, true) => "bun install",
            (Kind::Bun, false, false) => "bun install --production",
        }
        .to_owned()
    }

    /// The command that takes out what only the build needed.
    pub(in super::super) fn prune(&self) -> &'static str {
        match self.kind {
            Kind::Npm => "npm prune --omit=dev",
            Kind::Pnpm => "pnpm prune --prod --ignore-scripts",
            Kind::Yarn => "yarn install --production --ignore-scripts --prefer-offline --non-interactive",
            Kind::Berry => "yarn workspaces focus --all --production",
            Kind::Bun => "rm -rf node_modules && bun install --production --ignore-scripts",
        }
    }
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Npm => "npm",
        Kind::Pnpm => "pnpm",
        Kind::Yarn | Kind::Berry => "Yarn",
        Kind::Bun => "Bun",
    }
}

/// `pnpm@9.12.0+sha512.…`
fn named(text: &str) -> Result<(Kind, String)> {
    let wrong = |why: String| {
        unclear(
            "package.json",
            &format!("`packageManager` is `{}`, {why}", printable(text)),
            "Write npm, pnpm, yarn or bun and a version: `pnpm@10.12.1`.",
        )
    };
    let (name, rest) = text
        .split_once('@')
        .ok_or_else(|| wrong("which names no version".to_owned()))?;
    let version = rest.split('+').next().unwrap_or_default();
    // `-rc.1` and the like are releases of the registry too.
    let number = version.split('-').next().unwrap_or_default();
    let harmless = version
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    if !is_numbers(number) || !harmless {
        return Err(wrong("which is no version".to_owned()));
    }
    let kind = match name {
        "npm" => Kind::Npm,
        "pnpm" => Kind::Pnpm,
        "yarn" if number.starts_with("1.") || number == "1" => Kind::Yarn,
        "yarn" => Kind::Berry,
        "bun" => Kind::Bun,
        _ => return Err(wrong("which is no package manager that Nonna knows".to_owned())),
    };
    Ok((kind, version.to_owned()))
}

fn by_lockfile(place: &Place<'_>) -> Result<Option<Kind>> {
    for kind in [Kind::Pnpm, Kind::Bun, Kind::Yarn, Kind::Npm] {
        if place.first(kind.lockfiles()).is_none() {
            continue;
        }
        if kind == Kind::Yarn && is_berry(place)? {
            return Ok(Some(Kind::Berry));
        }
        return Ok(Some(kind));
    }
    Ok(None)
}

/// Yarn 2 and later have settings of another name, and a lockfile that is YAML.
fn is_berry(place: &Place<'_>) -> Result<bool> {
    if place.has(".yarnrc.yml") {
        return Ok(true);
    }
    let text = place.text("yarn.lock")?.unwrap_or_default();
    Ok(text.lines().take(20).any(|line| line.starts_with("__metadata:")))
}

/// The release that wrote the lockfile, as near as it tells.
fn assumed(place: &Place<'_>, kind: Kind) -> Result<Option<Version>> {
    let version = match kind {
        Kind::Npm | Kind::Bun => return Ok(None),
        Kind::Yarn => return Ok(Some(Version::new("Yarn", YARN_VERSION, "yarn.lock is of Yarn 1"))),
        Kind::Berry => {
            return Ok(Some(Version::new(
                "Yarn",
                BERRY_VERSION,
                "yarn.lock is of Yarn 2 or later",
            )));
        }
        Kind::Pnpm => place.text("pnpm-lock.yaml")?.and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("lockfileVersion:"))?;
            let number = line.trim().trim_matches(['\'', '"']);
            // https://github.com/pnpm/spec: 9.0 is written by pnpm 9 and 10.
            let major = match number.split('.').next()? {
                "5" => "7",
                "6" => "8",
                _ => PNPM_VERSION,
            };
            Some((
                major,
                format!("pnpm-lock.yaml is of version {}", printable(number)),
            ))
        }),
    };
    let (version, why) = version.unwrap_or((PNPM_VERSION, "nothing asks for another".to_owned()));
    Ok(Some(Version::new("pnpm", version, why)))
}
