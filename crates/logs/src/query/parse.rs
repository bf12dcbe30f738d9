//! The query language: `error "connection reset" level:>=warn NOT healthz
//! status=500`.

use nonna_engine::{Code, Error, Result};

use super::Expr;
use crate::record::{Level, Stream};

/// How deep parentheses may be within each other.
const MAX_DEPTH: usize = 32;
/// How long a query may be.
const MAX_BYTES: usize = 8 * 1024;

/// Reads a query:
///
/// | written | finds |
/// |---|---|
/// | `error` | lines with this whole word |
/// | `"connection reset"` | lines with these words, just so |
/// | `*nnect*`, `*"t res"*` | lines with this text anywhere |
/// | `/time(d )?out/` | lines that a regular expression matches |
/// | `level:warn`, `level:>=warn` | this level; or more serious ones too |
/// | `service:web`, `replica:v3.0`, `stream:stderr` | by where it comes from |
/// | `status=500`, `user.name="A B"`, `path!=/` | fields, of the line or beside it |
/// | `a b`, `a AND b`, `a OR b`, `NOT a`, `-a`, `( … )` | joined |
///
/// Upper and lower case are different, except with `/(?i)…/`.
///
/// # Errors
/// `InvalidInput`, with what is wrong where.
pub fn parse(text: &str) -> Result<Expr> {
    if text.len() > MAX_BYTES {
        return Err(Error::user(
            Code::InvalidInput,
            format!("The query is too long: at most {MAX_BYTES} bytes are read."),
        ));
    }
    let mut parser = Parser { text, at: 0 };
    let expr = parser.any(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong("a `)` without its `(`"));
    }
    Ok(expr)
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
            format!("The query is wrong at character {place}: {what}."),
        )
        .hint("Put a text that has special characters into quotes: \"a: b\".")
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.space();
        let Some(after) = self.rest().strip_prefix(word) else {
            return false;
        };
        if after.is_empty() || after.starts_with([' ', '\t', '\n', '(', ')']) {
            self.at += word.len();
            return true;
        }
        false
    }

    fn ended(&mut self) -> bool {
        self.space();
        self.rest().is_empty() || self.rest().starts_with(')')
    }

    fn any(&mut self, depth: usize) -> Result<Expr> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("too many parentheses within each other"));
        }
        let mut any = vec![self.all(depth)?];
        while self.keyword("OR") {
            if self.ended() {
                return Err(self.wrong("nothing stands behind `OR`"));
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
        let mut all = Expr::All;
        loop {
            if self.ended() {
                return Ok(all);
            }
            let here = self.at;
            if self.keyword("OR") {
                self.at = here;
                return Ok(all);
            }
            if self.keyword("AND") && self.ended() {
                return Err(self.wrong("nothing stands behind `AND`"));
            }
            all = all.and(self.not(depth)?);
        }
    }

    fn not(&mut self, depth: usize) -> Result<Expr> {
        let mut negated = false;
        loop {
            if self.keyword("NOT") {
                negated = !negated;
            } else if self.rest().starts_with('-') && self.rest().len() > 1 {
                self.at += 1;
                negated = !negated;
            } else {
                break;
            }
        }
        if self.ended() {
            return Err(self.wrong("nothing stands behind `NOT`"));
        }
        let expr = self.term(depth)?;
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn term(&mut self, depth: usize) -> Result<Expr> {
        let rest = self.rest();
        if rest.starts_with('(') {
            self.at += 1;
            let inner = self.any(depth + 1)?;
            self.space();
            if !self.rest().starts_with(')') {
                return Err(self.wrong("a `(` without its `)`"));
            }
            self.at += 1;
            return Ok(inner);
        }
        if rest.starts_with('"') {
            return Ok(Expr::words(&self.quoted()?));
        }
        if rest.starts_with('/') {
            self.at += 1;
            return self.regex();
        }
        if rest.starts_with('*') {
            self.at += 1;
            return self.anywhere();
        }
        self.named()
    }

    fn quoted(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, escaped)) => out.push(escaped),
                    None => break,
                },
                c => out.push(c),
            }
        }
        self.at = start;
        Err(self.wrong("a quote that is not closed"))
    }

    fn regex(&mut self) -> Result<Expr> {
        let mut pattern = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '/' => {
                    self.at += at + 1;
                    return Expr::regex(&pattern);
                }
                '\\' => match chars.next() {
                    Some((_, '/')) => pattern.push('/'),
                    Some((_, other)) => pattern.extend(['\\', other]),
                    None => break,
                },
                c => pattern.push(c),
            }
        }
        Err(self.wrong("a regular expression that no `/` closes"))
    }

    fn anywhere(&mut self) -> Result<Expr> {
        let text = if self.rest().starts_with('"') {
            self.quoted()?
        } else {
            let end = self.rest().find(['*', ' ', ')']).unwrap_or(self.rest().len());
            let text = self.rest().get(..end).unwrap_or_default().to_owned();
            self.at += end;
            text
        };
        if !self.rest().starts_with('*') {
            return Err(self.wrong("a text that no `*` closes: it is written `*text*`"));
        }
        self.at += 1;
        Ok(if text.is_empty() {
            Expr::All
        } else {
            Expr::contains(&text)
        })
    }

    /// A word, `name:value`, `name=value`, `name!=value`.
    fn named(&mut self) -> Result<Expr> {
        let rest = self.rest();
        let end = rest
            .find([' ', '\t', '\n', '(', ')', '"', '=', ':', '*'])
            .unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        let after = rest.get(end..).unwrap_or_default();
        if after.starts_with('=') && !name.is_empty() {
            self.at += end + 1;
            let (name, negated) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
            let value = self.value()?;
            let expr = match value.as_str() {
                "*" => Expr::HasField(name.to_owned()),
                value => Expr::field(name, value),
            };
            return Ok(if negated { Expr::Not(Box::new(expr)) } else { expr });
        }
        if after.starts_with(':') && matches!(name, "level" | "service" | "replica" | "stream") {
            self.at += end + 1;
            return match name {
                "level" => self.level(),
                "service" => Ok(Expr::Service(self.value()?)),
                "stream" => self.stream(),
                _ => Ok(Expr::Replica(self.value()?)),
            };
        }
        // Any other word may hold colons and the like: `10.0.0.1:80`, `a/b`.
        let end = rest
            .find([' ', '\t', '\n', '(', ')', '"', '*'])
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("a sign that does not belong here"));
        }
        self.at += end;
        Ok(Expr::words(rest.get(..end).unwrap_or_default()))
    }

    fn value(&mut self) -> Result<String> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let end = self
            .rest()
            .find([' ', '\t', '\n', ')'])
            .unwrap_or(self.rest().len());
        let value = self.rest().get(..end).unwrap_or_default().to_owned();
        if value.is_empty() {
            return Err(self.wrong("a value is missing"));
        }
        self.at += end;
        Ok(value)
    }

    fn stream(&mut self) -> Result<Expr> {
        let start = self.at;
        let value = self.value()?;
        let Some(stream) = Stream::from_name(&value) else {
            self.at = start;
            return Err(self.wrong(&format!(
                "`{value}` is no stream; they are {}",
                Stream::ALL.map(Stream::name).join(", ")
            )));
        };
        Ok(Expr::streams([stream]))
    }

    fn level(&mut self) -> Result<Expr> {
        let start = self.at;
        let value = self.value()?;
        let (name, and_more) = value
            .strip_prefix(">=")
            .map_or((value.as_str(), false), |name| (name, true));
        let Some(level) = Level::from_name(name.as_bytes()) else {
            self.at = start;
            return Err(self.wrong(&format!(
                "`{name}` is no level; they are trace, debug, info, notice, warn, error and fatal"
            )));
        };
        Ok(if and_more {
            Expr::at_least(level)
        } else {
            Expr::Levels(1 << level as u8)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, Record, Source, Stream};

    fn matches(query: &str, line: &str) -> bool {
        let source = Source::new("shop/production/web", "web.1", Stream::Stdout);
        let mut batch = Batch::new();
        let at = batch.source(&source);
        let record = Record {
            level: Some(Level::Warn),
            fields: &[("region", "eu")],
            line: line.as_bytes(),
            ..Record::default()
        };
        batch.push(at, &record);
        let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        expr.matches(&batch.get(0).unwrap())
    }

    #[test]
    fn what_is_written_is_found() {
        let line = r#"{"msg":"connection reset by 10.0.0.1:80","status":500,"user":{"name":"A B"}}"#;
        for query in [
            "",
            "connection",
            "connection reset",
            "\"connection reset\"",
            "*nnect*",
            "*\"n res\"*",
            "/re(s|x)et/",
            "level:warn",
            "level:>=info",
            "service:web",
            "service:shop/production/web",
            "replica:web.1",
            "status=500",
            "status!=200",
            "region=eu",
            "region=*",
            "user.name=\"A B\"",
            "nothing OR reset",
            "NOT nothing",
            "-nothing",
            "(a OR connection) AND (reset OR b)",
            "10.0.0.1:80",
            "NOT (a OR b)",
            "NOT NOT reset",
            "/(?i)CONNECTION/",
            "-(-reset)",
        ] {
            assert!(matches(query, line), "{query}");
        }
        for query in [
            "connect",
            "Connection",
            "\"reset connection\"",
            "level:error",
            "level:>=error",
            "service:api",
            "status=50",
            "NOT reset",
            "a OR b",
            "connection nothing",
            "region=us",
            "name=*",
        ] {
            assert!(!matches(query, line), "{query}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (query, what) in [
            ("(a", "character 3: a `(` without its `)`"),
            ("a )", "character 3: a `)` without its `(`"),
            ("\"a", "character 1: a quote that is not closed"),
            ("level:loud", "`loud` is no level"),
            ("a OR", "nothing stands behind `OR`"),
            ("a AND", "nothing stands behind `AND`"),
            ("NOT", "nothing stands behind `NOT`"),
            ("/a", "no `/` closes"),
            ("*a", "no `*` closes"),
            ("x=", "a value is missing"),
            ("/(/", "regular expression cannot be used"),
            ("/(?:a{1000}){1000}/", "regular expression cannot be used"),
        ] {
            let error = parse(query).expect_err(query);
            assert!(error.message.contains(what), "{query}: {}", error.message);
            assert_eq!(error.code, Code::InvalidInput);
        }
        assert!(parse(&"(".repeat(100)).is_err());
        assert!(parse(&"a ".repeat(10_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(query in "[a-c\"*/()=:! \\-\\\\ORANDNOT>é]{0,24}") {
            let _ = parse(&query);
        }
    }
}
