//! Python, with pip, uv, Poetry or Pipenv.

mod app;
mod locked;
mod mkdocs;
mod native;
mod requirements;
mod version;

use nonna_engine::Result;

use self::locked::Locked;
pub(super) use self::mkdocs::MkDocs;
use self::native::Natives;
use self::requirements::Requirements;
use super::base_images;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::version::{Dialect, Version};
use super::writer::{USER, Writer, Written};
use super::{
    Cache, Detector, Plan, Reference, SOURCE_FOLDER, Settings, Sign, Strength, given_start, incomplete,
};
use crate::context::ExtraFile;

/// What is run when nothing else says how to start.
const SCRIPTS: [&str; 5] = ["main.py", "app.py", "server.py", "run.py", "bot.py"];
/// Where the requirements from a `pyproject.toml` are written.
const GENERATED: &str = "requirements.generated.txt";

const PIP: Cache = Cache::shared("pip", "/root/.cache/pip");

/// A `requirements.txt` and the like.
pub(super) struct Python;

impl Detector for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn looks_for(&self) -> &'static str {
        "requirements.txt, pyproject.toml, Pipfile, manage.py, main.py or app.py"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Python",
            managers: vec![
                row("uv", "`uv.lock`", "`uv sync --locked --no-dev`"),
                row(
                    "Poetry",
                    "`poetry.lock`, or `[tool.poetry]` alone",
                    "`poetry install --only main`, with the major version that wrote the lockfile",
                ),
                row(
                    "Pipenv",
                    "`Pipfile.lock`, or `Pipfile` alone",
                    "`pipenv install --deploy`, which refuses a lock that is out of step",
                ),
                row(
                    "pip",
                    "`requirements.txt`, else `pyproject.toml`",
                    "`pip install -r`, into an environment that the image takes",
                ),
            ],
            frameworks: vec![
                [
                    "Django".into(),
                    "`manage.py`".into(),
                    "`collectstatic` where WhiteNoise serves; gunicorn, uvicorn …, else its development server".into(),
                ],
                [
                    "Flask, FastAPI, Starlette, Quart, Litestar, Bottle".into(),
                    "the package, and an app object or a factory".into(),
                    "the server among the requirements".into(),
                ],
            ],
            version: "`.python-version`, `runtime.txt`, `mise.toml`, `.tool-versions`, then `requires-python`, Poetry's `python` or the Pipfile's `[requires]`.".into(),
            start: vec![
                "`web` in the `Procfile`".into(),
                "Django".into(),
                "an app object".into(),
                SCRIPTS.join(", "),
            ],
            images: "`python:VERSION-slim` builds and runs.".into(),
            caches: "The downloads and wheels of pip, uv, Poetry and Pipenv.".into(),
            notes: vec![
                "What has no wheel for every machine is compiled: Debian's compiler and headers are in the stage that builds (psycopg2, mysqlclient, python-ldap, xmlsec, uWSGI …), and the image gets the libraries it is linked to.".into(),
                "Programs and libraries that packages call by name are in the image: ffmpeg for pydub, poppler for pdf2image, tesseract for pytesseract, Pango for WeasyPrint …".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        let script = tree.first(&SCRIPTS);
        if tree.has("manage.py") {
            return Ok(Some(Sign::new(Strength::App, "manage.py")));
        }
        let manifest = tree.first(&["requirements.txt", "pyproject.toml", "Pipfile"]);
        Ok(match (manifest, script) {
            (Some(manifest), Some(script)) => {
                Some(Sign::new(Strength::App, format!("{manifest} and {script}")))
            }
            (Some(manifest), None) => Some(Sign::new(Strength::Packages, manifest)),
            (None, Some(script)) => Some(Sign::new(Strength::Files, script)),
            (None, None) => None,
        })
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let packages = Packages::read(tree)?;
        let version = packages.version(tree)?;
        let mut notes = packages.notes();
        let procfile = Procfile::read(tree)?;
        if let Some(procfile) = &procfile {
            notes.extend(procfile.notes());
        }
        let plain = |(start, rule): (Start, String)| app::Found {
            start,
            rule,
            folder: None,
            note: None,
        };
        let web = procfile
            .and_then(|procfile| procfile.web)
            .map(|start| plain((start, "`web` in the Procfile".to_owned())));
        let found = match web {
            Some(web) => Some(web),
            None => app::find(tree, &packages.requirements)?,
        };
        let found = found
            .or_else(|| {
                tree.first(&SCRIPTS)
                    .map(|script| plain((Start::exec(&["python", script]), format!("there is {script}"))))
            })
            .or_else(|| given_start(settings).map(plain));
        let found = found.ok_or_else(|| {
            incomplete(
                "This is Python, but nothing says how to start it.",
                format!(
                    "Add a line `web: COMMAND` to a Procfile, a Django manage.py, a Flask or FastAPI app, or one of {}.",
                    SCRIPTS.join(", ")
                ),
            )
        })?;
        notes.extend(found.note.clone());
        let sign = self.sign(tree)?.map(|sign| sign.found);
        let found_by = packages.requirements.found.clone().or(sign).unwrap_or_default();
        let written = dockerfile(tree, &packages, settings, &version, found)?;
        let mut plan = Plan::new(self.name(), found_by, written);
        plan.versions = vec![version];
        plan.files = packages.generated().into_iter().collect();
        plan.notes = notes;
        Ok(plan)
    }
}

fn row(name: &str, sign: &str, what: &str) -> [String; 3] {
    [name.to_owned(), sign.to_owned(), what.to_owned()]
}

/// What an app installs, and with what.
struct Packages {
    requirements: Requirements,
    locked: Option<Locked>,
}

impl Packages {
    fn read(tree: &Tree<'_>) -> Result<Self> {
        let mut requirements = Requirements::read(tree)?;
        let locked = Locked::read(tree, &mut requirements)?;
        Ok(Self { requirements, locked })
    }

    /// Installs these and nothing else: the text of a requirements file, and
    /// the file that asks for them.
    fn only_these(&mut self, text: String, asked_by: &str) {
        self.requirements.forget();
        self.requirements.found = Some(asked_by.to_owned());
        self.requirements.generated = Some(text);
        self.locked = None;
    }

    /// The release of Python.
    fn version(&self, tree: &Tree<'_>) -> Result<Version> {
        let wanted = match self.requirements.python.clone() {
            Some(range) => Some(version::Wanted {
                range,
                dialect: Dialect::Pep440,
                file: "pyproject.toml",
                field: "requires-python",
            }),
            None => Locked::python(tree)?,
        };
        version::choose(tree, wanted.as_ref())
    }

    fn natives(&self) -> Natives {
        Natives::of(&self.requirements)
    }

    /// What the user should know.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.requirements.notes.clone();
        notes.extend(self.natives().note());
        notes
    }

    /// The file that is generated beside the Dockerfile.
    fn generated(&self) -> Option<ExtraFile> {
        self.requirements.generated.as_ref().map(|text| ExtraFile {
            path: GENERATED.to_owned(),
            content: text.clone().into(),
        })
    }

    /// The stage that has them, in `/opt/venv`. The source follows.
    fn stage(&self, writer: &mut Writer<'_>, version: &Version) {
        let requirements = &self.requirements;
        let natives = self.natives();
        writer
            .build_stage(&base_images::python(&version.version), "build")
            .environment(&[
                ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
                ("PIP_NO_INPUT", "1"),
                ("PIP_ROOT_USER_ACTION", "ignore"),
            ]);
        natives.prepare(writer);
        writer
            .line("RUN python -m venv --without-pip /opt/venv")
            .line("WORKDIR /app");
        let file = if let Some(locked) = &self.locked {
            locked.install(writer);
            None
        } else if requirements.generated.is_some() {
            writer.line(&format!("COPY {GENERATED} ./"));
            Some(GENERATED)
        } else if requirements.needs_source {
            writer.copy_source();
            Some("requirements.txt")
        } else {
            writer.copy_in_place(&requirements.files);
            requirements.files.first().map(|_| "requirements.txt")
        };
        if let Some(file) = file {
            writer.install(
                &[PIP],
                &format!("python -m pip --python /opt/venv/bin/python install -r {file}"),
                &format!(
                    "there is {}",
                    requirements.found.as_deref().unwrap_or("requirements.txt")
                ),
            );
        } else if writer.install_is_overruled() && self.locked.is_none() {
            writer.install(&[PIP], "", "");
        }
        natives.gather(writer);
    }
}

fn dockerfile(
    tree: &Tree<'_>,
    packages: &Packages,
    settings: &Settings,
    version: &Version,
    found: app::Found,
) -> Result<Written> {
    let mut writer = Writer::new(settings);
    packages.stage(&mut writer, version);
    let port = settings.port().to_string();
    let workdir = found
        .folder
        .as_deref()
        .map_or_else(|| "/app".to_owned(), |folder| format!("/app/{folder}"));
    let path = if tree.has_folder("src") {
        "/app:/app/src"
    } else {
        "/app"
    };
    writer
        .final_stage(&base_images::python(&version.version))
        .environment(&[
            ("PATH", "/opt/venv/bin:$PATH"),
            ("PYTHONPATH", path),
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PORT", &port),
        ])
        .add_user("/app");
    packages.natives().lend(&mut writer);
    writer
        .line("WORKDIR /app")
        .copy_from("build", "/opt/venv", "/opt/venv", None)
        .line(&format!("COPY --chown=app:app {SOURCE_FOLDER}/ ./"));
    if app::wants_collectstatic(tree, &packages.requirements)? {
        // The settings often insist on a key that files do not need.
        writer.line("RUN SECRET_KEY=build DJANGO_SECRET_KEY=build python manage.py collectstatic --noinput");
    }
    // Nothing else builds, but the user may say what does.
    writer.build(&[PIP], "", "");
    writer
        .line("RUN chown app:app /app")
        .line(&format!("WORKDIR {workdir}"));
    Ok(writer.finish(USER, found.start, found.rule))
}
