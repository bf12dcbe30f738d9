//! How a Python app is started: Django, or an app object of a framework.

use nonna_engine::Result;

use super::super::start::Start;
use super::super::tree::Tree;
use super::requirements::Requirements;

/// Names of files in which an app object is looked for, the likeliest first.
const LIKELY: [&str; 8] = [
    "main",
    "app",
    "wsgi",
    "asgi",
    "server",
    "application",
    "api",
    "__init__",
];
/// How many files are read to find one.
const MAX_READ: usize = 60;

/// How an app is called by its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interface {
    Wsgi,
    Asgi,
}

/// Frameworks: the package, the class of the app object, the interface.
const FRAMEWORKS: &[(&str, &str, Interface)] = &[
    ("fastapi", "FastAPI", Interface::Asgi),
    ("flask", "Flask", Interface::Wsgi),
    ("starlette", "Starlette", Interface::Asgi),
    ("quart", "Quart", Interface::Asgi),
    ("litestar", "Litestar", Interface::Asgi),
    ("bottle", "Bottle", Interface::Wsgi),
];

/// A start command.
pub(super) struct Found {
    pub(super) start: Start,
    pub(super) rule: String,
    /// The folder it is started in, if not the app's.
    pub(super) folder: Option<String>,
    pub(super) note: Option<String>,
}

/// Looks for Django, then for an app object.
pub(super) fn find(tree: &Tree<'_>, needs: &Requirements) -> Result<Option<Found>> {
    if tree.has("manage.py")
        && let Some(found) = django(tree, needs)
    {
        return Ok(Some(found));
    }
    object(tree, needs)
}

/// Whether Django's static files are collected into the image: when it serves
/// them itself.
pub(super) fn wants_collectstatic(tree: &Tree<'_>, needs: &Requirements) -> Result<bool> {
    if !(tree.has("manage.py") && needs.has("django") && needs.has("whitenoise")) {
        return Ok(false);
    }
    for file in tree
        .files()
        .filter(|file| file.ends_with(".py") && file.contains("settings"))
    {
        if tree.text(file)?.is_some_and(|text| text.contains("STATIC_ROOT")) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn django(tree: &Tree<'_>, needs: &Requirements) -> Option<Found> {
    let module = |file: &str| {
        let ending = format!("/{file}");
        tree.files()
            .filter(|path| path.ends_with(&ending) && is_module(path))
            .min_by_key(|path| path.matches('/').count())
            .map(|path| path.trim_end_matches(".py").replace('/', "."))
    };
    let asgi = module("asgi.py")
        .and_then(|module| serve(needs, Interface::Asgi, &format!("{module}:application"), false));
    let wsgi = module("wsgi.py")
        .and_then(|module| serve(needs, Interface::Wsgi, &format!("{module}:application"), false));
    if let Some(start) = wsgi.or(asgi) {
        return Some(Found {
            start,
            rule: "manage.py is Django's, and its server is in the requirements".to_owned(),
            folder: None,
            note: None,
        });
    }
    Some(Found {
        start: Start::Shell("python manage.py runserver 0.0.0.0:$PORT".to_owned()),
        rule: "manage.py is Django's".to_owned(),
        folder: None,
        note: Some("this is Django's development server: add `gunicorn` to the requirements".to_owned()),
    })
}

/// The command of the server that is among the requirements.
fn serve(needs: &Requirements, interface: Interface, object: &str, factory: bool) -> Option<Start> {
    let has_uvicorn = needs.has("uvicorn") || needs.has("fastapi[standard]") || needs.has("fastapi[all]");
    let line = match interface {
        Interface::Wsgi => {
            let called = if factory {
                format!("'{object}()'")
            } else {
                object.to_owned()
            };
            if needs.has("gunicorn") {
                format!("gunicorn --bind 0.0.0.0:$PORT {called}")
            } else if needs.has("waitress") {
                let call = if factory { "--call " } else { "" };
                format!("waitress-serve --listen=0.0.0.0:$PORT {call}{object}")
            } else {
                return None;
            }
        }
        Interface::Asgi => {
            let flag = if factory { "--factory " } else { "" };
            if has_uvicorn {
                format!("uvicorn {flag}{object} --host 0.0.0.0 --port $PORT")
            } else if needs.has("hypercorn") {
                let called = if factory {
                    format!("'{object}()'")
                } else {
                    object.to_owned()
                };
                format!("hypercorn --bind 0.0.0.0:$PORT {called}")
            } else if needs.has("daphne") && !factory {
                format!("daphne -b 0.0.0.0 -p $PORT {object}")
            } else {
                return None;
            }
        }
    };
    Some(Start::Shell(if factory && line.contains('\'') {
        format!("exec {line}")
    } else {
        line
    }))
}

/// Whether a path can be imported: the shell and Python see nothing odd in it.
fn is_module(path: &str) -> bool {
    path.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'.'))
        && !path.split('/').any(|part| {
            matches!(part, "tests" | "test" | "examples" | "docs" | "migrations") || part.starts_with('.')
        })
        && !path.rsplit('/').next().unwrap_or_default().starts_with("test_")
}

/// An app object of a framework that is among the requirements.
fn object(tree: &Tree<'_>, needs: &Requirements) -> Result<Option<Found>> {
    let frameworks: Vec<_> = FRAMEWORKS
        .iter()
        .filter(|(package, _, _)| needs.has(package))
        .collect();
    if frameworks.is_empty() {
        return Ok(None);
    }
    let rank = |path: &str| {
        let stem = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".py")
            .to_owned();
        let likely = LIKELY
            .iter()
            .position(|name| *name == stem)
            .unwrap_or(LIKELY.len());
        (path.matches('/').count(), likely, path.to_owned())
    };
    let mut files: Vec<&str> = tree
        .files()
        .filter(|path| path.ends_with(".py") && path.matches('/').count() <= 2 && is_module(path))
        .collect();
    files.sort_by_key(|path| rank(path));
    let mut factory = None;
    for path in files.into_iter().take(MAX_READ) {
        let Some(text) = tree.text(path)? else { continue };
        for (package, class, interface) in &frameworks {
            if let Some(name) = assigned(&text, class) {
                let found = Candidate {
                    path,
                    name,
                    is_factory: false,
                    package,
                    interface: *interface,
                };
                return Ok(Some(found.start(tree, needs, &text)));
            }
        }
        let made = text.lines().find_map(|line| {
            ["create_app", "make_app"]
                .into_iter()
                .find(|name| line.starts_with(&format!("def {name}(")))
        });
        if let (None, Some(name), Some((package, _, interface))) = (&factory, made, frameworks.first()) {
            factory = Some((
                Candidate {
                    path,
                    name: name.to_owned(),
                    is_factory: true,
                    package,
                    interface: *interface,
                },
                text,
            ));
        }
    }
    Ok(factory.map(|(found, text)| found.start(tree, needs, &text)))
}

/// The name in a line `name = Class(` or `name: Class = Class(` at the margin.
fn assigned(text: &str, class: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        let called = right.trim_start().split('(').next()?.trim_end();
        let called = called.rsplit('.').next()?;
        let name = left.split(':').next()?.trim_end();
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (is_name && right.contains('(') && called == class).then(|| name.to_owned())
    })
}

struct Candidate<'a> {
    path: &'a str,
    name: String,
    is_factory: bool,
    package: &'a str,
    interface: Interface,
}

impl Candidate<'_> {
    fn start(&self, tree: &Tree<'_>, needs: &Requirements, text: &str) -> Found {
        // `src/` is a place, not a package, unless it says so.
        let in_src = self
            .path
            .strip_prefix("src/")
            .filter(|_| !tree.has("src/__init__.py"));
        let folder = in_src.map(|_| "src".to_owned());
        let path = in_src.unwrap_or(self.path);
        let module = path
            .trim_end_matches(".py")
            .trim_end_matches("/__init__")
            .replace('/', ".");
        let object = format!("{module}:{}", self.name);
        let what = if self.is_factory { "factory" } else { "app" };
        if let Some(start) = serve(needs, self.interface, &object, self.is_factory) {
            return Found {
                start,
                rule: format!(
                    "{} has a {} {what}, and its server is in the requirements",
                    self.path, self.package
                ),
                folder,
                note: None,
            };
        }
        let server = match self.interface {
            Interface::Wsgi => "gunicorn",
            Interface::Asgi => "uvicorn",
        };
        let rule = format!("{} has a {} {what}", self.path, self.package);
        let runs_itself = text.lines().any(|line| line.starts_with("if __name__"));
        if self.package == "flask" && !runs_itself {
            return Found {
                start: Start::Shell(format!("flask --app {module} run --host 0.0.0.0 --port $PORT")),
                rule,
                folder,
                note: Some(
                    "this is Flask's development server: add `gunicorn` to the requirements".to_owned(),
                ),
            };
        }
        Found {
            start: Start::exec(&["python", path]),
            rule,
            folder,
            note: Some(format!(
                "no server is among the requirements: add `{server}`, or the app has to serve itself on 0.0.0.0:$PORT"
            )),
        }
    }
}
