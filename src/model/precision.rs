//! What weights and moments are kept in.
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

/// What training keeps in which format. Gradients and sums are f32 in either; a GPU's products read bf16.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Precision {
    /// Master weights and moments in f32. The processor computes in f32, too.
    #[default]
    Mixed,
    /// Weights and moments in bf16, rounded stochastically: no master weights but those of norms and biases.
    Bf16,
}

impl Precision {
    /// Both precisions.
    pub const ALL: [Self; 2] = [Self::Mixed, Self::Bf16];

    /// For what is left out where it is the default.
    pub(crate) fn is_mixed(&self) -> bool {
        *self == Self::Mixed
    }
}
