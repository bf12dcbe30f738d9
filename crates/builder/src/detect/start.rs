//! How an app is started.

use std::fmt;

use nonna_model::command_line;

/// A start command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A line for the shell, because it has variables in it.
    Shell(String),
}

impl Start {
    /// A program and its arguments.
    pub(super) fn exec(words: &[&str]) -> Self {
        Self::Exec(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// The `CMD` line. Signals reach the app itself: the shell, where one is
    /// needed, is replaced by it.
    pub(super) fn cmd(&self) -> String {
        let words = match self {
            Self::Exec(words) => words.clone(),
            Self::Shell(line) => command_line::shell(line),
        };
        // A list of texts: this cannot fail.
        format!("CMD {}", serde_json::to_string(&words).unwrap_or_default())
    }

    /// From a line that somebody wrote for a shell.
    pub(super) fn from_line(line: &str) -> Self {
        let line = line.trim();
        if command_line::is_plain(line) {
            Self::Exec(line.split_whitespace().map(str::to_owned).collect())
        } else {
            Self::Shell(line.to_owned())
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(words) => f.write_str(&words.join(" ")),
            Self::Shell(line) => f.write_str(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_reach_the_app_whatever_the_line() {
        for (line, cmd) in [
            ("node server.js", r#"CMD ["node","server.js"]"#),
            (
                "gunicorn -b 0.0.0.0:$PORT app:app",
                r#"CMD ["/bin/sh","-c","exec gunicorn -b 0.0.0.0:$PORT app:app"]"#,
            ),
            (
                "gunicorn -b 0.0.0.0:${PORT:-80} 'app:create()'",
                r#"CMD ["/bin/sh","-c","gunicorn -b 0.0.0.0:${PORT:-80} 'app:create()'"]"#,
            ),
            ("A=1 node x", r#"CMD ["/bin/sh","-c","exec env A=1 node x"]"#),
            ("node a && node b", r#"CMD ["/bin/sh","-c","node a && node b"]"#),
            ("cd web && node b", r#"CMD ["/bin/sh","-c","cd web && node b"]"#),
            ("exec node $X", r#"CMD ["/bin/sh","-c","exec node $X"]"#),
        ] {
            assert_eq!(Start::from_line(line).cmd(), cmd);
        }
    }
}
