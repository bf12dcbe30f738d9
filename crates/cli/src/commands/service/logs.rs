//! `nonna logs`

use std::collections::BTreeMap;

use jiff::{Span, Timestamp, ZonedDateTime};
use nonna_api::{LogLineAnswer, LogOrder, LogsQuery};
use nonna_client::Item;

use crate::args::{LogsArgs, WantedLines};
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::units::local_time;
use crate::output::{Paint, Printer, clean};
use crate::project::place_here;

/// Shows what replicas print.
pub(crate) async fn logs(context: &Context, args: LogsArgs) -> Result {
    let query = LogsQuery {
        follow: args.follow,
        // Where something narrows it down already, all of it is shown.
        tail: args.tail.or_else(|| args.wanted.narrows().then_some(ALL)),
        order: if args.newest {
            LogOrder::Newest
        } else {
            LogOrder::Oldest
        },
        context: args.context,
        ..asked(args.since.as_deref(), args.until.as_deref(), &args.wanted)?
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

/// As many lines as the server gives at once.
const ALL: u32 = 1_000_000;

/// What is asked of the server, its order and number apart.
pub(crate) fn asked(since: Option<&str>, until: Option<&str>, wanted: &WantedLines) -> Result<LogsQuery> {
    Ok(LogsQuery {
        since: since.map(|text| moment("--since", text)).transpose()?,
        until: until.map(|text| moment("--until", text)).transpose()?,
        grep: wanted.grep.clone(),
        query: wanted.to_query()?,
        stream: wanted.stream.clone(),
        access: wanted.access,
        ..LogsQuery::default()
    })
}

/// A text in quotes, as the query language reads it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl WantedLines {
    /// Whether it asks for some lines and not for others.
    fn narrows(&self) -> bool {
        self.query.is_some()
            || self.grep.is_some()
            || self.regex.is_some()
            || self.level.is_some()
            || !self.fields.is_empty()
    }

    /// All of it but the text as one query.
    fn to_query(&self) -> Result<Option<String>> {
        let mut all = Vec::new();
        if let Some(query) = &self.query {
            all.push(format!("({query})"));
        }
        if let Some(regex) = &self.regex {
            all.push(format!("/{}/", slashed(regex)));
        }
        if let Some(level) = &self.level {
            all.push(format!("level:>={}", word("--level", level)?));
        }
        if let Some(replica) = &self.replica {
            all.push(format!("replica:{}", quoted(replica)));
        }
        let services: Vec<String> = self
            .services
            .iter()
            .map(|name| format!("service:{name}"))
            .collect();
        if !services.is_empty() {
            all.push(format!("({})", services.join(" OR ")));
        }
        for field in &self.fields {
            let (name, value) = field
                .split_once('=')
                .map_or((field.as_str(), None), |(n, v)| (n, Some(v)));
            let name = word("--field", name)?;
            all.push(match value {
                Some(value) => format!("{name}={}", quoted(value)),
                None => format!("{name}=*"),
            });
        }
        if let (Some(query), 1) = (&self.query, all.len()) {
            // Just as it was written, so that mistakes are told at their place.
            return Ok(Some(query.clone()));
        }
        Ok((!all.is_empty()).then(|| all.join(" ")))
    }
}

/// A regular expression between slashes: those in it that are not escaped yet
/// are.
fn slashed(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut escaped = false;
    for c in regex.chars() {
        if c == '/' && !escaped {
            out.push('\\');
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
    }
    out
}

/// A word that stands in a query by itself.
fn word<'a>(flag: &str, text: &'a str) -> Result<&'a str> {
    let bad = |c: char| c.is_whitespace() || "()\"*=:/!".contains(c);
    if text.is_empty() || text.starts_with('-') || text.contains(bad) {
        return Err(Failure::usage_hint(
            format!("{flag} {text}: that is no name."),
            "A name has letters, digits, `.`, `_` and `-`. For anything else: --query.",
        ));
    }
    Ok(text)
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
        let release = match line.stream.as_str() {
            "stdout" | "stderr" => line.release.as_deref().unwrap_or("?"),
            other => other,
        };
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
    if let Some(records) = line.missed {
        printer.line(&printer.paint(
            Paint::Dim,
            &format!("… {records} lines are not shown: they came faster than they were read"),
        ));
        return;
    }
    let (name, number) = names.of(line);
    let time = if timestamps {
        format!("{} ", printer.paint(Paint::Dim, &local_time(line.at)))
    } else {
        String::new()
    };
    let bar = match (line.context, line.stream.as_str()) {
        (true, _) => "-",
        (false, "stderr") => "!",
        (false, _) => "|",
    };
    // Lines that belong together stand below each other, each told as one of
    // this replica: none can look like another's.
    for text in line.line.split('\n') {
        printer.line(&format!(
            "{time}{} {}",
            printer.paint(Paint::Tag(number), &format!("{name} {bar}")),
            clean(text)
        ));
    }
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
    fn flags_become_one_query() {
        let wanted = WantedLines {
            query: Some("a OR b".to_owned()),
            regex: Some("a/b\\/c\\\\/d".to_owned()),
            level: Some("warn".to_owned()),
            replica: Some("v3.0".to_owned()),
            services: vec!["web".parse().unwrap(), "api".parse().unwrap()],
            fields: vec![
                "status=500".to_owned(),
                "trace_id".to_owned(),
                "a.b=x=y z".to_owned(),
            ],
            ..WantedLines::default()
        };
        assert_eq!(
            wanted.to_query().unwrap().unwrap(),
            "(a OR b) /a\\/b\\/c\\\\\\/d/ level:>=warn replica:\"v3.0\" \
             (service:web OR service:api) status=\"500\" trace_id=* a.b=\"x=y z\""
        );
        assert_eq!(WantedLines::default().to_query().unwrap(), None);
        for bad in ["", "a b=c", "x) OR level:info=1", "-x"] {
            let wanted = WantedLines {
                fields: vec![bad.to_owned()],
                ..WantedLines::default()
            };
            assert!(wanted.to_query().is_err(), "{bad}");
        }
    }

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
