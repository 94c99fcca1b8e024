//! Implementations of the operations.
pub mod cpu;
pub mod gpu;

/// Bytes of each kind of memory a backend allocates.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPlan {
    /// Weights.
    pub weights: usize,
    /// Gradients.
    pub gradients: usize,
    /// Both moments.
    pub moments: usize,
    /// Activations and per-row statistics, the chunk of logits excluded.
    pub activations: usize,
    /// The chunk of logits.
    pub logits: usize,
    /// Scratch of the operations, all threads.
    pub scratch: usize,
}

impl MemoryPlan {
    /// Sum of all kinds.
    pub fn total(&self) -> usize {
        self.weights + self.gradients + self.moments + self.activations + self.logits + self.scratch
    }
}
