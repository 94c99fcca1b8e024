//! The end of a step: global norm, clipping, AdamW, the bf16 copy of the weights, and their moving average.
use super::Case;
use crate::Result;
use crate::ops::{AdamParam, AdamSettings, AdamStep, Matrix, Part, Shape, Update};
use crate::reference::Float;
use crate::reference::measure::Stored::F32;
use crate::reference::optimizer::{Moments, adamw, ema};
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::rig::{On, Places, RowRun, both, gather, of, scatter};

/// One update of tensors of every kind: after `applied` others, and with a gradient that is not a number it
/// must change nothing.
#[derive(Clone, Copy)]
pub struct AdamW {
    /// Number of updates before this one, from which the bias is corrected.
    pub applied: u64,
    /// Whether a gradient is NaN.
    pub bad: bool,
}

/// Rows, columns, gap between rows, multiplier of the rate, decay: the first one is also an embedding, the last is
/// frozen, and every second decay follows the rate.
const TENSORS: [(usize, usize, usize, f64, f64); 6] = [
    (40, 264, 0, 1.0, 0.1),
    (85, 200, 56, 0.5, 0.1),
    (1, 67, 0, 2.0, 0.0),
    (1, 1, 0, 1.0, 0.0),
    (1, 50_291, 0, 1.0, 0.01),
    (3, 67, 9, 0.0, 0.1),
];
const ADAM: AdamSettings = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
const RATE: f64 = 3e-3;
const DECAY_SCALE: [f64; 2] = [0.75, 0.5];
/// Of the moving average.
const DECAY: f64 = 0.9;
const NAMES: [&str; 4] = ["w", "m", "v", "ema"];

/// w, m, v, moving average, g of a tensor.
type Values = [Vec<f32>; 5];

impl AdamW {
    fn values(&self) -> Vec<Values> {
        let mut random = Random::new(self.applied);
        let tensor = |&(rows, cols, ..): &(usize, usize, usize, f64, f64)| {
            let mut draw = |sigma| random.normals::<f32>(rows * cols, 0.0, sigma);
            let [w, m, v, g, e] = [1.0, 0.01, 0.01, 0.01, 1.0].map(&mut draw);
            [w, m, v.iter().map(|v| v * v).collect(), e, g]
        };
        TENSORS.iter().map(tensor).collect()
    }

    fn norm(&self) -> f64 {
        let trained = self.values().into_iter().zip(TENSORS).filter(|(_, tensor)| tensor.3 > 0.0);
        let squares = trained.flat_map(|([_, _, _, _, g], _)| g).map(|g| f64::from(g).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// w, m, v and the moving average of all tensors.
    fn reference<T: Float>(&self, values: &[Values]) -> [Vec<T>; 4] {
        let step = AdamStep {
            lr: RATE,
            decay_scale: DECAY_SCALE,
            betas: ADAM.betas,
            eps: ADAM.eps,
            grad_scale: ADAM.clip_factor(self.norm()),
            applied: self.applied + 1,
        };
        let mut all = [(); 4].map(|()| Vec::new());
        for (i, ([w, m, v, e, g], (_, _, _, lr_mult, decay))) in values.iter().zip(TENSORS).enumerate() {
            let mut average = of(e);
            let mut state = Moments::<T> { w: of(w), m: of(m), v: of(v) };
            if !self.bad && lr_mult > 0.0 {
                adamw(&mut state, &of::<T>(g), step, lr_mult, decay * DECAY_SCALE[i % 2]);
            }
            if !self.bad {
                ema(&mut average, &state.w, DECAY);
            }
            all.iter_mut().zip([state.w, state.m, state.v, average]).for_each(|(all, part)| all.extend(part));
        }
        all
    }
}

impl Case for AdamW {
    fn op(&self) -> &'static str {
        "update"
    }

    fn shape(&self) -> String {
        format!("{} tensors, step {}{}", TENSORS.len(), self.applied + 1, if self.bad { ", NaN" } else { "" })
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let mut places = Places::default();
        let tensors: Vec<Matrix> = TENSORS.iter().map(|&(r, c, gap, ..)| places.matrix(r, c, gap)).collect();
        places.params.clone_from(&tensors);
        places.average = true;
        let rows = tensors[0].rows;
        let x = places.act(rows, tensors[0].cols);
        let s = Shape { batch: 1, time: rows };
        let storage = on.storage();
        let mut rig = places.build(on, s)?;
        let mut average = vec![0.0; rig.weights.len()];
        for (&place, [w, m, v, e, g]) in tensors.iter().zip(self.values()) {
            scatter(&mut rig.weights, place, &w);
            scatter(&mut rig.moments[0], place, &m);
            scatter(&mut rig.moments[1], place, &v);
            scatter(&mut average, place, &e);
            scatter(&mut rig.gradients, place, &g);
        }
        if self.bad {
            rig.gradients[tensors[4].offset + 40_000] = f32::NAN;
        }
        rig.load()?;
        rig.keep_ema(DECAY)?;
        rig.write_part(Part::Average, &average)?;
        rig.set_applied(self.applied);
        let param = |(i, &place): (usize, &Matrix)| {
            let (_, _, _, lr_mult, weight_decay) = TENSORS[i];
            AdamParam { place, lr_mult, weight_decay, decay_follows_rate: i % 2 == 1 }
        };
        let params: Vec<AdamParam> = tensors.iter().enumerate().map(param).collect();
        rig.update(&params, Update { decay_scale: DECAY_SCALE, ..Update::new(ADAM, RATE, self.applied) });
        let outcome = rig.outcome()?;
        let tokens: Vec<i32> = (0..rows as i32).collect();
        rig.set_batch(&tokens, &vec![-1; rows], 0.0);
        rig.ops().embedding(s, tensors[0], x);
        let copy = rig.read_act(x, rows)?;
        let state = rig.state()?;
        let flat = [&state.w, &state.m, &state.v, &state.ema]
            .map(|flat| tensors.iter().flat_map(|&t| gather(flat, t)).collect::<Vec<_>>());
        let rounded = storage.kept(&flat[0][..copy.len()]);
        let agrees = f32::from(u8::from(copy == rounded));
        let mut outputs: Vec<_> = NAMES.into_iter().zip(flat).collect();
        outputs.extend([
            ("norm", vec![outcome.norm as f32]),
            ("applied", vec![f32::from(u8::from(outcome.applied))]),
        ]);
        outputs.push(("copy of the weights", vec![agrees]));
        rig.finish(outputs)
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        let values = self.values();
        let (naive, exact) = both(|| self.reference::<f32>(&values), || self.reference::<f64>(&values));
        let parts = NAMES.into_iter().zip(naive.into_iter().zip(exact));
        let mut expected: Vec<_> =
            parts.map(|(name, (naive, exact))| Expected::new(name, F32, exact.len(), naive, exact)).collect();
        let norm = self.norm();
        if !self.bad {
            expected.push(Expected::new("norm", F32, 1, vec![norm as f32], vec![norm]));
        }
        expected.push(Expected::bits("applied", vec![f32::from(u8::from(!self.bad))]));
        expected.push(Expected::bits("copy of the weights", vec![1.0]));
        expected
    }
}
