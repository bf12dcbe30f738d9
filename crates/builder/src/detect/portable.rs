//! The Dockerfile of a plan, for use without Nonna: its context is the source
//! folder itself, and what must stand beside it stands in a folder of its own.

use nonna_engine::Result;
use nonna_model::build::GeneratedDockerfile;

use super::{Plan, SOURCE_FOLDER, Tree};

/// What no build of the folder should see, whatever the project says: Nonna's
/// own scan leaves it out too, or an export puts it there.
const IGNORED: [&str; 8] = [
    ".git",
    ".env",
    ".env.*",
    "!.env.example",
    "compose.yaml",
    "EXPORT.md",
    "*.Dockerfile",
    "*.Dockerfile.dockerignore",
];
/// The names of hidden files, and what is served though it has one.
const HIDDEN: [&str; 2] = ["**/.*", "!**/.well-known"];

/// The Dockerfile and what belongs to it. The plan was made for nobody's
/// caches in particular and without extra authorities.
pub(super) fn dockerfile(plan: &Plan, tree: &Tree<'_>) -> Result<GeneratedDockerfile> {
    let mut text = String::with_capacity(plan.dockerfile.len());
    for line in plan.dockerfile.lines() {
        text.push_str(&copy(line).unwrap_or_else(|| line.to_owned()));
        text.push('\n');
    }
    let files = plan
        .files
        .iter()
        .map(|file| {
            (
                beside(&file.path),
                String::from_utf8_lossy(&file.content).into_owned(),
            )
        })
        .collect();
    Ok(GeneratedDockerfile {
        dockerfile: text,
        files,
        ignored: ignored(plan, tree)?,
    })
}

fn beside(path: &str) -> String {
    format!("{}/{path}", GeneratedDockerfile::BESIDE)
}

/// A `COPY` of the context with the paths as they are in the source folder;
/// `None`: the line is something else.
fn copy(line: &str) -> Option<String> {
    let mut rest = line.strip_prefix("COPY ")?;
    let mut out = String::from("COPY ");
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(' ')?;
        if flag.starts_with("--from=") {
            return None;
        }
        out.push_str(flag);
        out.push(' ');
        rest = after;
    }
    let is_json = rest.starts_with('[');
    let mut words: Vec<String> = if is_json {
        serde_json::from_str(rest).ok()?
    } else {
        rest.split(' ').map(str::to_owned).collect()
    };
    let last = words.pop()?;
    for word in &mut words {
        let inside = word
            .strip_prefix(SOURCE_FOLDER)
            .and_then(|rest| rest.strip_prefix('/'));
        *word = match inside {
            Some("") => ".".to_owned(),
            Some(inside) => inside.to_owned(),
            None => beside(word),
        };
    }
    words.push(last);
    if is_json {
        out.push_str(&serde_json::to_string(&words).ok()?);
    } else {
        out.push_str(&words.join(" "));
    }
    Some(out)
}

/// What the build must not see: what the project leaves out, what belongs to
/// an export, and what the plan leaves out.
fn ignored(plan: &Plan, tree: &Tree<'_>) -> Result<String> {
    let mut lines: Vec<String> = match tree.text(".dockerignore")? {
        Some(text) => text.lines().map(str::to_owned).collect(),
        None => tree
            .text(".gitignore")?
            .map(|text| text.lines().filter_map(from_git).collect())
            .unwrap_or_default(),
    };
    lines.extend(IGNORED.map(str::to_owned));
    if plan.without_hidden {
        lines.extend(HIDDEN.map(str::to_owned));
    }
    if !plan.files.is_empty() {
        lines.push(format!("!{}", GeneratedDockerfile::BESIDE));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// A pattern of a `.gitignore` as a `.dockerignore` has it: without a slash it
/// counts in every folder.
fn from_git(line: &str) -> Option<String> {
    let line = line.trim_end();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (not, pattern) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest));
    let pattern = pattern.trim_end_matches('/');
    let everywhere = if pattern.contains('/') { "" } else { "**/" };
    Some(format!("{not}{everywhere}{}", pattern.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_source_lose_their_folder_and_other_files_get_one() {
        for (line, there) in [
            ("COPY src/ ./", Some("COPY . ./")),
            ("COPY src/public/ /srv/", Some("COPY public/ /srv/")),
            (
                "COPY --chown=app:app src/a src/b/c ./",
                Some("COPY --chown=app:app a b/c ./"),
            ),
            (
                "COPY [\"src/a b\",\"src/c\",\"./\"]",
                Some("COPY [\"a b\",\"c\",\"./\"]"),
            ),
            (
                "COPY nginx.conf /etc/nginx/nginx.conf",
                Some("COPY Dockerfile.files/nginx.conf /etc/nginx/nginx.conf"),
            ),
            ("COPY --from=build /app/src/ ./", None),
            ("COPY --from=build --chown=a:a src/x ./", None),
            ("RUN cp src/ x", None),
        ] {
            assert_eq!(copy(line).as_deref(), there, "{line}");
        }
    }

    #[test]
    fn what_git_ignores_docker_ignores() {
        for (git, docker) in [
            ("node_modules/", Some("**/node_modules")),
            ("/dist", Some("dist")),
            ("a/b/", Some("a/b")),
            ("*.log", Some("**/*.log")),
            ("!keep.log", Some("!**/keep.log")),
            ("# x", None),
            ("", None),
        ] {
            assert_eq!(from_git(git).as_deref(), docker, "{git}");
        }
    }
}
