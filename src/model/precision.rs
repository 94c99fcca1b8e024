//! What weights and moments are kept in.
use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What training keeps in which format. Gradients and sums are f32 in either; a GPU's products read bf16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Master weights and moments in f32. The processor computes in f32, too.
    #[default]
    Mixed,
    /// Weights and moments in bf16, rounded stochastically: no master weights but those of norms and biases.
    Bf16,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mixed, Self::Bf16];

    /// For what is left out where it is the default.
    pub(crate) fn is_mixed(&self) -> bool {
        *self == Self::Mixed
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mixed => "mixed",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|p| p.to_string() == text);
        found.ok_or_else(|| Error::refused(format!("{text:?} is not mixed or bf16")))
    }
}
