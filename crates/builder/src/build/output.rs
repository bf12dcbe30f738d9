//! What a build says, as lines for people; and what is kept of it to explain
//! a failure.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::StatusResponse;
use bollard::models::BuildInfoAux;
use nonna_engine::event::Progress;
use nonna_engine::{Code, Error, Result};

use super::hidden::Hidden;
use crate::engine::Line;
use crate::storage::Step as Ran;

/// How many lines are kept for an error.
const LAST_LINES: usize = 20;
/// The longest line that is passed on; what is longer is broken.
const MAX_LINE: usize = 4096;

/// What BuildKit calls the step that fetches a cache.
const CACHE_IMPORT: &str = "importing cache manifest from ";

/// How a build failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// The step, as the builder calls it: `[2/3] RUN npm ci`.
    pub(super) step: Option<String>,
    /// The builder's words.
    pub(super) words: String,
    /// The last lines that the step printed.
    pub(super) lines: Vec<String>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    announced: bool,
    finished: bool,
    partial: Vec<u8>,
    last: VecDeque<String>,
}

/// Passes on what a build says.
pub(super) struct Output<'a> {
    progress: &'a Progress,
    limit: u64,
    hidden: &'a Hidden,
    printed: u64,
    steps: HashMap<String, Step>,
    /// The step whose lines were passed on last.
    current: String,
    last: VecDeque<String>,
    error: Option<String>,
    failed_step: Option<(String, String)>,
    /// The steps that ran and ended, without their place and flags.
    ran: Vec<Ran>,
}

impl<'a> Output<'a> {
    /// Of what is said, the `hidden` values are masked.
    pub(super) fn new(progress: &'a Progress, limit: u64, hidden: &'a Hidden) -> Self {
        Self {
            progress,
            limit,
            hidden,
            printed: 0,
            steps: HashMap::new(),
            current: String::new(),
            last: VecDeque::new(),
            error: None,
            failed_step: None,
            ran: Vec::new(),
        }
    }

    /// The steps that ran, that is were not cached, and when.
    pub(super) fn ran(&self) -> Vec<Ran> {
        self.ran.clone()
    }

    /// Takes the next thing that the engine said.
    ///
    /// # Errors
    /// `BuildLimit` when it has said too much.
    pub(super) fn take(&mut self, said: Line) -> Result<()> {
        if let Some(text) = said.stream {
            self.classic(&text)?;
        }
        if let Some(error) = said.error_detail {
            self.error = error.message;
        }
        if let Some(BuildInfoAux::BuildKit(status)) = said.aux {
            self.buildkit(status)?;
        }
        Ok(())
    }

    /// Ends it, and says how it failed if it did.
    pub(super) fn finish(mut self) -> Option<Failed> {
        let steps: Vec<String> = self.steps.keys().cloned().collect();
        for step in steps {
            self.flush(&step);
        }
        let words = match (self.error, &self.failed_step) {
            (Some(error), _) => error,
            (None, Some((_, error))) => error.clone(),
            (None, None) => return None,
        };
        let digest = self.failed_step.map_or(self.current, |(digest, _)| digest);
        let step = self.steps.remove(&digest);
        let own = step
            .as_ref()
            .map(|step| &step.last)
            .filter(|last| !last.is_empty());
        Some(Failed {
            lines: own.unwrap_or(&self.last).iter().cloned().collect(),
            step: step.map(|step| step.name),
            words: self.hidden.mask(&words),
        })
    }

    /// Adds the last lines to the error with which a build was stopped.
    pub(super) fn with_last_lines(&self, error: Error) -> Error {
        if error.code == Code::Cancelled {
            return error;
        }
        self.last
            .iter()
            .fold(error, |error, line| error.detail(line.clone()))
    }

    fn buildkit(&mut self, status: StatusResponse) -> Result<()> {
        for vertex in status.vertexes {
            let step = self.steps.entry(vertex.digest.clone()).or_default();
            step.name = vertex.name.clone();
            // Reading the Dockerfile and unpacking the context is nobody's step.
            let internal = vertex.name.starts_with("[internal]") || vertex.name == "copy /context /";
            if vertex.started.is_some() && !step.announced && !internal {
                step.announced = true;
                let line = shown(&vertex.name);
                self.current.clone_from(&vertex.digest);
                self.progress.build_output(&line);
            }
            if vertex.completed.is_some() {
                if let Some(step) = self.steps.get_mut(&vertex.digest) {
                    if vertex.cached && !step.finished && !internal {
                        self.progress
                            .build_output(&format!("{} (cached)", shown(&vertex.name)));
                    }
                    if !step.finished
                        && !vertex.cached
                        && !internal
                        && let (Some(from), Some(to)) = (&vertex.started, &vertex.completed)
                    {
                        let millis = |seconds: i64, nanos: i32| seconds * 1000 + i64::from(nanos) / 1_000_000;
                        let name = shown(&vertex.name);
                        let command = name.split_once("] ").map_or(name.as_str(), |(_, rest)| rest);
                        self.ran.push(Ran {
                            command: command.to_owned(),
                            from: millis(from.seconds, from.nanos),
                            to: millis(to.seconds, to.nanos),
                        });
                    }
                    step.finished = true;
                }
                self.flush(&vertex.digest);
            }
            // Builds go on without their cache: the first one has none.
            if vertex.name.starts_with(CACHE_IMPORT) {
                if !vertex.error.is_empty() {
                    let why = vertex.error.clone();
                    self.progress
                        .build_output(&format!("there is no cache to be had from there: {why}"));
                }
                continue;
            }
            // The others are only told that they were cancelled for it.
            if !vertex.error.is_empty() && !vertex.error.ends_with("context canceled") {
                self.failed_step.get_or_insert((vertex.digest, vertex.error));
            }
        }
        for log in status.logs {
            self.text(&log.vertex, &log.msg)?;
        }
        Ok(())
    }

    fn classic(&mut self, text: &str) -> Result<()> {
        let first = text.split_once(' ').map(|(word, _)| word);
        if first.is_some_and(|word| word.eq_ignore_ascii_case("step")) {
            let name = text.trim().to_owned();
            self.current = name.clone();
            self.steps.insert(
                name.clone(),
                Step {
                    name,
                    announced: true,
                    ..Step::default()
                },
            );
        }
        let current = self.current.clone();
        self.text(&current, text.as_bytes())
    }

    /// Takes a piece of a step's output.
    fn text(&mut self, digest: &str, text: &[u8]) -> Result<()> {
        self.printed += text.len() as u64;
        let step = self.steps.entry(digest.to_owned()).or_default();
        step.partial.extend_from_slice(text);
        while let Some(step) = self.steps.get_mut(digest) {
            let end = step.partial.iter().position(|byte| *byte == b'\n');
            let line: Vec<u8> = match end {
                Some(end) => step.partial.drain(..=end).collect(),
                // A value that has only begun is not cut apart.
                None if step.partial.len() > MAX_LINE + 2 * self.hidden.longest() => {
                    let text = String::from_utf8_lossy(&step.partial);
                    let mut masked = self.hidden.mask(&text).into_bytes();
                    let rest = masked.split_off(masked.len().saturating_sub(self.hidden.longest()));
                    step.partial = rest;
                    masked
                }
                None => break,
            };
            self.line(digest, &line);
        }
        if self.printed > self.limit {
            return Err(Error::user(
                Code::BuildLimit,
                format!("The build printed more than {} bytes and was stopped.", self.limit),
            )
            .hint("See its last lines for a step that never ends. If it needs to print so much, raise the build's output limit."));
        }
        Ok(())
    }

    fn flush(&mut self, digest: &str) {
        let rest = self
            .steps
            .get_mut(digest)
            .map(|step| std::mem::take(&mut step.partial));
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            self.line(digest, &rest);
        }
    }

    fn line(&mut self, digest: &str, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        // A progress bar: what is seen of it in the end.
        let text = text.trim_end_matches(['\n', '\r']);
        let text = plain(text.rsplit('\r').next().unwrap_or_default());
        let text = self.hidden.mask(&text);
        if text.trim().is_empty() {
            return;
        }
        let Some(step) = self.steps.get_mut(digest) else {
            return;
        };
        if self.current != digest {
            // Steps run at the same time: say whose line this is.
            self.current = digest.to_owned();
            if !step.name.is_empty() {
                self.progress.build_output(&shown(&step.name));
            }
        }
        remember(&mut step.last, &text);
        remember(&mut self.last, &text);
        self.progress.build_output(&text);
    }
}

fn remember(last: &mut VecDeque<String>, line: &str) {
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(line.to_owned());
}

/// A step's name without what only the builder wants to know: the mounts.
pub(super) fn shown(name: &str) -> String {
    let mut words = name.split(' ').filter(|word| {
        !["--mount=", "--network=", "--security="]
            .iter()
            .any(|flag| word.starts_with(flag))
    });
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        text.push(' ');
        text.push_str(word);
        text
    })
}

/// A line without colours and other control sequences.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                // Up to the letter that ends it.
                for c in chars.by_ref() {
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bollard::moby::buildkit::v1::{Vertex, VertexLog};
    use bollard::models::BuildInfo;
    use nonna_engine::event::{Event, EventKind, EventSink};
    use nonna_model::DeploymentId;

    use super::*;

    static NOTHING: Hidden = Hidden::nothing();

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl EventSink for Lines {
        fn emit(&self, event: Event) {
            if let EventKind::BuildOutput { line, .. } = event.kind {
                self.0.lock().unwrap().push(line);
            }
        }
    }

    fn sink() -> (Arc<Lines>, Progress) {
        let lines = Arc::new(Lines::default());
        (lines.clone(), Progress::new(DeploymentId::generate(), 0, lines))
    }

    fn trace(status: StatusResponse) -> BuildInfo {
        BuildInfo {
            aux: Some(BuildInfoAux::BuildKit(status)),
            ..BuildInfo::default()
        }
    }

    fn log(step: &str, text: &str) -> BuildInfo {
        trace(StatusResponse {
            logs: vec![VertexLog {
                vertex: step.into(),
                msg: text.into(),
                ..VertexLog::default()
            }],
            ..StatusResponse::default()
        })
    }

    fn step(id: &str, name: &str, done: bool, error: &str) -> BuildInfo {
        trace(StatusResponse {
            vertexes: vec![Vertex {
                digest: id.into(),
                name: name.into(),
                started: Some(Default::default()),
                completed: done.then(Default::default),
                error: error.into(),
                ..Vertex::default()
            }],
            ..StatusResponse::default()
        })
    }

    #[test]
    fn a_build_without_its_cache_has_not_failed() {
        let (lines, progress) = sink();
        let mut output = Output::new(&progress, 10_000, &NOTHING);
        let name = "importing cache manifest from r.example/a:nonna-cache";
        output
            .take(step("c", name, true, "r.example/a:nonna-cache: not found"))
            .unwrap();
        output.take(step("d", "[1/1] RUN x", true, "")).unwrap();
        assert_eq!(output.finish(), None);
        assert!(lines.0.lock().unwrap()[1].contains("no cache"));
    }

    #[test]
    fn lines_come_out_whole_and_say_whose_they_are() {
        let (lines, progress) = sink();
        let mut output = Output::new(&progress, 10_000, &NOTHING);
        for said in [
            step("0", "[internal] load build definition", false, ""),
            step("a", "[1/2] RUN --mount=type=cache,target=/x make", false, ""),
            log("a", "on"),
            log("a", "e\ntwo\r\n10%\r50%\r100%\n\u{1b}[31mred\u{1b}[0m\n\n"),
            step("b", "[2/2] RUN test", false, ""),
            log("b", "b\n"),
            log("a", "last"),
            step("a", "[1/2] RUN --mount=type=cache,target=/x make", true, ""),
        ] {
            output.take(said).unwrap();
        }
        assert_eq!(output.finish(), None);
        assert_eq!(
            *lines.0.lock().unwrap(),
            [
                "[1/2] RUN make",
                "one",
                "two",
                "100%",
                "red",
                "[2/2] RUN test",
                "b",
                "[1/2] RUN make",
                "last"
            ]
        );
    }

    #[test]
    fn a_failure_has_the_step_and_its_own_last_lines() {
        let (_lines, progress) = sink();
        let mut output = Output::new(&progress, 100_000, &NOTHING);
        output.take(step("a", "[2/2] RUN make", false, "")).unwrap();
        for n in 0..30 {
            output.take(log("a", &format!("line {n}\n"))).unwrap();
        }
        output.take(step("b", "[other] RUN x", false, "")).unwrap();
        output.take(log("b", "noise\n")).unwrap();
        output
            .take(step("b", "[other] RUN x", true, "context canceled"))
            .unwrap();
        output
            .take(step("a", "[2/2] RUN make", true, "exit code: 3"))
            .unwrap();
        let failed = output.finish().unwrap();
        assert_eq!(failed.step.as_deref(), Some("[2/2] RUN make"));
        assert_eq!(failed.words, "exit code: 3");
        assert_eq!(failed.lines.len(), 20);
        assert_eq!(failed.lines.last().map(String::as_str), Some("line 29"));
    }

    #[test]
    fn the_limit_counts_every_byte() {
        let (_lines, progress) = sink();
        let mut output = Output::new(&progress, 100, &NOTHING);
        output.take(log("a", &"x".repeat(100))).unwrap();
        let error = output.take(log("a", "y")).unwrap_err();
        assert_eq!(error.code, Code::BuildLimit);
    }

    #[test]
    fn the_classic_builder_is_understood_too() {
        let (lines, progress) = sink();
        let mut output = Output::new(&progress, 1000, &NOTHING);
        for text in [
            "Step 1/2 : FROM x\n",
            " ---> 123\n",
            "Step 2/2 : RUN false\n",
            "oh",
            " no\n",
        ] {
            output
                .take(BuildInfo {
                    stream: Some(text.into()),
                    ..BuildInfo::default()
                })
                .unwrap();
        }
        let error: BuildInfo = serde_json::from_str(
            r#"{"errorDetail":{"code":1,"message":"The command '/bin/sh -c false' returned a non-zero code: 1"},"error":"x"}"#,
        )
        .unwrap();
        output.take(error).unwrap();
        let failed = output.finish().unwrap();
        assert_eq!(failed.step.as_deref(), Some("Step 2/2 : RUN false"));
        assert!(failed.lines.contains(&"oh no".to_owned()));
        assert_eq!(lines.0.lock().unwrap().len(), 4);
    }
}
