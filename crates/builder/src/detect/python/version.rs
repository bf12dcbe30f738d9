//! Which release of Python an app gets.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::base_images::PYTHONS;
use super::super::tree::{Tree, unclear};
use super::super::version::{self, Dialect, Range, Version, asked, is_numbers};

const WHAT: &str = "Python";

/// A range, and where it stands.
pub(super) struct Wanted {
    /// The range.
    pub(super) range: String,
    /// Its grammar.
    pub(super) dialect: Dialect,
    /// The file.
    pub(super) file: &'static str,
    /// The field.
    pub(super) field: &'static str,
}

/// The release.
pub(super) fn choose(tree: &Tree<'_>, wanted: Option<&Wanted>) -> Result<Version> {
    if let Some(asked) = asked(tree, &[".python-version", "runtime.txt"], &["python"])? {
        let prefix = if asked.file == "runtime.txt" {
            "python-"
        } else {
            ""
        };
        let text = asked.version.trim_start_matches("cpython-");
        let version = text.strip_prefix(prefix).filter(|version| is_version(version));
        let version = version.ok_or_else(|| {
            asked.is_no_version_of(
                WHAT,
                &format!("Write a version such as `{prefix}3.13` or `{prefix}3.13.1`."),
            )
        })?;
        return Ok(Version::new(WHAT, version, asked.why()));
    }
    let Some(wanted) = wanted else {
        return Ok(Version::new(WHAT, PYTHONS[0], "nothing asks for another"));
    };
    let range = Range::parse(&wanted.range, wanted.dialect);
    let found = range.as_ref().and_then(|range| {
        version::choose(&PYTHONS, range)
            .map(str::to_owned)
            .or_else(|| range.named().filter(|named| is_version(named)))
    });
    found
        .map(|found| {
            Version::new(
                WHAT,
                found,
                format!(
                    "`{}` in {} is `{}`",
                    wanted.field,
                    wanted.file,
                    printable(&wanted.range)
                ),
            )
        })
        .ok_or_else(|| {
            unclear(
                wanted.file,
                &format!(
                    "`{}` is `{}`, which none of {} fits",
                    wanted.field,
                    printable(&wanted.range),
                    PYTHONS.join(", ")
                ),
                "Widen the range, or name the version in `.python-version`.",
            )
        })
}

fn is_version(text: &str) -> bool {
    is_numbers(text) && text.split('.').count() <= 3 && (text == "3" || text.starts_with("3."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_are_versions() {
        for ok in ["3", "3.13", "3.13.1"] {
            assert!(is_version(ok), "{ok}");
        }
        for wrong in [
            "",
            "2.7",
            "3.x",
            "3.13-slim",
            "3.13 AS x",
            "pypy",
            "3.1.2.3",
            "33",
        ] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }
}
