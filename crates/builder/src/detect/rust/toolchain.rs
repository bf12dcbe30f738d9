//! Which release of Rust builds.

use nonna_engine::Result;
use nonna_model::context::printable;
use serde::Deserialize;

use super::super::compiled::line_of;
use super::super::tree::{Tree, unclear, unclear_at};
use super::super::version::{Version, asked, is_numbers};
use super::manifest::{Packages, numbers};

/// The image of the newest stable release.
const STABLE: &str = "1";
/// The oldest release whose image is of the Debian release that apps run in.
const OLDEST: [u32; 2] = [1, 70];

/// The compiler of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Toolchain {
    pub(super) image: String,
    pub(super) version: Version,
    /// Whether rustup shall read the toolchain file itself, because it asks
    /// for what the image has not.
    pub(super) by_rustup: bool,
}

#[derive(Debug, Deserialize)]
struct File {
    toolchain: Option<Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    channel: Option<String>,
    targets: Vec<String>,
    path: Option<String>,
}

/// Chooses, as rustup would: <https://rust-lang.github.io/rustup/overrides.html>.
pub(super) fn choose(tree: &Tree<'_>, packages: &Packages) -> Result<Toolchain> {
    for file in ["rust-toolchain", "rust-toolchain.toml"] {
        let Some(text) = tree.text(file)? else { continue };
        let table = read(file, &text)?;
        if table.path.is_some() {
            return Err(unclear_at(
                file,
                line_of(&text, "path"),
                "a `path` is a compiler on your own machine",
                "Name a `channel`, such as `stable` or `1.90`.",
            ));
        }
        let channel = table.channel.as_deref().unwrap_or("stable").trim();
        let line = line_of(&text, channel);
        let (image, version) = image(channel).ok_or_else(|| {
            unclear_at(
                file,
                line,
                &format!("`{}` is no release of Rust", printable(channel)),
                "Write a channel such as `stable`, `1.90`, `1.90.0` or `nightly-2026-01-31`.",
            )
        })?;
        return Ok(Toolchain {
            by_rustup: !table.targets.is_empty() || is_dated(channel),
            image,
            version: Version::new("Rust", version, format!("{file}, line {line}, asks for it")),
        });
    }
    if let Some(asked) = asked(tree, &[], &["rust"])? {
        let (image, version) = image(&asked.version)
            .ok_or_else(|| asked.is_no_version_of("Rust", "Write a version such as `1.90.0` or `stable`."))?;
        return Ok(Toolchain {
            image,
            version: Version::new("Rust", version, asked.why()),
            by_rustup: false,
        });
    }
    let why = match &packages.rust_version {
        None => "nothing asks for another: the newest stable release".to_owned(),
        Some((version, file)) => {
            if !is_numbers(version) || numbers(version).first() != Some(&1) {
                let text = tree.text(file)?.unwrap_or_default();
                return Err(unclear_at(
                    file,
                    line_of(&text, "rust-version"),
                    &format!("`{}` is no release of Rust", printable(version)),
                    "Write a version such as `1.85`.",
                ));
            }
            format!("{file} asks for {version} or newer: the newest stable release")
        }
    };
    Ok(Toolchain {
        image: stable(STABLE),
        version: Version::new("Rust", STABLE, why),
        by_rustup: false,
    })
}

fn read(file: &str, text: &str) -> Result<Table> {
    // The old form is the channel alone.
    let plain = text.trim();
    if file == "rust-toolchain" && !plain.contains('\n') && !plain.starts_with('[') {
        return Ok(Table {
            channel: Some(plain.to_owned()),
            ..Table::default()
        });
    }
    let read: std::result::Result<File, _> = toml::from_str(text);
    match read {
        Ok(File {
            toolchain: Some(table),
        }) => Ok(table),
        Ok(File { toolchain: None }) => Err(unclear(
            file,
            "it has no table `[toolchain]`",
            "Write `[toolchain]` and below it `channel = \"stable\"`.",
        )),
        Err(error) => Err(unclear(
            file,
            &printable(error.to_string().trim()),
            "Mend the file: it has to be valid TOML.",
        )),
    }
}

fn stable(version: &str) -> String {
    format!("rust:{version}-bookworm")
}

/// `nightly-2026-01-31` is in no image: rustup fetches it.
fn is_dated(channel: &str) -> bool {
    channel.starts_with("nightly-") || channel.starts_with("beta")
}

/// The image of a channel, and what is shown of it.
fn image(channel: &str) -> Option<(String, String)> {
    // A host may stand behind it: `stable-x86_64-unknown-linux-gnu`.
    let channel = channel
        .split_once("-x86_64")
        .or_else(|| channel.split_once("-aarch64"))
        .map_or(channel, |(channel, _)| channel);
    if matches!(channel, "stable" | "latest") {
        return Some((stable(STABLE), "stable".to_owned()));
    }
    if channel == "nightly" {
        return Some(("rustlang/rust:nightly-bookworm".to_owned(), "nightly".to_owned()));
    }
    let is_name = channel
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if is_dated(channel) && is_name {
        return Some((stable(STABLE), channel.to_owned()));
    }
    let fits = is_numbers(channel)
        && numbers(channel).first() == Some(&1)
        && (1..=3).contains(&numbers(channel).len());
    if !fits {
        return None;
    }
    // Older ones have images of an older Debian, which this C library runs too.
    let image = if numbers(channel).len() > 1 && numbers(channel).as_slice() < OLDEST.as_slice() {
        format!("rust:{channel}")
    } else {
        stable(channel)
    };
    Some((image, channel.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_read_as_rustup_does() {
        for (channel, expected) in [
            ("stable", Some("rust:1-bookworm")),
            ("1.90", Some("rust:1.90-bookworm")),
            ("1.90.0", Some("rust:1.90.0-bookworm")),
            ("1.60.0", Some("rust:1.60.0")),
            ("stable-x86_64-unknown-linux-gnu", Some("rust:1-bookworm")),
            ("nightly", Some("rustlang/rust:nightly-bookworm")),
            ("nightly-2026-01-31", Some("rust:1-bookworm")),
            ("beta", Some("rust:1-bookworm")),
            ("2.0", None),
            ("1.90.0.1", None),
            ("nightly-1 AS x", None),
            ("", None),
            ("..", None),
        ] {
            let found = image(channel).map(|(image, _)| image);
            assert_eq!(found.as_deref(), expected, "{channel}");
        }
    }
}
