//! What the machine has to give in a precision, measured with the backend's own operations: a large matrix product and a copy.
use super::machine::past_caches;
use super::memory_available;
use crate::backend;
use crate::device::DeviceName;
use crate::model::{Init, Model, ModelConfig, Precision, Purpose, Workspace, initialize, preset};
use crate::ops::{Act, Backend, Op, Ops, Shape, Work};
use crate::{Error, Result};
use serde::Serialize;

/// Rates that nothing a step does should exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    /// Bytes per second of a copy, read and written.
    pub copy_bytes_per_s: f64,
    /// FLOPs per second of a product.
    pub matmul_flops_per_s: f64,
}

/// Timed at least so often.
const REPEATS: usize = 5;
/// And for so long, in seconds: a GPU reaches the clocks that it can hold.
const SECONDS: f64 = 0.5;

/// Edge of the product: large enough that no larger one is faster.
fn edge(device: DeviceName) -> usize {
    match device {
        DeviceName::Cuda(_) => 8192,
        DeviceName::Emulated => 64,
        _ => 2048,
    }
}

impl Ceilings {
    /// The best of several repetitions of each.
    pub fn measure(device: DeviceName, precision: Precision) -> Result<Self> {
        let edge = edge(device);
        let config = ModelConfig {
            vocab_size: 64,
            hidden_size: edge,
            intermediate_size: edge,
            num_attention_heads: edge / 64,
            num_hidden_layers: 1,
            ..preset("pythia-14m").expect("a preset")
        };
        let element = precision.storage().element;
        // All tensors of the workspace, 11 times this, do not fit into a cache.
        let rotated = if device == DeviceName::Cpu { past_caches(memory_available(device)?) } else { 0 };
        let s = Shape { batch: 1, time: edge.max(rotated / (6 * edge * element)) };
        let model = Model::new(config).with_precision(precision);
        let ws = Workspace::new(&model.config, s, 1, Purpose::Evaluate);
        let mut ops = backend::open(device, &model.config, &model.table, &ws)?;
        initialize(&model.config, &model.table, Init::Normal, 1, &mut *ops)?;
        let tokens: Vec<i32> = (0..s.rows() as i32).map(|i| i % 64).collect();
        ops.set_batch(&tokens, &tokens, 1.0);

        let (layer, acts) = (model.table.layers[0], ws.layers[0]);
        let square = Shape { batch: 1, time: edge };
        let product = &mut |ops: &mut dyn Ops| {
            ops.linear(square, acts.norm_attn, layer.up, [None, None], None, acts.norm_mlp);
        };
        // Chooses an algorithm, on random bits; the numbers come after it.
        ops.perform(Work::Evaluation { shape: square }, product);
        let thirds = [0, 1, 2].map(|i| acts.qkv.columns(i * edge, edge));
        let targets: Vec<Act> = [acts.norm_attn, acts.norm_mlp, acts.next, acts.saved, ws.last]
            .into_iter()
            .chain(thirds)
            .chain([acts.attn, acts.gelu])
            .collect();
        ops.perform(Work::Once, &mut |ops| {
            ops.embedding(s, model.table.embed, acts.x);
            targets.iter().for_each(|&to| ops.copy(s, acts.x, to));
        });
        let product_s = best(&mut *ops, &mut |ops| ops.perform(Work::Evaluation { shape: square }, product))?;
        // Each from the tensor that was written longest ago.
        let whole: Vec<Act> = targets.iter().filter(|t| t.ld == t.cols).copied().chain([acts.x]).collect();
        let mut turn = 0;
        let copy_s = best(&mut *ops, &mut |ops| {
            turn += 2;
            let (from, to) = (whole[turn % whole.len()], whole[(turn + 1) % whole.len()]);
            ops.issue(&Op::Copy { s, from, to });
        })?;
        Ok(Self {
            copy_bytes_per_s: (2 * s.rows() * edge * element) as f64 / copy_s,
            matmul_flops_per_s: 2.0 * (edge as f64).powi(3) / product_s,
        })
    }

    /// The least time in which work could be done at these rates.
    pub fn least_s(&self, bytes: f64, flops: f64) -> f64 {
        (bytes / self.copy_bytes_per_s).max(flops / self.matmul_flops_per_s)
    }
}

/// Shortest time of a repetition in seconds, on the device's clock.
fn best(ops: &mut dyn Backend, run: &mut dyn FnMut(&mut dyn Backend)) -> Result<f64> {
    ops.timeline()?;
    let (mut shortest, mut total, mut repeats) = (f64::INFINITY, 0.0, 0);
    while repeats < REPEATS || (total < SECONDS && repeats < 10_000) {
        ops.mark();
        run(ops);
        ops.mark();
        let moments = ops.timeline()?.moments;
        let &[first, last] = &moments[..] else {
            return Err(Error::failed("the device does not tell the time"));
        };
        (shortest, total, repeats) = (f64::min(shortest, last - first), total + last - first, repeats + 1);
    }
    Ok(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roof_is_the_slower_of_two() {
        let c = Ceilings { copy_bytes_per_s: 10.0, matmul_flops_per_s: 100.0 };
        assert_eq!((c.least_s(20.0, 100.0), c.least_s(5.0, 300.0)), (2.0, 3.0));
    }

    #[test]
    #[cfg(emulated_kernels)]
    fn devices_are_measured_by_their_own_clock() {
        let c = Ceilings::measure(DeviceName::Emulated, Precision::Mixed).unwrap();
        assert!(c.copy_bytes_per_s > 0.0 && c.matmul_flops_per_s.is_finite(), "{c:?}");
    }
}
