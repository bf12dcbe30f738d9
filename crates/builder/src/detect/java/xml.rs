//! As much of XML as project files have: elements and their texts.

/// An element with text in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Element {
    /// The names of the elements around it and its own: `project/build/plugins`.
    pub(in super::super) path: String,
    /// Its text, without what is around it.
    pub(in super::super) text: String,
    /// What stands in its tag: `Sdk="Microsoft.NET.Sdk.Web"`.
    pub(in super::super) attributes: String,
    /// The line where it begins, from 1.
    pub(in super::super) line: usize,
}

/// All elements in the order in which they end. What is no XML gives what was
/// read of it: the tool itself will say what is wrong.
pub(in super::super) fn elements(text: &str) -> Vec<Element> {
    const MAX_DEPTH: usize = 60;
    let mut out = Vec::new();
    let mut open: Vec<(String, String, usize, String)> = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        if let Some((_, _, _, text)) = open.last_mut() {
            text.push_str(before);
        }
        line += before.matches('\n').count();
        let end = if tag.starts_with("<!--") {
            tag.find("-->").map(|end| end + 3)
        } else if tag.starts_with("<![CDATA[") {
            tag.find("]]>").map(|end| end + 3)
        } else {
            tag.find('>').map(|end| end + 1)
        };
        let Some(end) = end else { break };
        let (whole, after) = tag.split_at(end);
        rest = after;
        let here = line;
        line += whole.matches('\n').count();
        if whole.starts_with("<!") || whole.starts_with("<?") {
            continue;
        }
        let inner = whole.trim_start_matches('<').trim_end_matches('>');
        let path = |open: &[(String, String, usize, String)], name: &str| {
            let mut names: Vec<&str> = open.iter().map(|(name, ..)| name.as_str()).collect();
            names.push(name);
            names.join("/")
        };
        if inner.starts_with('/') {
            if let Some((name, attributes, line, text)) = open.pop() {
                out.push(Element {
                    path: path(&open, &name),
                    text: text.trim().to_owned(),
                    attributes,
                    line,
                });
            }
            continue;
        }
        let is_empty = inner.ends_with('/');
        let inner = inner.trim_end_matches('/').trim();
        let (name, attributes) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
        if is_empty {
            out.push(Element {
                path: path(&open, name),
                text: String::new(),
                attributes: attributes.to_owned(),
                line: here,
            });
        } else if open.len() < MAX_DEPTH {
            open.push((name.to_owned(), attributes.to_owned(), here, String::new()));
        } else {
            break;
        }
    }
    out
}

/// The value of an attribute, in either kind of quotes.
pub(in super::super) fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = attributes.split_once(&format!("{name}="))?;
    let quote = rest.get(..1)?;
    rest.get(1..)?.split(quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_their_paths_texts_and_lines() {
        let all = elements(
            "<?xml version=\"1.0\"?>\n<project>\n <!-- <a>no</a> -->\n <a x=\"1\">\n  <b> text </b><c/>\n </a>\n</project>",
        );
        let shown: Vec<(&str, &str, usize)> = all
            .iter()
            .map(|one| (one.path.as_str(), one.text.as_str(), one.line))
            .collect();
        assert_eq!(
            shown,
            [
                ("project/a/b", "text", 5),
                ("project/a/c", "", 5),
                ("project/a", "", 4),
                ("project", "", 2)
            ]
        );
        assert_eq!(attribute(&all[2].attributes, "x"), Some("1"));
        for odd in ["<", "<a", "</a>", "<a></b></c>", "<<<>>>", "<!--"] {
            let _ = elements(odd);
        }
    }
}
