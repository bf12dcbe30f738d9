//! Which lines belong to the one before: stack traces of Java, Python, Rust and
//! Go.

use crate::record::Level;

/// What a record that is still being put together is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// An error, behind which a Java or Node.js trace may come.
    Error,
    /// Python: indented lines, then the exception.
    Python,
    /// Python: the exception came; another may follow.
    PythonEnded,
    /// Rust: a panic, perhaps with a backtrace.
    Rust,
    /// Go: all goroutines, up to the next line that is none of it.
    Go,
}

/// Whether lines of a trace may follow this record.
pub(crate) fn begins(line: &[u8], level: Level) -> Option<Trace> {
    let first = *line.first()?;
    if first == b'{' {
        return None;
    }
    let has = |text: &[u8]| memchr::memmem::find(line, text).is_some();
    match first {
        b'T' if line.starts_with(b"Traceback (most recent call last)") => return Some(Trace::Python),
        b't' if line.starts_with(b"thread '") && has(b"panicked at") => return Some(Trace::Rust),
        b'p' if line.starts_with(b"panic: ") => return Some(Trace::Go),
        b'f' if line.starts_with(b"fatal error: ") => return Some(Trace::Go),
        b'E' if line.starts_with(b"Exception in thread ") => return Some(Trace::Error),
        b'U' if line.starts_with(b"Uncaught ") => return Some(Trace::Error),
        _ => {}
    }
    // An access log's 500 is no trace's beginning.
    (level >= Level::Error && !has(b"HTTP/")).then_some(Trace::Error)
}

/// Whether a line is of a trace at all, whatever came before it: cheap, for
/// every line.
pub(crate) fn continues_any(line: &[u8]) -> bool {
    match line.first() {
        Some(b'\t' | b' ') => {
            let text = line.trim_ascii_start();
            text.starts_with(b"at ") || text.starts_with(b"... ") || text.starts_with(b"Suppressed: ")
        }
        Some(b'C') => line.starts_with(b"Caused by: "),
        _ => false,
    }
}

/// Whether lines that belong to this one may follow, as far as the line alone
/// shows.
pub(crate) fn may_go_on(line: &[u8], level: Level) -> bool {
    begins(line, level).is_some() || continues_any(line) || matches!(line.first(), Some(b' ' | b'\t'))
}

/// Whether a line belongs to the trace; and what the trace is then.
pub(crate) fn continues(trace: Trace, line: &[u8]) -> Option<Trace> {
    if continues_any(line) {
        return Some(trace);
    }
    let indented = matches!(line.first(), Some(b' ' | b'\t'));
    match trace {
        Trace::Error => {
            if line.starts_with(b"Traceback (most recent call last)") {
                return Some(Trace::Python);
            }
            // `java.lang.IllegalStateException: why`
            let word = line
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || b"._$".contains(b))
                .count();
            let name = &line[..word];
            let exception = name.ends_with(b"Exception") || name.ends_with(b"Error");
            (exception && matches!(line.get(word), None | Some(b':'))).then_some(trace)
        }
        Trace::Python if indented => Some(trace),
        // The exception itself, which may be of any name.
        Trace::Python if line.first().is_some_and(u8::is_ascii_alphabetic) => Some(Trace::PythonEnded),
        Trace::Python => None,
        Trace::PythonEnded => match line {
            [] => Some(trace),
            _ if line.starts_with(b"During handling of") || line.starts_with(b"The above exception") => {
                Some(trace)
            }
            _ if line.starts_with(b"Traceback (most recent call last)") => Some(Trace::Python),
            _ => None,
        },
        Trace::Rust => (indented
            || line.starts_with(b"note: ")
            || line.starts_with(b"stack backtrace:")
            || line.starts_with(b"assertion ")
            || line.starts_with(b"called "))
        .then_some(trace),
        Trace::Go => (indented
            || line.is_empty()
            || line.starts_with(b"goroutine ")
            || line.starts_with(b"created by ")
            || line.starts_with(b"[signal ")
            || line.starts_with(b"exit status")
            || (line.ends_with(b")") && memchr::memchr(b'(', line).is_some()))
        .then_some(trace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_told_from_other_lines() {
        for (text, records) in [
            (
                "2026 ERROR x failed\njava.lang.IllegalStateException: why\n\tat a.b(C.java:1)\n\t... 3 more\nCaused by: d.E: f\n\tat g\n2026 INFO next",
                2,
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: no\nINFO next",
                2,
            ),
            (
                "ERROR:root:failed\nTraceback (most recent call last):\n  File \"a\"\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b\"\nOSError\nINFO x",
                2,
            ),
            (
                "thread 'main' panicked at src/main.rs:2:5:\nassertion failed: x\nnote: run with `RUST_BACKTRACE=1`\nhello",
                2,
            ),
            (
                "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/a/main.go:3 +0x1d\nexit status 2\nready",
                2,
            ),
            ("one\ntwo\n  indented\nthree", 4),
        ] {
            let mut trace = None;
            let mut found = 0;
            for line in text.split('\n').map(str::as_bytes) {
                trace = match trace.and_then(|trace| continues(trace, line)) {
                    Some(trace) => Some(trace),
                    None => {
                        found += 1;
                        let level = if text[..10].contains("ERR") && found == 1 {
                            Level::Error
                        } else {
                            Level::Info
                        };
                        begins(line, level)
                    }
                };
            }
            assert_eq!(found, records, "{text}");
        }
    }
}
