//! `nonna backup` and `nonna restore`

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nonna_engine::{Code, Error};
use secrecy::SecretString;

use crate::args::{BackupArgs, RestoreArgs};
use crate::commands::{Context, read_value};
use crate::fail::{Failure, Result};
use crate::output::clean;
use crate::output::units::bytes;

/// Saves the server's own state to a file.
pub(crate) async fn backup(context: &Context, args: BackupArgs) -> Result {
    let client = context.client()?;
    if args.file.as_os_str() == "-" {
        if context.printer.out_is_terminal() {
            return Err(Failure::usage("A backup is no text for a terminal: name a file."));
        }
        client
            .backup(|piece| {
                context.printer.pass_out(piece);
                Ok(())
            })
            .await?;
        return Ok(());
    }
    if args.file.exists() && !args.force {
        return Err(Failure::usage_hint(
            format!("{} is there already.", args.file.display()),
            "Name another file, or write over it with --force.",
        ));
    }
    let cannot = |error: io::Error| {
        let code = if error.kind() == io::ErrorKind::StorageFull {
            Code::DiskFull
        } else {
            Code::InvalidInput
        };
        Error::user(
            code,
            format!("{} cannot be written: {error}.", args.file.display()),
        )
    };
    // A backup that broke off half-way must never look like one.
    let partial = partial_of(&args.file);
    let mut file = private(&partial).map_err(cannot)?;
    let mut size = 0_u64;
    let taken = client
        .backup(|piece| {
            size += piece.len() as u64;
            file.write_all(piece).map_err(cannot)
        })
        .await
        .and_then(|()| file.sync_all().map_err(cannot))
        .and_then(|()| fs::rename(&partial, &args.file).map_err(cannot));
    if let Err(error) = taken {
        let _ = fs::remove_file(&partial);
        return Err(error.into());
    }
    let shown = args.file.display().to_string();
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "file": shown, "bytes": size }));
    } else {
        context.printer.note(&format!(
            "{} saved ({}). It holds secrets and the key that opens them: keep it safe.",
            clean(&shown),
            bytes(size)
        ));
    }
    Ok(())
}

/// Makes a data folder of a backup. No server runs on it, so none is asked.
pub(crate) fn restore(context: &Context, args: &RestoreArgs) -> Result {
    let file = File::open(&args.file).map_err(|error| {
        Error::user(
            Code::NotFound,
            format!("{} cannot be read: {error}.", args.file.display()),
        )
    })?;
    let passphrase = if args.passphrase {
        Some(SecretString::from(read_value(
            &context.printer,
            "Passphrase of the backup",
        )?))
    } else {
        None
    };
    let restored = nonna_server::restore_backup(file, &args.data, passphrase.as_ref())?;
    let folder = args.data.display().to_string();
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "data": folder, "with_key": restored.with_key }));
        return Ok(());
    }
    context.printer.line(&clean(&folder));
    context.printer.note(if restored.with_key {
        "Start the server on it: `nonna server --data FOLDER`."
    } else {
        "The key that opens its secrets is not in the backup: put it there before the server starts."
    });
    Ok(())
}

fn partial_of(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    name.into()
}

fn private(file: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
}
