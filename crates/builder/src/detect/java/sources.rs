//! Classes with a `main` method.

use nonna_engine::Result;

use super::super::tree::Tree;
use super::join;

/// How many files are read to find them.
const MAX_READ: usize = 400;

/// The classes of a module that can be started, sorted.
pub(super) fn mains(tree: &Tree<'_>, folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut read = 0;
    for language in ["java", "kotlin"] {
        let root = format!("{}/", join(folder, &format!("src/main/{language}")));
        for file in tree.files() {
            let Some(path) = file.strip_prefix(&root) else {
                continue;
            };
            let (stem, is_kotlin) = match (path.strip_suffix(".java"), path.strip_suffix(".kt")) {
                (Some(stem), _) => (stem, false),
                (None, Some(stem)) => (stem, true),
                (None, None) => continue,
            };
            read += 1;
            if read > MAX_READ {
                return Ok(found);
            }
            let Some(text) = tree.text(file)? else { continue };
            let name = class(&text, stem, is_kotlin);
            if let Some(name) = name.filter(|name| is_class(name)) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

/// The class that a file makes, if it has a `main`.
fn class(text: &str, stem: &str, is_kotlin: bool) -> Option<String> {
    let short = stem.rsplit('/').next().unwrap_or(stem);
    let package = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("package "))
        .map(|name| name.trim().trim_end_matches(';').to_owned());
    let has_main = text.lines().any(|line| {
        let line = line.trim();
        if is_kotlin {
            line.starts_with("fun main(") || line.starts_with("suspend fun main(")
        } else {
            line.contains("static void main(")
        }
    });
    if !has_main {
        return None;
    }
    let name = if is_kotlin {
        let mut letters = short.chars();
        let first = letters.next()?.to_uppercase();
        format!("{first}{}Kt", letters.as_str())
    } else {
        short.to_owned()
    };
    Some(package.map_or(name.clone(), |package| format!("{package}.{name}")))
}

/// Whether a text is the name of a class, which a shell takes as it is.
pub(super) fn is_class(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 300
        && name
            .split('.')
            .all(|part| !part.is_empty() && !part.starts_with(|c: char| c.is_ascii_digit()))
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_with_main_is_called_by_its_package() {
        let java = "package com.a;\npublic class App {\n  public static void main(String[] args) {}\n}\n";
        assert_eq!(class(java, "com/a/App", false).as_deref(), Some("com.a.App"));
        let kotlin = "package com.a\n\nfun main() {}\n";
        assert_eq!(class(kotlin, "com/a/app", true).as_deref(), Some("com.a.AppKt"));
        assert_eq!(class("class A {}", "A", false), None);
        assert!(!is_class("a.B; rm") && !is_class("") && !is_class("a..B"));
    }
}
