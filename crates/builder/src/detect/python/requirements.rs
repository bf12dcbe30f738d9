//! Which packages an app needs.

use std::collections::BTreeSet;

use nonna_engine::Result;
use nonna_model::context::check_path;

use super::super::tree::{Tree, unclear};

/// How deep requirement files may name one another.
const MAX_FILES: usize = 50;

/// What an app needs, and from which files that is known.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    /// The names of the packages, normalised, with their extras apart:
    /// `fastapi`, `fastapi[standard]`.
    pub(super) packages: BTreeSet<String>,
    /// What a lockfile installs beside them, normalised too.
    pub(super) locked: BTreeSet<String>,
    /// Whether any is cloned from a repository of git.
    pub(super) from_git: bool,
    /// The requirement files, `requirements.txt` first.
    pub(super) files: Vec<String>,
    /// Whether the app's own source has to be there while they are installed.
    pub(super) needs_source: bool,
    /// The text of a generated requirements file, from `pyproject.toml`.
    pub(super) generated: Option<String>,
    /// What `requires-python` says.
    pub(super) python: Option<String>,
    /// The file that they are from.
    pub(super) found: Option<String>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

impl Requirements {
    /// Reads what there is: `requirements.txt`, else `pyproject.toml`.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let mut found = Self::default();
        let project = found.pyproject(tree)?;
        if tree.has("requirements.txt") {
            found.found = Some("requirements.txt".to_owned());
            found.requirement_files(tree)?;
        } else if let Some(lines) = project {
            found.found = Some("pyproject.toml".to_owned());
            for line in &lines {
                found.add(line);
            }
            if !lines.is_empty() {
                found.generated = Some(lines.join("\n") + "\n");
            }
        }
        Ok(found)
    }

    /// Forgets what requirement files said.
    pub(super) fn forget(&mut self) {
        self.packages.clear();
        self.files.clear();
        self.generated = None;
        self.needs_source = false;
        self.from_git = false;
    }

    /// Takes the packages that a pyproject.toml names, and no others: of
    /// `[project]`, and of Poetry's own table.
    pub(super) fn only(&mut self, project: &toml::Table) {
        self.forget();
        let listed = project
            .get("project")
            .and_then(|project| project.get("dependencies")?.as_array());
        for line in listed.into_iter().flatten().filter_map(toml::Value::as_str) {
            self.add(line);
        }
        let table = project
            .get("tool")
            .and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
        for (name, value) in table.into_iter().flatten().filter(|(name, _)| *name != "python") {
            self.add(name);
            let extras = value.get("extras").and_then(toml::Value::as_array);
            for extra in extras.into_iter().flatten().filter_map(toml::Value::as_str) {
                self.add(&format!("{name}[{extra}]"));
            }
        }
    }

    /// Whether it needs a package.
    pub(super) fn has(&self, package: &str) -> bool {
        self.packages.contains(package)
    }

    /// Whether it is installed, be it for another package.
    pub(super) fn installs(&self, package: &str) -> bool {
        self.has(package) || self.locked.contains(package)
    }

    /// Adds a package that a lockfile names.
    pub(super) fn lock(&mut self, name: &str) {
        self.locked.insert(normal(name));
    }

    pub(super) fn add(&mut self, line: &str) {
        self.from_git |= line.contains("git+");
        let end = line
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let name = normal(name);
        if name.is_empty() {
            return;
        }
        if let Some((extras, _)) = rest
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            for extra in extras.split(',') {
                self.packages
                    .insert(format!("{name}[{}]", extra.trim().to_ascii_lowercase()));
            }
        }
        self.packages.insert(name);
    }

    fn requirement_files(&mut self, tree: &Tree<'_>) -> Result<()> {
        let mut todo = vec!["requirements.txt".to_owned()];
        while let Some(file) = todo.pop() {
            if self.files.contains(&file) || self.files.len() >= MAX_FILES {
                continue;
            }
            let Some(text) = tree.text(&file)? else {
                return Err(unclear(
                    "requirements.txt",
                    &format!(
                        "it names `{}`, which is not in the build context",
                        nonna_model::context::printable(&file)
                    ),
                    "Add the file, or mend the line that names it.",
                ));
            };
            let folder = file.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            for line in text.lines() {
                let line = line.split(" #").next().unwrap_or_default().trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                if let Some(other) = option(line, &["-r", "--requirement", "-c", "--constraint"]) {
                    if other.contains("://") {
                        continue;
                    }
                    let path = folder
                        .as_deref()
                        .map_or(other.to_owned(), |folder| format!("{folder}/{other}"));
                    let path = path.trim_start_matches("./").to_owned();
                    if check_path(&path).is_ok() {
                        todo.push(path);
                    } else {
                        self.needs_source = true;
                    }
                } else if option(line, &["-e", "--editable"]).is_some_and(|what| what.starts_with("git+")) {
                    self.from_git = true;
                } else if option(line, &["-e", "--editable", "-f", "--find-links"]).is_some()
                    || line.starts_with(['.', '/'])
                    || line.contains("file:")
                {
                    self.needs_source = true;
                } else if !line.starts_with('-') {
                    self.add(line);
                }
            }
            self.files.push(file);
        }
        Ok(())
    }

    /// The dependencies of `pyproject.toml`'s project, if there is one.
    fn pyproject(&mut self, tree: &Tree<'_>) -> Result<Option<Vec<String>>> {
        let Some(text) = tree.text("pyproject.toml")? else {
            return Ok(None);
        };
        let parsed: toml::Table = toml::from_str(&text).map_err(|error| {
            unclear(
                "pyproject.toml",
                error.to_string().trim(),
                "Mend the file: it has to be valid TOML.",
            )
        })?;
        let project = parsed.get("project").and_then(toml::Value::as_table);
        self.python = project
            .and_then(|project| project.get("requires-python")?.as_str())
            .map(str::to_owned);
        let lines = project.and_then(|project| project.get("dependencies")?.as_array());
        Ok(Some(
            lines
                .map(|lines| {
                    lines
                        .iter()
                        .filter_map(toml::Value::as_str)
                        .map(one_line)
                        .collect()
                })
                .unwrap_or_default(),
        ))
    }
}

/// A name as PyPI compares it.
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// A requirement is one line of a file, whatever was in it.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn option<'l>(line: &'l str, names: &[&str]) -> Option<&'l str> {
    names.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?;
        // `-rfile`, `-r file`, `--requirement=file`.
        let value = rest.strip_prefix('=').unwrap_or(rest).trim();
        let separate = name.len() == 2 || rest.starts_with([' ', '=', '\t']);
        (separate && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_versions_and_extras() {
        let mut found = Requirements::default();
        for line in [
            "Flask==3.0",
            "uvicorn[standard]>=0.3 ; python_version > '3'",
            "my_pkg.x @ https://x/y",
            "gunicorn~=23",
        ] {
            found.add(line);
        }
        let names: Vec<&str> = found.packages.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            ["flask", "gunicorn", "my-pkg-x", "uvicorn", "uvicorn[standard]"]
        );
    }

    #[test]
    fn options_are_read_however_they_are_written() {
        let names = ["-r", "--requirement"];
        assert_eq!(option("-r base.txt", &names), Some("base.txt"));
        assert_eq!(option("-rbase.txt", &names), Some("base.txt"));
        assert_eq!(option("--requirement=base.txt", &names), Some("base.txt"));
        assert_eq!(option("requests", &names), None);
    }
}
