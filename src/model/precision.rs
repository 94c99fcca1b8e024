//! What is kept in which format.
use crate::ops::cost::Storage;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

/// What training keeps in which format, on every device. Sums, gradients and statistics are f32 in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    F32,
    /// Activations in bf16, and a bf16 copy of the weights, which products read; master weights and moments in f32.
    Mixed,
    /// Weights and moments in bf16, too, rounded stochastically: no master weights but those of norms and biases.
    Bf16,
}

impl Precision {
    /// Whether weights and moments are kept in f32: such a state means the same in each precision that does.
    pub fn has_f32_state(self) -> bool {
        self != Self::Bf16
    }

    /// How operations find what they read and write.
    pub fn storage(self) -> Storage {
        match self {
            Self::F32 => Storage::F32,
            Self::Mixed | Self::Bf16 => Storage::BF16,
        }
    }
}
