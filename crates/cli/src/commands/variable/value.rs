//! Names and values as they are given: arguments, standard input, files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use nonna_engine::{Code, Error};

use crate::args::SetSecretArgs;
use crate::fail::{Failure, Result};
use crate::output::Printer;
use crate::terminal;

/// The longest value, in bytes, that is read before the server is asked.
const LONGEST: u64 = 1024 * 1024;

/// `NAME=VALUE` arguments.
pub(super) fn pairs(arguments: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for argument in arguments {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Failure::usage_hint(
                format!("`{argument}` has no value."),
                format!("Write `{argument}=VALUE`; `nonna env unset {argument}` removes it."),
            ));
        };
        check_name(name)?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("`{name}` is given twice.")));
        }
    }
    Ok(pairs)
}

/// Whether a text can name a variable.
pub(super) fn check_name(name: &str) -> Result {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good {
        Ok(())
    } else {
        Err(Failure::usage_hint(
            format!("`{name}` cannot name a variable."),
            "A name is made of letters, digits and `_`, and does not begin with a digit.",
        ))
    }
}

/// Secrets and their values, from wherever they shall come.
pub(super) fn secrets(printer: &Printer, args: &SetSecretArgs) -> Result<BTreeMap<String, String>> {
    if let Some(file) = &args.env_file {
        return env_file(file);
    }
    let given = args.name.as_deref().unwrap_or_default();
    let (name, from_stdin) = match given.split_once('=') {
        Some((name, "-")) => (name, true),
        Some((name, _)) => {
            return Err(Failure::usage_hint(
                "A secret's value does not belong into a command's arguments: every user of the machine can read them.",
                format!(
                    "`nonna secret set {name}` asks for it; `… | nonna secret set {name}` reads it. Take another \
                         value than the one you just typed."
                ),
            ));
        }
        None => (given, false),
    };
    check_name(name)?;
    let value = if let Some(file) = &args.from_file {
        let text = read_limited(fs::File::open(file), &file.display().to_string())?;
        // A file may be a key of many lines: it is taken as it is.
        text
    } else if from_stdin {
        without_line_end(read_limited(Ok(io::stdin().lock()), "standard input")?)
    } else {
        read_value(printer, &format!("Value of {name}"))?
    };
    if value.is_empty() {
        return Err(Failure::usage_hint(
            format!("The value of {name} is empty."),
            format!("`nonna secret unset {name}` removes it."),
        ));
    }
    Ok(BTreeMap::from([(name.to_owned(), value)]))
}

/// Asks for a text without showing it; where nobody can be asked, reads
/// standard input.
pub(crate) fn read_value(printer: &Printer, what: &str) -> Result<String> {
    if !printer.can_ask() {
        return read_stdin();
    }
    printer.ask(&format!("{what} (it is not shown): "));
    let value = terminal::ask_hidden();
    printer.ask("\n");
    match value {
        Ok(value) => Ok(value),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::Told),
        Err(error) => Err(Error::bug("The terminal cannot be read.")
            .said(error.to_string())
            .into()),
    }
}

/// Standard input to its end, without the last line's end.
pub(crate) fn read_stdin() -> Result<String> {
    Ok(without_line_end(read_limited(
        Ok(io::stdin().lock()),
        "standard input",
    )?))
}

fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn read_limited(source: io::Result<impl io::Read>, name: &str) -> Result<String> {
    let mut text = String::new();
    let read = source.and_then(|source| source.take(LONGEST + 1).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::from(
            Error::user(Code::InvalidInput, format!("{name} cannot be read: {error}."))
                .hint("A value is a text in UTF-8."),
        )
    })?;
    if text.len() as u64 > LONGEST {
        return Err(Error::user(Code::LimitExceeded, format!("{name} is longer than 1 MiB.")).into());
    }
    Ok(text)
}

/// A file of `NAME=VALUE` lines, with comments and quotes.
fn env_file(file: &Path) -> Result<BTreeMap<String, String>> {
    let shown = file.display();
    let text = read_limited(fs::File::open(file), &shown.to_string())?;
    let mut pairs = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line itself is never repeated: it may hold a value.
        let Some((name, value)) = line.split_once('=') else {
            return Err(Failure::usage_hint(
                format!("{shown}:{number}: there is no `=`."),
                "Each line is NAME=VALUE.",
            ));
        };
        let name = name.trim();
        check_name(name)?;
        let value = value.trim();
        let quoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        pairs.insert(name.to_owned(), quoted.unwrap_or(value).to_owned());
    }
    if pairs.is_empty() {
        return Err(Failure::usage(format!("{shown} sets nothing.")));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_names_and_values() {
        let pairs = pairs(&["A=1".to_owned(), "B=x=y".to_owned(), "C=".to_owned()]).unwrap();
        assert_eq!(pairs["B"], "x=y");
        assert_eq!(pairs["C"], "");
        for bad in ["A", "1A=x", "a b=x", "=x", "A-B=x"] {
            assert!(super::pairs(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(super::pairs(&["A=1".to_owned(), "A=2".to_owned()]).is_err());
    }
}
