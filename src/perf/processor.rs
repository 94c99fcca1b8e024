//! How long a step takes on a processor whose product and copy were timed: every kind of operation at its share of those
//! two rates. The shares are rounded from the operations in `benches/results` (two cores of an AMD EPYC, Zen 5); other
//! processors have others, so this is an estimate, and `rewarm bench train` a measurement.
use super::ledger::{Kind, Ledger, LedgerRow};
use super::roofline::Prediction;
use serde::Serialize;

/// Of matrix products, by the rate of a large one.
const PRODUCT: f64 = 0.97;
/// Of attention forward and backward, by the same.
const ATTENTION: [f64; 2] = [0.44, 0.53];
/// Of passes over activations, by the rate of a copy.
const MEMORY: f64 = 0.65;
/// Of cross-entropy, by the same.
const LOGITS: f64 = 0.75;
/// Of norm and AdamW, by the same.
const UPDATE: f64 = 0.78;

/// What was timed on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// FLOPs per second of a large matrix product.
    pub matmul_flops_per_s: f64,
    /// Bytes per second of a copy, read and written.
    pub copy_bytes_per_s: f64,
}

/// A step of `tokens` tokens with `flops_per_token` useful FLOPs each; `mfu` is over the rate of a product.
pub fn predict(rates: Rates, step: &Ledger, tokens: usize, flops_per_token: f64) -> Prediction {
    let seconds = |of: fn(&Kind) -> bool| -> f64 {
        step.entries.iter().filter(|entry| of(&entry.kind)).map(|entry| time(rates, entry)).sum()
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
pub fn assumptions(rates: Rates) -> Vec<String> {
    vec![
        format!(
            "a product of {:.1} GFLOP/s and a copy of {:.1} GB/s, timed just now, with whatever else this machine does",
            rates.matmul_flops_per_s / 1e9,
            rates.copy_bytes_per_s / 1e9
        ),
        "shares of those as measured on two cores of an AMD EPYC; `rewarm bench train` measures a step itself".into(),
    ]
}

/// Seconds of one operation.
fn time(rates: Rates, entry: &LedgerRow) -> f64 {
    let (flops, bytes) =
        (entry.cost.flops / rates.matmul_flops_per_s, entry.cost.bytes / rates.copy_bytes_per_s);
    match entry.kind {
        Kind::Product { .. } => flops / PRODUCT,
        Kind::Attention { backward, .. } => flops / ATTENTION[usize::from(backward)],
        Kind::Memory => bytes / MEMORY,
        Kind::Logits => bytes / LOGITS,
        Kind::Update => bytes / UPDATE,
    }
}
