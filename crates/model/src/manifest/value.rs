//! Checks of single values: image references, hosts, paths, variables. They
//! are public because the same values also arrive from outside a manifest.

use crate::manifest::limits::{
    MAX_BRANCH, MAX_HOST, MAX_IMAGE, MAX_PATH, MAX_VARIABLE_NAME, MAX_VARIABLE_VALUE, MAX_WORD, MAX_WORDS,
};
use crate::service::RouteSpec;

/// Why a value cannot stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidValue {
    /// What is wrong with it, without repeating it.
    pub message: String,
    /// A value that would do, where one can be made of it.
    pub suggestion: Option<String>,
}

type Checked<T> = Result<T, InvalidValue>;

fn refuse<T>(message: impl Into<String>) -> Checked<T> {
    Err(InvalidValue {
        message: message.into(),
        suggestion: None,
    })
}

fn refuse_for<T>(message: impl Into<String>, suggestion: impl Into<String>) -> Checked<T> {
    Err(InvalidValue {
        message: message.into(),
        suggestion: Some(suggestion.into()),
    })
}

/// Checks the name of a variable, a secret or a build argument.
///
/// # Errors
/// Where it is not letters, digits and `_` only, begins with a digit, is
/// empty, longer than 128 bytes, or is `PORT`, which Nonna sets itself.
pub fn check_variable_name(name: &str) -> Checked<()> {
    if name == "PORT" {
        return refuse("`PORT` is given to every replica by Nonna: set the service's `port`");
    }
    check_argument_name(name)
}

/// Checks the name of a build argument, which may be `PORT`.
///
/// # Errors
/// As [`check_variable_name`].
pub fn check_argument_name(name: &str) -> Checked<()> {
    if name.is_empty() {
        return refuse("a variable's name must not be empty");
    }
    if name.len() > MAX_VARIABLE_NAME {
        return refuse(format!(
            "a variable's name may have {MAX_VARIABLE_NAME} bytes at most"
        ));
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.as_bytes()[0].is_ascii_digit() {
        return Ok(());
    }
    let mut better: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if better.starts_with(|c: char| c.is_ascii_digit()) {
        better.insert(0, '_');
    }
    refuse_for(
        "a variable's name has only the letters A-Z and a-z, digits and `_`, and does not begin with a digit",
        better,
    )
}

/// Checks the value of a variable or a secret.
///
/// # Errors
/// Where it holds a NUL, which no process can be given, or is longer than 32 KiB.
pub fn check_variable_value(value: &str) -> Checked<()> {
    if value.contains('\0') {
        return refuse("the value of a variable cannot hold a NUL character");
    }
    if value.len() > MAX_VARIABLE_VALUE {
        return refuse(format!(
            "the value of a variable may have {MAX_VARIABLE_VALUE} bytes at most, this one has {}",
            value.len()
        ));
    }
    Ok(())
}

/// Checks an image reference: `redis:7`, `ghcr.io/acme/web@sha256:…`.
///
/// # Errors
/// Where no registry would understand it.
pub fn check_image(reference: &str) -> Checked<()> {
    const EXAMPLE: &str = "an image reference such as `redis:7` or `ghcr.io/acme/web:1.2`";
    if reference.is_empty() {
        return refuse(format!("this must be {EXAMPLE}, and is empty"));
    }
    if reference.len() > MAX_IMAGE {
        return refuse(format!("an image reference may have {MAX_IMAGE} bytes at most"));
    }
    for scheme in ["https://", "http://", "docker://"] {
        if let Some(rest) = reference.strip_prefix(scheme) {
            return refuse_for(format!("an image reference does not begin with `{scheme}`"), rest);
        }
    }
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest {
        let good = digest.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if !good {
            return refuse("the part after `@` must be `sha256:` and 64 hexadecimal digits");
        }
    }
    // A `:` after the last `/` begins the tag; one before it is a port.
    let last = named.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match named[last..].find(':') {
        Some(colon) => (&named[..last + colon], Some(&named[last + colon + 1..])),
        None => (named, None),
    };
    if let Some(tag) = tag {
        let good = (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !good {
            return refuse(
                "an image's tag has 1 to 128 letters, digits, `_`, `.` and `-`, and begins with neither `.` nor `-`",
            );
        }
    }
    let mut parts: Vec<&str> = repository.split('/').collect();
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    if parts.len() > 1 && is_registry(parts[0]) {
        let registry = parts.remove(0);
        let (host, port) = registry
            .split_once(':')
            .map_or((registry, None), |(h, p)| (h, Some(p)));
        let good_host = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
            && !host
                .split('.')
                .any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'));
        if !good_host || port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
            return refuse(format!(
                "the registry's name is not a host name: this must be {EXAMPLE}"
            ));
        }
    }
    for part in parts {
        let good = !part.is_empty()
            && part
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !good {
            let lower = reference.to_ascii_lowercase();
            if lower != reference && check_image(&lower).is_ok() {
                return refuse_for("an image's name has only small letters", lower);
            }
            return refuse(format!("this must be {EXAMPLE}"));
        }
    }
    Ok(())
}

/// Checks a repository that images are pushed to: a reference with its
/// registry and without a tag.
///
/// # Errors
/// Where it is none.
pub fn check_repository(text: &str) -> Checked<String> {
    const EXAMPLE: &str = "a repository with its registry, such as `ghcr.io/acme/web`";
    check_image(text)?;
    let last = text.rfind('/').map_or(0, |at| at + 1);
    if let Some(end) = text[last..].find([':', '@']) {
        return refuse_for(
            "a repository has no tag and no digest: Nonna names each release itself",
            &text[..last + end],
        );
    }
    let first = text.split_once('/').map_or("", |(first, _)| first);
    if first.contains(['.', ':']) || first == "localhost" {
        return Ok(text.to_owned());
    }
    refuse(format!("this must be {EXAMPLE}"))
}

/// Reads a route: a host, a host and a path prefix, a wildcard. Names in other
/// scripts are turned into their ASCII form, capitals into small letters.
///
/// # Errors
/// Where it is no host name, or the path is not one a request could have.
pub fn parse_route(text: &str) -> Checked<RouteSpec> {
    const EXAMPLE: &str = "a host such as `example.org`, `*.example.org` or `example.org/api`";
    if text.trim() != text {
        return refuse_for("there is a space around this domain", text.trim());
    }
    if text.is_empty() {
        return refuse(format!("this must be {EXAMPLE}, and is empty"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return refuse_for(
            "a domain is written without `http://` or `https://`: the edge serves both",
            rest.trim_end_matches('/'),
        );
    }
    let (host, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, "/"),
    };
    if let Some((host, port)) = host.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return refuse_for(
            "a domain has no port: the edge listens on 80 and 443",
            format!("{host}{}", if path == "/" { "" } else { path }),
        );
    }
    let host = check_host(host)?;
    let path = check_route_path(path)?;
    Ok(RouteSpec { host, path })
}

fn check_host(host: &str) -> Checked<String> {
    let (wildcard, rest) = match host.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, host),
    };
    if rest.contains('*') {
        return refuse("`*` may only stand for the whole leftmost part of a host: `*.example.org`");
    }
    let rest = rest.strip_suffix('.').unwrap_or(rest);
    let Ok(ascii) = idna::domain_to_ascii_strict(rest) else {
        // `_` is common in habit and forbidden in host names; say so.
        if rest.contains('_') {
            return refuse_for("a host name cannot hold `_`", host.replace('_', "-"));
        }
        return refuse("this is no host name: letters, digits and `-` in parts of 1 to 63, joined by dots");
    };
    if ascii.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return refuse("this is an address or a number, not a domain: every service has a URL without one");
    }
    if !ascii.contains('.') && ascii != "localhost" {
        return refuse_for("a domain has at least two parts", format!("{host}.localhost"));
    }
    let host = if wildcard { format!("*.{ascii}") } else { ascii };
    if host.len() > MAX_HOST {
        return refuse(format!("a host name may have {MAX_HOST} bytes at most"));
    }
    Ok(host)
}

fn check_route_path(path: &str) -> Checked<String> {
    check_url_path(path)?;
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    })
}

/// Checks the path of a route: as that of a request, without its query.
fn check_url_path(path: &str) -> Checked<()> {
    if path.contains(['?', '#']) {
        return refuse_for(
            "a route's path has no `?` and no `#`",
            path.split(['?', '#']).next().unwrap_or("/"),
        );
    }
    check_request_path(path)
}

/// Checks the path (and query) that a health check asks for.
///
/// # Errors
/// Where it does not begin with `/`, or no request could carry it.
pub fn check_request_path(path: &str) -> Checked<()> {
    if path.len() > MAX_PATH {
        return refuse(format!("a path may have {MAX_PATH} bytes at most"));
    }
    if !path.starts_with('/') {
        let path = path.split_once("://").map_or(path, |(_, rest)| {
            rest.split_once('/').map_or("", |(_, path)| path)
        });
        return refuse_for(
            "a path begins with `/`",
            format!("/{}", path.trim_start_matches("./")),
        );
    }
    if path.bytes().any(|b| {
        !b.is_ascii_graphic() || matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    }) {
        return refuse(
            "a path has only the characters that a URL may have; write others as `%20` and the like",
        );
    }
    let only_path = path.split('?').next().unwrap_or(path);
    if only_path.contains("//")
        || only_path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
    {
        return refuse("a path has no empty, `.` or `..` parts");
    }
    Ok(())
}

/// Checks the name of a branch, as `git branch` shows it.
///
/// # Errors
/// What no branch may be called.
pub fn check_branch(name: &str) -> Checked<String> {
    if let Some(rest) = name.strip_prefix("refs/heads/") {
        return refuse_for("this is a branch's full name", rest);
    }
    let forbidden = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock");
    let good = name.len() <= MAX_BRANCH
        && name != "@"
        && !name.chars().any(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part);
    if good {
        Ok(name.to_owned())
    } else {
        refuse("no branch can have this name")
    }
}

/// Checks a pattern of paths to watch: a path below the manifest's folder, in
/// which `*`, `?` and `**` may stand; `!` before it takes away.
///
/// # Errors
/// As [`check_inner_path`].
pub fn check_watch(pattern: &str) -> Checked<String> {
    let (not, path) = match pattern.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", pattern),
    };
    check_inner_path(path).map(|path| format!("{not}{path}"))
}

/// Checks a path inside the project's folder and gives its normal form:
/// `./a//b/` becomes `a/b`, the folder itself `.`.
///
/// # Errors
/// Where it is absolute, leaves the folder with `..`, or is no path at all.
pub fn check_inner_path(path: &str) -> Checked<String> {
    if path.is_empty() {
        return refuse_for("this path is empty", ".");
    }
    if path.len() > MAX_PATH {
        return refuse(format!("a path may have {MAX_PATH} bytes at most"));
    }
    if path.chars().any(char::is_control) {
        return refuse("a path cannot hold control characters");
    }
    if path.contains('\\') {
        return refuse_for(
            "a path is written with `/`, on every system",
            path.replace('\\', "/"),
        );
    }
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if path.starts_with(['/', '~']) || drive {
        return refuse("this path must be relative, and inside the manifest's folder");
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return refuse(
                    "`..` would leave the folder: only what is inside the manifest's folder can be built",
                );
            }
            part => parts.push(part),
        }
    }
    Ok(if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    })
}

/// Checks where a volume appears in a replica, and gives the path's normal
/// form.
///
/// # Errors
/// Where it is not absolute, is the root, or hides what the kernel provides.
pub fn check_mount_path(path: &str) -> Checked<String> {
    if path.len() > MAX_PATH {
        return refuse(format!("a path may have {MAX_PATH} bytes at most"));
    }
    if path.chars().any(char::is_control) {
        return refuse("a path cannot hold control characters");
    }
    if !path.starts_with('/') {
        return refuse_for(
            "the path of a volume is absolute: where the replica finds it, not where it is kept",
            format!("/{}", path.trim_start_matches(['.', '/', '~'])),
        );
    }
    // Engines read `a:b` as two fields.
    if path.contains(':') {
        return refuse("the path of a volume cannot hold `:`");
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return refuse("the path of a volume has no `..` in it");
    }
    match parts.first() {
        None => refuse("a volume cannot stand in the place of the whole file system (`/`)"),
        Some(&first @ ("proc" | "sys" | "dev")) => refuse(format!(
            "a volume cannot be in `/{first}`, which belongs to the kernel"
        )),
        Some(_) => Ok(format!("/{}", parts.join("/"))),
    }
}

/// Splits a command as a shell splits words (quotes, backslashes), and refuses
/// what only a shell could do, because no shell will see it.
///
/// # Errors
/// Where a quote is left open, it has no word, or it needs a shell.
pub fn split_command(text: &str) -> Checked<Vec<String>> {
    let Some(words) = shlex::split(text) else {
        return refuse("a quote in this command is not closed, or a backslash stands at its end");
    };
    let needs_shell = words.iter().any(|word| {
        matches!(
            word.as_str(),
            "&&" | "||" | "|" | ";" | "&" | ">" | ">>" | "<" | "2>&1"
        ) || word.ends_with(';')
    }) || has_variable(text);
    if needs_shell {
        // A JSON string is a TOML string too.
        let quoted = serde_json::Value::from(text).to_string();
        return refuse_for(
            "this needs a shell, and commands are not given to one",
            format!("[\"sh\", \"-c\", {quoted}]"),
        );
    }
    check_command(&words)?;
    Ok(words)
}

/// Whether a `$NAME` or `${NAME}` stands outside single quotes.
fn has_variable(text: &str) -> bool {
    let mut quoted = false;
    let mut previous = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if previous != '\\' => quoted = !quoted,
            '$' if !quoted && previous != '\\' && chars.peek().is_some_and(begins_variable) => return true,
            _ => {}
        }
        previous = c;
    }
    false
}

fn begins_variable(after_dollar: &char) -> bool {
    after_dollar.is_ascii_alphabetic() || matches!(after_dollar, '_' | '{' | '(')
}

/// Checks a command that is a list of words already.
///
/// # Errors
/// Where it has no program, too many or too long words, or a NUL.
pub fn check_command(words: &[String]) -> Checked<()> {
    match words.first() {
        None => return refuse("a command has at least one word: the program"),
        Some(program) if program.is_empty() => {
            return refuse("the first word of a command is the program, and is empty");
        }
        Some(_) => {}
    }
    if words.len() > MAX_WORDS {
        return refuse(format!("a command may have {MAX_WORDS} words at most"));
    }
    for word in words {
        if word.len() > MAX_WORD {
            return refuse(format!("a word of a command may have {MAX_WORD} bytes at most"));
        }
        if word.contains('\0') {
            return refuse("a command cannot hold a NUL character");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references() {
        let digest = "a".repeat(64);
        for good in [
            "redis",
            "redis:7",
            "library/redis:7.2-alpine",
            "ghcr.io/acme/web:1.2",
            "localhost:5000/web",
            "127.0.0.1:5000/a/b:c",
            &format!("web@sha256:{digest}"),
            &format!("registry.example.org/web:1@sha256:{digest}"),
        ] {
            assert_eq!(check_image(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Redis",
            "redis:",
            "redis:7;rm -rf /",
            "redis 7",
            "../redis",
            "a//b",
            "web@sha256:abc",
            "https://ghcr.io/web",
            ":7",
            "host:99999/web",
            "-host.org/web",
            &"a".repeat(600),
        ] {
            assert!(check_image(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_image("Redis:7").unwrap_err().suggestion.as_deref(),
            Some("redis:7")
        );
    }

    #[test]
    fn routes() {
        let route = |host: &str, path: &str| {
            Ok(RouteSpec {
                host: host.into(),
                path: path.into(),
            })
        };
        assert_eq!(parse_route("example.org"), route("example.org", "/"));
        assert_eq!(parse_route("Example.ORG/api/"), route("example.org", "/api"));
        assert_eq!(parse_route("*.example.org"), route("*.example.org", "/"));
        assert_eq!(parse_route("bücher.example"), route("xn--bcher-kva.example", "/"));
        assert_eq!(parse_route("shop.localhost"), route("shop.localhost", "/"));
        for bad in [
            "",
            " example.org",
            "exa mple.org",
            "https://example.org",
            "example.org:8080",
            "a.*.org",
            "*",
            "*example.org",
            "exa_mple.org",
            "10.0.0.1",
            "web",
            "-a.org",
            "a..org",
            "/api",
            "example.org/../x",
            "example.org/a?b",
            "example.org/<script>",
            "example.org/a//b",
            &format!("{}.org", "a".repeat(64)),
        ] {
            assert!(parse_route(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_that_leave_their_folder_are_refused() {
        assert_eq!(check_inner_path("./a//b/"), Ok("a/b".into()));
        assert_eq!(check_inner_path("."), Ok(".".into()));
        for bad in [
            "",
            "/etc",
            "..",
            "a/../..",
            "~/x",
            "C:/x",
            "a\\b",
            "a\0b",
            "\u{1b}[2J",
        ] {
            assert!(check_inner_path(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_mount_path("/var//lib/data/"), Ok("/var/lib/data".into()));
        for bad in [
            "",
            "data",
            "/",
            "//",
            "/.",
            "/proc",
            "/sys/x",
            "/dev/shm",
            "/a/../proc",
            "/a:ro",
            "/./proc/1",
        ] {
            assert!(check_mount_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commands_are_split_but_never_interpreted() {
        assert_eq!(
            split_command("bin/serve --name 'a b' \"c d\""),
            Ok(vec![
                "bin/serve".into(),
                "--name".into(),
                "a b".into(),
                "c d".into()
            ])
        );
        assert_eq!(
            split_command("echo '$HOME'"),
            Ok(vec!["echo".into(), "$HOME".into()])
        );
        for bad in [
            "",
            "  ",
            "echo 'a",
            "a && b",
            "a | b",
            "echo $HOME",
            "echo ${HOME}",
            "echo $(id)",
            "a; b",
        ] {
            assert!(split_command(bad).is_err(), "{bad}");
        }
        assert_eq!(
            split_command("a && b").unwrap_err().suggestion.as_deref(),
            Some(r#"["sh", "-c", "a && b"]"#)
        );
    }

    #[test]
    fn variable_names() {
        for good in ["A", "_a", "DATABASE_URL", "a1"] {
            assert_eq!(check_variable_name(good), Ok(()));
        }
        for bad in [
            "",
            "1A",
            "A-B",
            "A B",
            "A=B",
            "É",
            "A\0",
            "PORT",
            &"A".repeat(129),
        ] {
            assert!(check_variable_name(bad).is_err(), "{bad}");
        }
        assert_eq!(check_argument_name("PORT"), Ok(()));
    }
}
