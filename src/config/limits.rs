//! How much of a source a run may read, and where in its order it begins.
use crate::schedule::{Scalar, TokenCount};
use serde::{Deserialize, Serialize};
use strum::VariantNames;

/// Where in the order of a source a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum Offset {
    /// Behind so many tokens.
    Tokens(u64),
    /// Where this run's newest checkpoint stands.
    After(String),
}

/// What becomes of a source that has given all that it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum WhenEmpty {
    /// A run that would come to that is refused.
    #[default]
    Refuse,
    /// It is read again and again: it has no limit.
    Repeat,
    /// The others share what it had, in proportion to their shares.
    Others,
}

impl TryFrom<Scalar> for Offset {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        if let Scalar::Text(text) = &scalar
            && let Some(run) = text.strip_prefix("after:")
        {
            return Ok(Self::After(run.trim().to_owned()));
        }
        TokenCount::try_from(scalar)
            .map(|count| Self::Tokens(count.0))
            .map_err(|why| format!("{why}, or \"after:RUN\", a run directory"))
    }
}

impl From<Offset> for Scalar {
    fn from(offset: Offset) -> Self {
        match offset {
            Offset::Tokens(tokens) => TokenCount(tokens).into(),
            Offset::After(run) => Self::Text(format!("after:{run}")),
        }
    }
}

/// Left out of what is written: configurations from before the key are to be resumed.
pub(super) fn is_refuse(when_empty: &WhenEmpty) -> bool {
    *when_empty == WhenEmpty::Refuse
}
