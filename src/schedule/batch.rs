//! How many sequences a step takes, and where in the data it begins.
use serde::{Deserialize, Serialize};
use strum::VariantNames;

/// What a step that is smaller than the final ones does to the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LrScaling {
    /// Times the root of its share of the final size: for Adam (Malladi et al. 2022, arXiv:2205.10287).
    Sqrt,
    /// Times its share of the final size (Goyal et al. 2017, arXiv:1706.02677).
    Linear,
}

impl LrScaling {
    /// The factor on the rate at a share of the final size.
    pub fn factor(self, share: f64) -> f64 {
        match self {
            Self::Sqrt => share.sqrt(),
            Self::Linear => share,
        }
    }
}

/// Stretches of steps of one size, in order: the number of samples before a step has a closed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPlan {
    stages: Vec<Stage>,
}

/// One size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    /// Steps before it.
    step: u64,
    /// Samples before it.
    sample: u64,
    /// Sequences of each of its steps.
    sequences: u64,
}

impl Stage {
    fn samples_before(&self, step: u64) -> u64 {
        self.sample.saturating_add((step - self.step).saturating_mul(self.sequences))
    }
}

impl BatchPlan {
    /// Steps of `first` sequences, and for each `(sample, sequences)`, in increasing order, steps of `sequences` as
    /// soon as at least `sample` samples were taken. No size is 0.
    pub fn new(first: u64, changes: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut stages = vec![Stage { step: 0, sample: 0, sequences: first }];
        for (sample, sequences) in changes {
            let last = stages.last_mut().expect("there is a first one");
            let steps = sample.saturating_sub(last.sample).div_ceil(last.sequences);
            let step = last.step + steps;
            let next = Stage { step, sample: last.samples_before(step), sequences };
            match steps {
                0 => *last = next, // a step that was larger than a stage has passed it over
                _ => stages.push(next),
            }
        }
        Self { stages }
    }

    /// From `start` up to `end` sequences in steps of `increment`, which divides the difference, in equal parts of the
    /// first `samples` samples: Megatron-LM's `--rampup-batch-size START INCREMENT SAMPLES`
    /// (`RampupBatchsizeNumMicroBatchesCalculator`).
    pub fn ramp(start: u64, increment: u64, samples: u64, end: u64) -> Self {
        let increments = (end - start) / increment;
        // Whole samples are at least k/n of the ramp where they are at least that rounded up; below 2^64 again.
        let at = |k: u64| (k as u128 * samples as u128).div_ceil(increments as u128) as u64;
        Self::new(start, (1..=increments).map(|k| (at(k), start + k * increment)))
    }

    /// Whether the size ever changes.
    pub fn grows(&self) -> bool {
        self.stages.len() > 1
    }

    /// Sequences of a step.
    pub fn sequences(&self, step: u64) -> u64 {
        self.stage(step).sequences
    }

    /// Samples that the steps before `step` took.
    pub fn samples_before(&self, step: u64) -> u64 {
        self.stage(step).samples_before(step)
    }

    /// The fewest steps that take at least `samples` samples.
    pub fn steps_for(&self, samples: u64) -> u64 {
        let after = self.stages.partition_point(|stage| stage.sample < samples).max(1);
        let stage = self.stages[after - 1];
        stage.step + (samples - stage.sample).div_ceil(stage.sequences)
    }

    /// [`BatchPlan::full_steps`] of the samples before `step`; `step` itself where the size never changes.
    pub fn full_steps_before(&self, step: u64) -> f64 {
        if !self.grows() {
            return step as f64; // also where so many samples are more than can be counted
        }
        self.full_steps(self.samples_before(step))
    }

    /// Samples in steps of the final size: what schedules count, so that their lengths in tokens hold while the batch
    /// grows (Megatron-LM's schedules count samples).
    pub fn full_steps(&self, samples: u64) -> f64 {
        samples as f64 / self.full() as f64
    }

    /// Sequences of a step in the end.
    pub fn full(&self) -> u64 {
        self.stages[self.stages.len() - 1].sequences
    }

    fn stage(&self, step: u64) -> &Stage {
        &self.stages[self.stages.partition_point(|stage| stage.step <= step) - 1] // the first starts at 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Megatron-LM's calculator, step by step: `update(consumed_samples)`, then that many sequences.
    fn megatron(start: u64, increment: u64, samples: u64, end: u64, steps: usize) -> Vec<u64> {
        let per_increment = samples as f64 / ((end - start) / increment) as f64;
        let mut consumed = 0u64;
        let size = |consumed: u64| match consumed > samples {
            true => end,
            false => (start + (consumed as f64 / per_increment) as u64 * increment).min(end),
        };
        let step = |_| {
            let sequences = size(consumed);
            consumed += sequences;
            sequences
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn ramps_are_those_of_megatron() {
        for (start, increment, samples, end) in
            [(16, 8, 5_120, 64), (8, 8, 100, 32), (1, 1, 1_000, 17), (4, 4, 3, 64), (32, 32, 300_000, 192)]
        {
            let plan = BatchPlan::ramp(start, increment, samples, end);
            let expected = megatron(start, increment, samples, end, 3_000);
            let found: Vec<u64> = (0..3_000).map(|step| plan.sequences(step)).collect();
            assert_eq!(found, expected, "{start} {increment} {samples} {end}");
            assert!(plan.grows() && plan.full() == end);
        }
    }

    #[test]
    fn a_constant_size_counts_steps() {
        let plan = BatchPlan::new(24, []);
        assert!(!plan.grows());
        assert_eq!((plan.sequences(9), plan.samples_before(9), plan.full_steps_before(9)), (24, 216, 9.0));
        assert_eq!([0, 1, 24, 25].map(|n| plan.steps_for(n)), [0, 1, 1, 2]);
        assert_eq!(plan.samples_before(u64::MAX), u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn samples_are_the_sum_of_the_sizes(
            first in 1u64..40,
            changes in proptest::collection::vec((0u64..400, 1u64..60), 0..6),
        ) {
            let mut from = 0;
            let changes: Vec<_> = changes.iter().map(|&(gap, size)| { from += gap; (from, size) }).collect();
            let plan = BatchPlan::new(first, changes.iter().copied());
            let mut samples = 0;
            for step in 0..200 {
                let size = changes.iter().rev().find(|change| change.0 <= samples).map_or(first, |c| c.1);
                proptest::prop_assert_eq!(plan.samples_before(step), samples);
                proptest::prop_assert_eq!(plan.sequences(step), size);
                proptest::prop_assert_eq!(plan.steps_for(samples), step);
                proptest::prop_assert_eq!(plan.steps_for(samples + 1), step + 1);
                samples += size;
            }
            proptest::prop_assert_eq!(plan.full(), changes.last().map_or(first, |c| c.1));
        }
    }
}
