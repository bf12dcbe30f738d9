//! The one place that writes to the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::{Table, clean};
use crate::args::GlobalArgs;

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Something went well, or comes to be.
    Good,
    /// Something failed, or is destroyed.
    Bad,
    /// Something wants attention, or changes.
    Notice,
    /// Of less weight.
    Dim,
    /// Of more weight.
    Strong,
    /// What belongs together, told apart by a number.
    Tag(usize),
}

const TAGS: [&str; 6] = ["36", "33", "35", "32", "34", "31"];

/// Writes results to standard output, all else to standard error.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    out_is_terminal: bool,
    err_is_terminal: bool,
    out_colour: bool,
    err_colour: bool,
}

impl Printer {
    /// A printer as the flags and the environment want it.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let err_is_terminal = io::stderr().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colour = !global.no_color
            && !set("NO_COLOR")
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            json: global.json,
            quiet: global.quiet,
            out_is_terminal,
            err_is_terminal,
            out_colour: colour && out_is_terminal,
            err_colour: colour && err_is_terminal,
        }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only results are printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether progress may be drawn and redrawn.
    pub(crate) fn can_draw(&self) -> bool {
        !self.json
            && !self.quiet
            && self.err_is_terminal
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && self.err_is_terminal && io::stdin().is_terminal()
    }

    /// Whether a person reads the results.
    pub(crate) fn out_is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// A line of a result.
    pub(crate) fn line(&self, text: &str) {
        self.write_out(format!("{text}\n").as_bytes());
    }

    /// A result that other programs read as it is, such as a file.
    pub(crate) fn raw(&self, text: &str) {
        self.write_out(text.as_bytes());
    }

    /// A table of a result.
    pub(crate) fn table(&self, table: &Table) {
        for line in table.lines() {
            self.line(&line);
        }
    }

    /// A result as a JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.line(&text);
    }

    /// A result as one line of JSON.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        let text = serde_json::to_string(value).unwrap_or_default();
        self.line(&text);
    }

    /// A remark about what is going on.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.write_err(text);
        }
    }

    /// Something that may surprise later.
    pub(crate) fn warning(&self, text: &str) {
        if !self.json {
            let head = self.paint_err(Paint::Notice, "warning:");
            self.write_err(&format!("{head} {}", clean(text)));
        }
    }

    /// A question, without a line's end.
    pub(crate) fn ask(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{text}");
        let _ = err.flush();
    }

    /// A piece of a result in its colour. Made safe for the terminal.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        coloured(self.out_colour, paint, text)
    }

    /// A piece of a remark in its colour. Made safe for the terminal.
    pub(crate) fn paint_err(&self, paint: Paint, text: &str) -> String {
        coloured(self.err_colour, paint, text)
    }

    /// The bytes of a command that runs elsewhere, as they are.
    pub(crate) fn pass_out(&self, bytes: &[u8]) {
        self.write_out(bytes);
    }

    /// The bytes of a command that runs elsewhere, as they are.
    pub(crate) fn pass_err(&self, bytes: &[u8]) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(bytes);
        let _ = err.flush();
    }

    /// A whole line to standard error.
    pub(super) fn write_err(&self, text: &str) {
        let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }

    fn write_out(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(bytes).and_then(|()| out.flush())
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // The reader (`head`, say) has enough: that is no failure.
            std::process::exit(0);
        }
    }
}

fn coloured(on: bool, paint: Paint, text: &str) -> String {
    let text = clean(text);
    if !on {
        return text.into_owned();
    }
    let code = match paint {
        Paint::Good => "32",
        Paint::Bad => "31",
        Paint::Notice => "33",
        Paint::Dim => "2",
        Paint::Strong => "1",
        Paint::Tag(number) => TAGS[number % TAGS.len()],
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}
