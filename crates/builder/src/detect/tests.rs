use nonna_engine::Code;
use nonna_model::context::{ContextEntry, ContextManifest, EntryKind};

use super::*;

pub(super) fn plan(files: &[(&str, &str)]) -> Result<Plan> {
    plan_with(
        files,
        &Settings {
            port: None,
            extra_ca: false,
            cache: "svc".into(),
            ..Settings::default()
        },
    )
}

/// A plan as people see it: why, and the Dockerfile.
pub(super) fn golden(files: &[(&str, &str)]) -> String {
    let plan = plan(files).unwrap();
    format!("{}\n\n{}", plan.explanation().join("\n"), plan.dockerfile)
}

/// What is said of a source that cannot be built: the message, the details and
/// the hint.
pub(super) fn refusal(files: &[(&str, &str)]) -> String {
    let error = plan(files).unwrap_err();
    format!(
        "{} {} {}",
        error.message,
        error.details.join(" "),
        error.hint.unwrap_or_default()
    )
}

pub(super) fn plan_with(files: &[(&str, &str)], settings: &Settings) -> Result<Plan> {
    let manifest = ContextManifest::new(
        files
            .iter()
            .map(|(path, content)| ContextEntry {
                path: (*path).into(),
                kind: EntryKind::File {
                    size: content.len() as u64,
                    sha256: "0".repeat(64),
                    executable: false,
                },
            })
            .collect(),
    );
    let read = |path: &str| {
        Ok(files
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, content)| content.as_bytes().to_vec()))
    };
    detect(&Tree::new(&manifest, &read), settings)
}

fn start(files: &[(&str, &str)]) -> String {
    plan(files).unwrap().start.to_string()
}

#[test]
fn nothing_recognised_says_what_was_looked_for() {
    let error = plan(&[("a.c", ""), ("src/b.c", ""), ("src/d.c", "")]).unwrap_err();
    assert_eq!(error.code, Code::NothingToBuild);
    assert_eq!(error.details.len(), DETECTORS.len() + 1);
    assert!(
        error
            .details
            .iter()
            .any(|line| line.starts_with("node: package.json")),
        "{:?}",
        error.details
    );
    assert_eq!(error.details.last().unwrap(), "the build context has a.c, src/");
    assert!(error.hint.unwrap().contains("Dockerfile"));
    assert!(plan(&[]).unwrap_err().details.last().unwrap().contains("empty"));
}

#[test]
fn a_static_site_is_served_by_a_user_without_rights() {
    let plan = plan(&[("public/index.html", ""), ("public/404.html", ""), (".env", "")]).unwrap();
    assert_eq!((plan.name, plan.port), ("static", 8080));
    assert!(
        plan.dockerfile.contains("COPY src/public/ /srv/"),
        "{}",
        plan.dockerfile
    );
    assert!(plan.dockerfile.contains("USER 65534:65534"));
    assert!(
        plan.dockerfile
            .contains(r#"CMD ["/bin/sh","-c","exec httpd -f -p $PORT "#),
        "{}",
        plan.dockerfile
    );
    assert!(plan.without_hidden);
    assert!(String::from_utf8_lossy(&plan.files[0].content).contains("E404:/srv/404.html"));
}

#[test]
fn node_starts_what_package_json_says() {
    assert_eq!(
        start(&[("package.json", r#"{"scripts":{"start":"node x.js --a"}}"#)]),
        "node x.js --a"
    );
    assert_eq!(
        start(&[("package.json", r#"{"scripts":{"prestart":"x","start":"node x"}}"#)]),
        "npm start"
    );
    assert_eq!(
        start(&[("package.json", r#"{"main":"./lib/a.js"}"#), ("lib/a.js", "")]),
        "node lib/a.js"
    );
    assert_eq!(
        start(&[("package.json", r#"{"main":"gone.js"}"#), ("server.js", "")]),
        "node server.js"
    );
    assert_eq!(
        start(&[
            ("package.json", "{}"),
            ("index.js", ""),
            ("Procfile", "# x\nworker: node w\nweb: node p.js\n")
        ]),
        "node p.js"
    );
    let error = plan(&[("package.json", "{}")]).unwrap_err();
    assert_eq!(error.code, Code::NothingToBuild);
    assert!(error.hint.unwrap().contains("`start` script"));
    let error = plan(&[("package.json", "{\"a\": ")]).unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert!(
        error.message.contains("package.json") && error.message.contains("line 1"),
        "{error}"
    );
}

#[test]
fn node_is_built_in_one_stage_and_run_in_another() {
    let plan = plan(&[
        ("package.json", r#"{"scripts":{"build":"tsc","start":"node d.js"},"dependencies":{"a":"1"},"engines":{"node":"20.x"}}"#),
        ("package-lock.json", "{}"),
        (".npmrc", ""),
    ])
    .unwrap();
    let expected = "FROM node:20-slim AS tools\n\
        WORKDIR /app\n\
        ENV npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false\n\
        FROM tools AS dependencies\n\
        COPY src/package.json src/package-lock.json src/.npmrc ./\n\
        RUN --mount=type=cache,id=nonna-svc-npm,target=/root/.npm npm ci\n\
        FROM tools AS build\n\
        COPY src/ ./\n\
        RUN --mount=type=bind,from=dependencies,source=/app/node_modules,target=/app/node_modules,rw --mount=type=cache,id=nonna-svc-npm,target=/root/.npm npm run build\n\
        FROM node:20-slim\n\
        ENV NODE_ENV=production PORT=8080 PATH=/app/node_modules/.bin:$PATH\n\
        WORKDIR /app\n\
        COPY --from=dependencies --chown=node:node /app/node_modules ./node_modules\n\
        COPY --from=build --chown=node:node /app ./\n\
        USER node\n\
        EXPOSE 8080\n\
        CMD [\"node\",\"d.js\"]\n";
    assert_eq!(plan.dockerfile, expected);
}

#[test]
fn python_finds_how_an_app_is_served() {
    let flask = "import flask\napp: flask.Flask = flask.Flask(__name__)\n";
    assert_eq!(
        start(&[("requirements.txt", "Flask\ngunicorn\n"), ("web.py", flask)]),
        "gunicorn --bind 0.0.0.0:$PORT web:app"
    );
    assert_eq!(
        start(&[("requirements.txt", "flask\n"), ("app.py", flask)]),
        "flask --app app run --host 0.0.0.0 --port $PORT"
    );
    assert_eq!(
        start(&[
            ("requirements.txt", "flask\n"),
            (
                "app.py",
                &format!("{flask}if __name__ == '__main__':\n  app.run()\n")
            )
        ]),
        "python app.py"
    );
    assert_eq!(
        start(&[
            ("requirements.txt", "fastapi[standard]\n"),
            ("app/main.py", "api = FastAPI()\n"),
            ("app/__init__.py", "")
        ]),
        "uvicorn app.main:api --host 0.0.0.0 --port $PORT"
    );
    let src = plan(&[
        ("requirements.txt", "fastapi\nuvicorn\n"),
        ("src/main.py", "app = FastAPI(title='=')\n"),
    ])
    .unwrap();
    assert_eq!(
        src.start.to_string(),
        "uvicorn main:app --host 0.0.0.0 --port $PORT"
    );
    assert!(
        src.dockerfile.contains("WORKDIR /app/src\n"),
        "{}",
        src.dockerfile
    );
    assert_eq!(
        start(&[
            ("requirements.txt", "flask\ngunicorn\n"),
            (
                "shop/__init__.py",
                "def create_app():\n    app = Flask(__name__)\n"
            )
        ]),
        "exec gunicorn --bind 0.0.0.0:$PORT 'shop:create_app()'"
    );
    assert_eq!(
        start(&[
            ("requirements.txt", "django\ngunicorn\n"),
            ("manage.py", ""),
            ("mysite/wsgi.py", "")
        ]),
        "gunicorn --bind 0.0.0.0:$PORT mysite.wsgi:application"
    );
    assert_eq!(
        start(&[
            ("requirements.txt", "Django\n"),
            ("manage.py", ""),
            ("mysite/wsgi.py", "")
        ]),
        "python manage.py runserver 0.0.0.0:$PORT"
    );
    assert_eq!(start(&[("main.py", "print(1)")]), "python main.py");
    assert_eq!(
        plan(&[("requirements.txt", "")]).unwrap_err().code,
        Code::NothingToBuild
    );
}

#[test]
fn python_installs_from_whatever_names_the_packages() {
    let plan_of = |files: &[(&str, &str)]| plan(files).unwrap();
    let with_base = plan_of(&[
        ("requirements.txt", "-r req/base.txt\n"),
        ("req/base.txt", "-c limits.txt\nflask\ngunicorn\n"),
        ("req/limits.txt", ""),
        ("app.py", "app = Flask(__name__)\n"),
    ]);
    assert!(
        with_base
            .dockerfile
            .contains("COPY src/req/base.txt src/req/limits.txt ./req/\n"),
        "{}",
        with_base.dockerfile
    );
    assert_eq!(
        with_base.start.to_string(),
        "gunicorn --bind 0.0.0.0:$PORT app:app"
    );

    let editable = plan_of(&[("requirements.txt", "-e .\n"), ("main.py", "")]);
    assert!(
        editable
            .dockerfile
            .contains("COPY src/ ./\nRUN --mount=type=cache,id=nonna-svc-pip"),
        "{}",
        editable.dockerfile
    );

    let project =
        "[project]\nname='x'\nrequires-python='>=3.9,<3.13'\ndependencies=['flask>=3', 'gunicorn']\n";
    let project = plan_of(&[("pyproject.toml", project), ("app.py", "app = Flask(__name__)\n")]);
    assert_eq!(project.files[0].content.as_ref(), b"flask>=3\ngunicorn\n");
    assert_eq!(project.base_images, ["python:3.12-slim"]);
    assert!(
        project
            .dockerfile
            .contains("install -r requirements.generated.txt")
    );

    let error = plan(&[("requirements.txt", "-r gone.txt\n"), ("main.py", "")]).unwrap_err();
    assert!(error.message.contains("gone.txt"), "{error}");
    let error = plan(&[("pyproject.toml", "[project\n"), ("main.py", "")]).unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
}

#[test]
fn version_files_choose_the_base_image() {
    let image = |files: &[(&str, &str)]| plan(files).map(|plan| plan.base_images[0].clone());
    assert_eq!(image(&[("main.py", "")]).unwrap(), "python:3.13-slim");
    assert_eq!(
        image(&[("main.py", ""), (".python-version", "# x\n3.12.1\n")]).unwrap(),
        "python:3.12.1-slim"
    );
    assert_eq!(
        image(&[("main.py", ""), ("runtime.txt", "python-3.11.4")]).unwrap(),
        "python:3.11.4-slim"
    );
    assert_eq!(
        image(&[("main.py", ""), (".python-version", "3 AS x\nRUN evil")])
            .unwrap_err()
            .code,
        Code::InvalidInput
    );
    assert_eq!(
        image(&[("package.json", "{}"), ("index.js", ""), (".nvmrc", "v18.1.0")]).unwrap(),
        "node:18.1.0-slim"
    );
}

#[test]
fn two_languages_say_which_won() {
    let both = plan(&[
        ("package.json", r#"{"scripts":{"start":"node x"}}"#),
        ("requirements.txt", ""),
        ("index.html", ""),
    ])
    .unwrap();
    assert_eq!(both.name, "node");
    assert!(
        both.explanation()
            .iter()
            .any(|line| line.contains("python was recognised too (by requirements.txt)"))
    );
    // A package.json that only has tools beside a Python app.
    let tools = [
        ("package.json", r#"{"devDependencies":{"prettier":"3"}}"#),
        ("requirements.txt", ""),
        ("main.py", ""),
    ];
    assert_eq!(plan(&tools).unwrap().name, "python");
}

#[test]
fn a_procfile_with_a_typo_is_named_with_its_line() {
    let error = plan(&[("main.py", ""), ("Procfile", "web: x\nworker python w.py\n")]).unwrap_err();
    assert_eq!(
        error.message,
        "`Procfile` cannot be used: line 2 is `worker python w.py`."
    );
}

#[test]
fn extra_authorities_are_mounted_for_the_build_alone() {
    let settings = Settings {
        port: Some(3000),
        extra_ca: true,
        cache: "svc".into(),
        ..Settings::default()
    };
    for files in [
        [("requirements.txt", "flask"), ("main.py", "")].as_slice(),
        &[
            ("package.json", r#"{"dependencies":{"a":"1"}}"#),
            ("index.js", ""),
        ],
    ] {
        let text = plan_with(files, &settings).unwrap().dockerfile;
        let (build, image) = text.rsplit_once("\nFROM ").unwrap();
        assert!(
            build.contains("--mount=type=secret,id=nonna-ca,target=/run/secrets/nonna-ca"),
            "{text}"
        );
        assert!(
            build.contains("PIP_CERT=/run/secrets/nonna-ca") && build.contains("npm_config_cafile="),
            "{text}"
        );
        assert!(!image.contains("nonna-ca"), "{text}");
        assert!(
            image.contains("PORT=3000") && image.contains("EXPOSE 3000"),
            "{text}"
        );
    }
}

#[test]
fn uv_installs_what_its_lockfile_says() {
    let project = "[project]\nname='x'\nrequires-python='>=3.12'\ndependencies=['fastapi', 'uvicorn']\n";
    let plan = plan(&[
        ("pyproject.toml", project),
        ("uv.lock", "version = 1\n"),
        ("requirements.txt", "flask\n"),
        ("main.py", "app = FastAPI()\n"),
    ])
    .unwrap();
    assert_eq!(
        plan.start.to_string(),
        "uvicorn main:app --host 0.0.0.0 --port $PORT"
    );
    assert_eq!(
        plan.install[0].command,
        "/opt/tools/bin/uv sync --locked --no-dev --no-install-project"
    );
    assert_eq!(plan.install[0].why, "there is uv.lock");
    let (build, image) = plan.dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(
        build.contains("COPY src/pyproject.toml src/uv.lock ./\nRUN --mount=type=cache,id=nonna-svc-uv,target=/root/.cache/uv /opt/tools/bin/uv sync"),
        "{build}"
    );
    assert!(!image.contains("/opt/tools"), "{image}");
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("requirements.txt is not read"))
    );
}

#[test]
fn poetry_installs_with_the_release_that_locked() {
    let project = "[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\npython='^3.11,<3.13'\nFlask='^3'\ngunicorn={version='^23', extras=['gevent']}\n";
    let app = ("app.py", "app = Flask(__name__)\n");
    let of = |files: &[(&str, &str)]| plan(files).unwrap();
    let new = of(&[
        ("pyproject.toml", project),
        (
            "poetry.lock",
            "# This file is automatically @generated by Poetry 2.1.1 and should not be changed by hand.\n",
        ),
        app,
    ]);
    assert_eq!(new.start.to_string(), "gunicorn --bind 0.0.0.0:$PORT app:app");
    assert_eq!(new.base_images, ["python:3.12-slim"]);
    assert!(
        new.dockerfile.contains("install \"poetry==2.*\""),
        "{}",
        new.dockerfile
    );
    let old = of(&[
        ("pyproject.toml", project),
        (
            "poetry.lock",
            "# This file is automatically @generated by Poetry 1.8.3 and\n",
        ),
        app,
    ]);
    assert!(
        old.dockerfile.contains("install \"poetry==1.*\""),
        "{}",
        old.dockerfile
    );
    let none = of(&[("pyproject.toml", project), app]);
    assert!(
        none.notes.iter().any(|note| note.contains("no poetry.lock")),
        "{:?}",
        none.notes
    );
    assert!(
        none.dockerfile.contains("COPY src/pyproject.toml ./\n"),
        "{}",
        none.dockerfile
    );
}

#[test]
fn pipenv_refuses_a_lock_that_is_out_of_step() {
    let pipfile = "[packages]\nFlask = \"*\"\ngunicorn = {version = \"~=23.0\", extras = [\"gevent\"]}\n[requires]\npython_version = \"3.12\"\n";
    let app = ("app.py", "app = Flask(__name__)\n");
    let plan = plan(&[
        ("Pipfile", pipfile),
        (
            "Pipfile.lock",
            r#"{"default":{"flask":{},"psycopg2":{}},"develop":{"pytest":{}}}"#,
        ),
        ("requirements.txt", "django\n"),
        app,
    ])
    .unwrap();
    assert_eq!(plan.found, "Pipfile, Pipfile.lock");
    assert_eq!(plan.base_images, ["python:3.12-slim"]);
    assert_eq!(plan.start.to_string(), "gunicorn --bind 0.0.0.0:$PORT app:app");
    assert_eq!(plan.install[0].command, "/opt/tools/bin/pipenv install --deploy");
    assert!(
        plan.dockerfile.contains("COPY src/Pipfile src/Pipfile.lock ./\n"),
        "{}",
        plan.dockerfile
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("requirements.txt is not read"))
    );
    // What only the lock names is compiled too.
    assert!(
        plan.dockerfile.contains("gcc libc6-dev libpq-dev"),
        "{}",
        plan.dockerfile
    );

    let bare = super::tests::plan(&[("Pipfile", pipfile), app]).unwrap();
    assert_eq!(
        bare.install[0].command,
        "/opt/tools/bin/pipenv install --skip-lock"
    );
    let error = super::tests::plan(&[("Pipfile", "[packages\n"), app]).unwrap_err();
    assert!(error.message.contains("`Pipfile`"), "{error}");
}

#[test]
fn what_has_no_wheel_gets_what_compiles_it_and_the_image_what_it_is_linked_to() {
    let of = |requirements: &str| {
        plan(&[("requirements.txt", requirements), ("main.py", "")])
            .unwrap()
            .dockerfile
    };
    let text = of("mysqlclient\npydub\n");
    let (build, image) = text.rsplit_once("\nFROM ").unwrap();
    assert!(
        build.contains(
            "install -y -qq --no-install-recommends default-libmysqlclient-dev gcc libc6-dev pkg-config >"
        ),
        "{build}"
    );
    assert!(build.contains("ldd"), "{build}");
    assert!(
        image.contains("--no-install-recommends ffmpeg libmariadb3 >"),
        "{image}"
    );
    assert!(image.contains("LD_LIBRARY_PATH=/usr/local/lib/app"), "{image}");
    assert!(!image.contains("gcc"), "{image}");

    let text = of("psycopg2-binary\nflask\n");
    assert!(!text.contains("apt-get"), "{text}");
    let text = of("shop @ git+https://example.org/shop.git\n");
    assert!(text.contains("--no-install-recommends git >"), "{text}");
    assert!(!text.contains("gcc"), "{text}");
    assert!(of("psycopg[binary]\n").matches("apt-get").count() == 0);
    assert!(of("psycopg\n").contains("libpq5"));
}
