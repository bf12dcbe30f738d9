//! Failures, told for people: what and where, what was seen, how to mend it.

use nonna_api::Failure as Document;
use nonna_engine::Error;
use nonna_engine::error::Fault;
use serde::Serialize;

use super::{Paint, Printer, clean};
use crate::fail::Failure;

#[derive(Serialize)]
struct UsageDocument<'a> {
    error: UsageError<'a>,
}

#[derive(Serialize)]
struct UsageError<'a> {
    fault: &'static str,
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Printer {
    /// Tells why a command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Error(error) => self.error(error),
            Failure::Usage { message, hint } => self.usage(message, hint.as_deref()),
            Failure::Told | Failure::Exit(_) => {}
        }
    }

    /// Tells of an error; with `--json` as a document on standard error.
    pub(crate) fn error(&self, error: &Error) {
        if self.is_json() {
            let document = Document { error: error.clone() };
            self.write_err(&serde_json::to_string(&document).unwrap_or_default());
            return;
        }
        let head = self.paint_err(Paint::Bad, "error:");
        self.write_err(&format!("{head} {}", clean(&error.message)));
        for line in &error.details {
            for line in line.lines() {
                self.write_err(&format!("  {}", clean(line)));
            }
        }
        if let Some(said) = &error.provider {
            self.write_err(&format!("  {}", self.paint_err(Paint::Dim, &format!("({said})"))));
        }
        if error.fault == Fault::Bug {
            self.write_err("  This is a bug in Nonna. Please report it with the lines above.");
        }
        if let Some(hint) = &error.hint {
            self.hint(hint);
        }
        self.write_err(&format!(
            "  {}",
            self.paint_err(Paint::Dim, &format!("[{}]", error.code))
        ));
    }

    fn usage(&self, message: &str, hint: Option<&str>) {
        if self.is_json() {
            let document = UsageDocument {
                error: UsageError {
                    fault: "user",
                    code: "bad_usage",
                    message,
                    hint,
                },
            };
            self.write_err(&serde_json::to_string(&document).unwrap_or_default());
            return;
        }
        let head = self.paint_err(Paint::Bad, "error:");
        self.write_err(&format!("{head} {}", clean(message)));
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }

    fn hint(&self, hint: &str) {
        let head = self.paint_err(Paint::Good, "hint:");
        let mut lines = hint.lines();
        self.write_err(&format!("{head} {}", clean(lines.next().unwrap_or_default())));
        for line in lines {
            self.write_err(&format!("      {}", clean(line)));
        }
    }
}
