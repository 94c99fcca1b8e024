//! Some training steps on the gpu backend, one in flight, and everything they leave as bits.
use crate::reference::random::Random;
use crate::rig::{Sizes, load, weights};
use rewarm::Result;
use rewarm::backend::gpu::Gpu;
use rewarm::device::{EmulatedDevice, EmulatedSettings, SyncSite};
use rewarm::model::{Model, Precision, Purpose, Recompute, Workspace};
use rewarm::ops::{AdamSettings, Backend, Shape, State, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, finish_step, issue_step};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// A short training run.
#[derive(Clone, Copy)]
pub struct Drive {
    pub sizes: Sizes,
    pub steps: u64,
    /// Sequences of a micro-batch, and micro-batches of a step.
    pub micro: [usize; 2],
    pub time: usize,
    /// Whether micro-batches are captured.
    pub graphs: bool,
    /// What is kept in which format.
    pub precision: Precision,
    /// A step whose targets make its loss NaN: it is skipped.
    pub broken: Option<u64>,
    /// Whether a moving average of the weights is kept.
    pub average: bool,
    /// From this step on a step has one more sequence, which is a micro-batch of a size of its own.
    pub grows: Option<u64>,
}

/// Of the moving average.
const DECAY: f64 = 0.9;

/// Bits of every loss and norm, whether the step was applied, then of weights, moments and the moving average, where it
/// is kept.
pub type Bits = Vec<u64>;

impl Drive {
    pub fn new(steps: u64) -> Self {
        let sizes = Sizes::new(64, 2);
        let (precision, average) = (Precision::Mixed, false);
        let (broken, grows) = (None, None);
        Self { sizes, steps, micro: [1, 3], time: 24, graphs: true, precision, broken, average, grows }
    }

    pub fn model(&self) -> (Model, Workspace) {
        let model = self.sizes.model().with_average(self.average).with_precision(self.precision);
        let shape = Shape { batch: self.micro[0], time: self.time };
        let ws = Workspace::new(&model.config, shape, self.time / 2 + 1, Purpose::Train(Recompute::None));
        (model, ws)
    }

    /// On a fresh device with these settings; also the calls for ordering that it met.
    pub fn run(&self, settings: EmulatedSettings) -> Result<(Bits, BTreeSet<SyncSite>)> {
        let (model, ws) = self.model();
        let device = EmulatedDevice::new(settings)?;
        let sites = device.sites();
        let mut gpu = Gpu::new(Box::new(device), &model.config, &model.table, &ws, self.graphs)?;
        load(&mut gpu, &weights(&model, 3))?;
        if self.average {
            gpu.keep_ema(DECAY)?;
        }
        gpu.set_applied(0);
        let bits = self.steps(&model, &mut gpu, &ws, 0..self.steps)?;
        let sites = sites.lock().unwrap().clone();
        Ok((bits, sites))
    }

    /// The steps of `range`, which see the batches that they would see after the others.
    pub fn steps(&self, model: &Model, gpu: &mut Gpu, ws: &Workspace, range: Range<u64>) -> Result<Bits> {
        let params = assign(&model.table, &[], 0.1);
        let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
        let mut random = Random::new(7);
        let (mut bits, mut in_flight) = (Bits::new(), VecDeque::new());
        let mut finish = |gpu: &mut Gpu, issued| -> Result<()> {
            let result = finish_step(gpu, issued)?;
            bits.extend([result.loss.to_bits(), result.norm.to_bits(), u64::from(result.applied)]);
            Ok(())
        };
        for step in 0..range.end {
            let more = usize::from(self.grows.is_some_and(|from| step >= from));
            let sequences = self.micro[0] * self.micro[1] + more;
            let tokens = random.tokens(sequences * self.time, model.config.vocab_size);
            let mut targets = random.tokens(tokens.len(), model.config.vocab_size);
            targets.iter_mut().step_by(13).for_each(|t| *t = -1);
            if self.broken == Some(step) {
                targets[1] = model.config.vocab_size as i32;
            }
            if step < range.start {
                continue;
            }
            let input = Micro::new(&tokens, &targets, self.time, self.micro[0]);
            let update = Update::new(adam, 1e-3 * (step + 1).min(5) as f64, step);
            in_flight.push_back(issue_step(model, gpu, ws, input, &params, update));
            if in_flight.len() > gpu.steps_in_flight() {
                finish(gpu, in_flight.pop_front().unwrap())?;
            }
        }
        for issued in in_flight {
            finish(gpu, issued)?;
        }
        let state = gpu.state()?;
        let floats = [&state.w, &state.m, &state.v, &state.ema].into_iter().flat_map(|x| x.iter());
        bits.extend(floats.map(|x| u64::from(x.to_bits())));
        Ok(bits)
    }
}
