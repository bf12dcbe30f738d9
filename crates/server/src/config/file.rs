//! The settings' file.

use toml_edit::{Document, Item, TableLike, Value};

use super::settings::{SETTINGS, set, unknown};
use super::{Config, Problem};

/// Reads the file's text into the settings.
pub(super) fn read(config: &mut Config, name: &str, text: &str, problems: &mut Vec<Problem>) {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            problems.push(Problem {
                place: place(name, text, at),
                message: error.message().trim().replace('\n', "; "),
            });
            return;
        }
    };
    table(config, name, text, document.as_table(), "", problems);
}

fn place(name: &str, text: &str, at: usize) -> String {
    let line = text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
    format!("{name}:{line}")
}

fn table(
    config: &mut Config,
    name: &str,
    text: &str,
    table_like: &dyn TableLike,
    prefix: &str,
    problems: &mut Vec<Problem>,
) {
    for (key, item) in table_like.iter() {
        let full = if prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{prefix}.{key}")
        };
        let at = table_like
            .key(key)
            .and_then(toml_edit::Key::span)
            .or_else(|| item.span())
            .map_or(0, |span| span.start);
        let here = place(name, text, at);
        let is_section = SETTINGS.iter().any(|s| {
            s.key
                .strip_prefix(full.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
        });
        if is_section {
            match item.as_table_like() {
                Some(inner) => table(config, name, text, inner, &full, problems),
                None => problems.push(Problem {
                    place: here,
                    message: format!("`{full}` is a section: write `[{full}]` and its settings below"),
                }),
            }
            continue;
        }
        let Some(setting) = SETTINGS.iter().find(|s| s.key == full) else {
            problems.push(Problem {
                place: here,
                message: unknown(&full),
            });
            continue;
        };
        match as_text(item) {
            Some(value) => set(config, setting, &value, &here, problems),
            None => problems.push(Problem {
                place: here,
                message: format!("`{full}` must be a text such as {}", setting.example()),
            }),
        }
    }
}

/// A single value as the text a flag would have; lists are joined by commas.
fn as_text(item: &Item) -> Option<String> {
    match item.as_value()? {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(yes) => Some(if *yes.value() { "on" } else { "off" }.to_owned()),
        Value::Array(items) => items
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .map(|texts| texts.join(",")),
        Value::Float(_) | Value::Datetime(_) | Value::InlineTable(_) => None,
    }
}
