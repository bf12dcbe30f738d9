//! From a line that somebody wrote for a shell to the words that are started:
//! the program itself where no shell is needed, so that signals reach it.

/// The words to start for this line: the line's own words where only a program
/// and plain arguments stand in it, else a shell that the program takes the
/// place of where that can be told.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    if is_plain(line) {
        return line.split_whitespace().map(str::to_owned).collect();
    }
    shell(line)
}

/// Whether a line is a program and its arguments and nothing else.
#[must_use]
pub fn is_plain(line: &str) -> bool {
    line.chars()
        .all(|c| c.is_ascii_alphanumeric() || " ._-/:=@,+".contains(c))
        && !is_assigning(line)
        && !line.trim().is_empty()
}

/// The words that give this line to a shell.
#[must_use]
pub fn shell(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = if is_simple(line) {
        format!("exec {line}")
    } else if is_assigning(line) && !has_operators(line) {
        format!("exec env {line}")
    } else {
        line.to_owned()
    };
    vec!["/bin/sh".to_owned(), "-c".to_owned(), line]
}

fn has_operators(line: &str) -> bool {
    line.contains(['&', '|', ';', '\n', '(', '`', '{', '<', '>']) && !only_parameters(line)
}

/// Whether braces are only there for `${PORT}`.
fn only_parameters(line: &str) -> bool {
    !line
        .replace("${", "")
        .contains(['&', '|', ';', '\n', '(', '`', '{', '<', '>'])
}

fn is_assigning(line: &str) -> bool {
    line.split_whitespace()
        .next()
        .and_then(|word| word.split_once('='))
        .is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

/// Whether it is one command, which can take the shell's place.
fn is_simple(line: &str) -> bool {
    const WORDS: [&str; 9] = ["exec", "if", "for", "while", "cd", "export", "set", "source", "."];
    let first = line.split_whitespace().next().unwrap_or_default();
    !has_operators(line) && !is_assigning(line) && !WORDS.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_reach_the_app_whatever_the_line() {
        for (line, expected) in [
            ("node server.js", vec!["node", "server.js"]),
            (
                "gunicorn -b 0.0.0.0:$PORT app:app",
                vec!["/bin/sh", "-c", "exec gunicorn -b 0.0.0.0:$PORT app:app"],
            ),
            (
                "gunicorn -b ${PORT:-80} 'app:create()'",
                vec!["/bin/sh", "-c", "gunicorn -b ${PORT:-80} 'app:create()'"],
            ),
            ("A=1 node x", vec!["/bin/sh", "-c", "exec env A=1 node x"]),
            ("node a && node b", vec!["/bin/sh", "-c", "node a && node b"]),
            ("cd web && node b", vec!["/bin/sh", "-c", "cd web && node b"]),
            ("exec node $X", vec!["/bin/sh", "-c", "exec node $X"]),
        ] {
            assert_eq!(words(line), expected);
        }
    }
}
