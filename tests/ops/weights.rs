//! Weighted and masked cross-entropy and unlikelihood against PyTorch, in f64 (`tools/golden_weights.py`).
use crate::reference::measure::Judge;
use crate::reference::ops::weighted_cross_entropy;
use crate::rig::{Layout, Writes};
use rewarm::ops::{Backend, Inputs, Shape};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    vocab: usize,
    logits: Vec<f32>,
    targets: Vec<i32>,
    weights: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/weights.json")).unwrap()
}

/// Mean over the sizes of the weights.
fn mean(losses: &[f32], weights: &[f32]) -> f64 {
    let size = |w: &f32| f64::from(w.abs());
    let sum = losses.iter().zip(weights).map(|(loss, w)| size(w) * f64::from(*loss)).sum::<f64>();
    sum / weights.iter().map(size).sum::<f64>()
}

#[test]
fn weighted_losses_are_those_of_pytorch() {
    let g = golden();
    let rows = g.targets.len();
    let (shape, first, mut layout) = (Shape { batch: 1, time: rows }, 1, Layout::default());
    let (logits, loss) = (layout.act(rows, g.vocab), layout.stat(rows + first, 1));
    let mut rig = layout.build(shape, 1, (1, 2, 2, 1e4));
    let scale = (1.0 / g.weights.iter().map(|w| f64::from(w.abs())).sum::<f64>()) as f32;
    // The rows lie behind another one, of a weight of its own.
    let before = |x: f32, all: &[f32]| [&[x], all].concat();
    let targets = [&[3], &g.targets[..]].concat();
    let weights = before(9.0, &g.weights);
    let inputs = Inputs { weights: &weights, ..Inputs::new(&targets, &targets, scale) };
    rig.cpu.set_inputs(inputs);
    let at = loss.from_row(first);
    for gradient in [false, true] {
        rig.set(logits, &g.logits);
        let acts = [(logits, rows)];
        let acts = if gradient { &acts[..] } else { &[] };
        let writes = Writes { acts, stats: &[(at, rows)], ..Writes::default() };
        rig.run(writes, |cpu| cpu.cross_entropy(shape, logits, first, at, gradient));
        let found = mean(&rig.cpu.read_stat(at, rows).unwrap(), &g.weights);
        assert!((found - g.loss).abs() <= 1e-6 * g.loss, "{found}, PyTorch {}", g.loss);
    }
    let (_, naive) = weighted_cross_entropy::<f32>(&g.logits, g.vocab, &g.targets, &g.weights, scale.into());
    let mut judge = Judge::default();
    judge.check("gradient", "golden", &rig.get(logits, rows), &naive, &g.gradient, g.vocab);
    judge.close();
    // Masked rows are exactly 0.
    let found = rig.get(logits, rows);
    let masked = found.chunks(g.vocab).zip(&g.weights).filter(|(_, w)| **w == 0.0);
    assert!(masked.flat_map(|(row, _)| row).all(|x| *x == 0.0));
}

/// A target that has all of the probability, and is not to be predicted: nothing is infinite.
#[test]
fn a_certain_target_that_is_not_to_be_predicted_stays_finite() {
    let (shape, mut layout) = (Shape { batch: 1, time: 1 }, Layout::default());
    let (logits, loss) = (layout.act(1, 4), layout.stat(1, 1));
    let mut rig = layout.build(shape, 1, (1, 2, 2, 1e4));
    rig.cpu.set_inputs(Inputs { weights: &[-1.0], ..Inputs::new(&[2], &[2], 1.0) });
    rig.set(logits, &[0.0, 0.0, 80.0, 0.0]);
    let writes = Writes { acts: &[(logits, 1)], stats: &[(loss, 1)], ..Writes::default() };
    rig.run(writes, |cpu| cpu.cross_entropy(shape, logits, 0, loss, true));
    let found = rig.cpu.read_stat(loss, 1).unwrap()[0];
    assert!((found - 1e5f32.ln()).abs() < 1e-4, "{found}");
    let gradient = rig.get(logits, 1);
    assert!(gradient.iter().all(|g| g.is_finite()) && gradient[2] >= 0.0, "{gradient:?}");
}
