//! `go.mod` and `go.work`: which modules there are, and what they ask for.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::tree::{Tree, unclear, unclear_at};

/// What of a `go.mod` decides how it is built.
/// Its grammar: <https://go.dev/ref/mod#go-mod-file>.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Where it is; empty for the top.
    pub(super) folder: String,
    /// Its import path.
    pub(super) path: String,
    /// The `go` line: the version and the number of the line.
    pub(super) go: Option<(String, usize)>,
    /// The `toolchain` line, as `go`.
    pub(super) toolchain: Option<(String, usize)>,
    /// The import paths of the modules that it needs.
    pub(super) requires: Vec<String>,
    /// Whether a module is replaced by a folder of the source.
    pub(super) has_local_replace: bool,
}

/// The modules of a source: that of `go.mod`, or those of `go.work`.
#[derive(Debug)]
pub(super) struct Modules {
    pub(super) all: Vec<Module>,
    /// The `go.work`, if there is one: its `go` and `toolchain` lines.
    pub(super) work: Option<Module>,
}

impl Modules {
    /// Reads them. None at all is no error.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let Some(text) = tree.text("go.work")? else {
            let all = match tree.text("go.mod")? {
                Some(text) => vec![parse(&text, "go.mod", "")?.0],
                None => Vec::new(),
            };
            return Ok(Self { all, work: None });
        };
        let (work, used) = parse(&text, "go.work", "")?;
        let mut all = Vec::new();
        for folder in used {
            let folder = folder.trim_start_matches("./").trim_matches('/');
            let folder = if folder == "." { "" } else { folder };
            let file = join(folder, "go.mod");
            let text = tree.text(&file)?.ok_or_else(|| {
                unclear(
                    "go.work",
                    &format!("it uses `{}`, which has no go.mod", printable(folder)),
                    "Remove the folder from go.work, or see that it is part of the source.",
                )
            })?;
            all.push(parse(&text, &file, folder)?.0);
        }
        Ok(Self {
            all,
            work: Some(work),
        })
    }

    /// The module that a folder belongs to: the one deepest in.
    pub(super) fn of(&self, folder: &str) -> Option<&Module> {
        self.all
            .iter()
            .filter(|module| is_in(folder, &module.folder))
            .max_by_key(|module| module.folder.len())
    }

    /// The newest of all `go` and `toolchain` lines: version, file and line.
    pub(super) fn wanted(&self) -> Option<(String, String, usize)> {
        let of = |module: &Module, file: String| {
            [module.go.clone(), module.toolchain.clone()]
                .into_iter()
                .flatten()
                .map(|(version, line)| (version, file.clone(), line))
                .collect::<Vec<_>>()
        };
        let work = self.work.iter().flat_map(|work| of(work, "go.work".to_owned()));
        self.all
            .iter()
            .flat_map(|module| of(module, join(&module.folder, "go.mod")))
            .chain(work)
            .max_by_key(|(version, _, _)| order(version))
    }
}

/// A version in numbers, to compare.
fn order(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .collect()
}

/// Whether a folder is another or in it.
pub(super) fn is_in(folder: &str, parent: &str) -> bool {
    parent.is_empty()
        || folder
            .strip_prefix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() {
        file.to_owned()
    } else {
        format!("{folder}/{file}")
    }
}

/// A `go.mod` or `go.work`, and the folders that the latter uses.
fn parse(text: &str, file: &str, folder: &str) -> Result<(Module, Vec<String>)> {
    let mut module = Module {
        folder: folder.to_owned(),
        ..Module::default()
    };
    let mut used = Vec::new();
    let mut block: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let line = line.split("//").next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if line == ")" {
            block = None;
            continue;
        }
        let mut words = line.split_whitespace().map(unquoted);
        let verb = match &block {
            Some(verb) => verb.clone(),
            None => words.next().unwrap_or_default().to_owned(),
        };
        let rest: Vec<&str> = words.collect();
        if block.is_none() && rest.first() == Some(&"(") {
            block = Some(verb);
            continue;
        }
        let first = rest.first().copied().unwrap_or_default();
        match verb.as_str() {
            "module" => module.path = first.to_owned(),
            "go" => module.go = Some((version(first, file, number)?, number)),
            "toolchain" if first != "default" => {
                // `go1.22.3-suffix` is a private build of that version.
                let name = first.strip_prefix("go").unwrap_or(first);
                let name = name.split('-').next().unwrap_or(name);
                module.toolchain = Some((version(name, file, number)?, number));
            }
            "require" => module.requires.push(first.to_owned()),
            "replace" => {
                let target = rest.iter().skip_while(|word| **word != "=>").nth(1);
                module.has_local_replace |=
                    target.is_some_and(|target| target.starts_with('.') || target.starts_with('/'));
            }
            "use" => used.push(first.to_owned()),
            _ => {}
        }
    }
    if module.path.is_empty() && file != "go.work" {
        return Err(unclear(
            file,
            "it has no `module` line",
            "`go mod init NAME` writes one.",
        ));
    }
    Ok((module, used))
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '`'])
}

/// `1.22`, `1.22.3`, `1.23rc1`.
fn version(text: &str, file: &str, line: usize) -> Result<String> {
    let numbers = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (numbers, suffix) = text.split_at(numbers);
    let is_suffix = suffix.is_empty()
        || ["rc", "beta"].iter().any(|kind| {
            suffix
                .strip_prefix(kind)
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        });
    let parts: Vec<&str> = numbers.split('.').collect();
    let is_version = (2..=3).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.len() < 5 && part.bytes().all(|b| b.is_ascii_digit()));
    if is_version && is_suffix {
        return Ok(text.to_owned());
    }
    Err(unclear_at(
        file,
        line,
        &format!("`{}` is no version of Go", printable(text)),
        "Write a version such as `go 1.25` or `toolchain go1.25.3`.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_file_is_read_as_go_does() {
        let text = "// a comment\nmodule \"example.com/shop\" // here\n\ngo 1.22.3\ntoolchain go1.23.1-x\n\nrequire github.com/a/b v1.0.0\nrequire (\n\tgithub.com/c/d v2.0.0 // indirect\n)\nreplace github.com/a/b => ./b\n";
        let (module, _) = parse(text, "go.mod", "").unwrap();
        assert_eq!(module.path, "example.com/shop");
        assert_eq!(module.go, Some(("1.22.3".into(), 4)));
        assert_eq!(module.toolchain, Some(("1.23.1".into(), 5)));
        assert_eq!(module.requires, ["github.com/a/b", "github.com/c/d"]);
        assert!(module.has_local_replace);
        let (_, used) = parse("go 1.22\nuse (\n ./a\n ./b/c\n)\nuse .\n", "go.work", "").unwrap();
        assert_eq!(used, ["./a", "./b/c", "."]);
    }

    #[test]
    fn what_is_no_version_is_named_with_its_line() {
        for wrong in ["go", "go 1", "go one", "go 1.2.3.4", "go 1.22evil", "go 1.2 AS x"] {
            let read = parse(&format!("module a\n{wrong}\n"), "go.mod", "");
            if wrong == "go 1.2 AS x" {
                assert_eq!(read.unwrap().0.go.unwrap().0, "1.2");
                continue;
            }
            let error = read.unwrap_err();
            assert!(error.message.contains("`go.mod`, line 2"), "{error}");
        }
        assert!(parse("go 1.22\n", "go.mod", "").is_err());
        for fine in ["1.22", "1.22.0", "1.23rc1", "1.9beta2"] {
            assert_eq!(version(fine, "go.mod", 1).unwrap(), fine);
        }
    }
}
