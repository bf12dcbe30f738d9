//! Amounts people write: memory (`512MB`), processor shares (`0.5`) and
//! durations (`30s`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is no amount of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidAmount {
    /// What was given, shortened.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

fn invalid(text: &str, expected: &'static str) -> InvalidAmount {
    InvalidAmount {
        text: text.chars().take(64).collect(),
        expected,
    }
}

/// An amount of memory or disk, in bytes. Written with a unit: `512MB`,
/// `1.5GiB`; `KB`, `MB` and `GB` are powers of 1,000, `KiB`, `MiB` and `GiB`
/// powers of 1,024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        const EXPECTED: &str = "an amount of memory such as \"512MB\" or \"1GiB\"";
        let text_trimmed = text.trim();
        let split = text_trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| invalid(text, EXPECTED))?;
        let (number, unit) = text_trimmed.split_at(split);
        let number: f64 = number.parse().map_err(|_| invalid(text, EXPECTED))?;
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "ki" | "kib" => 1024.0,
            "mi" | "mib" => 1024.0 * 1024.0,
            "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
            "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(invalid(text, EXPECTED)),
        };
        let bytes = (number * factor).round();
        // 2^53: beyond it a float no longer counts single bytes.
        if !bytes.is_finite() || !(0.0..9_007_199_254_740_992.0).contains(&bytes) {
            return Err(invalid(text, EXPECTED));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "range checked above"
        )]
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("TB", 1_000_000_000_000),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
            ("KB", 1_000),
        ];
        for (unit, size) in UNITS {
            if self.0 >= size {
                let tenths = self.0 / (size / 10);
                return if tenths.is_multiple_of(10) {
                    write!(f, "{} {unit}", tenths / 10)
                } else {
                    write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// Parses a duration such as `500ms`, `30s`, `5m`, `2h`.
///
/// # Errors
/// Where the text is not a whole number and one of those units, or is longer
/// than a year.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidAmount> {
    const EXPECTED: &str = "a duration such as \"30s\", \"5m\" or \"500ms\"";
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .filter(|at| *at > 0)
        .ok_or_else(|| invalid(text, EXPECTED))?;
    let (number, unit) = trimmed.split_at(split);
    let number: u64 = number.parse().map_err(|_| invalid(text, EXPECTED))?;
    let millis = match unit.trim() {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    };
    match millis {
        Some(millis) if millis <= 366 * 86_400_000 => Ok(Duration::from_millis(millis)),
        _ => Err(invalid(text, EXPECTED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        assert_eq!("512MB".parse(), Ok(Bytes(512_000_000)));
        assert_eq!("1.5 GiB".parse(), Ok(Bytes(1_610_612_736)));
        for bad in ["", "512", "MB", "-1MB", "1 parsec", "1e400GB", "99999999999TB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
        assert_eq!(Bytes(1_500_000_000).to_string(), "1.5 GB");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "s",
            "5",
            "5 fortnights",
            "-5s",
            "999999999999999999999s",
            "900000h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
