//! Mixed precision on the processor: the gradients of every golden model, by each micro-kernel of this machine.
use crate::golden::{CASES, golden};
use crate::reference::measure::distance;
use crate::run::{Batch, cpu, workspace};
use rewarm::backend::cpu::{MicroKernel, MixedCpu};
use rewarm::model::{Model, Pass, Workspace};
use rewarm::ops::{Backend, Part, State};
use rewarm::selftest::{rounded, rounded_weights};

/// The flat gradients of a batch and its mean loss.
fn gradients(model: &Model, ops: &mut dyn Backend, ws: &Workspace, batch: &Batch) -> (Vec<f32>, f64) {
    ops.set_batch(&batch.tokens, &batch.targets, (1.0 / batch.counted() as f64) as f32);
    model.forward(ops, ws, batch.shape, Pass::Sequences);
    model.loss_and_gradient(ops, ws, batch.shape, false);
    model.finish_gradient(ops);
    let losses = ops.read_stat(ws.loss, batch.shape.rows()).unwrap();
    let loss = losses.iter().map(|x| f64::from(*x)).sum::<f64>() / batch.counted() as f64;
    (ops.gradients().unwrap().into_owned(), loss)
}

#[test]
fn gradients_are_as_good_as_those_of_a_naive_bf16_step() {
    for name in CASES {
        let g = golden(name);
        let (model, batch, ws) = (&g.model, &g.batch, workspace(&g.model, g.batch.shape));
        let (exact, loss) = gradients(model, &mut cpu(model, &ws, &g.weights), &ws, batch);
        let naive_weights = rounded_weights(model, &g.weights);
        let (naive, _) = gradients(model, &mut rounded(cpu(model, &ws, &naive_weights)), &ws, batch);
        for micro in MicroKernel::ALL.into_iter().filter(|m| m.is_here()) {
            let mut mixed = MixedCpu::new(&model.config, &model.table, &ws);
            mixed.multiply_by(micro);
            mixed.write_part(Part::Weights, &g.weights).unwrap();
            let (found, mixed_loss) = gradients(model, &mut mixed, &ws, batch);
            assert!(
                (mixed_loss - loss).abs() <= 1e-2 * loss,
                "{name} {micro}: loss {mixed_loss}, exact {loss}"
            );
            let mut nearest = (0.0, "");
            for p in &model.table.params {
                let [found, naive, exact] = [&found, &naive, &exact].map(|all| p.gather(all));
                let [error, bound] = [distance(&found, &exact), 2.0 * distance(&naive, &exact)];
                assert!(error <= bound, "{name} {micro} {}: {error:.2e} of {bound:.2e}", p.name);
                nearest = if error / bound > nearest.0 { (error / bound, &p.name) } else { nearest };
            }
            println!(
                "{name:18} {micro:12} loss {:+.1e}, nearest to its bound {nearest:.2?}",
                mixed_loss - loss
            );
        }
    }
}
