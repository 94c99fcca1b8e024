//! Whether a device computes what it should, before it is timed.
use crate::backend::cpu::Cpu;
use crate::device::DeviceName;
use crate::model::{Model, ModelConfig, Pass, Purpose, Recompute, Workspace};
use crate::ops::{Backend, Part, Shape, State};
use crate::reference::measure::Stored;
use crate::reference::model::{Net, Params, params_of};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::selftest::judge::{Expected, judge};
use crate::selftest::{self, Verdict};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Refuses to time operations (`names` of the vocabulary) that compute something wrong: on a GPU each by itself, as
/// `rewarm selftest` does; on the processor all of them by the gradients of a small model of the same form.
pub fn check(device: DeviceName, sizes: &ModelConfig, names: &BTreeSet<&str>) -> Result<()> {
    if device == DeviceName::Cpu {
        return processor(sizes);
    }
    let mut wrong = Vec::new();
    let mut seen = |row: &selftest::Row| {
        if matches!(row.verdict, Verdict::Wrong | Verdict::Failed) {
            wrong.push(format!("{} {}", row.op, row.shape));
        }
    };
    // A name stands for all that begin with it.
    let first_of_its_kind = |name: &&&str| !names.iter().any(|n| n != *name && name.starts_with(n));
    for name in names.iter().filter(first_of_its_kind).filter(|name| selftest::tests(name)) {
        selftest::run(device, Some(name), false, &mut seen)?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!(
            "{device} computes what it should not: {}; `rewarm selftest` says more, nothing was timed",
            wrong.join(", ")
        ))),
    }
}

const SHAPE: Shape = Shape { batch: 2, time: 37 };

/// Losses and gradients of two blocks with two heads, as near to f64 as naive f32 arithmetic is.
fn processor(sizes: &ModelConfig) -> Result<()> {
    let channels = 2 * sizes.head_size();
    let model = Model::new(ModelConfig {
        vocab_size: 96,
        hidden_size: channels,
        num_attention_heads: 2,
        intermediate_size: 4 * channels,
        num_hidden_layers: 2,
        ..sizes.clone()
    });
    let mut random = Random::new(1);
    let mut weights = vec![0f32; model.table.total];
    for p in &model.table.params {
        let mean = if p.name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        p.scatter(&random.normals::<f32>(p.shape.iter().product(), mean, 0.1), &mut weights);
    }
    let [tokens, targets] = [(); 2].map(|()| random.tokens(SHAPE.rows(), model.config.vocab_size));
    let purpose = Purpose::Train(Recompute::None);
    let ws = Workspace::new(&model.config, SHAPE, SHAPE.time, purpose);
    let mut ops = Cpu::new(&model.config, &model.table, &ws);
    ops.write_part(Part::Weights, &weights)?;
    ops.set_batch(&tokens, &targets, 1.0 / SHAPE.rows() as f32);
    model.forward(&mut ops, &ws, SHAPE, Pass::Sequences);
    model.loss_and_gradient(&mut ops, &ws, SHAPE, false);
    model.finish_gradient(&mut ops);

    let params = params_of(&model.table, &weights);
    let naive = gradient::<f32>(&model, &params, &tokens, &targets);
    let exact = gradient::<f64>(&model, &params, &tokens, &targets);
    let found = ops.gradients()?;
    for p in &model.table.params {
        let expected = Expected::new(
            "gradient",
            Stored::F32,
            p.place.cols,
            naive[&p.name].clone(),
            exact[&p.name].clone(),
        );
        let judged = judge(&vec![("gradient", p.gather(&found))], &[expected]);
        if !judged.holds() {
            let (name, error, bound) = (&p.name, judged.error, judged.bound);
            return Err(Error::failed(format!(
                "the processor computes what it should not: the error of the gradient of {name} is {error:.1e}, at most \
                 {bound:.1e} is allowed; nothing was timed"
            )));
        }
    }
    Ok(())
}

fn gradient<T: Float>(model: &Model, params: &Params<f32>, tokens: &[i32], targets: &[i32]) -> Params<T> {
    let params = params.iter().map(|(name, values)| (name.clone(), cast(values))).collect();
    let net = Net { config: model.config.clone(), params };
    net.gradient(&net.forward(tokens, SHAPE.time), tokens, targets, SHAPE.time).params
}
