//! JSON lines: one JSON object a line; a line that is none is a line of text.

use std::borrow::Cow;

use super::{Collector, Draft, document};

/// One line, without its end. An empty one is none.
pub fn line(bytes: &[u8], out: &mut Collector) {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.is_empty() {
        return;
    }
    let object = bytes.trim_ascii_start().starts_with(b"{");
    match document::from_json(bytes) {
        Ok(draft) if object => out.add(&draft),
        _ => out.add(&Draft {
            line: Cow::Borrowed(bytes),
            ..Draft::default()
        }),
    }
}

/// Many lines: a body, whose last line needs no end.
pub fn body(bytes: &[u8], out: &mut Collector) {
    for part in bytes.split(|byte| *byte == b'\n') {
        line(part, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::collect::testing::{collector, seen};

    #[test]
    fn text_and_objects() {
        let mut out = collector();
        super::body(b"plain\r\n\n{\"msg\":\"m\",\"x\":\"y\"}\n{broken", &mut out);
        let lines: Vec<String> = seen(&mut out).into_iter().map(|r| r.line).collect();
        assert_eq!(lines, ["plain", "m", "{broken"]);
    }
}
