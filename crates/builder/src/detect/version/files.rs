//! The files that name versions: those of single languages, and those of the
//! version managers asdf (`.tool-versions`) and mise (`mise.toml`).

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::tree::{Tree, unclear, unclear_at};

/// Where mise looks for its settings, the strongest first.
const MISE: [&str; 5] = [
    "mise.toml",
    ".mise.toml",
    "mise/config.toml",
    ".mise/config.toml",
    ".config/mise.toml",
];
const ASDF: &str = ".tool-versions";

/// A version that a file asks for, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    /// The text, which nobody has checked: `22`, `v20.1.0`, `lts/*`.
    pub(in super::super) version: String,
    /// The file.
    pub(in super::super) file: String,
    /// Its line, from 1.
    pub(in super::super) line: usize,
}

impl Asked {
    /// Why a version was chosen.
    pub(in super::super) fn why(&self) -> String {
        format!("{} asks for it", self.file)
    }

    /// The error for a version that is none.
    pub(in super::super) fn is_no_version_of(&self, what: &str, hint: &str) -> nonna_engine::Error {
        unclear_at(
            &self.file,
            self.line,
            &format!("`{}` is no version of {what}", printable(&self.version)),
            hint,
        )
    }
}

/// What the version files say: `own` are the language's own files, whose first
/// line is the version; `names` is what asdf and mise call the language.
///
/// # Errors
/// A `mise.toml` that is no TOML.
pub(in super::super) fn asked(tree: &Tree<'_>, own: &[&str], names: &[&str]) -> Result<Option<Asked>> {
    for file in own {
        if let Some(text) = tree.text(file)?
            && let Some((line, version)) = first_line(&text)
        {
            return Ok(Some(Asked {
                version,
                file: (*file).to_owned(),
                line,
            }));
        }
    }
    for file in MISE {
        let Some(text) = tree.text(file)? else { continue };
        if let Some(found) = mise(&text, file, names)? {
            return Ok(Some(found));
        }
    }
    Ok(tree.text(ASDF)?.and_then(|text| asdf(&text, names)))
}

/// The first line that says something, without its comment.
fn first_line(text: &str) -> Option<(usize, String)> {
    text.lines().enumerate().find_map(|(number, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        (!line.is_empty()).then(|| (number + 1, line.to_owned()))
    })
}

/// `nodejs 22.1.0 20.0.0`: the first version counts, the others are what asdf
/// falls back to.
fn asdf(text: &str, names: &[&str]) -> Option<Asked> {
    text.lines().enumerate().find_map(|(number, line)| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let name = words.next()?;
        let version = words.next()?;
        (names.contains(&name) && version != "system").then(|| Asked {
            version: version.to_owned(),
            file: ASDF.to_owned(),
            line: number + 1,
        })
    })
}

/// `[tools]` of mise: `node = "22"`, `node = ["22", "20"]` or
/// `node = { version = "22" }`.
fn mise(text: &str, file: &str, names: &[&str]) -> Result<Option<Asked>> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        unclear(
            file,
            error.to_string().trim(),
            "Mend the file: it has to be valid TOML.",
        )
    })?;
    let Some(tools) = table.get("tools").and_then(toml::Value::as_table) else {
        return Ok(None);
    };
    for name in names {
        // `core:node` and `asdf:node` are the same tool from elsewhere.
        let Some((key, value)) = tools
            .iter()
            .find(|(key, _)| key.rsplit(':').next() == Some(*name))
        else {
            continue;
        };
        let version = match value {
            toml::Value::Array(versions) => versions.first(),
            toml::Value::Table(options) => options.get("version"),
            other => Some(other),
        };
        let version = match version {
            Some(toml::Value::String(version)) => version.trim().to_owned(),
            // `node = 22` is a mistake that everybody understands.
            Some(toml::Value::Integer(number)) => number.to_string(),
            Some(toml::Value::Float(number)) => number.to_string(),
            _ => continue,
        };
        if version.is_empty() || version == "system" {
            continue;
        }
        let line = text
            .lines()
            .position(|line| {
                line.trim_start()
                    .trim_start_matches('"')
                    .starts_with(key.as_str())
            })
            .map_or(1, |at| at + 1);
        return Ok(Some(Asked {
            version,
            file: file.to_owned(),
            line,
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_mise(text: &str) -> Option<String> {
        mise(text, "mise.toml", &["node", "nodejs"])
            .unwrap()
            .map(|asked| asked.version)
    }

    #[test]
    fn tool_versions_are_read_as_asdf_does() {
        let text = "# tools\nruby 3.3.1\nnodejs 22.1.0 20.0.0 # first counts\n";
        let asked = asdf(text, &["node", "nodejs"]).unwrap();
        assert_eq!((asked.version.as_str(), asked.line), ("22.1.0", 3));
        assert_eq!(asdf("nodejs system\n", &["nodejs"]), None);
        assert_eq!(asdf("nodejs\n\n", &["nodejs"]), None);
    }

    #[test]
    fn mise_s_ways_to_name_a_version_are_all_read() {
        assert_eq!(of_mise("[tools]\nnode = \"22\"\n").as_deref(), Some("22"));
        assert_eq!(of_mise("[tools]\nnode = ['20', '22']\n").as_deref(), Some("20"));
        assert_eq!(
            of_mise("[tools]\n\"core:node\" = { version = \"lts\" }\n").as_deref(),
            Some("lts")
        );
        assert_eq!(of_mise("[tools]\nnode = 22\n").as_deref(), Some("22"));
        assert_eq!(of_mise("[tools]\nnode = \"system\"\n"), None);
        assert_eq!(of_mise("[env]\nA = '1'\n"), None);
        assert!(mise("[tools", "mise.toml", &[]).is_err());
    }
}
