//! `[batch]`: how many sequences a step takes.
use super::refuse::refuse;
use crate::schedule::{BatchPlan, LrScaling, RunSize, TokenCount};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// More increments than anybody means.
const INCREMENTS_MAX: usize = 100_000;

/// `[batch]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawBatch {
    /// Sequences per optimizer step.
    pub sequences: usize,
    /// Sequences per forward and backward.
    pub micro: Option<usize>,
    /// Growth in equal steps.
    pub ramp: Option<BatchRamp>,
    /// Growth by a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<BatchStage>,
    /// What smaller steps do to the rate.
    pub lr_scaling: Option<LrScaling>,
}

impl Default for RawBatch {
    fn default() -> Self {
        Self { sequences: 8, micro: None, ramp: None, stages: Vec::new(), lr_scaling: None }
    }
}

/// `[batch]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Sequences per optimizer step; where it grows, in the end.
    pub sequences: usize,
    /// Sequences per forward and backward; divides the sequences of every step.
    pub micro: usize,
    /// How sizes grow up to that.
    pub growth: Growth,
    /// What smaller steps do to the rate; `None`: nothing.
    pub lr_scaling: Option<LrScaling>,
}

/// How the sequences of a step grow up to [`Batch::sequences`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Every step has the same size.
    None,
    /// From a small size in equal increments over so many samples.
    Ramp(BatchRamp),
    /// By a list, whose ends increase.
    Stages(Vec<BatchStage>),
}

/// `[batch.ramp]`: Megatron-LM's `--rampup-batch-size start increment samples`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchRamp {
    /// Sequences of the first step.
    pub start: usize,
    /// How many more each time; divides the growth.
    pub increment: usize,
    /// Samples over which it grows.
    pub samples: u64,
}

/// One entry of `[[batch.stages]]`: Megatron-LM's `--step-batch-size-schedule`, each size with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchStage {
    /// Sequences of a step.
    pub sequences: usize,
    /// Tokens of the run at which the next size begins.
    pub until: TokenCount,
}

impl Batch {
    /// The sizes of all steps, for sequences of `seq_len` tokens.
    pub fn plan(&self, seq_len: usize) -> BatchPlan {
        let full = self.sequences as u64;
        match &self.growth {
            Growth::None => BatchPlan::new(full, []),
            Growth::Ramp(r) => BatchPlan::ramp(r.start as u64, r.increment as u64, r.samples, full),
            Growth::Stages(stages) => {
                let ends = stages.iter().map(|stage| stage.until.0.div_ceil(seq_len as u64));
                let sizes = stages.iter().map(|stage| stage.sequences as u64).chain([full]);
                BatchPlan::new(stages[0].sequences as u64, ends.zip(sizes.skip(1)))
            }
        }
    }
    /// Whether the sizes of steps depend on the tokens of a sequence.
    pub fn has_token_lengths(&self) -> bool {
        matches!(self.growth, Growth::Stages(_))
    }

    /// What `compile` makes of a run of `steps` steps as schedules count it: in full steps.
    pub fn for_schedules<T>(
        &self,
        seq_len: usize,
        steps: u64,
        compile: impl FnOnce(&RunSize) -> Result<T>,
    ) -> Result<T> {
        let (plan, samples_per_step) = (self.plan(seq_len), self.sequences as u64);
        let run = RunSize {
            steps: plan.full_steps_before(steps).ceil() as u64, // whole unless the batch grows
            tokens_per_step: samples_per_step * seq_len as u64, // both below 2^31
            samples_per_step,
        };
        compile(&run).map_err(|e| match e {
            Error::Refused(why) if plan.grows() => Error::refused(format!(
                "{why} (while the batch grows, schedules count steps of {samples_per_step} sequences)"
            )),
            e => e,
        })
    }

    /// The section that means this one.
    pub(super) fn to_raw(&self) -> RawBatch {
        let (ramp, stages) = match &self.growth {
            Growth::None => (None, Vec::new()),
            Growth::Ramp(ramp) => (Some(*ramp), Vec::new()),
            Growth::Stages(stages) => (None, stages.clone()),
        };
        let Self { sequences, micro, lr_scaling, .. } = *self;
        RawBatch { sequences, micro: Some(micro), ramp, stages, lr_scaling }
    }
}

impl RawBatch {
    /// Fills in the default of `micro` and refuses impossible combinations, naming the keys.
    pub(super) fn validate(&self) -> Result<Batch> {
        let growth = self.growth()?;
        if self.lr_scaling.is_some() && growth == Growth::None {
            return refuse(
                "batch.lr_scaling is given, and the batch does not grow; add [batch.ramp] or [[batch.stages]], or remove it",
            );
        }
        let sizes = sizes(self.sequences, &growth);
        let common = sizes.iter().fold(0, |common, (_, size)| divisor(common, *size));
        let micro = self.micro.unwrap_or(common);
        if let Some((key, size)) = sizes.iter().find(|(_, size)| !size.is_multiple_of(micro)) {
            let take = (1..=micro.min(common)).rev().find(|d| common.is_multiple_of(*d)).unwrap_or(1);
            return refuse(format!(
                "batch.micro is {micro}, {key} is {size}; micro must divide sequences, take {take}"
            ));
        }
        Ok(Batch { sequences: self.sequences, micro, growth, lr_scaling: self.lr_scaling })
    }

    fn growth(&self) -> Result<Growth> {
        match (self.ramp, &self.stages[..]) {
            (None, []) => Ok(Growth::None),
            (Some(ramp), []) => self.check_ramp(ramp).map(|()| Growth::Ramp(ramp)),
            (None, stages) => check_stages(stages).map(|()| Growth::Stages(stages.to_vec())),
            (Some(_), _) => refuse("batch.ramp and batch.stages are both given; keep one"),
        }
    }

    fn check_ramp(&self, ramp: BatchRamp) -> Result<()> {
        let BatchRamp { start, increment, samples } = ramp;
        if !(1..=self.sequences).contains(&start) {
            return refuse(format!(
                "batch.ramp.start is {start}, batch.sequences is {}; it must be at least 1 and at most batch.sequences",
                self.sequences
            ));
        }
        let growth = self.sequences - start;
        if increment == 0 || !growth.is_multiple_of(increment) {
            return refuse(format!(
                "batch.ramp.increment is {increment}; it must divide the growth from batch.ramp.start to batch.sequences, which is {growth}"
            ));
        }
        if growth / increment > INCREMENTS_MAX {
            return refuse(format!(
                "batch.ramp.increment is {increment}, which makes {} increments; give one that makes at most {INCREMENTS_MAX}",
                growth / increment
            ));
        }
        if samples == 0 {
            return refuse("batch.ramp.samples is missing or 0; give the samples over which the batch grows");
        }
        Ok(())
    }
}

fn check_stages(stages: &[BatchStage]) -> Result<()> {
    let mut before = 0;
    for (i, stage) in stages.iter().enumerate() {
        if stage.until.0 <= before {
            return refuse(format!(
                "batch.stages[{i}].until is {} tokens, and the stage begins at {before}; ends must increase (the last size is batch.sequences, without an end)",
                stage.until.0
            ));
        }
        before = stage.until.0;
    }
    Ok(())
}

/// Keys and sizes whose common divisors divide every size.
fn sizes(sequences: usize, growth: &Growth) -> Vec<(String, usize)> {
    let mut sizes = vec![("batch.sequences".to_owned(), sequences)];
    match growth {
        Growth::None => {}
        Growth::Ramp(ramp) => sizes.push(("batch.ramp.start".into(), ramp.start)),
        Growth::Stages(stages) => {
            let stages = stages.iter().enumerate();
            sizes.extend(stages.map(|(i, stage)| (format!("batch.stages[{i}].sequences"), stage.sequences)));
        }
    }
    if let Growth::Ramp(ramp) = growth
        && ramp.start < sequences
    {
        sizes.push(("batch.ramp.increment".into(), ramp.increment));
    }
    sizes
}

/// The greatest common one; of 0 and `b`, `b`.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}
