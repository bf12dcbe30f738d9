//! Generators of sites that are one program: Hugo and Zola. Those that are a
//! package of a language (Jekyll, MkDocs, Eleventy …) stand with it.

mod hugo;
#[cfg(test)]
mod tests;
mod zola;

use nonna_engine::Result;

pub(super) use self::hugo::Hugo;
pub(super) use self::zola::Zola;
use super::tree::Tree;
use super::version::{Asked, Version, asked, is_numbers};

/// The release of a generator whose images are called by three numbers.
/// `names` is what version managers call it, `variable` what Netlify does.
fn release(
    tree: &Tree<'_>,
    what: &'static str,
    own: &[&str],
    names: &[&str],
    variable: &str,
    newest: &str,
) -> Result<Version> {
    let found = match asked(tree, own, names)? {
        Some(asked) => Some(asked),
        None => netlify(tree, variable)?,
    };
    let Some(asked) = found else {
        return Ok(Version::new(what, newest, "nothing asks for another"));
    };
    let version = asked
        .version
        .trim_start_matches("extended_")
        .trim_start_matches("extended-")
        .trim_start_matches('v');
    if version == "latest" {
        return Ok(Version::new(what, newest, asked.why()));
    }
    if !is_numbers(version) || version.split('.').count() != 3 {
        return Err(asked.is_no_version_of(what, "Write all three numbers, such as `0.150.1`."));
    }
    Ok(Version::new(what, version, asked.why()))
}

/// `[build.environment]` of a netlify.toml, where sites commonly say it.
fn netlify(tree: &Tree<'_>, variable: &str) -> Result<Option<Asked>> {
    const FILE: &str = "netlify.toml";
    let Some(text) = tree.text(FILE)? else {
        return Ok(None);
    };
    // It is Netlify's to complain of one that is no TOML.
    let table: toml::Table = toml::from_str(&text).unwrap_or_default();
    let version = table
        .get("build")
        .and_then(|build| build.get("environment")?.get(variable)?.as_str());
    Ok(version.map(|version| Asked {
        version: version.to_owned(),
        file: FILE.to_owned(),
        line: super::compiled::line_of(&text, variable),
    }))
}

/// A field at the top of a configuration in TOML, YAML or JSON, if it is a
/// plain word or path.
pub(super) fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim_start_matches([' ', '{', '"', '\'']);
        let (key, value) = line.split_once(['=', ':'])?;
        if !key
            .trim()
            .trim_end_matches(['"', '\''])
            .eq_ignore_ascii_case(name)
        {
            return None;
        }
        let value = value
            .split(" #")
            .next()?
            .trim()
            .trim_end_matches(',')
            .trim_matches(['"', '\'']);
        let plain = !value.is_empty()
            && !value.starts_with('/')
            && value.split('/').all(|part| part != "..")
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        plain.then(|| value.trim_end_matches('/').to_owned())
    })
}
