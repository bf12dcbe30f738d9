//! One replica's lines.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::errors::Error as Refusal;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use nonna_engine::Result;
use nonna_engine::ports::runtime::{LogLine, OutputLine};

use super::Stamped;
use crate::client::Client;
use crate::error;
use crate::labels::Identity;
use crate::observe::Replica;

/// A line that never ends is cut here: 256 KiB.
const LINE_MAX: usize = 256 * 1024;

/// Which part of a replica's log: milliseconds since 1970.
pub(super) struct Window {
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub tail: Option<u32>,
}

/// What it has printed until now.
pub(super) fn history(
    client: &Client,
    replica: &Replica,
    window: &Window,
) -> BoxStream<'static, Result<Stamped>> {
    // The engine counts whole seconds: ask for a little more, keep what fits.
    let options = LogsOptions {
        since: seconds(window.since.map(|at| at.div_euclid(1000))),
        until: seconds(window.until.map(|at| at.div_euclid(1000) + 1)),
        tail: window
            .tail
            .map_or_else(|| "all".into(), |lines| lines.to_string()),
        ..base()
    };
    let (since, until) = (window.since.unwrap_or(i64::MIN), window.until.unwrap_or(i64::MAX));
    lines(client, replica, options)
        .filter(move |line| {
            let fits = line
                .as_ref()
                .map_or(true, |stamped| (since..=until).contains(&stamped.line.at));
            std::future::ready(fits)
        })
        .boxed()
}

/// What it prints after this moment, until it ends.
pub(super) fn after(client: &Client, replica: &Replica, nanos: i128) -> BoxStream<'static, Result<Stamped>> {
    let second = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default();
    let options = LogsOptions {
        follow: true,
        since: seconds(Some(second.max(0))),
        ..base()
    };
    lines(client, replica, options)
        .filter(move |line| {
            let newer = line.as_ref().map_or(true, |stamped| stamped.nanos > nanos);
            std::future::ready(newer)
        })
        .boxed()
}

fn base() -> LogsOptions {
    LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        ..LogsOptions::default()
    }
}

/// The engine takes 0 for no limit.
fn seconds(at: Option<i64>) -> i32 {
    at.map_or(0, |at| i32::try_from(at).unwrap_or(i32::MAX))
}

/// What a container prints behind this moment, until it ends.
pub(super) fn output(
    client: &Client,
    container: &str,
    after: Option<i64>,
) -> BoxStream<'static, Result<OutputLine>> {
    let options = LogsOptions {
        follow: true,
        since: seconds(after.map(|nanos| nanos.div_euclid(1_000_000_000).max(0))),
        ..base()
    };
    let newer = move |line: &Result<OutputLine>| match (line, after) {
        (Ok(line), Some(after)) => line.nanos > after,
        _ => true,
    };
    raw(client, container, options)
        .filter(move |line| std::future::ready(newer(line)))
        .boxed()
}

fn lines(client: &Client, replica: &Replica, options: LogsOptions) -> BoxStream<'static, Result<Stamped>> {
    let identity = replica.identity.clone();
    raw(client, &replica.id, options)
        .map(move |line| line.map(|line| stamped(&identity, &line)))
        .boxed()
}

fn stamped(identity: &Identity, line: &OutputLine) -> Stamped {
    Stamped {
        nanos: i128::from(line.nanos),
        line: LogLine {
            at: line.nanos.div_euclid(1_000_000),
            release: identity.release,
            index: identity.index,
            stderr: line.stderr,
            line: String::from_utf8_lossy(&line.line).into_owned(),
        },
    }
}

fn raw(client: &Client, container: &str, options: LogsOptions) -> BoxStream<'static, Result<OutputLine>> {
    let client = client.clone();
    let output = client.docker.logs(container, Some(options)).boxed();
    let joiner = Joiner::default();
    let state = (client, Some(output), joiner, VecDeque::new());
    stream::unfold(state, |(client, mut output, mut joiner, mut ready)| async move {
        loop {
            if let Some(line) = ready.pop_front() {
                return Some((Ok(line), (client, output, joiner, ready)));
            }
            match output.as_mut()?.next().await {
                Some(Ok(chunk)) => ready.extend(joiner.take(&chunk)),
                Some(Err(e)) => {
                    output = None;
                    // Removed while it was read: that is its end.
                    if gone(&e) {
                        continue;
                    }
                    let error = client.refused("read a replica's log", &e);
                    return Some((Err(error), (client, output, joiner, ready)));
                }
                None => {
                    output = None;
                    ready.extend(joiner.rest());
                }
            }
        }
    })
    .boxed()
}

fn gone(error: &Refusal) -> bool {
    error::is_missing(error) || error::is_conflict(error)
}

/// Joins the pieces that the engine makes of long lines.
#[derive(Default)]
struct Joiner {
    /// The line that has begun on standard output, and on standard error.
    begun: [Option<(i64, Vec<u8>)>; 2],
}

impl Joiner {
    /// Takes a piece: a time, a blank, text, and a line end if it was the last
    /// piece of its line.
    fn take(&mut self, chunk: &LogOutput) -> Option<OutputLine> {
        let stderr = matches!(chunk, LogOutput::StdErr { .. });
        let (nanos, text) = split_time(chunk.as_ref());
        let begun = &mut self.begun[usize::from(stderr)];
        let (nanos, mut line) = match begun.take() {
            Some(begun) => begun,
            None => (nanos?, Vec::new()),
        };
        let whole = text.strip_suffix(b"\n");
        line.extend_from_slice(whole.unwrap_or(text));
        if whole.is_none() && line.len() < LINE_MAX {
            *begun = Some((nanos, line));
            return None;
        }
        Some(whole_line(nanos, line, stderr))
    }

    /// Lines that have begun and never ended.
    fn rest(&mut self) -> Vec<OutputLine> {
        let begun = std::mem::take(&mut self.begun);
        let rest = begun.into_iter().zip([false, true]);
        rest.filter_map(|(begun, stderr)| {
            let (nanos, line) = begun?;
            Some(whole_line(nanos, line, stderr))
        })
        .collect()
    }
}

fn whole_line(nanos: i64, mut line: Vec<u8>, stderr: bool) -> OutputLine {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    OutputLine { nanos, stderr, line }
}

fn split_time(piece: &[u8]) -> (Option<i64>, &[u8]) {
    let at = piece.iter().position(|b| *b == b' ').unwrap_or(piece.len());
    let (time, text) = piece.split_at(at);
    let time = std::str::from_utf8(time)
        .ok()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    match time {
        Some(time) => (
            Some(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)),
            text.get(1..).unwrap_or_default(),
        ),
        None => (None, piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut {
            message: text.as_bytes().into(),
        }
    }

    #[test]
    fn a_piece_is_a_line_when_it_ends_like_one() {
        let mut joiner = Joiner::default();
        let line = joiner
            .take(&out("1970-01-01T00:00:01.000000002Z hello\r\n"))
            .unwrap();
        assert_eq!(line.nanos, 1_000_000_002);
        assert_eq!((line.nanos, &*line.line), (1_000_000_002, &b"hello"[..]));
    }

    #[test]
    fn pieces_of_a_long_line_are_joined_even_when_the_other_output_is_between() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.take(&out("1970-01-01T00:00:01Z ab")), None);
        let between = LogOutput::StdErr {
            message: "1970-01-01T00:00:02Z err\n".into(),
        };
        assert!(joiner.take(&between).unwrap().stderr);
        let line = joiner.take(&out("1970-01-01T00:00:03Z cd\n")).unwrap();
        assert_eq!((line.nanos, &*line.line), (1_000_000_000, &b"abcd"[..]));
    }

    #[test]
    fn what_never_ended_is_a_line_too() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.take(&out("1970-01-01T00:00:01Z ab")), None);
        assert_eq!(joiner.rest().len(), 1);
        assert_eq!(joiner.rest().len(), 0);
    }

    #[test]
    fn an_empty_line_is_a_line() {
        let line = Joiner::default().take(&out("1970-01-01T00:00:01Z \n")).unwrap();
        assert_eq!(line.line, b"");
    }
}
