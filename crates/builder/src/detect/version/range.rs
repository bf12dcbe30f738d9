//! Ranges of versions, as the package managers write them.

/// Whose grammar a range is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Dialect {
    /// npm (`^20.1`, `>=18 <21`, `18 || 20`, `18 - 20`, `20.x`), Cargo, Hex, Poetry.
    Npm,
    /// PEP 440 (`>=3.9,<3.13`, `~=3.12.1`, `==3.11.*`, `!=3.13.*`).
    Pep440,
    /// RubyGems (`~> 3.2`, `>= 3.1, < 4`).
    Ruby,
    /// Composer (`^8.2`, `~8.2`, `8.1.* || 8.2.*`, `8.1|8.2`).
    Composer,
}

/// A version with what is not given left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Partial {
    numbers: [u32; 3],
    given: usize,
}

/// What one part of a range asks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// This one or newer.
    From([u32; 3]),
    /// Older than this one.
    Below([u32; 3]),
    /// Neither: from the first and below the second.
    Not([u32; 3], [u32; 3]),
}

/// A range: alternatives, in each of which every bound must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Range {
    alternatives: Vec<Vec<Bound>>,
    named: Option<Partial>,
}

impl Partial {
    /// `3`, `3.12`, `v3.12.1-rc.1`, `3.x`, `*`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['v', '=', ' ']);
        let text = text.split(['-', '+', '@']).next().unwrap_or_default();
        let mut out = Self {
            numbers: [0; 3],
            given: 0,
        };
        for (at, part) in text.split('.').enumerate() {
            if matches!(part, "*" | "x" | "X" | "") {
                break;
            }
            // `3.13rc1` is before 3.13, which is near enough.
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let number = part.get(..end)?.parse().ok()?;
            if let Some(place) = out.numbers.get_mut(at) {
                *place = number;
                out.given = at + 1;
            }
        }
        let is_any = matches!(text, "*" | "x" | "X" | "");
        (out.given > 0 || is_any).then_some(out)
    }

    /// The first version that is no longer one of it, when `kept` numbers stay.
    fn after(&self, kept: usize) -> [u32; 3] {
        let mut numbers = self.numbers;
        if kept == 0 {
            return [u32::MAX; 3];
        }
        for (at, number) in numbers.iter_mut().enumerate() {
            if at + 1 == kept {
                *number = number.saturating_add(1);
            } else if at >= kept {
                *number = 0;
            }
        }
        numbers
    }

    /// All versions that begin with what is given.
    fn whole(&self) -> Vec<Bound> {
        vec![Bound::From(self.numbers), Bound::Below(self.after(self.given))]
    }
}

impl Range {
    /// Reads a range; `None` if it is none.
    pub(in super::super) fn parse(text: &str, dialect: Dialect) -> Option<Self> {
        let mut range = Self {
            alternatives: Vec::new(),
            named: None,
        };
        let text = match dialect {
            Dialect::Composer => text.replace("||", "|").replace('|', "||"),
            _ => text.to_owned(),
        };
        for alternative in text.split("||") {
            let bounds = range.alternative(alternative.trim(), dialect)?;
            range.alternatives.push(bounds);
        }
        Some(range)
    }

    fn alternative(&mut self, text: &str, dialect: Dialect) -> Option<Vec<Bound>> {
        if let Some((from, to)) = text.split_once(" - ") {
            let (from, to) = (Partial::parse(from)?, Partial::parse(to)?);
            self.named = self.named.or(Some(from));
            return Some(vec![Bound::From(from.numbers), Bound::Below(to.after(to.given))]);
        }
        let mut bounds = Vec::new();
        // `>= 18` is one part, however it is spaced.
        let mut glued = text.replace(',', " ");
        for operator in ["~>", "~=", ">=", "<=", "==", "!=", ">", "<", "=", "^", "~"] {
            let spaced = format!("{operator} ");
            while glued.contains(&spaced) {
                glued = glued.replace(&spaced, operator);
            }
        }
        for part in glued.split_whitespace() {
            bounds.extend(self.part(part, dialect)?);
        }
        Some(bounds)
    }

    fn part(&mut self, part: &str, dialect: Dialect) -> Option<Vec<Bound>> {
        if matches!(part, "latest" | "lts/*" | "lts" | "stable" | "current" | "node") {
            return Some(Vec::new());
        }
        let at = part
            .find(|c: char| c.is_ascii_digit() || matches!(c, '*' | 'x' | 'X' | 'v'))
            .unwrap_or(part.len());
        let (operator, version) = part.split_at(at);
        if version.is_empty() {
            return None;
        }
        let version = Partial::parse(version)?;
        if version.given > 0 && !matches!(operator, "<" | "<=" | "!=") {
            self.named = self.named.or(Some(version));
        }
        let from = Bound::From(version.numbers);
        let below = |kept: usize| Bound::Below(version.after(kept));
        Some(match operator {
            "" | "=" | "==" | "===" => version.whole(),
            ">=" => vec![from],
            // Newer than all that begins with it.
            ">" if version.given < 3 && dialect != Dialect::Pep440 => {
                vec![Bound::From(version.after(version.given))]
            }
            ">" => vec![Bound::From(version.after(3))],
            "<" => vec![Bound::Below(version.numbers)],
            "<=" => vec![below(version.given)],
            "!=" => vec![Bound::Not(version.numbers, version.after(version.given))],
            "^" => {
                // The first number that is not 0 stays.
                let first = version.numbers.iter().position(|number| *number > 0);
                vec![from, below(first.map_or(version.given, |at| at + 1).max(1))]
            }
            "~" if dialect == Dialect::Composer => {
                vec![from, below(version.given.saturating_sub(1).max(1))]
            }
            "~" => vec![from, below(version.given.clamp(1, 2))],
            // All but the last number that is given stays.
            "~=" | "~>" => vec![from, below(version.given.saturating_sub(1).max(1))],
            _ => return None,
        })
    }

    /// Whether the newest release of a line (`22`, `3.13`) is in it. That is
    /// what the line's image holds.
    pub(in super::super) fn fits_newest_of(&self, line: &str) -> bool {
        let Some(line) = Partial::parse(line) else {
            return false;
        };
        let mut newest = line.numbers;
        for number in newest.iter_mut().skip(line.given) {
            *number = u32::MAX;
        }
        self.alternatives.iter().any(|bounds| {
            bounds.iter().all(|bound| match bound {
                Bound::From(from) => newest >= *from,
                Bound::Below(below) => newest < *below || *below == [u32::MAX; 3],
                Bound::Not(from, below) => !(newest >= *from && newest < *below),
            })
        })
    }

    /// The first version that it names, as far as it is given: what is tried
    /// where no release line fits.
    pub(in super::super) fn named(&self) -> Option<String> {
        let named = self.named?;
        let numbers: Vec<String> = named
            .numbers
            .iter()
            .take(named.given)
            .map(ToString::to_string)
            .collect();
        (!numbers.is_empty()).then(|| numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::super::choose;
    use super::*;

    #[test]
    fn each_dialect_chooses_the_preferred_line_that_fits() {
        const NODES: &[&str] = &["22", "24", "20", "18"];
        const PYTHONS: &[&str] = &["3.13", "3.12", "3.14", "3.11", "3.10", "3.9"];
        const PHPS: &[&str] = &["8.4", "8.3", "8.2", "8.1"];
        for (dialect, lines, range, expected) in [
            (Dialect::Npm, NODES, ">=18", Some("22")),
            (Dialect::Npm, NODES, ">= 18", Some("22")),
            (Dialect::Npm, NODES, "^20.1.0", Some("20")),
            (Dialect::Npm, NODES, "20.x", Some("20")),
            (Dialect::Npm, NODES, "v20", Some("20")),
            (Dialect::Npm, NODES, "18 || 20", Some("20")),
            (Dialect::Npm, NODES, "18||20", Some("20")),
            (Dialect::Npm, NODES, ">=18 <21", Some("20")),
            (Dialect::Npm, NODES, ">=18.0.0 <=20", Some("20")),
            (Dialect::Npm, NODES, "18 - 20", Some("20")),
            (Dialect::Npm, NODES, "*", Some("22")),
            (Dialect::Npm, NODES, "lts/*", Some("22")),
            (Dialect::Npm, NODES, ">22", Some("24")),
            (Dialect::Npm, NODES, ">22.1.0", Some("22")),
            (Dialect::Npm, NODES, "<20", Some("18")),
            (Dialect::Npm, NODES, "16", None),
            (Dialect::Npm, NODES, "~20.1.0", None),
            (Dialect::Npm, NODES, "20.1.0", None),
            (Dialect::Pep440, PYTHONS, ">=3.9", Some("3.13")),
            (Dialect::Pep440, PYTHONS, ">=3.9,<3.13", Some("3.12")),
            (Dialect::Pep440, PYTHONS, "==3.11.*", Some("3.11")),
            (Dialect::Pep440, PYTHONS, "~=3.12.1", Some("3.12")),
            (Dialect::Pep440, PYTHONS, "~=3.10", Some("3.13")),
            (Dialect::Pep440, PYTHONS, ">=3.14", Some("3.14")),
            (Dialect::Pep440, PYTHONS, "<4", Some("3.13")),
            (Dialect::Pep440, PYTHONS, ">=2.7", Some("3.13")),
            (Dialect::Pep440, PYTHONS, "!=3.13.*", Some("3.12")),
            (Dialect::Pep440, PYTHONS, ">3.13", Some("3.13")),
            (Dialect::Pep440, PYTHONS, "<3.5", None),
            (Dialect::Npm, PYTHONS, "^3.11", Some("3.13")),
            (Dialect::Npm, PYTHONS, "~3.11", Some("3.11")),
            (Dialect::Ruby, &["3.4", "3.3", "3.2"], "~> 3.2", Some("3.4")),
            (Dialect::Ruby, &["3.4", "3.3", "3.2"], "~> 3.2.0", Some("3.2")),
            (Dialect::Ruby, &["3.4", "3.3"], ">= 3.1, < 3.4", Some("3.3")),
            (Dialect::Composer, PHPS, "^8.1", Some("8.4")),
            (Dialect::Composer, PHPS, "~8.1", Some("8.4")),
            (Dialect::Composer, PHPS, "~8.1.3", Some("8.1")),
            (Dialect::Composer, PHPS, "8.1.*|8.2.*", Some("8.2")),
            (Dialect::Composer, PHPS, ">=7.4", Some("8.4")),
        ] {
            let read = Range::parse(range, dialect).unwrap_or_else(|| panic!("{range} is not read"));
            assert_eq!(choose(lines, &read), expected, "{dialect:?} {range}");
        }
    }

    #[test]
    fn what_is_no_range_is_not_read() {
        for text in ["; rm -rf /", "foo", ">=", "^^1", "1 && 2"] {
            assert_eq!(Range::parse(text, Dialect::Npm), None, "{text}");
        }
    }

    #[test]
    fn the_named_version_is_what_is_tried_last() {
        let named = |text| Range::parse(text, Dialect::Npm).and_then(|range| range.named());
        assert_eq!(named("16").as_deref(), Some("16"));
        assert_eq!(named("~20.1.0").as_deref(), Some("20.1.0"));
        assert_eq!(named("<5"), None);
        assert_eq!(named("*"), None);
    }
}
