//! `$NAME`, `${NAME:-default}` and their like, as Compose has them.
//! <https://docs.docker.com/reference/compose-file/interpolation/>

/// How deep defaults may stand in defaults.
const MAX_DEPTH: usize = 10;

/// Why a text cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unclear(pub(super) String);

/// Fills the variables of a text in; `lookup` gives their values, `unset`
/// hears of those that have none and no default.
pub(super) fn fill(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Option<String>,
    unset: &mut dyn FnMut(&str),
) -> Result<String, Unclear> {
    filled(text, lookup, unset, 0)
}

fn filled(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Option<String>,
    unset: &mut dyn FnMut(&str),
    depth: usize,
) -> Result<String, Unclear> {
    if depth > MAX_DEPTH {
        return Err(Unclear("defaults stand in each other too deep".to_owned()));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(rest.get(..dollar).unwrap_or_default());
        rest = rest.get(dollar + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| {
                Unclear("a `${` here has no `}`; a `$` that is meant as it stands is written `$$`".to_owned())
            })?;
            let inside = after.get(..end).unwrap_or_default();
            out.push_str(&expression(inside, lookup, unset, depth)?);
            rest = after.get(end + 1..).unwrap_or_default();
        } else {
            let name = name_of(rest);
            if name.is_empty() {
                return Err(Unclear(
                    "a `$` here begins no variable; one that is meant as it stands is written `$$`"
                        .to_owned(),
                ));
            }
            rest = rest.get(name.len()..).unwrap_or_default();
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => unset(name),
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace closes that was opened before this text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes.get(at - 1) == Some(&b'$') => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn name_of(text: &str) -> &str {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_alphabetic() || *c == '_' || *at > 0 && c.is_ascii_digit()))
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

fn expression(
    inside: &str,
    lookup: &mut dyn FnMut(&str) -> Option<String>,
    unset: &mut dyn FnMut(&str),
    depth: usize,
) -> Result<String, Unclear> {
    let name = name_of(inside);
    let rest = inside.get(name.len()..).unwrap_or_default();
    if name.is_empty() {
        return Err(Unclear(
            "`${…}` must begin with a variable's name; a `$` that is meant as it stands is written `$$`"
                .to_owned(),
        ));
    }
    let value = lookup(name);
    let (colon, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    // With a colon, what is empty is as good as not set.
    let set = value.filter(|value| !colon || !value.is_empty());
    let mut chars = rest.chars();
    match (chars.next(), set) {
        (None, set) if !colon => Ok(set.unwrap_or_else(|| {
            unset(name);
            String::new()
        })),
        (Some('-'), Some(value)) | (Some('?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => filled(chars.as_str(), lookup, unset, depth + 1),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let words = chars.as_str().trim();
            Err(Unclear(format!(
                "the variable `{name}` must be set{}{words}",
                if words.is_empty() { "" } else { ": " }
            )))
        }
        _ => Err(Unclear(format!(
            "`${{{name}…}}` goes on with `}}`, `:-`, `-`, `:?`, `?`, `:+` or `+`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(text: &str) -> Result<String, Unclear> {
        let mut lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        fill(text, &mut lookup, &mut |_| {})
    }

    #[test]
    fn every_form_is_filled_in() {
        for (text, expected) in [
            ("x$A-${A}", "x1-1"),
            ("$$A", "$A"),
            ("${N:-d}${E:-d}${E-d}${A:-d}", "dd1"),
            ("${N:-${A:-z}}", "1"),
            ("${A:+y}${N:+y}${E:+y}${E+y}", "yy"),
            ("[${N}]", "[]"),
            ("${N:-a:b/c?}", "a:b/c?"),
            ("${A?why}", "1"),
        ] {
            assert_eq!(with(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_unclear_is_said() {
        assert_eq!(
            with("${N:?set it}").unwrap_err().0,
            "the variable `N` must be set: set it"
        );
        for bad in ["${A", "$ x", "${}", "${A!}", "$1", "${A:}", "100$"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_filled_in_or_refused(text in "[$A-C{}:?+é-]{0,40}") {
            let _ = with(&text);
        }

        #[test]
        fn a_doubled_dollar_is_always_meant_as_it_stands(text in any::<String>()) {
            prop_assert_eq!(with(&text.replace('$', "$$")).unwrap(), text);
        }
    }
}
