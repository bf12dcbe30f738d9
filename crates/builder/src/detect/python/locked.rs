//! uv, Poetry and Pipenv: what they lock, and how it is installed.

use nonna_engine::Result;

use super::super::settings::Cache;
use super::super::tree::{Tree, unclear};
use super::super::version::Dialect;
use super::super::writer::Writer;
use super::PIP;
use super::requirements::Requirements;
use super::version::Wanted;

const UV: Cache = Cache::shared("uv", "/root/.cache/uv");
const POETRY: Cache = Cache::locked("poetry", "/root/.cache/pypoetry");
const PIPENV: Cache = Cache::locked("pipenv", "/root/.cache/pipenv");
/// Where the tool itself stands in the build stage, apart from the app's packages.
const TOOLS: &str = "/opt/tools";

/// The tool that installs, where it is not pip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tool {
    Uv,
    /// With what pip is asked for: `poetry==2.*`.
    Poetry(&'static str),
    Pipenv,
}

/// What a tool installs from.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) tool: Tool,
    /// Its lockfile, if there is one.
    lockfile: Option<&'static str>,
    /// Whether the app's own source has to be there while it installs.
    needs_source: bool,
}

impl Locked {
    /// Looks for a lockfile, for Poetry's own table, or for a Pipfile, and adds
    /// the packages that are named there; `None`: pip installs.
    pub(super) fn read(tree: &Tree<'_>, needs: &mut Requirements) -> Result<Option<Self>> {
        let text = tree.text("pyproject.toml")?.unwrap_or_default();
        let project: toml::Table = toml::from_str(&text).map_err(|error| {
            unclear(
                "pyproject.toml",
                error.to_string().trim(),
                "Mend the file: it has to be valid TOML.",
            )
        })?;
        let tool = |name: &str| project.get("tool")?.get(name);
        let lockfile = tree
            .first(&["uv.lock", "poetry.lock"])
            .filter(|_| !text.is_empty());
        let found = match (lockfile, tool("poetry")) {
            (Some("uv.lock"), _) => {
                let local = tool("uv").is_some_and(|uv| {
                    uv.get("workspace").is_some()
                        || uv
                            .get("sources")
                            .is_some_and(|sources| sources.to_string().contains("path"))
                });
                Self {
                    tool: Tool::Uv,
                    lockfile,
                    needs_source: local,
                }
            }
            (Some(_), poetry) => Self {
                tool: Tool::Poetry(poetry_of(&tree.text("poetry.lock")?.unwrap_or_default())),
                lockfile,
                needs_source: poetry.is_some_and(names_paths),
            },
            // Without a lockfile: only where nothing else names the packages.
            (None, Some(poetry)) if !project.contains_key("project") && !tree.has("requirements.txt") => {
                needs
                    .notes
                    .push("no poetry.lock: every build may get other versions; commit it".to_owned());
                Self {
                    tool: Tool::Poetry(POETRY_2),
                    lockfile: None,
                    needs_source: names_paths(poetry),
                }
            }
            _ => return Self::pipenv(tree, needs),
        };
        if let Some(lockfile) = lockfile {
            not_read(tree, needs, lockfile);
            let locked: toml::Table =
                toml::from_str(&tree.text(lockfile)?.unwrap_or_default()).unwrap_or_default();
            let packages = locked.get("package").and_then(toml::Value::as_array);
            for name in packages
                .into_iter()
                .flatten()
                .filter_map(|one| one.get("name")?.as_str())
            {
                needs.lock(name);
            }
        }
        needs.only(&project);
        needs.found = Some(lockfile.map_or_else(
            || "pyproject.toml".to_owned(),
            |file| format!("pyproject.toml, {file}"),
        ));
        Ok(Some(found))
    }

    /// A Pipfile, with its lock or without.
    fn pipenv(tree: &Tree<'_>, needs: &mut Requirements) -> Result<Option<Self>> {
        let Some(text) = tree.text(PIPFILE)? else {
            return Ok(None);
        };
        let lock = tree.text(PIPFILE_LOCK)?;
        // Without a lock only where nothing else names the packages.
        if lock.is_none() && needs.found.is_some() {
            return Ok(None);
        }
        let pipfile: toml::Table = toml::from_str(&text).map_err(|error| {
            unclear(
                PIPFILE,
                error.to_string().trim(),
                "Mend the file: it has to be valid TOML.",
            )
        })?;
        needs.forget();
        let mut needs_source = false;
        let packages = pipfile.get("packages").and_then(toml::Value::as_table);
        for (name, value) in packages.into_iter().flatten() {
            needs.add(name);
            let extras = value.get("extras").and_then(toml::Value::as_array);
            for extra in extras.into_iter().flatten().filter_map(toml::Value::as_str) {
                needs.add(&format!("{name}[{extra}]"));
            }
            needs.from_git |= value.get("git").is_some();
            needs_source |= value.get("path").is_some() || value.get("file").is_some();
        }
        if let Some(lock) = &lock {
            let locked: serde_json::Value = serde_json::from_str(lock).map_err(|error| {
                unclear(
                    PIPFILE_LOCK,
                    &error.to_string(),
                    "Run `pipenv lock` and commit the file.",
                )
            })?;
            for name in locked["default"]
                .as_object()
                .into_iter()
                .flat_map(|all| all.keys())
            {
                needs.lock(name);
            }
            not_read(tree, needs, PIPFILE_LOCK);
        } else {
            needs
                .notes
                .push("no Pipfile.lock: every build may get other versions; commit it".to_owned());
        }
        let lockfile = lock.map(|_| PIPFILE_LOCK);
        needs.found = Some(lockfile.map_or_else(|| PIPFILE.to_owned(), |file| format!("{PIPFILE}, {file}")));
        Ok(Some(Self {
            tool: Tool::Pipenv,
            lockfile,
            needs_source,
        }))
    }

    /// Installs into `/opt/venv`, which is there and empty.
    pub(super) fn install(&self, writer: &mut Writer<'_>) {
        let (package, cache) = match self.tool {
            Tool::Uv => ("uv", UV),
            Tool::Poetry(package) => (package, POETRY),
            Tool::Pipenv => ("pipenv", PIPENV),
        };
        writer.run(
            &[PIP],
            &format!(
                "python -m venv --without-pip {TOOLS} && python -m pip --python {TOOLS}/bin/python install \"{package}\""
            ),
        );
        match self.tool {
            Tool::Uv => writer.environment(&[
                ("UV_PROJECT_ENVIRONMENT", "/opt/venv"),
                ("UV_PYTHON", "/opt/venv/bin/python"),
                ("UV_PYTHON_DOWNLOADS", "never"),
                ("UV_LINK_MODE", "copy"),
            ]),
            // Poetry installs into the environment that it believes active.
            Tool::Poetry(_) => writer.environment(&[
                ("VIRTUAL_ENV", "/opt/venv"),
                ("POETRY_CACHE_DIR", POETRY.folder),
                ("POETRY_NO_INTERACTION", "1"),
            ]),
            // So does Pipenv.
            Tool::Pipenv => writer.environment(&[
                ("VIRTUAL_ENV", "/opt/venv"),
                ("PIPENV_CACHE_DIR", PIPENV.folder),
                ("PIPENV_NOSPIN", "1"),
                ("PIPENV_VERBOSITY", "-1"),
                ("PIPENV_YES", "1"),
            ]),
        };
        if self.needs_source || writer.install_is_overruled() {
            writer.copy_source();
        } else {
            let manifest = match self.tool {
                Tool::Pipenv => PIPFILE,
                _ => "pyproject.toml",
            };
            let files: Vec<&str> = std::iter::once(manifest).chain(self.lockfile).collect();
            writer.copy_files(&files, "./");
        }
        let command = match (&self.tool, self.needs_source) {
            (Tool::Uv, false) => format!("{TOOLS}/bin/uv sync --locked --no-dev --no-install-project"),
            (Tool::Uv, true) => format!("{TOOLS}/bin/uv sync --locked --no-dev --no-editable"),
            (Tool::Poetry(_), _) => format!("{TOOLS}/bin/poetry install --only main --no-root"),
            // It refuses a lock that is out of step.
            (Tool::Pipenv, _) if self.lockfile.is_some() => format!("{TOOLS}/bin/pipenv install --deploy"),
            (Tool::Pipenv, _) => format!("{TOOLS}/bin/pipenv install --skip-lock"),
        };
        let why = self.lockfile.map_or_else(
            || match self.tool {
                Tool::Pipenv => "there is a Pipfile".to_owned(),
                _ => "Poetry's table in pyproject.toml".to_owned(),
            },
            |file| format!("there is {file}"),
        );
        writer.install(&[cache], &command, &why);
    }

    /// What Poetry's own table or a Pipfile asks of Python, where `[project]`
    /// says nothing.
    pub(super) fn python(tree: &Tree<'_>) -> Result<Option<Wanted>> {
        let pipfile: Option<toml::Table> = tree.text(PIPFILE)?.and_then(|text| toml::from_str(&text).ok());
        let requires = pipfile.as_ref().and_then(|pipfile| {
            let requires = pipfile.get("requires")?;
            let version = requires
                .get("python_full_version")
                .or_else(|| requires.get("python_version"))?;
            Some(version.as_str()?.to_owned())
        });
        if let Some(range) = requires {
            return Ok(Some(Wanted {
                range,
                dialect: Dialect::Npm,
                file: PIPFILE,
                field: "requires.python_version",
            }));
        }
        let text = tree.text("pyproject.toml")?.unwrap_or_default();
        let project: Option<toml::Table> = toml::from_str(&text).ok();
        let range = project.as_ref().and_then(|project| {
            let table = project.get("tool")?.get("poetry")?.get("dependencies")?;
            Some(table.get("python")?.as_str()?.to_owned())
        });
        Ok(range.map(|range| Wanted {
            range,
            dialect: Dialect::Npm,
            file: "pyproject.toml",
            field: "tool.poetry.dependencies.python",
        }))
    }
}

const PIPFILE: &str = "Pipfile";
const PIPFILE_LOCK: &str = "Pipfile.lock";

fn not_read(tree: &Tree<'_>, needs: &mut Requirements, lockfile: &str) {
    if tree.has("requirements.txt") {
        needs.notes.push(format!(
            "requirements.txt is not read, because there is {lockfile}"
        ));
    }
}

const POETRY_2: &str = "poetry==2.*";

/// The Poetry that wrote a lockfile: another one may find it out of step.
fn poetry_of(lockfile: &str) -> &'static str {
    let first = lockfile.lines().next().unwrap_or_default();
    if first.contains("Poetry 1.") {
        "poetry==1.*"
    } else {
        POETRY_2
    }
}

fn names_paths(poetry: &toml::Value) -> bool {
    poetry
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .is_some_and(|all| all.values().any(|one| one.get("path").is_some()))
}
