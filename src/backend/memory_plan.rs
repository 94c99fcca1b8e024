//! What a backend allocates.

/// Bytes of each kind of memory a backend allocates.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPlan {
    /// Bytes of weights, with master weights where there are any.
    pub weights: usize,
    /// Bytes of gradients.
    pub gradients: usize,
    /// Bytes of both moments.
    pub moments: usize,
    /// The moving average of the weights.
    pub ema: usize,
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
        let state = self.weights + self.gradients + self.moments + self.ema;
        state + self.activations + self.logits + self.scratch
    }
}
