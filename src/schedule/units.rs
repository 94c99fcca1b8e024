//! The quantities of a schedule as a configuration writes them: lengths, token counts and rates.
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A TOML number or string, before it means anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Integer(i64),
    Number(f64),
    Text(String),
}

/// How long a run is, and what its steps are made of; none of them may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSize {
    /// Number of optimizer steps.
    pub steps: u64,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Sequences of a step.
    pub samples_per_step: u64,
}

impl RunSize {
    /// Refuses a run without steps, or of empty ones.
    pub(super) fn check(&self) -> Result<()> {
        if self.steps == 0 || self.tokens_per_step == 0 || self.samples_per_step == 0 {
            return Err(Error::refused(format!(
                "the run has {} steps of {} tokens in {} sequences; a schedule needs at least one of each",
                self.steps, self.tokens_per_step, self.samples_per_step
            )));
        }
        Ok(())
    }
}

/// What [`Length`] accepts, for messages.
pub(crate) const LENGTH_FORMS: &str =
    r#"a whole number of steps, or a string such as "1%", "500 steps", "1K samples" or "2M tokens""#;

/// How long a warmup, a phase or a decay lasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum Length {
    /// A number of optimizer steps.
    Steps(u64),
    /// Training tokens; `sequences · seq_len` of them make a step.
    Tokens(u64),
    /// Training sequences; `sequences` of them make a step.
    Samples(u64),
    /// Percent of the run's steps, `0..=100`.
    Percent(f64),
}

impl Length {
    /// The length in steps of `run`, not yet rounded.
    pub fn exact_steps(self, run: &RunSize) -> f64 {
        match self {
            Self::Steps(n) => n as f64,
            Self::Tokens(n) => n as f64 / run.tokens_per_step as f64,
            Self::Samples(n) => n as f64 / run.samples_per_step as f64,
            Self::Percent(p) => p * run.steps as f64 / 100.0,
        }
    }

    /// Whether there is nothing of it.
    pub(crate) fn is_zero(self) -> bool {
        matches!(self, Self::Steps(0) | Self::Tokens(0) | Self::Samples(0) | Self::Percent(0.0))
    }

    /// Reads `"1%"`, `"500 steps"`, `"1K samples"`, `"2M tokens"`; suffixes `K`, `M`, `B`, `T` are powers of 1000.
    /// The error says what was found and expected, without the name of the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = || format!("{text:?} is not a length; give {LENGTH_FORMS}");
        let trimmed = text.trim();
        if let Some(number) = trimmed.strip_suffix('%') {
            return match number.trim().parse::<f64>() {
                Ok(p) if (0.0..=100.0).contains(&p) => Ok(Self::Percent(p)),
                Ok(_) => {
                    Err(format!("{text:?} is not between 0% and 100%; a share of the run lies in between"))
                }
                Err(_) => Err(found()),
            };
        }
        let unit_at = trimmed.rfind(char::is_whitespace).ok_or_else(found)?;
        let (number, unit) = (trimmed[..unit_at].trim(), trimmed[unit_at..].trim());
        let count = parse_count(number).ok_or_else(found)?;
        match unit {
            "step" | "steps" => Ok(Self::Steps(count)),
            "token" | "tokens" => Ok(Self::Tokens(count)),
            "sample" | "samples" => Ok(Self::Samples(count)),
            _ => Err(found()),
        }
    }
}

/// A whole number with an optional suffix: `500`, `1_000`, `2M`, `1.5B`.
fn parse_count(text: &str) -> Option<u64> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let (number, scale) = match plain.chars().last()?.to_ascii_uppercase() {
        'K' => (&plain[..plain.len() - 1], 1e3),
        'M' => (&plain[..plain.len() - 1], 1e6),
        'B' | 'G' => (&plain[..plain.len() - 1], 1e9),
        'T' => (&plain[..plain.len() - 1], 1e12),
        _ => (&plain[..], 1.0),
    };
    let number = number.trim_end();
    if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None; // f64's own parser also takes signs, exponents, "inf" and "nan".
    }
    let value = number.parse::<f64>().ok()? * scale;
    // Below 2^53 every whole number is exact; 0.3 · 1e9 may still be off by a rounding.
    let whole = (value - value.round()).abs() <= 1e-9 * value && value < (1u64 << 53) as f64;
    whole.then_some(value.round() as u64)
}

impl TryFrom<Scalar> for Length {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Integer(n) => {
                u64::try_from(n).map(Self::Steps).map_err(|_| format!("{n} is negative; give {LENGTH_FORMS}"))
            }
            Scalar::Number(x) => Err(format!(
                "{x} is not a whole number; give {LENGTH_FORMS} (a share of {x} is \"{}%\")",
                x * 100.0
            )),
            Scalar::Text(text) => Self::parse(&text),
        }
    }
}

impl From<Length> for Scalar {
    fn from(length: Length) -> Self {
        match length {
            Length::Steps(n) => Self::Integer(n as i64), // came from an i64 or is below 2^53
            other => Self::Text(other.to_string()),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(n) => write!(f, "{n} steps"),
            Self::Tokens(n) => write!(f, "{n} tokens"),
            Self::Samples(n) => write!(f, "{n} samples"),
            Self::Percent(p) => write!(f, "{p}%"),
        }
    }
}

/// A number of training tokens: an integer, or a string such as `"10M"` or `"1.5B tokens"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct TokenCount(pub u64);

impl TryFrom<Scalar> for TokenCount {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let expected = r#"give a whole number of tokens, or a string such as "10M" or "1.5B""#;
        match scalar {
            Scalar::Integer(n) => {
                u64::try_from(n).map(Self).map_err(|_| format!("{n} is negative; {expected}"))
            }
            Scalar::Number(x) => Err(format!("{x} is not a whole number; {expected}")),
            Scalar::Text(text) => {
                let number = text.trim().trim_end_matches("tokens").trim();
                parse_count(number)
                    .map(Self)
                    .ok_or_else(|| format!("{text:?} is not a number of tokens; {expected}"))
            }
        }
    }
}

impl From<TokenCount> for Scalar {
    fn from(count: TokenCount) -> Self {
        Self::Integer(count.0 as i64) // came from an i64 or is below 2^53
    }
}

/// A learning rate as a configuration writes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum Rate {
    /// `"previous"`: the last rate of the phase before, or, where none is, of the run that is continued.
    Previous,
    /// This rate itself.
    Value(f64),
    /// `"10%"`: percent of the peak.
    OfPeak(f64),
}

impl Rate {
    /// Refuses what is not finite or below 0.
    pub(super) fn check(self, key: &str) -> Result<()> {
        match self {
            Self::Value(x) | Self::OfPeak(x) if !(x.is_finite() && x >= 0.0) => {
                Err(Error::refused(format!("{key} is {x}; a rate must be finite and at least 0")))
            }
            _ => Ok(()),
        }
    }

    /// The rate, where `previous` is the last one and `peak` the highest.
    pub fn value(self, previous: f64, peak: f64) -> f64 {
        match self {
            Self::Previous => previous,
            Self::Value(rate) => rate,
            Self::OfPeak(percent) => percent * peak / 100.0,
        }
    }
}

impl TryFrom<Scalar> for Rate {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let expected = r#"give a number of at least 0, a share of the peak such as "10%", or "previous""#;
        let not_a_rate = |found: &dyn fmt::Display| format!("{found} is not a rate; {expected}");
        let (value, form): (f64, fn(f64) -> Self) = match scalar {
            Scalar::Text(text) if text == "previous" => return Ok(Self::Previous),
            Scalar::Text(text) => match text.trim().strip_suffix('%').map(|n| n.trim().parse()) {
                Some(Ok(percent)) => (percent, Self::OfPeak),
                _ => return Err(not_a_rate(&format!("{text:?}"))),
            },
            Scalar::Integer(n) => (n as f64, Self::Value),
            Scalar::Number(x) => (x, Self::Value),
        };
        if value.is_finite() && value >= 0.0 { Ok(form(value)) } else { Err(not_a_rate(&value)) }
    }
}

impl From<Rate> for Scalar {
    fn from(rate: Rate) -> Self {
        match rate {
            Rate::Previous => Self::Text("previous".into()),
            Rate::Value(x) => Self::Number(x),
            Rate::OfPeak(percent) => Self::Text(format!("{percent}%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_every_unit() {
        let good = [
            ("1%", Length::Percent(1.0)),
            ("0.5 %", Length::Percent(0.5)),
            ("500 steps", Length::Steps(500)),
            ("1 step", Length::Steps(1)),
            ("2M tokens", Length::Tokens(2_000_000)),
            ("0.3B tokens", Length::Tokens(300_000_000)),
            ("1_000 steps", Length::Steps(1000)),
            ("1K samples", Length::Samples(1000)),
        ];
        for (text, length) in good {
            assert_eq!(Length::parse(text), Ok(length), "{text}");
            assert_eq!(Length::parse(&length.to_string()), Ok(length), "{text}");
        }
    }

    #[test]
    fn lengths_without_meaning_are_refused_with_the_forms() {
        for text in
            ["", "2M", "500", "1.5 steps", "-1 steps", "1e3 steps", "3 epochs", "x%", "µ", " ", "inf steps"]
        {
            let message = Length::parse(text).unwrap_err();
            assert!(message.contains("2M tokens"), "{text}: {message}");
        }
        assert!(Length::parse("101%").unwrap_err().contains("between 0% and 100%"));
        let share = Length::try_from(Scalar::Number(0.01)).unwrap_err();
        assert!(share.contains("\"1%\""), "{share}");
        assert!(Length::try_from(Scalar::Integer(-1)).unwrap_err().contains("negative"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", number in "[0-9_.]{0,12}[KMBTx]?", unit in "( ?%| steps| samples| tokens|)") {
            for text in [text, format!("{number}{unit}")] {
                if let Ok(length) = Length::parse(&text) {
                    proptest::prop_assert_eq!(Length::parse(&length.to_string()), Ok(length));
                }
            }
        }
    }

    #[test]
    fn token_counts_take_suffixes() {
        assert_eq!(TokenCount::try_from(Scalar::Text("10M".into())), Ok(TokenCount(10_000_000)));
        assert_eq!(TokenCount::try_from(Scalar::Text("1.5B tokens".into())), Ok(TokenCount(1_500_000_000)));
        assert!(TokenCount::try_from(Scalar::Text("500 steps".into())).is_err());
        assert!(TokenCount::try_from(Scalar::Number(1e6)).is_err());
    }

    #[test]
    fn rates_are_numbers_shares_or_previous() {
        assert_eq!(Rate::try_from(Scalar::Text("previous".into())), Ok(Rate::Previous));
        assert_eq!(Rate::try_from(Scalar::Integer(0)), Ok(Rate::Value(0.0)));
        assert_eq!(Rate::try_from(Scalar::Text("10%".into())), Ok(Rate::OfPeak(10.0)));
        for text in ["-1%", "inf%", "%", "10", "last"] {
            assert!(Rate::try_from(Scalar::Text(text.into())).unwrap_err().contains("\"10%\""), "{text}");
        }
        assert!(Rate::try_from(Scalar::Number(-1.0)).is_err());
        assert!(Rate::try_from(Scalar::Number(f64::NAN)).is_err());
    }
}
