//! What `docs/languages.md` says, from the detectors themselves.

use super::{DETECTORS, Strength};

/// What a detector tells of itself in the documentation. Texts are Markdown.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    /// The language's name: `Node.js`.
    pub title: &'static str,
    /// Package managers: the name, what decides for it, what installs.
    pub managers: Vec<[String; 3]>,
    /// Frameworks: the name, what it is recognised by, how it is built and run.
    pub frameworks: Vec<[String; 3]>,
    /// Where the version comes from, in order, and which it is else.
    pub version: String,
    /// What decides the start command, in order.
    pub start: Vec<String>,
    /// The images: those that build and the one that runs.
    pub images: String,
    /// The folders that outlive a build.
    pub caches: String,
    /// What else is worth knowing, a sentence each.
    pub notes: Vec<String>,
}

/// `docs/languages.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n| order | name | recognised by |\n|---|---|---|\n");
    for (number, detector) in DETECTORS.iter().enumerate() {
        out.push_str(&format!(
            "| {} | [`{}`](#{}) | {} |\n",
            number + 1,
            detector.name(),
            anchor(detector.reference().title),
            detector.looks_for()
        ));
    }
    out.push_str("\n### Two languages at once\nThe strongest sign decides:\n\n");
    for (number, strength) in Strength::ALL.iter().rev().enumerate() {
        out.push_str(&format!("{}. {}\n", number + 1, strength.about()));
    }
    out.push_str(
        "\nAmong equals, the one that stands first in the table. The build says what else was recognised.\n",
    );
    for detector in DETECTORS {
        section(&mut out, detector.name(), &detector.reference());
    }
    out
}

const INTRODUCTION: &str = "\
<!-- Written by `cargo run -p nonna-builder --example languages-docs`. Edits here are lost. -->
# Languages
A folder with a `Dockerfile` is built with it. Any other folder is looked at, and
what Nonna finds out decides how it is built: nothing is written into your folder.
Every build begins with the plan in words: what was found, which rule decided,
which versions, what installs, what builds, and what will be started. `nonna build
--explain` shows it before anything is sent, with what lost and the lines that
overrule each part; `--dockerfile` prints the Dockerfile that was made.

What overrules it: a line `web: COMMAND` in a `Procfile` is the start command, a
version file is the version, `source` in [`nonna.toml`](manifest.md) is the folder
that is looked at, its table [`build`](manifest.md#build) names language, commands
and output, and a `Dockerfile` is the whole plan.

Every image runs as a user without rights, holds neither compilers nor development
dependencies, and starts the app itself, with no shell around it, so that it gets
`SIGTERM`. The runtime's init is process 1: it passes signals on and reaps orphans.
The app is given `PORT` and has to listen on `0.0.0.0:$PORT`.

The caches belong to the service, not to a lockfile: what has stayed the same is not
fetched again when the lockfile changes. See [builds](builds.md).

## What is recognised
";

fn section(out: &mut String, name: &str, about: &Reference) {
    out.push_str(&format!("\n## {}\n", about.title));
    out.push_str(&format!("The build calls it `{name}`.\n"));
    table(
        out,
        ["package manager", "decided by", "installs with"],
        &about.managers,
    );
    table(
        out,
        ["framework", "recognised by", "built and run"],
        &about.frameworks,
    );
    if !about.version.is_empty() {
        out.push_str(&format!("\n**Version.** {}\n", about.version));
    }
    if !about.start.is_empty() {
        out.push_str("\n**Start command**, the first of these that there is:\n\n");
        for (number, rule) in about.start.iter().enumerate() {
            out.push_str(&format!("{}. {rule}\n", number + 1));
        }
    }
    if !about.images.is_empty() {
        out.push_str(&format!("\n**Images.** {}\n", about.images));
    }
    if !about.caches.is_empty() {
        out.push_str(&format!("\n**Caches.** {}\n", about.caches));
    }
    if !about.notes.is_empty() {
        out.push('\n');
        for note in &about.notes {
            out.push_str(&format!("- {note}\n"));
        }
    }
}

fn table(out: &mut String, head: [&str; 3], rows: &[[String; 3]]) {
    if rows.is_empty() {
        return;
    }
    out.push_str(&format!("\n| {} |\n|---|---|---|\n", head.join(" | ")));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}

/// How a heading is linked to.
fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_documentation_says_what_the_detectors_do() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/languages.md");
        let stands = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            stands == super::markdown(),
            "docs/languages.md is not what the detectors say: run `cargo run -p nonna-builder --example languages-docs`"
        );
    }
}
