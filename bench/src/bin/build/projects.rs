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
    /// A source file, and a line in it that is changed: it says "hello".
    line: (&'static str, &'static str),
    /// A file, a line in it, and what is put behind that to add a dependency,
    /// beside the files of `bench/projects/LANGUAGE/with-dependency`.
    insert: Option<(&'static str, &'static str, &'static str)>,
    /// The plain Dockerfile; `@` begins a line that fetches from the network.
    plain: &'static str,
}

/// The beginning of a plain Dockerfile's line that runs a command with the
/// machine's certificate authorities: a need of networks with an inspecting
/// proxy.
const RUN: &str = "RUN --mount=type=secret,id=ca,target=/run/ca.crt ";

/// All of them.
pub(super) const PROJECTS: &[Project] = &[
    Project {
        language: "node",
        folder: "bench/projects/node",
        line: ("src/greeting.ts", "export const greeting = 'hello';"),
        insert: None,
        plain: "FROM node:22-slim\nENV NODE_EXTRA_CA_CERTS=/run/ca.crt npm_config_cafile=/run/ca.crt\n\
                WORKDIR /app\nCOPY . .\n@npm ci && npm run build\nCMD [\"npm\", \"start\"]\n",
    },
    Project {
        language: "python",
        folder: "bench/projects/python",
        line: ("greeting.py", "GREETING = \"hello\""),
        insert: None,
        plain: "FROM python:3.13-slim\nENV PIP_CERT=/run/ca.crt PIP_BREAK_SYSTEM_PACKAGES=1\nWORKDIR /app\nCOPY . .\n\
                @python -m pip install -r requirements.txt\nCMD [\"gunicorn\", \"app:app\"]\n",
    },
    Project {
        language: "rust",
        folder: "examples/rust-app",
        line: ("src/main.rs", "const GREETING: &str = \"hello from rust\";"),
        insert: None,
        plain: "FROM rust:1-bookworm\nENV CARGO_HTTP_CAINFO=/run/ca.crt\nWORKDIR /app\nCOPY . .\n\
                @cargo build --release\nCMD [\"target/release/rust-app\"]\n",
    },
    Project {
        language: "go",
        folder: "examples/go-app",
        line: ("internal/links/links.go", "const Greeting = \"hello from go\""),
        insert: Some(("cmd/server/main.go", "import (\n", "\t_ \"example.com/extra\"\n")),
        plain: "FROM golang:1.27-bookworm\nENV SSL_CERT_FILE=/run/ca.crt\nWORKDIR /app\nCOPY . .\n\
                @go build -o server ./cmd/server\nCMD [\"./server\"]\n",
    },
    Project {
        language: "java",
        folder: "examples/java-app",
        line: (
            "src/main/java/app/Main.java",
            "private static final String GREETING = \"hello from java\";",
        ),
        insert: Some((
            "pom.xml",
            "  <dependencies>\n",
            "    <dependency>\n      <groupId>commons-io</groupId>\n      <artifactId>commons-io</artifactId>\n      \
             <version>2.11.0</version>\n    </dependency>\n",
        )),
        plain: "FROM maven:3.9-eclipse-temurin-17\nWORKDIR /app\nCOPY . .\n@mvn -B package\n\
                CMD [\"java\", \"-jar\", \"target/java-app-1.0.0.jar\"]\n",
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
        let added = root().join("bench/projects").join(self.language).join(ADDED);
        if added.is_dir() {
            copy(&added, folder)?;
        }
        if let Some((file, line, more)) = self.insert {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path)?;
            anyhow::ensure!(text.contains(line), "{file} has no line {line:?}");
            std::fs::write(path, text.replacen(line, &format!("{line}{more}"), 1))?;
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
