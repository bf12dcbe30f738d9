//! Taking values of the right type out of a TOML table, and noting the others.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
pub(super) use toml::de::DeValue as Value;
use toml::de::{DeString, DeTable, DeValue};

use super::At;
use super::fields::{BUILD, ENVIRONMENT, Field, HEALTH, SERVICE, TOP};
use super::limits::{MAX_DURATION_MS, MAX_VARIABLES};
use super::problem::{Report, shorten};
use super::value::{self, InvalidValue};
use crate::name::Name;
use crate::units::parse_duration;

/// A value of a field, and the field's name for messages.
pub(super) struct Entry<'a, 'i> {
    pub(super) name: &'a str,
    pub(super) key: Range<usize>,
    pub(super) value: &'a Spanned<DeValue<'i>>,
}

impl<'i> Entry<'_, 'i> {
    pub(super) fn at(&self) -> Range<usize> {
        let at = self.value.span();
        // A table that only its parts' headers mention stands nowhere itself.
        if at.is_empty() { self.key.clone() } else { at }
    }

    pub(super) fn get(&self) -> &DeValue<'i> {
        self.value.get_ref()
    }
}

/// What a value is, in words.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<Entry<'a, 'i>> = table
        .iter()
        .map(|(key, value): (&'a Spanned<DeString<'i>>, _)| Entry {
            name: key.get_ref().as_ref(),
            key: key.span(),
            value,
        })
        .collect();
    entries.sort_by_key(|entry| entry.key.start);
    entries
}

impl Report<'_> {
    /// Notes what is wrong with a value.
    pub(super) fn invalid(&mut self, at: &Range<usize>, what: &str, why: InvalidValue) {
        self.suggest(at, format!("`{what}`: {}", why.message), why.suggestion);
    }

    /// Notes a value of the wrong type.
    pub(super) fn wrong_type(&mut self, entry: &Entry<'_, '_>, expected: &str, suggestion: Option<String>) {
        self.suggest(
            &entry.at(),
            format!(
                "`{}` must be {expected}, not {}",
                entry.name,
                kind_of(entry.get())
            ),
            suggestion,
        );
    }

    /// Notes a field that nobody knows, with the one that was meant.
    pub(super) fn unknown(&mut self, entry: &Entry<'_, '_>, known: &[Field], of: &str) {
        if self.is_full() {
            return;
        }
        let name = shorten(entry.name);
        let meant = closest(entry.name, known);
        if meant.is_none()
            && let Some(place) = elsewhere(entry.name, known)
        {
            self.add(&entry.key, format!("unknown field `{name}` {of}: {place}"));
            return;
        }
        self.suggest(&entry.key, format!("unknown field `{name}` {of}"), meant);
    }

    pub(super) fn string<'a>(&mut self, entry: &'a Entry<'_, '_>, expected: &str) -> Option<&'a str> {
        match entry.get() {
            DeValue::String(text) => Some(text.as_ref()),
            other => {
                let suggestion = scalar_text(other).map(|text| format!("\"{text}\""));
                self.wrong_type(entry, expected, suggestion);
                None
            }
        }
    }

    /// A string that `check` understands.
    pub(super) fn checked<T>(
        &mut self,
        entry: &Entry<'_, '_>,
        expected: &str,
        check: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Option<At<T>> {
        let text = self.string(entry, expected)?;
        match check(text) {
            Ok(value) => Some(At {
                value,
                at: entry.at(),
            }),
            Err(why) => {
                self.invalid(&entry.at(), entry.name, why);
                None
            }
        }
    }

    pub(super) fn name(&mut self, entry: &Entry<'_, '_>) -> Option<At<Name>> {
        let DeValue::String(text) = entry.get() else {
            self.wrong_type(entry, "a name, as a string", None);
            return None;
        };
        self.name_of(text, &entry.at(), &format!("the {}", entry.name))
    }

    /// A name that is itself a key.
    pub(super) fn key_name(&mut self, entry: &Entry<'_, '_>, of: &str) -> Option<At<Name>> {
        self.name_of(entry.name, &entry.key, of)
    }

    fn name_of(&mut self, text: &str, at: &Range<usize>, of: &str) -> Option<At<Name>> {
        match text.parse::<Name>() {
            Ok(value) => Some(At {
                value,
                at: at.clone(),
            }),
            Err(why) => {
                self.suggest(
                    at,
                    format!("`{}` cannot be the name of {of}: {}", shorten(text), why.reason),
                    why.suggestion.map(String::from),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, entry: &Entry<'_, '_>, of: &[(&str, T)]) -> Option<At<T>> {
        let words = of
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(" or ");
        let text = self.string(entry, &words)?;
        if let Some((_, value)) = of.iter().find(|(word, _)| *word == text) {
            return Some(At {
                value: *value,
                at: entry.at(),
            });
        }
        let near = nearest(
            &text.to_ascii_lowercase().replace('_', "-"),
            of.iter().map(|(word, _)| *word),
        );
        self.suggest(&entry.at(), format!("`{}` must be {words}", entry.name), near);
        None
    }

    /// A whole number in a range.
    pub(super) fn integer(&mut self, entry: &Entry<'_, '_>, range: RangeInclusive<u32>) -> Option<At<u32>> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = entry.get() else {
            let suggestion = match entry.get() {
                DeValue::String(text) => text.trim().parse::<u32>().ok(),
                _ => None,
            };
            let suggestion = suggestion.filter(|n| range.contains(n)).map(|n| n.to_string());
            self.wrong_type(entry, &expected, suggestion);
            return None;
        };
        match u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|n| range.contains(n))
        {
            Some(value) => Some(At {
                value,
                at: entry.at(),
            }),
            None => {
                self.add(&entry.at(), format!("`{}` must be {expected}", entry.name));
                None
            }
        }
    }

    /// `true`, which alone makes sense.
    pub(super) fn boolean(&mut self, entry: &Entry<'_, '_>) -> Option<bool> {
        match entry.get() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                let suggestion = match other {
                    DeValue::String(text) => text.parse::<bool>().ok().map(|value| value.to_string()),
                    _ => None,
                };
                self.wrong_type(entry, "true or false", suggestion);
                None
            }
        }
    }

    /// A duration in milliseconds, of at least `least`.
    pub(super) fn duration(&mut self, entry: &Entry<'_, '_>, least: u64) -> Option<At<u64>> {
        const EXPECTED: &str = "a duration such as \"30s\", \"5m\" or \"500ms\"";
        if let DeValue::Integer(number) = entry.get() {
            // The unit that is nearly always meant.
            self.wrong_type(entry, EXPECTED, Some(format!("\"{}s\"", number.as_str())));
            return None;
        }
        let text = self.string(entry, EXPECTED)?;
        let Ok(duration) = parse_duration(text) else {
            self.add(&entry.at(), format!("`{}` must be {EXPECTED}", entry.name));
            return None;
        };
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if millis < least || millis > MAX_DURATION_MS {
            let from = if least == 0 {
                String::new()
            } else {
                format!("at least {least}ms and ")
            };
            self.add(&entry.at(), format!("`{}` must be {from}at most 1h", entry.name));
            return None;
        }
        Some(At {
            value: millis,
            at: entry.at(),
        })
    }

    /// A table, as its entries.
    pub(super) fn table<'a, 'i>(
        &mut self,
        entry: &'a Entry<'_, 'i>,
        expected: &str,
    ) -> Option<&'a DeTable<'i>> {
        match entry.get() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong_type(entry, expected, None);
                None
            }
        }
    }

    /// A list of strings that `check` understands, none twice.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        entry: &Entry<'_, '_>,
        most: usize,
        check: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<At<Vec<At<T>>>> {
        let DeValue::Array(array) = entry.get() else {
            let suggestion = match entry.get() {
                DeValue::String(text) => Some(format!("[{}]", serde_json::Value::from(text.as_ref()))),
                _ => None,
            };
            self.wrong_type(entry, "a list of strings", suggestion);
            return None;
        };
        if array.len() > most {
            self.add(
                &entry.key,
                format!(
                    "`{}` may have {most} values at most, and has {}",
                    entry.name,
                    array.len()
                ),
            );
            return None;
        }
        let mut out: Vec<At<T>> = Vec::new();
        for item in array {
            let item = Entry {
                name: entry.name,
                key: item.span(),
                value: item,
            };
            let DeValue::String(text) = item.get() else {
                let suggestion = scalar_text(item.get()).map(|text| format!("\"{text}\""));
                self.wrong_type(&item, "a list of strings only", suggestion);
                continue;
            };
            match check(text.as_ref()) {
                Ok(value) if out.iter().any(|earlier| earlier.value == value) => {
                    self.add(&item.at(), format!("`{}` has this twice", entry.name));
                }
                Ok(value) => out.push(At { value, at: item.at() }),
                Err(why) => self.invalid(&item.at(), entry.name, why),
            }
        }
        Some(At {
            value: out,
            at: entry.at(),
        })
    }

    /// A table of variables, each a string, a number or a boolean.
    pub(super) fn variables(
        &mut self,
        entry: &Entry<'_, '_>,
        check_name: fn(&str) -> Result<(), InvalidValue>,
    ) -> BTreeMap<String, At<String>> {
        let mut out = BTreeMap::new();
        let Some(table) = self.table(entry, "a table such as { NAME = \"value\" }") else {
            return out;
        };
        if table.len() > MAX_VARIABLES {
            self.add(
                &entry.key,
                format!(
                    "`{}` may have {MAX_VARIABLES} values at most, and has {}",
                    entry.name,
                    table.len()
                ),
            );
            return out;
        }
        for variable in entries(table) {
            if let Err(why) = check_name(variable.name) {
                self.invalid(&variable.key, &shorten(variable.name), why);
                continue;
            }
            let text = match variable.get() {
                DeValue::String(text) => text.to_string(),
                other => match scalar_text(other) {
                    Some(text) => text,
                    None => {
                        self.wrong_type(&variable, "a string, a number or a boolean", None);
                        continue;
                    }
                },
            };
            match value::check_variable_value(&text) {
                Ok(()) => {
                    out.insert(
                        variable.name.to_owned(),
                        At {
                            value: text,
                            at: variable.key,
                        },
                    );
                }
                Err(why) => self.invalid(&variable.at(), variable.name, why),
            }
        }
        out
    }
}

/// A number or boolean as the text that a process would be given.
fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(number.to_string()),
            Err(_) => Some(number.to_string()),
        },
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// The known field that was meant by this name.
fn closest(name: &str, known: &[Field]) -> Option<String> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    if let Some(field) = known
        .iter()
        .find(|f| f.name == plain || f.aliases.contains(&plain.as_str()))
    {
        return Some(field.name.to_owned());
    }
    nearest(&plain, known.iter().map(|field| field.name))
}

/// The word that is so like this one that it was probably meant.
pub(crate) fn nearest<W: AsRef<str> + Display>(word: &str, of: impl Iterator<Item = W>) -> Option<String> {
    // Longer than any word here: nothing was misspelt, and comparing costs.
    if word.len() > 64 {
        return None;
    }
    of.map(|candidate| (strsim::osa_distance(word, candidate.as_ref()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (word.len().max(candidate.as_ref().len()) / 3).max(1)
                && *distance < candidate.as_ref().len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_string())
}

/// Where a field belongs that is known (or nearly), only not here.
fn elsewhere(name: &str, here: &[Field]) -> Option<String> {
    let is_here = |fields: &[Field]| std::ptr::eq(here, fields);
    let (field, place) = if is_here(SERVICE) && HEALTH.iter().any(|field| field.name == name) {
        (name.to_owned(), "in the table `health`")
    } else if is_here(SERVICE) && BUILD.iter().any(|field| field.name == name) {
        (name.to_owned(), "in the table `build`")
    } else if is_here(BUILD) {
        return None;
    } else if !is_here(TOP) && TOP.iter().any(|field| field.name == name) {
        (name.to_owned(), "at the top of the file, before the first `[…]`")
    } else if is_here(TOP) {
        (
            closest(name, SERVICE)?,
            "under a service, such as `[services.web]`",
        )
    } else if is_here(ENVIRONMENT) {
        (
            closest(name, SERVICE)?,
            "under a service, such as `[environments.staging.services.web]`",
        )
    } else {
        return None;
    };
    Some(if field == name {
        format!("it belongs {place}")
    } else {
        format!("`{field}` belongs {place}")
    })
}
