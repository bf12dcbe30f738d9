//! Which release of Node.js an app asks for.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::base_images::NODES;
use super::super::tree::{Tree, unclear};
use super::super::version::{self, Dialect, Range, Version, asked, is_numbers};
use super::package::Package;

/// The release of Node.js.
pub(in super::super) fn choose(tree: &Tree<'_>, package: &Package) -> Result<Version> {
    const WHAT: &str = "Node.js";
    if let Some(asked) = asked(tree, &[".nvmrc", ".node-version"], &["node", "nodejs"])? {
        let version = from_file(&asked.version).ok_or_else(|| {
            asked.is_no_version_of(WHAT, "Write a version such as `22` or `22.11.0`, or `lts/*`.")
        })?;
        return Ok(Version::new(WHAT, version, asked.why()));
    }
    let range = package.engines.get("node").and_then(serde_json::Value::as_str);
    let Some(text) = range.map(str::trim).filter(|range| !range.is_empty()) else {
        return Ok(Version::new(WHAT, NODES[0], "nothing asks for another"));
    };
    let why = format!("`engines.node` in package.json is `{}`", printable(text));
    // Where none of the supported lines fits: the one that is named, whatever it is.
    let range = Range::parse(text, Dialect::Npm);
    let version = range.as_ref().and_then(|range| {
        version::choose(&NODES, range)
            .map(str::to_owned)
            .or_else(|| range.named())
    });
    version
        .map(|version| Version::new(WHAT, version, why))
        .ok_or_else(|| {
            unclear(
                "package.json",
                &format!("`engines.node` is `{}`, which no Node.js fits", printable(text)),
                "Write a range such as `>=22` or `22.x`.",
            )
        })
}

/// A version as `.nvmrc` and the version managers have it.
fn from_file(line: &str) -> Option<String> {
    let line = line.trim();
    match line {
        "node" | "stable" | "lts/*" | "lts" | "latest" => return Some(NODES[0].to_owned()),
        "lts/krypton" | "lts-krypton" => return Some("24".to_owned()),
        "lts/jod" | "lts-jod" => return Some("22".to_owned()),
        "lts/iron" | "lts-iron" => return Some("20".to_owned()),
        "lts/hydrogen" | "lts-hydrogen" => return Some("18".to_owned()),
        _ => {}
    }
    let version = line.trim_start_matches('v').trim_end_matches(".x");
    (is_numbers(version) && version.split('.').count() <= 3).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_files_are_read_as_nvm_does() {
        for (line, expected) in [
            ("22", Some("22")),
            ("v20.11.0", Some("20.11.0")),
            ("20.x", Some("20")),
            ("lts/*", Some("22")),
            ("lts/iron", Some("20")),
            ("22; rm -rf /", None),
            ("", None),
            ("1.2.3.4", None),
        ] {
            assert_eq!(from_file(line).as_deref(), expected, "{line}");
        }
    }
}
