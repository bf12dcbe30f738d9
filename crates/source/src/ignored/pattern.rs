//! One pattern of a `.dockerignore`: Go's `filepath.Match` and `**`.

/// A compiled pattern. It matches whole paths, without a shell or a regular
/// expression, in time proportional to pattern and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    /// The part before the first wildcard.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(char),
    /// `?`: any character but `/`.
    One,
    /// `*`: any characters but `/`.
    Many,
    /// `**/`: nothing, or any folders.
    Folders,
    /// `**` at the end: anything.
    Rest,
    /// `[…]`.
    Class(Class),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != self.negated
    }
}

impl Pattern {
    /// Compiles a cleaned pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    // `**/` takes its slash along.
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        Token::Rest
                    } else {
                        Token::Folders
                    }
                }
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().ok_or("it ends with a lone `\\`")?),
                '[' => Token::Class(class(&mut chars)?),
                c => Token::Literal(c),
            });
        }
        let prefix = tokens
            .iter()
            .map_while(|token| match token {
                Token::Literal(c) => Some(*c),
                _ => None,
            })
            .collect();
        Ok(Self { tokens, prefix })
    }

    /// Whether it matches this whole path.
    pub(super) fn matches(&self, path: &str) -> bool {
        // Every set bit is a token that may come next. A `Folders` that is
        // being passed through is set alone: it is only left after a `/`.
        let end = self.tokens.len();
        let mut now = vec![false; end + 1];
        self.reach(&mut now, 0);
        for c in path.chars() {
            let mut next = vec![false; end + 1];
            for (at, token) in self.tokens.iter().enumerate() {
                if now.get(at) != Some(&true) {
                    continue;
                }
                match token {
                    Token::Literal(wanted) if *wanted == c => self.reach(&mut next, at + 1),
                    Token::One if c != '/' => self.reach(&mut next, at + 1),
                    Token::Class(class) if c != '/' && class.contains(c) => self.reach(&mut next, at + 1),
                    Token::Many if c != '/' => self.reach(&mut next, at),
                    Token::Rest => self.reach(&mut next, at),
                    Token::Folders => {
                        // Inside of it anything goes; it is left after a `/`.
                        if let Some(bit) = next.get_mut(at) {
                            *bit = true;
                        }
                        if c == '/' {
                            self.reach(&mut next, at + 1);
                        }
                    }
                    _ => {}
                }
            }
            now = next;
        }
        now.last() == Some(&true)
    }

    /// Marks a token, and those that follow it if it may match nothing.
    fn reach(&self, set: &mut [bool], mut at: usize) {
        while let Some(bit) = set.get_mut(at) {
            *bit = true;
            match self.tokens.get(at) {
                Some(Token::Many | Token::Rest | Token::Folders) => at += 1,
                _ => return,
            }
        }
    }

    /// Whether it has no wildcard and is this path.
    pub(super) fn is_exactly(&self, path: &str) -> bool {
        self.prefix == path && self.prefix.chars().count() == self.tokens.len()
    }

    /// Whether something below this folder could match.
    pub(super) fn could_match_below(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.prefix.starts_with(&below) || below.starts_with(&self.prefix)
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Class, &'static str> {
    const OPEN: &str = "a `[` is not closed";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let mut from = chars.next().ok_or(OPEN)?;
        if from == ']' && !ranges.is_empty() {
            return Ok(Class { negated, ranges });
        }
        if from == ']' {
            return Err("a `[]` is empty");
        }
        if from == '\\' {
            from = chars.next().ok_or(OPEN)?;
        }
        let mut to = from;
        if chars.next_if_eq(&'-').is_some() {
            to = chars.next().ok_or(OPEN)?;
            if to == '\\' {
                to = chars.next().ok_or(OPEN)?;
            }
            if to == ']' || to < from {
                return Err("a range in `[…]` is not a range");
            }
        }
        ranges.push((from, to));
    }
}

/// Go's `filepath.Clean` for relative and absolute slash paths.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn docker_s_own_table_of_matches_holds() {
        // From moby/patternmatcher's tests.
        for (pattern, path, expected) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/file", true),
            ("**file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abc.def", true),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("a\\\\", "a\\", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            ("*", "a/b", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for pattern in ["[", "a[", "[]", "[b-a]", "a\\", "[a-]"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(!matches(&"**/a".repeat(100), &"a/".repeat(500)));
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("a/", "a"),
            ("./a//b", "a/b"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("", "."),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), expected);
        }
    }
}
