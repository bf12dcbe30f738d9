//! Which release of Java builds and runs.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::tree::{Tree, unclear_at};
use super::super::version::{Asked, Version, asked};

/// The releases that have long support; the first one is what apps get that do
/// not ask for one.
const SUPPORTED: [u32; 5] = [21, 25, 17, 11, 8];
/// The oldest release that has an image.
const OLDEST: u32 = 8;

/// A release that a build file asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) text: String,
    pub(super) file: String,
    pub(super) line: usize,
    /// Whether no newer one will do: Gradle's toolchains want their own.
    pub(super) is_exact: bool,
}

/// The release, and why: version files first, then the build file.
pub(super) fn choose(tree: &Tree<'_>, wanted: Option<Wanted>) -> Result<Version> {
    const HINT: &str = "Write a release such as `21`.";
    let file = match asked(tree, &[".java-version"], &["java"])? {
        Some(asked) => Some(asked),
        None => properties(tree)?,
    };
    if let Some(asked) = file {
        let major = major(&asked.version).ok_or_else(|| asked.is_no_version_of("Java", HINT))?;
        return Ok(Version::new("Java", major.to_string(), asked.why()));
    }
    let Some(wanted) = wanted else {
        return Ok(Version::new(
            "Java",
            SUPPORTED[0].to_string(),
            "nothing asks for another",
        ));
    };
    let least = major_or_older(&wanted.text).ok_or_else(|| {
        unclear_at(
            &wanted.file,
            wanted.line,
            &format!("`{}` is no release of Java", printable(&wanted.text)),
            HINT,
        )
    })?;
    let release = if wanted.is_exact {
        least.max(OLDEST)
    } else {
        // The oldest supported one that can build it.
        SUPPORTED
            .iter()
            .copied()
            .filter(|release| *release >= least)
            .min()
            .unwrap_or(least)
    };
    let why = format!(
        "{}, line {}, asks for {}",
        wanted.file,
        wanted.line,
        printable(&wanted.text)
    );
    Ok(Version::new("Java", release.to_string(), why))
}

/// `java.runtime.version=21` of Heroku's `system.properties`, `java=21.0.2-tem`
/// of SDKMAN's `.sdkmanrc`.
fn properties(tree: &Tree<'_>) -> Result<Option<Asked>> {
    for (file, key) in [
        ("system.properties", "java.runtime.version"),
        (".sdkmanrc", "java"),
    ] {
        let Some(text) = tree.text(file)? else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some((name, value)) = line.split_once('=')
                && name.trim() == key
            {
                return Ok(Some(Asked {
                    version: value.trim().to_owned(),
                    file: file.to_owned(),
                    line: number + 1,
                }));
            }
        }
    }
    Ok(None)
}

/// `21`, `1.8`, `21.0.2-tem`, `temurin-21.0.1+12`, `openjdk64-17.0.1`.
fn major(text: &str) -> Option<u32> {
    major_or_older(text).filter(|major| *major >= OLDEST)
}

fn major_or_older(text: &str) -> Option<u32> {
    let text = text.trim();
    // A vendor may stand before it.
    let numbers = match text.rsplit_once('-') {
        Some((vendor, rest)) if vendor.starts_with(|c: char| c.is_ascii_alphabetic()) => rest,
        _ => text,
    };
    let mut parts = numbers.split(['.', '+', '-', '_']);
    let first: u32 = parts.next()?.parse().ok()?;
    let major = if first == 1 {
        parts.next()?.parse().ok()?
    } else {
        first
    };
    (1..100).contains(&major).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_name_a_release_are_all_read() {
        for (text, expected) in [
            ("21", Some(21)),
            ("1.8", Some(8)),
            ("21.0.2-tem", Some(21)),
            ("temurin-17.0.9+9", Some(17)),
            ("corretto-11.0.21.9.1", Some(11)),
            ("zulu-jre-javafx-17.0.1", Some(17)),
            ("1.7", None),
            ("${java}", None),
            ("", None),
            ("latest", None),
            ("999", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }
}
