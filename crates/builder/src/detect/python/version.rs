//! Which release of Python an app gets.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::base_images::{PYTHON, PYTHONS};
use super::super::tree::{Tree, unclear};

/// The tag's version, and why.
pub(super) fn choose(tree: &Tree<'_>, range: Option<&str>) -> Result<(String, String)> {
    for (file, prefix) in [(".python-version", ""), ("runtime.txt", "python-")] {
        let Some(line) = tree.first_line(file)? else {
            continue;
        };
        let version = line.strip_prefix(prefix).filter(|version| is_version(version));
        let version = version.ok_or_else(|| {
            unclear(
                file,
                &format!("`{}` is no version of Python", printable(&line)),
                &format!("Write a version such as `{prefix}3.13` or `{prefix}3.13.1`."),
            )
        })?;
        return Ok((version.to_owned(), format!("{file} asks for it")));
    }
    let Some(range) = range.map(str::trim).filter(|range| !range.is_empty()) else {
        return Ok((PYTHON.to_owned(), "nothing asks for another".to_owned()));
    };
    PYTHONS
        .iter()
        .find(|version| minor(version).is_some_and(|minor| allows(range, minor)))
        .map(|version| ((*version).to_owned(), format!("`requires-python` is `{range}`")))
        .ok_or_else(|| {
            unclear(
                "pyproject.toml",
                &format!(
                    "`requires-python` is `{}`, which none of {} fits",
                    printable(range),
                    PYTHONS.join(", ")
                ),
                "Widen the range, or name the version in `.python-version`.",
            )
        })
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    (1..=3).contains(&parts.len())
        && parts.first() == Some(&"3")
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.len() < 4 && part.bytes().all(|b| b.is_ascii_digit()))
}

fn minor(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.trim_end_matches('*').parse().ok()
}

/// Whether the newest patch of 3.`minor` fits.
fn allows(range: &str, candidate: u32) -> bool {
    range.split(',').map(str::trim).all(|clause| {
        let at = clause.find(|c: char| c.is_ascii_digit()).unwrap_or(clause.len());
        let (operator, version) = clause.split_at(at);
        let patch = version.split('.').nth(2).is_some_and(|patch| patch != "*");
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        let given = minor(version);
        match (operator.trim(), major, given) {
            (">=" | ">", Some(major), _) if major < 3 => true,
            ("<" | "<=", Some(major), _) if major > 3 => true,
            ("~=", _, Some(given)) if patch => candidate == given,
            (">=" | "~=" | "^", _, given) => candidate >= given.unwrap_or(0),
            (">", _, given) => candidate > given.unwrap_or(0) || (patch && Some(candidate) == given),
            ("<", _, given) => given.is_some_and(|given| candidate < given),
            ("<=", _, given) => {
                given.is_some_and(|given| candidate < given || (!patch && candidate == given))
            }
            ("==", _, Some(given)) => candidate == given && !patch,
            ("!=", _, given) => patch || given != Some(candidate),
            _ => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_choose_the_preferred_release_that_fits() {
        for (range, expected) in [
            (">=3.9", Some("3.13")),
            (">=3.9,<3.13", Some("3.12")),
            ("==3.11.*", Some("3.11")),
            ("~=3.12.1", Some("3.12")),
            ("~=3.10", Some("3.13")),
            (">=3.14", Some("3.14")),
            ("<4", Some("3.13")),
            (">=2.7", Some("3.13")),
            ("!=3.13.*", Some("3.12")),
            (">3.13", Some("3.14")),
            ("<3.5", None),
        ] {
            let found = PYTHONS
                .iter()
                .copied()
                .find(|v| minor(v).is_some_and(|m| allows(range, m)));
            assert_eq!(found, expected, "{range}");
        }
    }

    #[test]
    fn only_versions_are_versions() {
        for ok in ["3", "3.13", "3.13.1"] {
            assert!(is_version(ok), "{ok}");
        }
        for wrong in ["", "2.7", "3.x", "3.13-slim", "3.13 AS x", "pypy", "3.1.2.3"] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }
}
