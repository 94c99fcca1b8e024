//! `data.skip`: what is left out of the training data, in words: `"samples 548..552 of new"`, `"documents new.bin:42..44"`.
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// An entry of `data.skip`. Ends of ranges are excluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Skip {
    /// Samples of the order of a source, as `rewarm data where` counts them.
    Samples {
        /// Their numbers.
        range: Range<u64>,
        /// The source, by its name; none where there is one.
        source: Option<String>,
    },
    /// Every sample with a token of these documents.
    Documents(Documents),
}

/// Documents of a shard, as in `new.bin:42` and `new.bin:42..44`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// The end of the shard's path, or its prefix: as much as tells it from the others.
    pub shard: String,
    /// Their numbers in it.
    pub range: Range<u64>,
}

impl FromStr for Skip {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.splitn(4, ' ').collect();
        let parsed = match words[..] {
            ["sample" | "samples", range] => {
                range_of(range).map(|range| Self::Samples { range, source: None })
            }
            ["sample" | "samples", range, "of", source] => {
                range_of(range).map(|range| Self::Samples { range, source: Some(source.to_owned()) })
            }
            ["document" | "documents", ..] => {
                let (_, documents) = text.split_once(' ').unwrap_or_default();
                documents.parse().ok().map(Self::Documents)
            }
            _ => None,
        };
        parsed.ok_or_else(|| {
            Error::refused(format!(
                "{text:?} is not what data.skip takes; write \"samples 548..552 of SOURCE\" (without the last one; `of` where \
                 there are several sources) or \"documents SHARD:42..44\", as `rewarm data where` names them"
            ))
        })
    }
}

impl FromStr for Documents {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text
            .rsplit_once(':')
            .filter(|(shard, _)| !shard.is_empty())
            .and_then(|(shard, range)| range_of(range).map(|range| Self { shard: shard.to_owned(), range }));
        parsed.ok_or_else(|| {
            Error::refused(format!(
                "{text:?} names no document; write SHARD:42, or SHARD:42..44 for two of them"
            ))
        })
    }
}

/// `42`, or `42..44` without the last; not an empty one.
fn range_of(text: &str) -> Option<Range<u64>> {
    let (start, end) = match text.split_once("..") {
        Some((start, end)) => (start.parse().ok()?, end.parse().ok()?),
        None => {
            let number: u64 = text.parse().ok()?;
            (number, number.checked_add(1)?)
        }
    };
    // Numbers of TOML: sums of two do not overflow.
    (start < end && end <= i64::MAX as u64).then_some(start..end)
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Samples { range, source: None } => write!(f, "samples {}..{}", range.start, range.end),
            Self::Samples { range, source: Some(source) } => {
                write!(f, "samples {}..{} of {source}", range.start, range.end)
            }
            Self::Documents(documents) => write!(f, "documents {documents}"),
        }
    }
}

impl fmt::Display for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.shard, self.range.start, self.range.end)
    }
}

impl TryFrom<String> for Skip {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Skip> for String {
    fn from(skip: Skip) -> Self {
        skip.to_string()
    }
}

/// Refuses what names no source of `names`, or none where there are several.
pub(super) fn validate(skips: &[Skip], names: &[&str]) -> Result<()> {
    for skip in skips {
        let Skip::Samples { source, .. } = skip else { continue };
        let known = match source {
            Some(source) => names.contains(&&source[..]),
            None => names.len() == 1,
        };
        if !known {
            return Err(Error::refused(format!(
                "data.skip has \"{skip}\"; say of which source the samples are: {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_said_again() {
        for (text, again) in [
            ("samples 548..552 of new data", "samples 548..552 of new data"),
            ("sample 7", "samples 7..8"),
            ("documents data/a b.bin:42..44", "documents data/a b.bin:42..44"),
            ("document raw:0", "documents raw:0..1"),
        ] {
            let skip: Skip = text.parse().unwrap();
            assert_eq!(skip.to_string(), again);
            assert_eq!(again.parse::<Skip>().unwrap(), skip);
        }
        for wrong in [
            "",
            "samples",
            "samples 5..5",
            "samples 9..5",
            "samples 1..2 from a",
            "samples -1..2",
            "document 7",
            "documents :7",
            "documents a:",
            "document a:18446744073709551615",
            "7",
        ] {
            let error = wrong.parse::<Skip>().unwrap_err().to_string();
            assert!(error.contains("samples 548..552 of SOURCE"), "{wrong}: {error}");
        }
    }
}
