//! `.env` and `env_file`: a variable a line.

/// A line that is wrong: its number from 1, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) why: String,
}

/// Reads the variables of a text in their order. A name without `=` has no
/// value of its own: `None`.
///
/// Quotes are taken off; within double ones `\n`, `\t`, `\"` and `\\` mean what
/// they say, and a value may go on over several lines. A `#` behind a space
/// begins a comment.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, Wrong> {
    let mut out = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let wrong = |why: &str| Wrong {
            line: number + 1,
            why: why.to_owned(),
        };
        let line = line.trim_start_matches('\u{feff}').trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            let name = line.split('#').next().unwrap_or_default().trim();
            if name.contains(char::is_whitespace) {
                return Err(wrong("a line is a name, `=` and a value"));
            }
            out.push((name.to_owned(), None));
            continue;
        };
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong("a line is a name, `=` and a value"));
        }
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut whole = value.get(1..).unwrap_or_default().to_owned();
                loop {
                    if let Some(end) = end_of_quote(&whole, quote) {
                        whole.truncate(end);
                        break;
                    }
                    let Some((_, more)) = lines.next() else {
                        return Err(wrong("the quote that begins here does not end"));
                    };
                    whole.push('\n');
                    whole.push_str(more);
                }
                if quote == '"' { unescape(&whole) } else { whole }
            }
            _ => {
                let end = value
                    .find(" #")
                    .or_else(|| value.find("\t#"))
                    .unwrap_or(value.len());
                value.get(..end).unwrap_or_default().trim_end().to_owned()
            }
        };
        out.push((name.to_owned(), Some(value)));
    }
    Ok(out)
}

fn end_of_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(c @ ('"' | '\\' | '$' | '\'')) => out.push(c),
            Some(c) => {
                out.push('\\');
                out.push(c);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_quotes_and_comments() {
        let text = "# c\nA=1\nexport B = two words # c\nC=\"x\\n\\\"y\\\" #z\"\nD='a $b'\nE=\nF\nG=\"1\n2\"\nH=a#b\r\n";
        let read = parse(text).unwrap();
        let read: Vec<(&str, Option<&str>)> = read.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        assert_eq!(
            read,
            [
                ("A", Some("1")),
                ("B", Some("two words")),
                ("C", Some("x\n\"y\" #z")),
                ("D", Some("a $b")),
                ("E", Some("")),
                ("F", None),
                ("G", Some("1\n2")),
                ("H", Some("a#b")),
            ]
        );
        assert_eq!(parse("A=1\nB='x").unwrap_err().line, 2);
        assert_eq!(parse("hello world").unwrap_err().line, 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-B=\"'# \\\\\n$]{0,40}") {
            let _ = parse(&text);
        }
    }
}
