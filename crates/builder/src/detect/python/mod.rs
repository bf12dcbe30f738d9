//! Python, with pip.

mod app;
mod requirements;
mod version;

use nonna_engine::Result;

use self::requirements::Requirements;
use super::base_images;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::{Detector, Plan, SOURCE_FOLDER, Settings, incomplete};
use crate::context::ExtraFile;

/// What is run when nothing else says how to start.
const SCRIPTS: [&str; 5] = ["main.py", "app.py", "server.py", "run.py", "bot.py"];
/// Where the requirements from a `pyproject.toml` are written.
const GENERATED: &str = "requirements.generated.txt";

/// A `requirements.txt` and the like.
pub(super) struct Python;

impl Detector for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn looks_for(&self) -> &'static str {
        "requirements.txt, pyproject.toml, manage.py, main.py or app.py"
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<String>> {
        let sign = tree.first(&[
            "requirements.txt",
            "pyproject.toml",
            "manage.py",
            "main.py",
            "app.py",
        ]);
        Ok(sign.map(str::to_owned))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let requirements = Requirements::read(tree)?;
        let (version, why) = version::choose(tree, requirements.python.as_deref())?;
        let mut notes = vec![format!("Python {version}: {why}")];
        notes.extend(requirements.notes.iter().cloned());
        let procfile = Procfile::read(tree)?;
        if let Some(procfile) = &procfile {
            notes.extend(procfile.notes());
        }
        let web = procfile
            .and_then(|procfile| procfile.web)
            .map(|start| app::Found {
                start,
                rule: "`web` in the Procfile".to_owned(),
                folder: None,
                note: None,
            });
        let found = match web {
            Some(web) => Some(web),
            None => app::find(tree, &requirements)?,
        };
        let found = found.or_else(|| {
            tree.first(&SCRIPTS).map(|script| app::Found {
                start: Start::exec(&["python", script]),
                rule: format!("there is {script}"),
                folder: None,
                note: None,
            })
        });
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
        let image = base_images::python(&version);
        let files = requirements.generated.as_ref().map(|text| ExtraFile {
            path: GENERATED.to_owned(),
            content: text.clone().into(),
        });
        Ok(Plan {
            name: self.name(),
            found: requirements
                .found
                .clone()
                .or(self.sign(tree)?)
                .unwrap_or_default(),
            dockerfile: dockerfile(tree, &requirements, settings, &image, &found)?,
            rule: found.rule,
            start: found.start,
            port: settings.port(),
            base_images: vec![image],
            files: files.into_iter().collect(),
            without_hidden: false,
            notes,
        })
    }
}

fn dockerfile(
    tree: &Tree<'_>,
    requirements: &Requirements,
    settings: &Settings,
    image: &str,
    found: &app::Found,
) -> Result<String> {
    let mut text = format!(
        "FROM {image} AS build\n\
         ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore\n\
         {}\
         RUN python -m venv --without-pip /opt/venv\n\
         WORKDIR /app\n",
        settings.ca_environment()
    );
    let file = if requirements.generated.is_some() {
        text.push_str(&format!("COPY {GENERATED} ./\n"));
        Some(GENERATED)
    } else if requirements.needs_source {
        text.push_str(&format!("COPY {SOURCE_FOLDER}/ ./\n"));
        Some("requirements.txt")
    } else {
        for file in &requirements.files {
            // The exec form, because a path may have a space.
            let folder = file
                .rsplit_once('/')
                .map_or("./".to_owned(), |(folder, _)| format!("./{folder}/"));
            let words = [format!("{SOURCE_FOLDER}/{file}"), folder];
            text.push_str(&format!(
                "COPY {}\n",
                serde_json::to_string(&words).unwrap_or_default()
            ));
        }
        requirements.files.first().map(|_| "requirements.txt")
    };
    if let Some(file) = file {
        let mounts = settings.mounts("pip", "/root/.cache/pip");
        text.push_str(&format!(
            "RUN {mounts} python -m pip --python /opt/venv/bin/python install -r {file}\n"
        ));
    }
    let port = settings.port();
    let workdir = found
        .folder
        .as_deref()
        .map_or_else(|| "/app".to_owned(), |folder| format!("/app/{folder}"));
    let path = if tree.has_folder("src") {
        "/app:/app/src"
    } else {
        "/app"
    };
    text.push_str(&format!(
        "FROM {image}\n\
         ENV PATH=/opt/venv/bin:$PATH PYTHONPATH={path} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT={port}\n\
         RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --home-dir /app --no-create-home app\n\
         WORKDIR /app\n\
         COPY --from=build /opt/venv /opt/venv\n\
         COPY --chown=app:app {SOURCE_FOLDER}/ ./\n",
    ));
    if app::wants_collectstatic(tree, requirements)? {
        // The settings often insist on a key that files do not need.
        text.push_str(
            "RUN SECRET_KEY=build DJANGO_SECRET_KEY=build python manage.py collectstatic --noinput\n",
        );
    }
    text.push_str(&format!(
        "RUN chown app:app /app\n\
         WORKDIR {workdir}\n\
         USER app\n\
         EXPOSE {port}\n\
         {}\n",
        found.start.cmd()
    ));
    Ok(text)
}
