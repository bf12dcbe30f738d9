//! `nonna export`

use std::fs;
use std::path::{Component, Path, PathBuf};

use nonna_engine::{Code, Error};

use crate::args::ExportArgs;
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::clean;
use crate::output::units::count;
use crate::project::place_here;

/// Writes files that run the environment without Nonna.
pub(crate) async fn export(context: &Context, args: ExportArgs) -> Result {
    let place = place_here(&context.global)?;
    let answer = context
        .client()?
        .export(&place, Some(args.format.as_str()))
        .await?;
    let printer = &context.printer;
    let Some(folder) = &args.folder else {
        if printer.is_json() {
            printer.json(&answer);
        } else {
            let several = answer.files.len() > 1;
            for (path, text) in &answer.files {
                if several {
                    printer.line(&format!("# {}", clean(path)));
                }
                printer.raw(text);
                if !text.ends_with('\n') {
                    printer.line("");
                }
            }
        }
        return Ok(());
    };
    let mut written = Vec::new();
    for path in answer.files.keys() {
        let file = inside(folder, path)?;
        if file.exists() && !args.force {
            return Err(Failure::usage_hint(
                format!("{} is there already. Nothing was written.", file.display()),
                "Name another folder, or write over it with --force.",
            ));
        }
        written.push(file);
    }
    for (file, text) in written.iter().zip(answer.files.values()) {
        write(file, text).map_err(|error| {
            Error::user(
                Code::InvalidInput,
                format!("{} cannot be written: {error}.", file.display()),
            )
        })?;
    }
    if printer.is_json() {
        printer.json(&written);
    } else {
        for file in &written {
            printer.line(&clean(&file.display().to_string()));
        }
        printer.note(&format!("{} written.", count(written.len(), "file")));
    }
    Ok(())
}

/// A path that a server names, if it stays inside the folder.
fn inside(folder: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    let plain = !path.is_empty()
        && relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if plain {
        Ok(folder.join(relative))
    } else {
        Err(Error::bug("The server named a file outside of the folder. Nothing was written.").into())
    }
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_written_outside_of_the_folder() {
        let folder = Path::new("/out");
        assert_eq!(inside(folder, "a/b.yaml").unwrap(), Path::new("/out/a/b.yaml"));
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "./.."] {
            assert!(inside(folder, bad).is_err(), "{bad}");
        }
    }
}
