//! `nonna init`

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};

use nonna_engine::{Code, Error};
use nonna_model::Name;
use nonna_model::manifest::FILE_NAME;

use crate::args::InitArgs;
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::clean;

/// Writes a manifest with comments into a folder.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result {
    let folder = fs::canonicalize(&args.path).map_err(|error| {
        Failure::usage(format!(
            "The folder {} cannot be read: {error}.",
            args.path.display()
        ))
    })?;
    let name = match &context.global.project {
        Some(name) => Some(name.clone()),
        None => folder
            .file_name()
            .and_then(|name| Name::slug(&name.to_string_lossy())),
    };
    let name = name.map_or_else(|| "my-app".to_owned(), String::from);
    let file = folder.join(FILE_NAME);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(args.force)
        .create_new(!args.force)
        .open(&file)
        .and_then(|mut open| open.write_all(text(&name).as_bytes()));
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::usage_hint(
                format!("{} is there already.", file.display()),
                "Write over it with --force.",
            ));
        }
        Err(error) => {
            return Err(Error::user(
                Code::InvalidInput,
                format!("{} cannot be written: {error}.", file.display()),
            )
            .into());
        }
    }
    let shown = file.display().to_string();
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "file": shown, "project": name }));
    } else {
        context.printer.line(&clean(&shown));
        context
            .printer
            .note("All in it is optional. `nonna plan` shows what it leads to.");
    }
    Ok(())
}

/// A manifest that says what holds without it, and names what may be said.
fn text(project: &str) -> String {
    format!(
        r#"# What Nonna needs to know of this app. All of it is optional: what is
# commented out shows the default or an example. docs/manifest.md has the rest.

project = "{project}"
# environment = "production"    # where `nonna deploy` goes when it is not told

[services.web]
source = "."                    # built by its Dockerfile, else by its language
# image = "nginx:1.27"          # an image that exists, in place of `source`
# port = 8080                   # the app listens on 0.0.0.0:$PORT
# health = "/"                  # a GET that answers 2xx or 3xx when the app is well
# replicas = 1
# memory = "512MB"
# cpu = 1
# domains = ["example.org"]     # beside the address that it gets by itself
# secrets = ["DATABASE_URL"]    # must be set before a deploy: `nonna secret set`

# [services.web.variables]
# LOG_LEVEL = "info"

# [services.web.volumes]
# data = "/data"                # outlives releases

# [environments.staging.services.web]
# replicas = 1                  # what differs there
"#
    )
}

#[cfg(test)]
mod tests {
    use nonna_model::manifest::parse;

    #[test]
    fn what_init_writes_is_a_good_manifest_with_and_without_its_comments() {
        let text = super::text("shop");
        let manifest = parse(&text, "nonna.toml").unwrap();
        assert_eq!(manifest.project.unwrap().as_str(), "shop");
        // Every line that is offered must be right when it is taken up; an
        // image and a source are alternatives.
        let all: String = text
            .lines()
            .filter(|line| !line.starts_with("source"))
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") || rest.starts_with('[') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        if let Err(problems) = parse(&all, "nonna.toml") {
            panic!("{problems}");
        }
    }
}
