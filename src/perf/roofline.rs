//! How long a step takes if every operation reaches the rate that its kind can reach: a prediction, and a bound only as
//! far as the rates are. Every number that is not a data sheet's is an assumption with a name here; `rewarm plan` prints
//! them.
use super::gpus::GpuSpec;
use super::ledger::{Kind, Ledger, LedgerRow};
use serde::Serialize;

/// Matrix products of a GPU that nobody measured: share of its peak (H200 and H100: 790 and 794 of 989).
const MATMUL_SHARE: f64 = 0.80;
/// Copies of a GPU that nobody measured: share of its data sheet's bandwidth (H200: 4.3 of 4.8 TB/s).
const COPY_SHARE: f64 = 0.90;
/// Operations limited by memory: share of the rate of a copy.
const MEMORY_SHARE: f64 = 0.92;
/// From the end of one kernel to the start of the next inside a captured graph, seconds.
const GAP_S: f64 = 1.2e-6;
/// Published runs of other trainers reach 0.87 to 0.92 of what such a model says of them.
const CALIBRATION: f64 = 0.90;

/// Seconds of a step by what limits it, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Seconds of matrix products.
    pub products_s: f64,
    /// Seconds of attention.
    pub attention_s: f64,
    /// Operations limited by memory.
    pub memory_s: f64,
    /// Seconds of cross-entropy over the logits.
    pub logits_s: f64,
    /// Norm of the gradients and AdamW.
    pub update_s: f64,
    /// Seconds between kernels, in which nothing runs.
    pub gaps_s: f64,
    /// The sum over the calibration: what to plan with.
    pub step_s: f64,
    /// Tokens of a step over that.
    pub tokens_per_s: f64,
    /// Useful FLOPs over the dense peak.
    pub mfu: f64,
}

/// A step of `tokens` tokens with `flops_per_token` useful FLOPs each.
pub fn predict(gpu: &GpuSpec, step: &Ledger, tokens: usize, flops_per_token: f64) -> Prediction {
    let seconds = |of: fn(&Kind) -> bool| -> f64 {
        step.entries.iter().filter(|entry| of(&entry.kind)).map(|entry| time(gpu, entry)).sum()
    };
    let products_s = seconds(|kind| matches!(kind, Kind::Product { .. }));
    let attention_s = seconds(|kind| matches!(kind, Kind::Attention { .. }));
    let memory_s = seconds(|kind| *kind == Kind::Memory);
    let logits_s = seconds(|kind| *kind == Kind::Logits);
    let update_s = seconds(|kind| *kind == Kind::Update);
    let gaps_s = step.entries.len() as f64 * GAP_S;
    let step_s = (products_s + attention_s + memory_s + logits_s + update_s + gaps_s) / CALIBRATION;
    let tokens_per_s = tokens as f64 / step_s;
    let mfu = tokens_per_s * flops_per_token / (gpu.bf16_tflops * 1e12);
    Prediction { products_s, attention_s, memory_s, logits_s, update_s, gaps_s, step_s, tokens_per_s, mfu }
}

/// What a prediction assumes, for a person.
pub fn assumptions(gpu: &GpuSpec) -> Vec<String> {
    let source = |measured: bool| if measured { "measured," } else { "an assumed share" };
    let [forward, backward] = [false, true].map(|backward| attention_rate(gpu, 64, backward) / 1e12);
    vec![
        format!(
            "matrix products at {:.0} TFLOP/s ({} of a peak of {:.0} dense), less what tiles and waves over {} SMs lose",
            matmul_rate(gpu) / 1e12,
            source(gpu.measured_tflops.is_some()),
            gpu.bf16_tflops,
            gpu.sms
        ),
        format!(
            "memory at {:.0} % of a copy's {:.0} GB/s ({} of {:.0})",
            100.0 * MEMORY_SHARE,
            copy_rate(gpu) / 1e9,
            source(gpu.measured_gbs.is_some()),
            gpu.bandwidth_gbs
        ),
        format!(
            "attention at the published rates of FlashAttention-2, whose instructions ours are: {forward:.0} and \
             {backward:.0} TFLOP/s forward and backward at head size 64"
        ),
        format!(
            "{:.1} us between kernels; all of it over {CALIBRATION}, as other trainers reach",
            1e6 * GAP_S
        ),
        format!("figures of {}: {}", gpu.name, gpu.source),
    ]
}

/// Seconds of one operation.
fn time(gpu: &GpuSpec, entry: &LedgerRow) -> f64 {
    match entry.kind {
        Kind::Product { m, n, k } => entry.cost.flops / (matmul_rate(gpu) * tile_share(m, n, k, gpu.sms)),
        Kind::Attention { head_size, backward } => {
            entry.cost.flops / attention_rate(gpu, head_size, backward)
        }
        Kind::Memory | Kind::Logits | Kind::Update => entry.cost.bytes / (copy_rate(gpu) * MEMORY_SHARE),
    }
}

/// FLOP/s of a large matrix product.
fn matmul_rate(gpu: &GpuSpec) -> f64 {
    1e12 * gpu.measured_tflops.unwrap_or(MATMUL_SHARE * gpu.bf16_tflops)
}

/// Bytes/s of a copy, read and written.
fn copy_rate(gpu: &GpuSpec) -> f64 {
    1e9 * gpu.measured_gbs.unwrap_or(COPY_SHARE * gpu.bandwidth_gbs)
}

/// FLOP/s of causal attention, its recomputed scores counted. FlashAttention-2 by its README's figures for causal
/// sequences of 2048: on Hopper, where the older instructions reach a third of the peak, as measured there (Blackwell
/// as Hopper); elsewhere the A100's shares, 140 and 155 of 312 TFLOP/s.
fn attention_rate(gpu: &GpuSpec, head_size: usize, backward: bool) -> f64 {
    let hopper = gpu.capability[0] >= 9;
    let [forward_tflops, backward_tflops] = match (hopper, head_size) {
        (true, ..=64) => [262.0, 222.0],
        (true, ..=96) => [250.0, 200.0],
        (true, ..=128) => [298.0, 255.0],
        (true, _) => [278.0, 240.0],
        (false, ..=64) => [140.0 / 312.0 * gpu.bf16_tflops; 2],
        (false, _) => [155.0 / 312.0 * gpu.bf16_tflops; 2],
    };
    1e12 * if backward { backward_tflops } else { forward_tflops }
}

/// Share of the rate of a large product that one of these sizes reaches: whole tiles, whole waves of them over the SMs,
/// and 1200 cycles to begin and end a tile; the best of five tile shapes and of sums split in up to 16.
fn tile_share(m: usize, n: usize, k: usize, sms: usize) -> f64 {
    const TILES: [(usize, usize, f64); 5] =
        [(128, 256, 1.0), (256, 128, 1.0), (128, 192, 0.98), (192, 128, 0.97), (128, 128, 0.93)];
    const SPLITS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
    let share = |(rows, cols, quality): (usize, usize, f64), split: usize| {
        let tiles = m.div_ceil(rows) * n.div_ceil(cols);
        let filled = (m * n) as f64 / (tiles * rows * cols) as f64;
        let waves = (tiles * split) as f64 / sms as f64;
        // 64 of k in a tile of 128 x 256: 1024 cycles of an SM at full rate.
        let cycles = (k as f64 / split as f64 / 64.0) * 1024.0 * (rows * cols) as f64 / (128.0 * 256.0);
        let overhead = if split == 1 { 1200.0 } else { 2100.0 };
        quality * filled * (waves / waves.ceil()) * cycles / (cycles + overhead)
    };
    TILES.iter().flat_map(|tile| SPLITS.map(|split| share(*tile, split))).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Precision, Purpose, Recompute, Workspace, preset};
    use crate::ops::Shape;
    use crate::perf::gpus::{self, GPUS};

    fn prediction(name: &str, gpu: &GpuSpec, batch: usize, accumulation: usize) -> Prediction {
        let model = Model::new(preset(name).unwrap()).with_precision(Precision::Mixed);
        let shape = Shape { batch, time: 2048 };
        let ws = Workspace::new(&model.config, shape, 16_384, Purpose::Train(Recompute::None));
        let step = Ledger::of_step(&model, &ws, accumulation);
        predict(gpu, &step, accumulation * shape.rows(), model.config.flops_per_token(2048))
    }

    /// The efficiencies that were worked out by hand for one H200: products with few tiles need their sums split.
    #[test]
    fn shares_of_tiles_and_waves() {
        let near = |m, n, k, share: f64| {
            let found = tile_share(m, n, k, 132);
            assert!((found - share).abs() < 0.03, "{m} {n} {k}: {found}");
        };
        near(32_768, 4096, 1024, 0.93);
        near(32_768, 2304, 768, 0.90);
        near(1024, 1024, 32_768, 0.95);
        near(4096, 1024, 32_768, 0.97);
    }

    /// Between the floor, where everything runs at measured ceilings (performance model: 301 k tokens/s), and a trainer
    /// without our fusions.
    #[test]
    fn pythia_410m_on_an_h200_is_between_the_floor_and_the_eager_peer() {
        let h200 = gpus::find("h200").unwrap();
        let p = prediction("pythia-410m", h200, 16, 1);
        assert!(p.tokens_per_s > 145e3 && p.tokens_per_s < 240e3, "{p:?}");
        assert!((p.products_s - 0.092).abs() < 0.006, "{p:?}");
        assert!((p.attention_s - 0.0497).abs() < 0.004, "{p:?}");
        let many = prediction("pythia-410m", h200, 16, 4);
        assert!(many.tokens_per_s > p.tokens_per_s && (many.update_s - p.update_s).abs() < 1e-9);
    }

    #[test]
    fn no_gpu_is_predicted_beyond_its_ceiling() {
        for gpu in GPUS {
            let p = prediction("pythia-1.4b", gpu, 4, 1);
            let ceiling = gpu.measured_tflops.map_or(0.8, |m| m / gpu.bf16_tflops);
            assert!(p.mfu > 0.2 && p.mfu < ceiling, "{}: {p:?}", gpu.name);
        }
    }
}
