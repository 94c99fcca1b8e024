//! Text from a model: prompt in one pass, then one token at a time against the cached keys and values.
use crate::backend;
use crate::device::DeviceName;
use crate::model::{Model, Pass, Purpose, TokenIds, Workspace};
use crate::ops::{Backend, Shape, Work};
use crate::train::OpenModel;
use crate::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Only the k most likely tokens; 0: all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability (Holtzman et al. 2019,
    /// arXiv:1904.09751); 1: all.
    pub top_p: f64,
    /// Key of the random numbers.
    pub seed: u64,
}

impl Sampling {
    /// Refuses values without a meaning.
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::refused(format!("temperature is {}; it must be 0 or more", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::refused(format!("top-p is {}; it must be above 0 and at most 1", self.top_p)));
        }
        Ok(())
    }

    /// The index drawn from `logits`.
    fn draw(&self, logits: &[f32], rng: &mut impl Rng) -> usize {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Ties by index, so that the order is total; a NaN sorts first and is then drawn, not hidden.
        order.sort_unstable_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if self.temperature == 0.0 {
            return order[0];
        }
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let largest = logits[order[0]] as f64;
        let weights: Vec<f64> =
            order.iter().map(|&i| ((logits[i] as f64 - largest) / self.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut nucleus = 0.0;
        let kept = weights.iter().take_while(|&&w| {
            let takes = nucleus < self.top_p * total;
            nucleus += w;
            takes
        });
        let kept = kept.count().max(1);
        let total: f64 = weights[..kept].iter().sum();
        let mut left = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for (index, weight) in order.iter().zip(&weights[..kept]) {
            left -= weight;
            if left < 0.0 {
                return *index;
            }
        }
        order[kept - 1]
    }
}

/// A model that is ready to continue token sequences of up to `longest` tokens.
pub struct Generator {
    model: Model,
    workspace: Workspace,
    ops: Box<dyn Backend>,
}

impl Generator {
    /// Loads a model. `longest` counts prompt and continuation; more than the model was made for is refused.
    pub fn load(source: &OpenModel, longest: usize, device: DeviceName) -> Result<Self> {
        let precision = backend::default_precision(device);
        let model = Model::new(source.config().clone()).with_precision(precision);
        let most = model.config.max_position_embeddings;
        if longest == 0 || longest > most {
            return Err(Error::refused(format!(
                "prompt and continuation have {longest} tokens together; the model takes 1 to {most}, so shorten one"
            )));
        }
        let shape = Shape { batch: 1, time: longest };
        let workspace = Workspace::new(&model.config, shape, 1, Purpose::Generate);
        let mut ops = backend::open(device, &model.config, &model.table, &workspace)?;
        source.load(&model.table, &mut *ops, false)?;
        Ok(Self { model, workspace, ops })
    }

    /// Tokens of prompt and continuation together, at most.
    pub fn longest(&self) -> usize {
        self.workspace.shape.time
    }

    /// Calls `emit` with each new token until it returns false, `count` tokens were drawn, or one of `ends` was.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        count: usize,
        sampling: Sampling,
        ends: &TokenIds,
        mut emit: impl FnMut(u32) -> bool,
    ) -> Result<()> {
        let (vocab, longest) = (self.model.config.vocab_size, self.workspace.shape.time);
        if prompt.is_empty() || prompt.len() + count > longest {
            return Err(Error::refused(format!(
                "a prompt of {} tokens and {count} new ones; at least 1 and together at most {longest} are possible",
                prompt.len()
            )));
        }
        if let Some(token) = prompt.iter().find(|t| **t as usize >= vocab) {
            return Err(Error::refused(format!(
                "token {token} of the prompt is outside of the model's vocabulary of {vocab}; use the model's tokenizer"
            )));
        }
        sampling.validate()?;
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        let (ops, ws) = (&mut *self.ops, &self.workspace);
        let tokens: Vec<i32> = prompt.iter().map(|&t| t as i32).collect();
        let model = &self.model;
        ops.set_batch(&tokens, &[], 0.0);
        let shape = Shape { batch: 1, time: prompt.len() };
        ops.perform(Work::Once, &mut |ops| model.forward(ops, ws, shape, Pass::Sequences));
        let mut last_row = prompt.len() - 1;
        for position in prompt.len()..prompt.len() + count {
            ops.perform(Work::Once, &mut |ops| model.logits(ops, ws, last_row));
            let token = sampling.draw(&ops.read_act(ws.logits, 1)?, &mut rng) as u32;
            if ends.as_slice().contains(&token) || !emit(token) || position + 1 == prompt.len() + count {
                return Ok(());
            }
            ops.set_batch(&[token as i32], &[], 0.0);
            let one = Shape { batch: 1, time: 1 };
            ops.perform(Work::Once, &mut |ops| model.forward(ops, ws, one, Pass::Token(position)));
            last_row = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_keeps_what_it_says() {
        let logits = [0.0f32, 3.0, 2.0, -1.0];
        let base = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0 };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = |s: Sampling| {
            let mut seen = [0u32; 4];
            (0..4000).for_each(|_| seen[s.draw(&logits, &mut rng)] += 1);
            seen
        };
        assert_eq!(drawn(Sampling { temperature: 0.0, ..base })[1], 4000);
        assert_eq!(drawn(Sampling { top_k: 2, ..base })[..1], [0]);
        // Probabilities 0.035, 0.696, 0.256, 0.013: the first two reach 0.8 together.
        let nucleus = drawn(Sampling { top_p: 0.8, ..base });
        assert!(nucleus[0] == 0 && nucleus[3] == 0 && nucleus[2] > 0);
        let all = drawn(base);
        assert!((all[1] as f64 / 4000.0 - 0.696).abs() < 0.03 && all[3] > 0);
    }

    #[test]
    fn meaningless_settings_are_refused() {
        let good = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0 };
        assert!(good.validate().is_ok());
        assert!(Sampling { temperature: -1.0, ..good }.validate().is_err());
        assert!(Sampling { top_p: 0.0, ..good }.validate().is_err());
        assert!(Sampling { top_p: f64::NAN, ..good }.validate().is_err());
    }
}
