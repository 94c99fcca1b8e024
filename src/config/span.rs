//! Spans of time as people write them: `3h50m`.
use crate::schedule::Scalar;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const UNITS: [(char, f64); 4] = [('d', 86_400.0), ('h', 3600.0), ('m', 60.0), ('s', 1.0)];
const EXPECTED: &str =
    r#"give numbers with units, as in "3h50m" (s, m, h, d), of a second to a hundred years"#;
const LONGEST: f64 = 100.0 * 365.25 * 86_400.0;

/// A span of time: `90s`, `30m`, `3h50m`, `1d 2h`, `1.5h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan(pub Duration);

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a span of time; {EXPECTED}");
        let (mut seconds, mut rest, mut units) = (0.0, text.trim(), &UNITS[..]);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
            let unit = rest[end..].chars().next().ok_or_else(wrong)?;
            // From large to small, each once.
            let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
            seconds += number * units[at].1;
            units = &units[at + 1..];
            rest = rest[end + 1..].trim_start();
        }
        if !(1.0..=LONGEST).contains(&seconds) {
            return Err(wrong());
        }
        Ok(Self(Duration::from_millis((1000.0 * seconds).round() as u64)))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis() as u64;
        for (unit, seconds) in UNITS {
            let size = 1000 * seconds as u64;
            let (count, part) = (left / size, left % size);
            match unit {
                's' if part > 0 => write!(f, "{}s", left as f64 / 1000.0)?,
                _ if count > 0 => write!(f, "{count}{unit}")?,
                _ => {}
            }
            left = part;
        }
        Ok(())
    }
}

/// How often something is done that changes no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum Cadence {
    /// Every so many steps.
    Steps(u64),
    /// Whenever so much time has passed.
    Time(TimeSpan),
}

impl TryFrom<Scalar> for Cadence {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let expected = r#"give a whole number of steps, or a time such as "30m""#;
        match scalar {
            Scalar::Integer(n) => {
                u64::try_from(n).map(Self::Steps).map_err(|_| format!("{n} is negative; {expected}"))
            }
            Scalar::Number(x) => Err(format!("{x} is not a whole number; {expected}")),
            Scalar::Text(text) => {
                text.parse().map(Self::Time).map_err(|e| format!("{e}; or a number of steps"))
            }
        }
    }
}

impl From<Cadence> for Scalar {
    fn from(cadence: Cadence) -> Self {
        match cadence {
            Cadence::Steps(n) => Self::Integer(n as i64), // came from an i64
            Cadence::Time(span) => Self::Text(span.to_string()),
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(n) => write!(f, "{n} steps"),
            Self::Time(span) => span.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sums_of_units() {
        for (text, seconds, shown) in [
            ("3h50m", 13_800.0, "3h50m"),
            ("30m", 1800.0, "30m"),
            ("90s", 90.0, "1m30s"),
            ("1d", 86_400.0, "1d"),
            ("1d2h3m4s", 93_784.0, "1d2h3m4s"),
            ("1.5h", 5400.0, "1h30m"),
            ("2.25s", 2.25, "2.25s"),
            (" 1h 30m ", 5400.0, "1h30m"),
            ("600m", 36_000.0, "10h"),
        ] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span.0.as_secs_f64(), seconds, "{text}");
            assert_eq!(span.to_string(), shown);
            assert_eq!(shown.parse(), Ok(span));
        }
        for text in [
            "", "0s", "600", "3h50", "h", "3x", "-1h", "1m1h", "1h1h", "1..5h", "1e3s", "inf", "3:50:00",
            "9999999d", "0.5s",
        ] {
            let error = text.parse::<TimeSpan>().unwrap_err();
            assert!(error.contains("3h50m"), "{text}: {error}");
        }
    }
}
