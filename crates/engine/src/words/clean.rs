//! Nothing that comes from elsewhere may steer the terminal.

use std::borrow::Cow;

/// A text without control characters, terminal escapes and characters that
/// turn the direction of writing. Line ends become spaces, tabs stay.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\n' => out.push(' '),
            c if is_harmful(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What follows an escape character and belongs to it.
fn skip_escape(chars: &mut Chars<'_>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        // Strings (window titles, links) end with BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some('(' | ')' | '*' | '+' | '#' | '%') => {
            chars.next();
            chars.next();
        }
        Some(c) if c.is_ascii_graphic() => {
            chars.next();
        }
        _ => {}
    }
}

fn skip_control_sequence(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next_if(|c| matches!(c, ' '..='~')) {
        if matches!(c, '@'..='~') {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_as_a_whole_and_text_stays() {
        for (dirty, expected) in [
            ("plain é\tx", "plain é\tx"),
            ("\u{1b}[1;31mred\u{1b}[0m!", "red!"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("a\rb\u{8}c\u{0}", "abc"),
            ("\u{9b}2Jx", "x"),
            ("\u{1b}cx", "x"),
            ("\u{1b}(Bx", "x"),
            ("two\nlines", "two lines"),
            ("\u{202e}gnp.exe", "gnp.exe"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(clean(dirty), expected, "{dirty:?}");
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left_of_any_text() {
        // Every pair of awkward characters, with text around.
        let awkward: Vec<char> = ('\0'..='\u{ff}').chain(['\u{202e}', 'é', '語']).collect();
        for a in &awkward {
            for b in &awkward {
                let text = format!("x{a}{b}[31m y");
                assert!(!clean(&text).chars().any(is_harmful), "{text:?}");
            }
        }
    }
}
