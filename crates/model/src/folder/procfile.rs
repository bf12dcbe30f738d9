//! The `Procfile`: process types, one a line: a name, a colon, a command.

use std::fmt;

use crate::command_line;
use crate::manifest::limits::{MAX_SERVICES, MAX_WORD};
use crate::manifest::{DEFAULT_SERVICE, Problems, Report, shorten};
use crate::name::Name;

/// The file's name.
pub const PROCFILE: &str = "Procfile";

/// The process type that is no process: what runs before each release.
pub(super) const RELEASE: &str = "release";

/// The largest Procfile, in bytes.
const MAX_FILE: usize = 64 * 1024;

/// What a Procfile says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile {
    /// The process types, in the order of the file.
    pub processes: Vec<Process>,
    /// The line of `release:`, if there is one.
    pub release: Option<String>,
}

/// A process type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// As it is written.
    pub name: String,
    /// The service that it becomes: the same name, in the characters that
    /// services may have.
    pub service: Name,
    /// Its command, a line for a shell.
    pub command: String,
}

impl Process {
    /// Whether it is the one that answers requests.
    #[must_use]
    pub fn is_web(&self) -> bool {
        self.service.as_str() == DEFAULT_SERVICE
    }

    /// What is started: the command's words, or a shell where it needs one.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        command_line::words(&self.command)
    }
}

impl Procfile {
    /// Reads the text; `file` is what its mistakes call it.
    ///
    /// Empty lines and lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// Every mistake: a line without a colon, a name that cannot be one, the
    /// same name twice, a name without a command.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        let mut report = Report::new(file, text);
        let mut out = Self::default();
        if text.len() > MAX_FILE {
            report.add(
                &(0..0),
                format!(
                    "a Procfile may have {MAX_FILE} bytes at most, this one has {}",
                    text.len()
                ),
            );
            return report.finish().map(|()| out);
        }
        let mut seen: Vec<(Name, usize)> = Vec::new();
        for number in 0..report.lines() {
            let range = report.line_range(number);
            let whole = text.get(range.clone()).unwrap_or_default();
            let line = whole.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let start = range.start + whole.find(line).unwrap_or_default();
            let at = start..start + line.len();
            let Some((name, command)) = line.split_once(':') else {
                report.suggest(
                    &at,
                    "every line is a name, a colon and a command, and there is no colon here",
                    with_colon(line),
                );
                continue;
            };
            let name_at = start..start + name.len();
            let (name, command) = (name.trim_end(), command.trim());
            let Some(service) = service(name, &name_at, line, &mut report) else {
                continue;
            };
            if let Some((_, first)) = seen.iter().find(|(earlier, _)| *earlier == service) {
                report.add(
                    &name_at,
                    format!(
                        "`{}` stands on line {first} already: every process type has one command",
                        shorten(name)
                    ),
                );
                continue;
            }
            seen.push((service.clone(), number + 1));
            if command.is_empty() {
                report.add(&at, format!("`{}` has no command after its colon", shorten(name)));
                continue;
            }
            if command.len() > MAX_WORD {
                report.add(&at, format!("a command may have {MAX_WORD} bytes at most"));
                continue;
            }
            if let Some(control) = command.find(|c: char| c.is_control() && c != '\t') {
                let from = start + line.len() - command.len() + control;
                report.add(&(from..from + 1), "a command cannot hold control characters");
                continue;
            }
            if service.as_str() == RELEASE {
                out.release = Some(command.to_owned());
            } else {
                out.processes.push(Process {
                    name: name.to_owned(),
                    service,
                    command: command.to_owned(),
                });
            }
        }
        if out.processes.len() > MAX_SERVICES {
            report.add(
                &(0..0),
                format!(
                    "there may be {MAX_SERVICES} process types at most, here are {}",
                    out.processes.len()
                ),
            );
        }
        report.finish().map(|()| out)
    }

    /// The process type that answers requests.
    #[must_use]
    pub fn web(&self) -> Option<&Process> {
        self.processes.iter().find(|process| process.is_web())
    }

    /// What its writer may not expect.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for process in &self.processes {
            if process.name != process.service.as_str() {
                notes.push(format!(
                    "the process type `{}` becomes the service `{}`",
                    shorten(&process.name),
                    process.service
                ));
            }
            if strsim::osa_distance(process.service.as_str(), RELEASE) == 1 {
                notes.push(format!(
                    "`{}` is a process that runs all the time: did you mean `release`, which runs before each release?",
                    process.service
                ));
            }
        }
        notes
    }
}

impl fmt::Display for Procfile {
    /// As it would stand in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(release) = &self.release {
            writeln!(f, "{RELEASE}: {release}")?;
        }
        for process in &self.processes {
            writeln!(f, "{}: {}", process.name, process.command)?;
        }
        Ok(())
    }
}

/// The service of a process type.
fn service(name: &str, at: &std::ops::Range<usize>, line: &str, report: &mut Report<'_>) -> Option<Name> {
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let found = Name::slug(name);
    match found {
        Some(service) if good && name.len() <= crate::name::MAX_LEN => return Some(service),
        // `worker python w.py --at 10:30`
        _ if name.contains(char::is_whitespace) => report.suggest(
            at,
            format!(
                "`{}` is no name of a process type: letters, digits, `-` and `_`, and then the colon",
                shorten(name)
            ),
            with_colon(line),
        ),
        found => report.suggest(
            at,
            format!(
                "`{}` is no name of a process type: 1 to {} letters, digits, `-` and `_`, a letter first",
                shorten(name),
                crate::name::MAX_LEN
            ),
            found.map(String::from),
        ),
    }
    None
}

/// The line with the colon that was forgotten, or `=` in its place.
fn with_colon(line: &str) -> Option<String> {
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
        .filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(end);
    let command = rest.trim_start().trim_start_matches('=').trim_start();
    (!command.is_empty()).then(|| shorten(&format!("{name}: {command}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> crate::manifest::Problem {
        let mut problems = Procfile::parse(text, PROCFILE).unwrap_err().0;
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }

    #[test]
    fn processes_and_the_release_command() {
        let text = "# the shop\r\nweb: gunicorn -b 0.0.0.0:$PORT app:app\r\n\r\nMail_Worker:python w.py\nrelease: ./migrate";
        let procfile = Procfile::parse(text, PROCFILE).unwrap();
        assert_eq!(procfile.release.as_deref(), Some("./migrate"));
        let names: Vec<(&str, bool)> = procfile
            .processes
            .iter()
            .map(|p| (p.service.as_str(), p.is_web()))
            .collect();
        assert_eq!(names, [("web", true), ("mail-worker", false)]);
        assert_eq!(procfile.processes[1].words(), ["python", "w.py"]);
        assert_eq!(
            procfile.processes[0].words(),
            ["/bin/sh", "-c", "exec gunicorn -b 0.0.0.0:$PORT app:app"]
        );
        assert_eq!(
            procfile.notes(),
            ["the process type `Mail_Worker` becomes the service `mail-worker`"]
        );
    }

    #[test]
    fn a_typo_is_named_with_its_line_and_mended() {
        let missing = problem("web: x\nworker python w.py\n");
        assert_eq!((missing.line, missing.column), (2, 1));
        assert_eq!(missing.offending, "worker python w.py");
        assert_eq!(missing.suggestion.as_deref(), Some("worker: python w.py"));
        assert_eq!(
            problem("web = python w.py").suggestion.as_deref(),
            Some("web: python w.py")
        );
        assert_eq!(
            problem("worker python w.py --at 10:30").suggestion.as_deref(),
            Some("worker: python w.py --at 10:30")
        );
        let bad = problem("web.1: x");
        assert_eq!((bad.line, bad.column, bad.length), (1, 1, 5));
        assert_eq!(bad.suggestion.as_deref(), Some("web-1"));
        let twice = problem("web: a\n\nWeb: b");
        assert_eq!(twice.line, 3);
        assert!(twice.message.contains("line 1"), "{}", twice.message);
        assert!(problem("web:").message.contains("no command"));
        assert!(problem("9: x").suggestion.is_none());
        let all = Procfile::parse("web\nweb:\n-: x\n", PROCFILE).unwrap_err();
        assert_eq!(all.0.len(), 3, "{all}");
    }

    #[test]
    fn what_looks_like_a_release_command_is_said() {
        let procfile = Procfile::parse("web: a\nrelase: b", PROCFILE).unwrap();
        assert!(procfile.notes()[0].contains("did you mean `release`"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = Procfile::parse(&text, PROCFILE).map_err(|p| p.to_string());
        }

        #[test]
        fn any_lines_are_read_or_refused(lines in prop::collection::vec("[a-zé:= \t#-]{0,12}", 0..6)) {
            let _ = Procfile::parse(&lines.join("\n"), PROCFILE).map_err(|p| p.to_string());
        }

        #[test]
        fn a_good_one_is_the_same_written_and_read_again(
            commands in prop::collection::btree_map("[a-z][a-z0-9]{0,8}", "[!-~][ -~]{0,30}[!-~]", 0..6),
        ) {
            let text: String = commands.iter().map(|(name, command)| format!("{name}: {command}\n")).collect();
            let procfile = Procfile::parse(&text, PROCFILE).unwrap();
            prop_assert_eq!(procfile.processes.len() + usize::from(procfile.release.is_some()), commands.len());
            prop_assert_eq!(Procfile::parse(&procfile.to_string(), PROCFILE).unwrap(), procfile);
        }
    }
}
