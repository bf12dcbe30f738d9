//! `nonna git setup`

use std::path::Path;
use std::process::Command;

use nonna_engine::{Code, Error};
use nonna_model::manifest::FILE_NAME;

use crate::args::GitSetupArgs;
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::clean;
use crate::project::{Project, place};

/// Runs git in a folder; what it printed, or its complaint.
fn git(folder: &Path, arguments: &[&str]) -> Result<Result<String, String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .map_err(|error| {
            Error::user(Code::NotFound, format!("git cannot be started: {error}.")).hint("Install git.")
        })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    })
}

fn must(folder: &Path, arguments: &[&str]) -> Result<String> {
    git(folder, arguments)?.map_err(|said| {
        Error::user(
            Code::InvalidInput,
            format!("`git {}` failed.", arguments.join(" ")),
        )
        .said(said)
        .into()
    })
}

/// Adds the remote and lets git ask this program for the token.
pub(crate) async fn setup(context: &Context, args: &GitSetupArgs) -> Result {
    let project = Project::find(args.path.as_deref())?;
    let name = place(&context.global, &project)?.project;
    let folder = project.folder.as_path();
    let Ok(top) = git(folder, &["rev-parse", "--show-toplevel"])? else {
        return Err(Failure::from(
            Error::user(
                Code::NotFound,
                format!("{} is not in a git repository.", folder.display()),
            )
            .hint("`git init`, `git add .`, `git commit`; then this again."),
        ));
    };
    if Path::new(&top) != folder && folder.join(FILE_NAME).is_file() {
        context.printer.warning(&format!(
            "The repository begins at {top}, and a push is read from there: move nonna.toml to it, with `source` as paths from there."
        ));
    }
    // The server answers, and the token is good, before anything is written.
    let answer = context.client()?.git(&name).await?;
    let options = context.server_options()?;
    let base = options.address().trim_end_matches('/').to_owned();
    let url = format!("{base}{}", answer.path);
    let remote = args.remote.as_str();
    match git(folder, &["remote", "get-url", "--", remote])? {
        Ok(there) if there == url => {}
        Ok(_) if args.force => {
            must(folder, &["remote", "set-url", "--", remote, &url])?;
        }
        Ok(there) => {
            return Err(Failure::usage_hint(
                format!("The remote {remote} is there and leads to {}.", clean(&there)),
                "Change it with --force, or choose another name with --remote NAME.",
            ));
        }
        Err(_) => {
            must(folder, &["remote", "add", "--", remote, &url])?;
        }
    }
    let program = std::env::current_exe()
        .map_err(|error| Error::bug("This program does not know where it is.").said(error.to_string()))?;
    let program = program.display().to_string();
    let quoted = |text: &str| {
        shlex::try_quote(text)
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| {
                Failure::usage(
                    "This program's path, or the server's address, holds a character that no shell takes.",
                )
            })
    };
    // Git runs helpers by a shell, so what is written is quoted for one. The
    // empty entry first: helpers that would keep the token elsewhere are off.
    let helper = format!(
        "!{} git credential --server {}",
        quoted(&program)?,
        quoted(&base)?
    );
    let key = format!("credential.{base}.helper");
    let _ = git(folder, &["config", "--local", "--unset-all", &key])?;
    must(folder, &["config", "--local", "--add", &key, ""])?;
    must(folder, &["config", "--local", "--add", &key, &helper])?;
    if let Some(ca) = context.server_authorities()? {
        let ca = std::path::absolute(&ca).unwrap_or(ca).display().to_string();
        must(
            folder,
            &["config", "--local", &format!("http.{base}.sslCAInfo"), &ca],
        )?;
    }
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "remote": remote, "url": url, "project": name }));
        return Ok(());
    }
    context.printer.line(&clean(&url));
    let branch = git(folder, &["symbolic-ref", "--short", "HEAD"])?.unwrap_or_else(|_| "main".to_owned());
    context
        .printer
        .note(&format!("Deploy with: git push {remote} {}", clean(&branch)));
    let followed = answer.branches.contains_key(&branch) || matches!(branch.as_str(), "main" | "master");
    if !followed {
        context.printer.note(&format!(
            "No environment follows {0} yet: `nonna git follow {0} ENVIRONMENT` lets one.",
            clean(&branch)
        ));
    }
    Ok(())
}
