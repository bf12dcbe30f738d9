//! The main packages of a Go source: what becomes a program.

use nonna_engine::Result;

use super::super::tree::Tree;
use super::module::{Module, Modules, is_in};

/// How many folders are looked into.
const MAX_FOLDERS: usize = 5000;

/// What a build with Go 1.x for Linux on this machine has, of the names that
/// build constraints use.
const TAGS: [&str; 6] = ["linux", "unix", "gc", "amd64", "arm64", "cgo"];
/// Endings of names of files for other systems.
const FOREIGN: [&str; 13] = [
    "_windows", "_darwin", "_freebsd", "_openbsd", "_netbsd", "_plan9", "_solaris", "_js", "_wasm", "_aix",
    "_android", "_ios", "_wasip1",
];

/// A package that becomes a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Main {
    /// Its folder; empty for the top.
    pub(super) folder: String,
    /// What `go build` calls the program.
    pub(super) name: String,
}

impl Main {
    /// As an argument of `go build`.
    pub(super) fn argument(&self) -> String {
        if self.folder.is_empty() {
            ".".to_owned()
        } else {
            format!("./{}", self.folder)
        }
    }
}

/// What a look at the source finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The main packages, sorted by folder.
    pub(super) mains: Vec<Main>,
    /// A file that calls C.
    pub(super) calls_c: Option<String>,
}

/// Looks for main packages in the folders that the `go` command would.
pub(super) fn find(tree: &Tree<'_>, modules: &Modules) -> Result<Found> {
    let mut found = Found::default();
    let mut seen: Vec<&str> = Vec::new();
    // Files are sorted, so that those of a folder are near one another, but
    // its folders may stand between them.
    for path in tree.files() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !name.ends_with(".go") || name.ends_with("_test.go") || is_left_out(folder, name) {
            continue;
        }
        let Some(module) = modules.of(folder) else {
            continue;
        };
        if is_of_another_module(tree, folder, module) {
            continue;
        }
        let known = seen.binary_search(&folder);
        // One file tells the package's name; all may call C.
        if known.is_ok() && found.calls_c.is_some() {
            continue;
        }
        let Some(text) = tree.text(path)? else { continue };
        let Some(source) = Source::read(&text) else {
            continue;
        };
        if source.calls_c && found.calls_c.is_none() {
            found.calls_c = Some(path.to_owned());
        }
        if let Err(at) = known {
            if seen.len() == MAX_FOLDERS {
                break;
            }
            seen.insert(at, folder);
            if source.package == "main" && is_plain(folder) {
                found.mains.push(Main {
                    folder: folder.to_owned(),
                    name: program(folder, module),
                });
            }
        }
    }
    found.mains.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(found)
}

/// Folders and files that `go build ./...` passes over.
fn is_left_out(folder: &str, name: &str) -> bool {
    let is_hidden = |part: &str| part.starts_with('.') || part.starts_with('_');
    let stem = name.trim_end_matches(".go");
    is_hidden(name)
        || folder.split('/').any(|part| {
            (!part.is_empty() && is_hidden(part)) || matches!(part, "vendor" | "testdata" | "node_modules")
        })
        || FOREIGN.iter().any(|ending| stem.ends_with(ending))
}

/// A module within a module is not built with it.
fn is_of_another_module(tree: &Tree<'_>, folder: &str, module: &Module) -> bool {
    let mut at = folder;
    while at != module.folder && is_in(at, &module.folder) && !at.is_empty() {
        if tree.has(&format!("{at}/go.mod")) {
            return true;
        }
        at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    false
}

/// Whether a folder can stand in a command as it is.
fn is_plain(folder: &str) -> bool {
    folder
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b))
}

/// `example.com/shop/v2` is built as `shop`.
pub(super) fn program(folder: &str, module: &Module) -> String {
    let path = match folder.strip_prefix(module.folder.as_str()) {
        Some(rest) if !rest.trim_matches('/').is_empty() => rest.trim_matches('/'),
        _ => module.path.as_str(),
    };
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or_default();
    let is_major = last
        .strip_prefix('v')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    let name = if is_major {
        parts.next().unwrap_or(last)
    } else {
        last
    };
    if !name.is_empty() && is_plain(name) {
        name.to_owned()
    } else {
        "app".to_owned()
    }
}

struct Source<'t> {
    package: &'t str,
    calls_c: bool,
}

impl<'t> Source<'t> {
    /// Reads a file up to its imports; `None` for one that is not built here.
    fn read(text: &'t str) -> Option<Self> {
        let mut in_comment = false;
        let mut package = None;
        let mut calls_c = false;
        for line in text.lines().take(400) {
            let line = line.trim();
            if in_comment {
                in_comment = !line.contains("*/");
                continue;
            }
            if let Some(constraint) = line.strip_prefix("//go:build ")
                && package.is_none()
                && !holds(constraint)
            {
                return None;
            }
            if line.starts_with("/*") {
                in_comment = !line.contains("*/");
                continue;
            }
            match package {
                None => {
                    if let Some(rest) = line.strip_prefix("package ") {
                        package = rest.split([' ', '/', ';', '\t']).next();
                    }
                }
                Some(_) if line == "import \"C\"" || line == "\"C\"" => calls_c = true,
                Some(_) if line.starts_with("func ") || line.starts_with("type ") => break,
                Some(_) => {}
            }
        }
        package.map(|package| Self { package, calls_c })
    }
}

/// Whether a build constraint is met. Names that nobody knows are not set, as
/// `ignore` and `tools` are not.
fn holds(constraint: &str) -> bool {
    let mut rest = constraint.trim();
    any(&mut rest, 0)
}

/// How deep parentheses are followed.
const MAX_DEPTH: usize = 30;

fn any(rest: &mut &str, depth: usize) -> bool {
    let mut value = all(rest, depth);
    while let Some(after) = rest.trim_start().strip_prefix("||") {
        *rest = after;
        value |= all(rest, depth);
    }
    value
}

fn all(rest: &mut &str, depth: usize) -> bool {
    let mut value = one(rest, depth);
    while let Some(after) = rest.trim_start().strip_prefix("&&") {
        *rest = after;
        value &= one(rest, depth);
    }
    value
}

fn one(rest: &mut &str, depth: usize) -> bool {
    *rest = rest.trim_start();
    if depth > MAX_DEPTH {
        return false;
    }
    if let Some(after) = rest.strip_prefix('!') {
        *rest = after;
        return !one(rest, depth + 1);
    }
    if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let value = any(rest, depth + 1);
        *rest = rest.trim_start().strip_prefix(')').unwrap_or(rest);
        return value;
    }
    let end = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    *rest = after;
    TAGS.contains(&name) || name.starts_with("go1.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_constraints_are_kept() {
        for (constraint, expected) in [
            ("linux", true),
            ("ignore", false),
            ("!windows", true),
            ("linux && !cgo", false),
            ("(darwin || linux) && go1.18", true),
            ("tools || (windows && amd64)", false),
            ("", false),
            ("((((", false),
        ] {
            assert_eq!(holds(constraint), expected, "{constraint}");
        }
        assert!(!holds(&"!(".repeat(10_000)));
    }

    #[test]
    fn the_package_is_read_past_comments() {
        let package = |text| Source::read(text).map(|source| (source.package, source.calls_c));
        assert_eq!(
            package("// Package x\n/*\npackage no\n*/\npackage main // import\n"),
            Some(("main", false))
        );
        assert_eq!(
            package("package a\n\n// #include <x.h>\nimport \"C\"\n"),
            Some(("a", true))
        );
        assert_eq!(package("//go:build ignore\n\npackage main\n"), None);
        assert_eq!(package(""), None);
    }

    #[test]
    fn programs_are_named_as_go_does() {
        let module = |folder: &str, path: &str| Module {
            folder: folder.into(),
            path: path.into(),
            ..Module::default()
        };
        assert_eq!(program("", &module("", "example.com/shop")), "shop");
        assert_eq!(program("", &module("", "example.com/shop/v2")), "shop");
        assert_eq!(program("cmd/web", &module("", "example.com/shop")), "web");
        assert_eq!(program("api", &module("api", "example.com/x")), "x");
        assert_eq!(program("", &module("", "wëird")), "app");
    }
}
