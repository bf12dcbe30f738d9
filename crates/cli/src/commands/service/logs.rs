//! `nonna logs`

use std::collections::BTreeMap;

use jiff::{Span, Timestamp, ZonedDateTime};
use nonna_api::{LogLineAnswer, LogsQuery};
use nonna_client::Item;

use crate::args::LogsArgs;
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::units::local_time;
use crate::output::{Paint, Printer, clean};
use crate::project::place_here;

/// How many lines of each replica are shown where nothing is said.
const TAIL: u32 = 100;

/// Shows what replicas print.
pub(crate) async fn logs(context: &Context, args: LogsArgs) -> Result {
    let query = LogsQuery {
        follow: args.follow,
        since: args
            .since
            .as_deref()
            .map(|text| moment("--since", text))
            .transpose()?,
        until: args
            .until
            .as_deref()
            .map(|text| moment("--until", text))
            .transpose()?,
        // Where a time or a text narrows it down already, all of it is shown.
        tail: args.tail.or_else(|| {
            let narrow = args.since.is_some() || args.until.is_some() || args.grep.is_some();
            (!narrow).then_some(TAIL)
        }),
        grep: args.grep,
        access: args.access,
    };
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = args.service.as_ref().map(ToString::to_string);
    let mut lines = client.logs(&place, service.as_deref(), &query);
    let mut names = Names::new(service.is_none());
    let mut count = 0_u64;
    while let Some(item) = lines.next().await? {
        match item {
            Item::Value(line) => {
                count += 1;
                if context.printer.is_json() {
                    context.printer.json_line(&line);
                } else {
                    show(&context.printer, &mut names, &line, args.timestamps);
                }
            }
            Item::Lost(error) => context
                .printer
                .note(&format!("{} Trying again…", clean(&error.message))),
            Item::Back => context.printer.note("The server is back."),
        }
    }
    if count == 0 {
        context.printer.note("No log lines.");
    }
    Ok(())
}

/// Tells replicas apart, by name and colour.
struct Names {
    with_service: bool,
    known: BTreeMap<String, usize>,
    width: usize,
}

impl Names {
    fn new(with_service: bool) -> Self {
        Self {
            with_service,
            known: BTreeMap::new(),
            width: 0,
        }
    }

    fn of(&mut self, line: &LogLineAnswer) -> (String, usize) {
        let release = line.release.as_deref().unwrap_or("edge");
        let replica = line.replica.map(|index| format!(".{index}")).unwrap_or_default();
        let name = if self.with_service {
            format!("{} {release}{replica}", line.service)
        } else {
            format!("{release}{replica}")
        };
        let next = self.known.len();
        let number = *self.known.entry(name.clone()).or_insert(next);
        self.width = self.width.max(name.chars().count());
        (format!("{name:width$}", width = self.width), number)
    }
}

fn show(printer: &Printer, names: &mut Names, line: &LogLineAnswer, timestamps: bool) {
    let (name, number) = names.of(line);
    let time = if timestamps {
        format!("{} ", printer.paint(Paint::Dim, &local_time(line.at)))
    } else {
        String::new()
    };
    let bar = if line.stream == "stderr" { "!" } else { "|" };
    printer.line(&format!(
        "{time}{} {}",
        printer.paint(Paint::Tag(number), &format!("{name} {bar}")),
        clean(&line.line)
    ));
}

/// A moment as people name it: how long ago, or when. Milliseconds since 1970,
/// UTC.
fn moment(flag: &str, text: &str) -> Result<i64> {
    let wrong = || {
        Failure::usage_hint(
            format!("{flag} {text}: that is no time."),
            "Write how long ago (`10m`, `2h`, `1d`) or when (`2026-11-23T14:05:00Z`, `2026-11-23 14:05`).",
        )
    };
    let text = text.trim();
    if let Ok(span) = text.parse::<Span>() {
        let here = ZonedDateTime::now();
        let then = here.checked_sub(span.abs()).map_err(|_| wrong())?;
        return Ok(then.timestamp().as_millisecond());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let local: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
    let zoned = local
        .to_zoned_datetime(jiff::tz::TimeZone::system())
        .map_err(|_| wrong())?;
    Ok(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = Timestamp::now().as_millisecond();
        for (text, ago) in [
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("90s", 90_000),
            ("1d", 86_400_000),
        ] {
            let at = moment("--since", text).unwrap();
            // A day is an hour longer or shorter when clocks change.
            assert!((now - at - ago).abs() < 3_601_000, "{text}: {at}");
        }
        assert_eq!(moment("--since", "1970-01-01T00:00:01Z").unwrap(), 1000);
        assert!(moment("--since", "2026-11-23 14:05").is_ok());
        assert!(moment("--since", "2026-11-23").is_ok());
        for bad in ["", "yesterday", "10", "-", "99:99"] {
            assert!(moment("--since", bad).is_err(), "{bad}");
        }
    }
}
