//! LogQL, as far as it asks for lines or counts them:
//! `{service="web", level=~"warn|error"} |= "timeout" | json | status >= 500`
//! and `sum by (level) (count_over_time({project="shop"}[1m]))`.

use std::time::Duration;

use nonna_engine::{Code, Error, Result};

use crate::query::{Comparison, Expr, Label, Test};

/// How long a query may be.
const MAX_BYTES: usize = 16 * 1024;
/// How deep parentheses may be within each other.
const MAX_DEPTH: usize = 32;

/// What is asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// Lines.
    Lines(Expr),
    /// How many lines, over time.
    Metric(Metric),
    /// A number, as those ask who want to know whether somebody answers.
    Number(f64),
}

/// Lines or bytes counted over time.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) of: Expr,
    pub(super) counts: Counts,
    pub(super) range: Duration,
    /// The labels that tell the counts apart; `None`: all labels do.
    pub(super) by: Option<Vec<Label>>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Lines,
    LinesPerSecond,
    Bytes,
    BytesPerSecond,
}

/// Reads a query.
///
/// # Errors
/// `InvalidInput`, with what is wrong where.
pub(super) fn parse(text: &str) -> Result<Asked> {
    if text.len() > MAX_BYTES {
        return Err(Error::user(
            Code::InvalidInput,
            format!("The query is too long: at most {MAX_BYTES} bytes are read."),
        ));
    }
    let mut parser = Parser { text, at: 0 };
    let asked = parser.asked(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong("something follows the query that is not understood here"));
    }
    Ok(asked)
}

/// Reads only a selector, as `match[]` has it.
///
/// # Errors
/// `InvalidInput`.
pub(super) fn parse_selector(text: &str) -> Result<Expr> {
    match parse(text)? {
        Asked::Lines(expr) => Ok(expr),
        _ => Err(Error::user(
            Code::InvalidInput,
            "A selector such as {service=\"web\"} is wanted.",
        )),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> Error {
        let place = self.text.get(..self.at).unwrap_or(self.text).chars().count() + 1;
        Error::user(
            Code::InvalidInput,
            format!("parse error at character {place}: {what}"),
        )
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a sign that stands here.
    fn take(&mut self, sign: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn must(&mut self, sign: &str) -> Result<()> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.wrong(&format!("`{sign}` is missing"))),
        }
    }

    /// A name, if one stands here.
    fn name(&mut self) -> Option<&'a str> {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':')))
            .unwrap_or(rest.len());
        let name = rest.get(..end).filter(|name| !name.is_empty())?;
        self.at += end;
        Some(name)
    }

    fn must_name(&mut self) -> Result<&'a str> {
        self.name().ok_or_else(|| self.wrong("a name is missing"))
    }

    fn string(&mut self) -> Result<String> {
        self.space();
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let quote = match chars.next() {
            Some((_, quote @ ('"' | '`'))) => quote,
            _ => return Err(self.wrong("a text in quotes is missing")),
        };
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(out);
                }
                '\\' if quote == '"' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, escaped)) => out.push(escaped),
                    None => break,
                },
                c => out.push(c),
            }
        }
        self.at = start;
        Err(self.wrong("a quote that is not closed"))
    }

    fn duration(&mut self) -> Result<Duration> {
        let start = self.at;
        let name = self.must_name()?;
        super::time::duration(name).ok_or_else(|| {
            self.at = start;
            self.wrong("that is no duration such as `5m`")
        })
    }

    fn asked(&mut self, depth: usize) -> Result<Asked> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("too many parentheses within each other"));
        }
        self.space();
        if self.rest().starts_with('{') {
            return Ok(Asked::Lines(self.lines()?));
        }
        if self.take("(") {
            let asked = self.asked(depth + 1)?;
            self.must(")")?;
            return Ok(asked);
        }
        let start = self.at;
        match self.name() {
            Some("vector") => self.vector(),
            Some("sum") => self.sum(depth),
            Some(name) => {
                let counts = match name {
                    "count_over_time" => Counts::Lines,
                    "rate" => Counts::LinesPerSecond,
                    "bytes_over_time" => Counts::Bytes,
                    "bytes_rate" => Counts::BytesPerSecond,
                    other => {
                        self.at = start;
                        return Err(self.wrong(&format!(
                            "`{other}` is not known here; there are count_over_time, rate, bytes_over_time, \
                             bytes_rate and sum"
                        )));
                    }
                };
                self.must("(")?;
                let of = self.lines()?;
                self.must("[")?;
                let range = self.duration()?;
                self.must("]")?;
                self.must(")")?;
                Ok(Asked::Metric(Metric {
                    of,
                    counts,
                    range,
                    by: None,
                }))
            }
            None => Err(self.wrong("a selector such as {service=\"web\"} is missing")),
        }
    }

    /// `vector(1)+vector(1)`: what Grafana asks to see whether somebody answers.
    fn vector(&mut self) -> Result<Asked> {
        let mut sum = 0.0;
        loop {
            self.must("(")?;
            let number = self.number()?;
            self.must(")")?;
            sum += number;
            if !self.take("+") {
                return Ok(Asked::Number(sum));
            }
            if self.name() != Some("vector") {
                return Err(self.wrong("only vectors can be added"));
            }
        }
    }

    fn sum(&mut self, depth: usize) -> Result<Asked> {
        let mut by = self.by()?;
        self.must("(")?;
        let inner = self.asked(depth + 1)?;
        self.must(")")?;
        if by.is_none() {
            by = self.by()?;
        }
        match inner {
            Asked::Metric(metric) => Ok(Asked::Metric(Metric {
                by: Some(by.unwrap_or_default()),
                ..metric
            })),
            _ => Err(self.wrong("`sum` adds counts: sum(count_over_time(…))")),
        }
    }

    fn by(&mut self) -> Result<Option<Vec<Label>>> {
        let start = self.at;
        match self.name() {
            Some("by") => {}
            Some(_) => {
                self.at = start;
                return Err(self.wrong("`by (…)` or `(` is missing"));
            }
            None => return Ok(None),
        }
        self.must("(")?;
        let mut labels = Vec::new();
        while !self.take(")") {
            let name = self.must_name()?;
            labels.push(
                Label::from_name(name)
                    .ok_or_else(|| self.wrong(&format!("counts cannot be told apart by `{name}` here")))?,
            );
            if !self.take(",") {
                self.must(")")?;
                break;
            }
        }
        Ok(Some(labels))
    }

    fn number(&mut self) -> Result<f64> {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E')))
            .unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|text| text.parse().ok());
        match number {
            Some(number) => {
                self.at += end;
                Ok(number)
            }
            None => Err(self.wrong("a number is missing")),
        }
    }

    /// A selector and what comes behind it.
    fn lines(&mut self) -> Result<Expr> {
        let mut expr = self.selector()?;
        loop {
            self.space();
            let rest = self.rest();
            if rest.starts_with("|=")
                || rest.starts_with("|~")
                || rest.starts_with("!=")
                || rest.starts_with("!~")
            {
                expr = expr.and(self.line_filter()?);
            } else if rest.starts_with("|>") || rest.starts_with("!>") {
                return Err(self.wrong("pattern filters are not known here; |~ takes a regular expression"));
            } else if self.take("|") {
                expr = expr.and(self.stage()?);
            } else {
                return Ok(expr);
            }
        }
    }

    fn selector(&mut self) -> Result<Expr> {
        self.must("{")?;
        let mut expr = Expr::All;
        while !self.take("}") {
            let name = self.must_name()?;
            let sign = self.sign(&["=~", "!~", "!=", "="])?;
            let value = self.string()?;
            expr = expr.and(matcher(name, sign, &value)?);
            if !self.take(",") {
                self.must("}")?;
                break;
            }
        }
        Ok(expr)
    }

    fn sign(&mut self, signs: &[&'static str]) -> Result<&'static str> {
        for sign in signs {
            if self.take(sign) {
                return Ok(sign);
            }
        }
        Err(self.wrong(&format!("one of {} is missing", signs.join(" "))))
    }

    fn line_filter(&mut self) -> Result<Expr> {
        let sign = self.sign(&["|=", "|~", "!=", "!~"])?;
        let mut any = Vec::new();
        loop {
            let text = self.string()?;
            any.push(match sign {
                _ if text.is_empty() => Expr::All,
                "|=" | "!=" => Expr::contains(&text),
                _ => Expr::regex(&text)?,
            });
            let start = self.at;
            if self.name() != Some("or") {
                self.at = start;
                break;
            }
        }
        let expr = if any.len() == 1 {
            any.remove(0)
        } else {
            Expr::Or(any)
        };
        Ok(if sign.starts_with('!') {
            Expr::Not(Box::new(expr))
        } else {
            expr
        })
    }

    /// What stands behind a `|`.
    fn stage(&mut self) -> Result<Expr> {
        self.space();
        let start = self.at;
        if !self.rest().starts_with('(') {
            match self.must_name()? {
                // Fields are found in any line, and `drop` and `keep` choose
                // labels of the answer: nothing is to be said of lines.
                "json" | "logfmt" | "unpack" | "decolorize" | "drop" | "keep" => {
                    self.skip_arguments();
                    return Ok(Expr::All);
                }
                stage @ ("line_format" | "label_format" | "regexp" | "pattern" | "unwrap") => {
                    self.at = start;
                    return Err(self.wrong(&format!(
                        "`{stage}` is not known here: lines are given as they are"
                    )));
                }
                _ => self.at = start,
            }
        }
        self.any(0)
    }

    fn skip_arguments(&mut self) {
        let rest = self.rest();
        let mut quoted = false;
        let end = rest.find(|c: char| {
            if matches!(c, '"' | '`') {
                quoted = !quoted;
            }
            !quoted && matches!(c, '|' | '[' | ')' | '!')
        });
        self.at += end.unwrap_or(rest.len());
    }

    fn any(&mut self, depth: usize) -> Result<Expr> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("too many parentheses within each other"));
        }
        let mut any = vec![self.all(depth)?];
        loop {
            let start = self.at;
            if self.name() != Some("or") {
                self.at = start;
                break;
            }
            any.push(self.all(depth)?);
        }
        Ok(if any.len() == 1 {
            any.remove(0)
        } else {
            Expr::Or(any)
        })
    }

    fn all(&mut self, depth: usize) -> Result<Expr> {
        let mut all = self.label_filter(depth)?;
        loop {
            let start = self.at;
            if !(self.take(",") || self.name() == Some("and")) {
                self.at = start;
                return Ok(all);
            }
            all = all.and(self.label_filter(depth)?);
        }
    }

    fn label_filter(&mut self, depth: usize) -> Result<Expr> {
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            self.must(")")?;
            return Ok(inner);
        }
        let name = self.must_name()?;
        let sign = self.sign(&["=~", "!~", "!=", "==", ">=", "<=", "=", ">", "<"])?;
        self.space();
        if self.rest().starts_with(['"', '`']) {
            let value = self.string()?;
            return match sign {
                "=" | "==" => matcher(name, "=", &value),
                "!=" | "=~" | "!~" => matcher(name, sign, &value),
                _ => Err(self.wrong(&format!("`{sign}` compares numbers"))),
            };
        }
        let number = self.number()?;
        let compare = |comparison| Ok(Expr::FieldIs(name.to_owned(), comparison, number));
        match sign {
            "=" | "==" => compare(Comparison::Equal),
            "!=" => Ok(Expr::Not(Box::new(Expr::FieldIs(
                name.to_owned(),
                Comparison::Equal,
                number,
            )))),
            ">" => compare(Comparison::Greater),
            ">=" => compare(Comparison::AtLeast),
            "<" => compare(Comparison::Less),
            "<=" => compare(Comparison::AtMost),
            _ => Err(self.wrong("a regular expression stands in quotes")),
        }
    }
}

/// `name OP "value"`: of a label, or else of a field.
fn matcher(name: &str, sign: &str, value: &str) -> Result<Expr> {
    // Nothing goes wrong in reading fields here.
    if matches!(name, "__error__" | "__error_details__") {
        return Ok(Expr::All);
    }
    let positive = match (Label::from_name(name), sign.ends_with('~')) {
        (Some(Label::ServiceName), false) if !value.is_empty() && value.contains('/') => {
            Expr::Service(value.to_owned())
        }
        (Some(label), false) => Expr::Label(label, Test::Is(value.to_owned())),
        (Some(label), true) => Expr::Label(label, Test::Matches(Expr::whole(value)?)),
        (None, false) if value.is_empty() => Expr::Not(Box::new(Expr::HasField(name.to_owned()))),
        (None, false) => Expr::field(name, value),
        (None, true) => {
            let regex = Expr::whole(value)?;
            // A field that is not there is as good as empty.
            let absent = regex.is_match("");
            let found = Expr::FieldMatches(name.to_owned(), regex);
            match absent {
                true => Expr::Or(vec![Expr::Not(Box::new(Expr::HasField(name.to_owned()))), found]),
                false => found,
            }
        }
    };
    Ok(if sign.starts_with('!') {
        Expr::Not(Box::new(positive))
    } else {
        positive
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, Level, Record, Source, Stream};

    fn finds(query: &str) -> Vec<usize> {
        let Asked::Lines(expr) = parse(query).unwrap() else {
            panic!("{query}")
        };
        let mut batch = Batch::new();
        let web = batch.source(&Source::new("shop/production/web", "v3.0", Stream::Stdout));
        let api = batch.source(&Source::new("shop/staging/api", "v1.1", Stream::Stderr));
        let other = batch.source(&Source::new("sshd", "host", Stream::Network));
        for (source, level, line) in [
            (
                web,
                Level::Info,
                r#"{"msg":"order stored","status":200,"user":"ann"}"#,
            ),
            (web, Level::Error, r#"{"msg":"payment failed","status":503}"#),
            (api, Level::Warn, "level=warn msg=\"slow query\" took=1.5"),
            (other, Level::Unknown, "Accepted publickey"),
        ] {
            batch.push(
                source,
                &Record {
                    time: Some(1),
                    level: Some(level),
                    line: line.as_bytes(),
                    ..Record::default()
                },
            );
        }
        batch
            .iter()
            .enumerate()
            .filter(|(_, record)| expr.matches(record))
            .map(|(at, _)| at)
            .collect()
    }

    #[test]
    fn queries_find_what_they_say() {
        for (query, wanted) in [
            ("{}", &[0, 1, 2, 3][..]),
            (r#"{service="web"}"#, &[0, 1]),
            (r#"{service_name="shop/production/web"}"#, &[0, 1]),
            (r#"{job="sshd"}"#, &[3]),
            (r#"{project="shop", environment!="production"}"#, &[2]),
            (r#"{project=~"sh.*"}"#, &[0, 1, 2]),
            (r#"{project=~"s"}"#, &[]),
            (r#"{environment=""}"#, &[3]),
            (r#"{level=~"warn|error"}"#, &[1, 2]),
            (r#"{replica="v3.0", release="v3", stream="stdout"}"#, &[0, 1]),
            (r#"{stream!~"std.+"}"#, &[3]),
            (r#"{service="web"} |= "order""#, &[0]),
            (r#"{service="web"} != "order""#, &[1]),
            (r#"{project="shop"} |~ "pay(ment)? f""#, &[1]),
            (r#"{project="shop"} !~ `\d{3}`"#, &[2]),
            (r#"{project="shop"} |= "order" or "slow""#, &[0, 2]),
            (r#"{service="web"} | json | status >= 500"#, &[1]),
            (r#"{service="web"} | json | status = 200"#, &[0]),
            (r#"{service="web"} | json user="user" | user="ann" |= """#, &[0]),
            (r#"{service="web"} | json | user=~"a.*""#, &[0]),
            (r#"{service="web"} | user!="ann""#, &[1]),
            (r#"{project="shop"} | logfmt | took > 1 and level="warn""#, &[2]),
            (
                r#"{project="shop"} | status=503 or (took<2 , level="warn")"#,
                &[1, 2],
            ),
            (
                r#"{service="web"} | json | __error__="" | drop __error__"#,
                &[0, 1],
            ),
            (r#"{user="ann"}"#, &[0]),
        ] {
            assert_eq!(finds(query), wanted, "{query}");
        }
    }

    #[test]
    fn counts_are_understood() {
        let Asked::Metric(metric) =
            parse(r#"sum by (level, service) (count_over_time({project="shop"} |= "x" [1m30s]))"#).unwrap()
        else {
            panic!("a metric")
        };
        assert_eq!(metric.range, Duration::from_secs(90));
        assert_eq!(metric.by, Some(vec![Label::Level, Label::Service]));
        assert_eq!(metric.counts, Counts::Lines);
        let Asked::Metric(metric) = parse(r#"rate({a="b"}[5m])"#).unwrap() else {
            panic!("a metric")
        };
        assert_eq!((metric.by, metric.counts), (None, Counts::LinesPerSecond));
        assert!(matches!(parse("vector(1)+vector(1)").unwrap(), Asked::Number(n) if n > 1.9 && n < 2.1));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (query, place) in [
            ("", 1),
            ("{service=web}", 10),
            (r#"{service="web""#, 15),
            (r#"{service="web} "#, 10),
            (r#"{service="web"} |= x"#, 20),
            (r#"{service="web"} | line_format "x""#, 19),
            (r#"{service="web"} | status >"#, 27),
            (r#"avg(rate({a="b"}[5m]))"#, 1),
            (r#"rate({a="b"}[soon])"#, 14),
            (r#"{a="b"} x"#, 9),
        ] {
            let error = parse(query).unwrap_err();
            assert!(
                error.message.contains(&format!("character {place}:")),
                "{query}: {}",
                error.message
            );
        }
        let deep = format!("{}{{}}{}", "(".repeat(100), ")".repeat(100));
        assert!(parse(&deep).is_err());
    }
}
