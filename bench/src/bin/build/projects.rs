//! The projects that are built: those of `examples/`, with what a real project
//! of that language has more from `bench/projects/`.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A project in a language.
pub(super) struct Project {
    /// Its language, as figures call it.
    pub(super) language: &'static str,
    /// Its folder, from the repository's root.
    folder: &'static str,
    /// A source file, and a line in it that is changed.
    line: (&'static str, &'static str),
    /// Files of the folder `with-dependency` beside the project's, which add
    /// one dependency.
    plain: &'static str,
}

/// The line of a plain Dockerfile that runs a command with the machine's
/// certificate authorities: a need of networks with an inspecting proxy.
const RUN: &str = "RUN --mount=type=secret,id=ca,target=/run/ca.crt ";

/// All of them.
pub(super) const PROJECTS: &[Project] = &[
    Project {
        language: "node",
        folder: "bench/projects/node",
        line: ("src/greeting.ts", "export const greeting = 'hello';"),
        plain: "FROM node:22-slim\nENV NODE_EXTRA_CA_CERTS=/run/ca.crt npm_config_cafile=/run/ca.crt\n\
                WORKDIR /app\nCOPY . .\n@npm ci && npm run build\nCMD [\"npm\", \"start\"]\n",
    },
    Project {
        language: "python",
        folder: "bench/projects/python",
        line: ("greeting.py", "GREETING = \"hello\""),
        plain: "FROM python:3.13-slim\nENV PIP_CERT=/run/ca.crt\nWORKDIR /app\nCOPY . .\n\
                @pip install -r requirements.txt\nCMD [\"gunicorn\", \"app:app\"]\n",
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// The folder whose files add a dependency.
const ADDED: &str = "with-dependency";

impl Project {
    /// Writes a copy of the project.
    pub(super) fn write(&self, to: &Path) -> anyhow::Result<()> {
        copy(&root().join(self.folder), to)
    }

    /// Changes the line.
    pub(super) fn change_line(&self, folder: &Path, text: &str) -> anyhow::Result<()> {
        let (file, line) = self.line;
        let path = folder.join(file);
        let source = std::fs::read_to_string(root().join(self.folder).join(file))?;
        anyhow::ensure!(source.contains(line), "{file} has no line `{line}`");
        let changed = source.replacen(line, &line.replacen("hello", &format!("hello {text}"), 1), 1);
        std::fs::write(path, changed)?;
        Ok(())
    }

    /// Adds a dependency.
    pub(super) fn add_dependency(&self, folder: &Path) -> anyhow::Result<()> {
        let added = root().join(self.folder).join(ADDED);
        for entry in std::fs::read_dir(&added).with_context(|| format!("{}", added.display()))? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// The plain Dockerfile.
    pub(super) fn plain_dockerfile(&self) -> String {
        self.plain.replace('@', RUN)
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if name == ADDED {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            std::fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
