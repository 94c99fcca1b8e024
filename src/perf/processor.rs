//! How long a step takes on a processor whose product and copy were timed: every kind of operation at its share of those
//! two rates. Other processors have other shares, so this is an estimate, and `rewarm bench train` a measurement.
use super::ledger::{Kind, Ledger, LedgerRow};
use super::roofline::Prediction;
use crate::model::Precision;
use serde::Serialize;

/// What operations reach of the rate of a large product or of a copy.
struct Shares {
    /// Matrix products, of a large one.
    product: f64,
    /// Attention forward and backward, of the same.
    attention: [f64; 2],
    /// Passes over activations, of a copy.
    memory: f64,
    /// Cross-entropy, of the same.
    logits: f64,
    /// Norm and AdamW, of the same.
    update: f64,
    /// Where they were measured.
    processor: &'static str,
}

impl Shares {
    /// Rounded from the operations in `benches/results`.
    const F32: Self = Self {
        product: 0.97,
        attention: [0.44, 0.53],
        memory: 0.65,
        logits: 0.75,
        update: 0.78,
        processor: "an AMD EPYC (Zen 5)",
    };
    /// Rounded from `rewarm profile --shape pythia-70m --precision mixed`. The rate of AMX differed by a factor of three within
    /// a second, with what other guests of the processor did.
    const BF16: Self = Self {
        product: 0.55,
        attention: [0.19, 0.17],
        memory: 0.4,
        logits: 0.42,
        update: 1.0,
        processor: "an Intel Xeon with AMX (Emerald Rapids)",
    };

    fn of(precision: Precision) -> &'static Self {
        if precision == Precision::F32 { &Self::F32 } else { &Self::BF16 }
    }
}

/// What was timed on this machine, in the precision of the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// FLOPs per second of a large matrix product.
    pub matmul_flops_per_s: f64,
    /// Bytes per second of a copy, read and written.
    pub copy_bytes_per_s: f64,
}

/// A step of `tokens` tokens with `flops_per_token` useful FLOPs each; `mfu` is over the rate of a product.
pub fn predict(
    (rates, precision): (Rates, Precision),
    step: &Ledger,
    tokens: usize,
    flops_per_token: f64,
) -> Prediction {
    let shares = Shares::of(precision);
    let seconds = |of: fn(&Kind) -> bool| -> f64 {
        step.entries.iter().filter(|entry| of(&entry.kind)).map(|entry| time(rates, shares, entry)).sum()
    };
    let products_s = seconds(|kind| matches!(kind, Kind::Product { .. }));
    let attention_s = seconds(|kind| matches!(kind, Kind::Attention { .. }));
    let memory_s = seconds(|kind| *kind == Kind::Memory);
    let logits_s = seconds(|kind| *kind == Kind::Logits);
    let update_s = seconds(|kind| *kind == Kind::Update);
    let step_s = products_s + attention_s + memory_s + logits_s + update_s;
    let tokens_per_s = tokens as f64 / step_s;
    let mfu = tokens_per_s * flops_per_token / rates.matmul_flops_per_s;
    Prediction {
        products_s,
        attention_s,
        memory_s,
        logits_s,
        update_s,
        gaps_s: 0.0,
        step_s,
        tokens_per_s,
        mfu,
    }
}

/// What a prediction assumes, for a person.
pub fn assumptions(rates: Rates, precision: Precision) -> Vec<String> {
    vec![
        format!(
            "a product of {:.1} GFLOP/s and a copy of {:.1} GB/s, timed just now, with whatever else this machine does",
            rates.matmul_flops_per_s / 1e9,
            rates.copy_bytes_per_s / 1e9
        ),
        format!(
            "shares of those as measured on two cores of {}; `rewarm bench train` measures a step itself",
            Shares::of(precision).processor
        ),
    ]
}

/// Seconds of one operation.
fn time(rates: Rates, shares: &Shares, entry: &LedgerRow) -> f64 {
    let (flops, bytes) =
        (entry.cost.flops / rates.matmul_flops_per_s, entry.cost.bytes / rates.copy_bytes_per_s);
    match entry.kind {
        Kind::Product { .. } => flops / shares.product,
        Kind::Attention { backward, .. } => flops / shares.attention[usize::from(backward)],
        Kind::Memory => bytes / shares.memory,
        Kind::Logits => bytes / shares.logits,
        Kind::Update => bytes / shares.update,
    }
}
