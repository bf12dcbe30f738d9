//! Bytes made harmless before they are shown.

use std::fmt::Write;

/// Adds a line to a text so that it can neither look like two lines nor move a
/// terminal's cursor: control characters, what turns the direction of writing
/// and bytes that are no UTF-8 are escaped (`\n`, `\u{1b}`, `\xff`).
pub fn escape_into(out: &mut String, line: &[u8]) {
    for chunk in line.utf8_chunks() {
        let text = chunk.valid();
        let mut rest = text;
        // Most lines are harmless as a whole.
        while let Some(at) = rest.find(|c| !is_harmless(c)) {
            let (good, bad) = rest.split_at(at);
            out.push_str(good);
            let mut chars = bad.chars();
            if let Some(c) = chars.next() {
                // Writing to a string cannot fail.
                let _ = write!(out, "{}", c.escape_default());
            }
            rest = chars.as_str();
        }
        out.push_str(rest);
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Adds bytes to a text as a JSON string, quotes included. What is no UTF-8 is
/// replaced by U+FFFD; what a terminal would act on is escaped, so that the
/// JSON may be printed.
pub fn json_string_into(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if is_harmless(c) => out.push(c),
                c => {
                    let mut units = [0_u16; 2];
                    for unit in c.encode_utf16(&mut units) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.push('\u{fffd}');
        }
    }
    out.push('"');
}

pub(crate) fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal() {
        let evil = b"GET\r\n\x1b[2J\x00\xff\xc2\x85\xe2\x80\xae caf\xc3\xa9";
        let mut text = String::new();
        escape_into(&mut text, evil);
        assert_eq!(text, "GET\\r\\n\\u{1b}[2J\\u{0}\\xff\\u{85}\\u{202e} café");
        let mut json = String::new();
        json_string_into(&mut json, evil);
        assert!(json.chars().all(is_harmless));
        let back: String = serde_json::from_str(&json).unwrap();
        assert_eq!(back, String::from_utf8_lossy(evil));
    }
}
