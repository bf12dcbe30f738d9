//! YAML (and JSON, which is part of it) as a tree in which everything knows
//! where it stands, so that every mistake can be shown.
//!
//! Aliases and merge keys (`<<`) are resolved while the tree is made. How much
//! they may make of a small text is bounded.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle};

use crate::manifest::Report;

/// The most values of one file, with all that aliases repeat.
const MAX_NODES: usize = 20_000;
/// The most bytes of text in them, with all that aliases repeat.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// How deep they may stand in each other.
const MAX_DEPTH: usize = 40;

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// The bytes of the file that it stands in; of an alias, the alias.
    pub(super) at: Range<usize>,
    /// Which of several files it stands in, as their reader counts them.
    pub(super) file: usize,
    /// What it is.
    pub(super) value: Value,
    /// The tag, such as `reset` of `!reset`.
    pub(super) tag: Option<String>,
    /// How many values it is, with all in it.
    pub(super) nodes: usize,
    /// How many bytes of text.
    pub(super) text: usize,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, or `null`.
    Null,
    /// A text, a number, true or false: as it is written.
    Scalar {
        /// The text without its quotes.
        text: String,
        /// It had quotes, so that it is a text for sure.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    /// The key.
    pub(super) name: String,
    /// Where it stands.
    pub(super) at: Range<usize>,
}

impl Node {
    fn new(at: Range<usize>, value: Value, tag: Option<String>) -> Self {
        let (nodes, text) = match &value {
            Value::Null => (0, 0),
            Value::Scalar { text, .. } => (0, text.len()),
            Value::List(items) => (
                items.iter().map(|item| item.nodes).sum(),
                items.iter().map(|item| item.text).sum(),
            ),
            Value::Map(entries) => (
                entries.iter().map(|(_, node)| node.nodes).sum(),
                entries.iter().map(|(key, node)| key.name.len() + node.text).sum(),
            ),
        };
        Self {
            at,
            file: 0,
            value,
            tag,
            nodes: nodes + 1,
            text,
        }
    }

    /// Says of it, and of all in it, which file it stands in.
    pub(super) fn set_file(&mut self, file: usize) {
        self.file = file;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.set_file(file)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.set_file(file)),
            Value::Null | Value::Scalar { .. } => {}
        }
    }

    /// A value of a table.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(name, _)| name.name == key)
            .map(|(_, node)| node)
    }

    /// The entries of a table; none of anything else.
    pub(super) fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { quoted: true, .. } => "a text",
            Value::Scalar { text, .. } if matches!(text.as_str(), "true" | "false") => "true or false",
            Value::Scalar { text, .. } if text.parse::<f64>().is_ok() => "a number",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        }
    }

    /// The text of a scalar, as it is written.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// What is being read.
enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        /// The values of `<<`, which every key of the table itself wins over.
        merged: Vec<Node>,
        key: Option<Key>,
    },
}

struct Frame {
    open: Open,
    start: usize,
    anchor: usize,
    tag: Option<String>,
}

/// Reads one document; what is wrong is noted. `None`: nothing can be made of
/// it, or nothing stands in it.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Option<Node> {
    Reader {
        report,
        frames: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        root: None,
    }
    .read(text)
}

struct Reader<'r, 't> {
    report: &'r mut Report<'t>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    root: Option<Node>,
}

impl Reader<'_, '_> {
    fn read(mut self, text: &str) -> Option<Node> {
        let mut documents = 0;
        for next in Parser::new_from_str(text) {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => {
                    let at = error.marker().byte_offset().unwrap_or_default();
                    self.report
                        .add(&(at..at + 1), format!("this is not YAML: {}", error.info()));
                    return None;
                }
            };
            let byte = |marker: granit_parser::Marker| marker.byte_offset().unwrap_or_default();
            let at = byte(span.start)..byte(span.end).max(byte(span.start));
            let tag = event
                .tag()
                .filter(|tag| tag.is_custom())
                .map(|tag| tag.suffix().to_owned());
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        self.report.add(
                            &at,
                            "there is more than one document in this file: only one is read",
                        );
                        return self.root;
                    }
                }
                Event::Scalar(value, style, anchor, _) => {
                    let plain = style == ScalarStyle::Plain;
                    let value = match value.as_ref() {
                        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
                        text => Value::Scalar {
                            text: text.to_owned(),
                            quoted: !plain,
                        },
                    };
                    self.put(Node::new(at, value, tag), anchor)?;
                }
                Event::SequenceStart(_, anchor, _) => self.open(Open::List(Vec::new()), at, anchor, tag)?,
                Event::MappingStart(_, anchor, _) => {
                    let open = Open::Map {
                        entries: Vec::new(),
                        merged: Vec::new(),
                        key: None,
                    };
                    self.open(open, at, anchor, tag)?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(frame) = self.frames.pop() else { continue };
                    let value = match frame.open {
                        Open::List(items) => Value::List(items),
                        Open::Map { entries, merged, .. } => Value::Map(self.merge(entries, &merged)),
                    };
                    let node = Node::new(frame.start..at.end.max(frame.start), value, frame.tag);
                    self.put(node, frame.anchor)?;
                }
                Event::Alias(id) => {
                    let size = self.anchors.get(&id).map(|node| (node.nodes, node.text));
                    let Some((nodes, bytes)) = size else {
                        self.report.add(&at, "this alias stands inside what it names");
                        return None;
                    };
                    // Counted before it is copied.
                    if self.too_many(nodes, bytes, &at) {
                        return None;
                    }
                    if let Some(node) = self.anchors.get(&id).cloned() {
                        self.put(Node { at, ..node }, 0)?;
                    }
                }
                _ => {}
            }
        }
        self.root
    }

    fn too_many(&mut self, nodes: usize, bytes: usize, at: &Range<usize>) -> bool {
        self.nodes += nodes;
        self.bytes += bytes;
        let too_many = self.nodes > MAX_NODES || self.bytes > MAX_TEXT;
        if too_many {
            self.report.add(
                at,
                format!("with all aliases written out there are more than {MAX_NODES} values here"),
            );
        }
        too_many
    }

    fn open(&mut self, open: Open, at: Range<usize>, anchor: usize, tag: Option<String>) -> Option<()> {
        if self.frames.len() >= MAX_DEPTH {
            self.report.add(
                &at,
                format!("values stand in each other more than {MAX_DEPTH} deep"),
            );
            return None;
        }
        self.frames.push(Frame {
            open,
            start: at.start,
            anchor,
            tag,
        });
        Some(())
    }

    /// Puts a value where it belongs. `None`: it is no use to go on.
    fn put(&mut self, node: Node, anchor: usize) -> Option<()> {
        if self.too_many(1, node.text, &node.at) {
            return None;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Map { entries, merged, key } => match key.take() {
                None => {
                    let name = match &node.value {
                        Value::Scalar { text, .. } => text.clone(),
                        _ => {
                            self.report.add(&node.at, "the key of a table must be a text");
                            String::new()
                        }
                    };
                    *key = Some(Key { name, at: node.at });
                }
                Some(key) if key.name == "<<" => merged.push(node),
                Some(key) if entries.iter().any(|(earlier, _)| earlier.name == key.name) => {
                    self.report.add(
                        &key.at,
                        format!(
                            "`{}` stands in this table already",
                            crate::manifest::shorten(&key.name)
                        ),
                    );
                }
                Some(key) => entries.push((key, node)),
            },
        }
        Some(())
    }

    fn merge(&mut self, mut entries: Vec<(Key, Node)>, merged: &[Node]) -> Vec<(Key, Node)> {
        for source in merged {
            let tables: Vec<&Node> = match &source.value {
                Value::List(items) => items.iter().collect(),
                _ => vec![source],
            };
            for table in tables {
                let Value::Map(more) = &table.value else {
                    self.report.add(
                        &table.at,
                        format!("`<<` takes a table, or a list of tables, not {}", table.kind()),
                    );
                    continue;
                };
                for (key, node) in more {
                    if !entries.iter().any(|(earlier, _)| earlier.name == key.name) {
                        entries.push((key.clone(), node.clone()));
                    }
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good(text: &str) -> Node {
        let mut report = Report::new("x.yaml", text);
        let node = read(text, &mut report);
        report.finish().unwrap();
        node.unwrap()
    }

    fn bad(text: &str) -> String {
        let mut report = Report::new("x.yaml", text);
        read(text, &mut report);
        report.finish().unwrap_err().0[0].to_string()
    }

    #[test]
    fn everything_knows_where_it_stands() {
        let text = "a:\n  - é: 'x y'\n    n: 010\n";
        let node = good(text);
        let Value::List(items) = &node.get("a").unwrap().value else {
            panic!()
        };
        let inner = items[0].get("é").unwrap();
        assert_eq!(inner.text(), Some("x y"));
        assert_eq!(&text[inner.at.clone()], "'x y'");
        // As it is written, not as a number.
        assert_eq!(items[0].get("n").unwrap().text(), Some("010"));
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let node = good("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\nw: {<<: [*x, {c: 4}]}\n");
        let y = node.get("y").unwrap();
        assert_eq!(y.get("a").unwrap().text(), Some("1"));
        assert_eq!(y.get("b").unwrap().text(), Some("3"));
        assert_eq!(node.get("z").unwrap().get("b").unwrap().text(), Some("2"));
        assert_eq!(node.get("w").unwrap().get("c").unwrap().text(), Some("4"));
    }

    #[test]
    fn what_is_wrong_is_shown_in_its_line() {
        assert!(bad("a: 1\nb: [").contains("x.yaml:2:"), "{}", bad("a: 1\nb: ["));
        assert!(bad("a: 1\na: 2").contains("x.yaml:2:1: `a` stands"));
        assert!(bad("a: *nobody").contains("x.yaml:1:"));
        assert!(bad("a: &a [*a]").contains("x.yaml:1:"));
        assert!(bad("a: 1\n---\nb: 2").contains("more than one document"));
        assert!(bad(&format!("{}{}", "[".repeat(60), "]".repeat(60))).contains("deep"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let previous = level - 1;
            let items = vec![format!("*a{previous}"); 9].join(", ");
            text += &format!("a{level}: &a{level} [{items}]\n");
        }
        assert!(bad(&text).contains("aliases"), "{}", bad(&text));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let mut report = Report::new("x.yaml", &text);
            read(&text, &mut report);
        }

        #[test]
        fn any_yaml_is_read_or_refused(parts in prop::collection::vec("[a-c&*!<:{},\\[\\] '\"|>\n-]{0,6}", 0..12)) {
            let text = parts.concat();
            let mut report = Report::new("x.yaml", &text);
            read(&text, &mut report);
            let _ = report.finish().map_err(|problems| problems.to_string());
        }
    }
}
