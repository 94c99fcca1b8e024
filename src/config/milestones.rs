//! `checkpoint.milestones`: the steps whose checkpoints stay, however many come after them.
use super::Config;
use super::refuse::refuse;
use crate::Result;
use crate::schedule::{BatchPlan, Length, Schedule};
use serde::{Deserialize, Serialize};

/// Lengths in percent are quotients: so much of a step is none.
const SLACK: f64 = 1e-9;

/// As it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Milestones {
    /// One every so much of the run.
    Every(Length),
    /// One at each of these places.
    At(Vec<Length>),
}

/// Which steps of a run they are.
#[derive(Clone, Debug, PartialEq)]
pub struct MilestoneSteps {
    every: Option<Every>,
    /// In order.
    at: Vec<u64>,
}

/// Whenever so much more was done.
#[derive(Clone, Debug, PartialEq)]
struct Every {
    /// In steps, or in samples.
    amount: f64,
    /// The sizes of steps, where samples count.
    batch: Option<BatchPlan>,
}

impl Milestones {
    /// Refuses what would be at the beginning of the run.
    pub(super) fn check(&self) -> Result<()> {
        let lengths = match self {
            Self::Every(length) => std::slice::from_ref(length),
            Self::At(list) => &list[..],
        };
        match lengths.iter().find(|length| length.is_zero()) {
            Some(length) => refuse(format!(
                "checkpoint.milestones has {length}: nothing was trained there; give lengths above 0, such as \"10%\" or \
                 [1000, \"2B tokens\"]"
            )),
            None => Ok(()),
        }
    }
}

impl Config {
    /// The milestones of a run on this schedule: those that are named, and, unless the list of them is empty, the last step
    /// before a decay from a stable rate, from which another run can branch.
    pub fn milestones(&self, seq_len: usize, schedule: &Schedule) -> MilestoneSteps {
        let (batch, steps) = (self.batch.plan(seq_len), self.total_steps(seq_len));
        let of_run = |percent: f64| percent * steps as f64 / 100.0;
        let samples_of = |tokens: u64| tokens as f64 / seq_len as f64;
        let mut every = None;
        let mut at = Vec::new();
        match &self.checkpoint.milestones {
            None => {}
            Some(Milestones::Every(length)) => {
                let (amount, batch) = match *length {
                    Length::Steps(n) => (n as f64, None),
                    Length::Percent(percent) => (of_run(percent), None),
                    Length::Samples(n) => (n as f64, Some(batch.clone())),
                    Length::Tokens(n) => (samples_of(n), Some(batch.clone())),
                };
                every = Some(Every { amount, batch });
            }
            Some(Milestones::At(list)) => at.extend(list.iter().map(|length| match *length {
                Length::Steps(n) => n,
                Length::Percent(percent) => of_run(percent).round() as u64, // far below 2^53, not negative
                Length::Samples(n) => batch.steps_for(n),
                Length::Tokens(n) => batch.steps_for(n.div_ceil(seq_len as u64)),
            })),
        }
        let unwanted = self.checkpoint.milestones == Some(Milestones::At(Vec::new()));
        if let Some(stable) = schedule.stable_end().filter(|_| !unwanted) {
            at.push(batch.steps_for(stable.saturating_mul(batch.full())));
        }
        at.sort_unstable();
        at.dedup();
        MilestoneSteps { every, at }
    }
}

impl MilestoneSteps {
    /// Whether the state after so many steps is one.
    pub fn has(&self, steps: u64) -> bool {
        let passes = |every: &Every| steps > 0 && every.times(steps) > every.times(steps - 1);
        self.at.binary_search(&steps).is_ok() || self.every.as_ref().is_some_and(passes)
    }

    /// How many there are up to and with the state after so many steps; one that is in both ways counts twice.
    pub fn count(&self, steps: u64) -> u64 {
        let listed = self.at.partition_point(|at| *at <= steps) as u64;
        listed + self.every.as_ref().map_or(0, |every| every.times(steps).min(steps))
    }
}

impl Every {
    /// How often the amount was done after so many steps.
    fn times(&self, steps: u64) -> u64 {
        let done = self.batch.as_ref().map_or(steps, |batch| batch.samples_before(steps));
        (done as f64 / self.amount + SLACK).floor() as u64
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{SMALL, load};

    /// The milestones of [`SMALL`], 1000 steps of 8 sequences of 512 tokens, with these settings.
    fn found(sets: &[&str]) -> Vec<u64> {
        let config = load(SMALL, sets).unwrap();
        let milestones = config.milestones(512, &config.compile_schedule(512, None).unwrap());
        let found: Vec<u64> = (0..=1000).filter(|&step| milestones.has(step)).collect();
        assert!(milestones.count(1000) >= found.len() as u64 && milestones.count(0) == 0);
        found
    }

    #[test]
    fn milestones_are_steps_of_the_run() {
        let set = |text: &str| format!("checkpoint.milestones={text}");
        for (text, steps) in [
            ("30%", vec![300, 600, 900]),
            ("\"30%\"", vec![300, 600, 900]),
            ("400", vec![400, 800]),
            ("2M tokens", vec![489, 977]), // 4096 tokens a step: the first that has them all
            ("3K samples", vec![375, 750]),
            ("[5, \"50%\", \"1M tokens\", \"80 samples\"]", vec![5, 10, 245, 500]),
            ("[2000]", vec![]),
            ("[]", vec![]),
        ] {
            assert_eq!(found(&[&set(text)]), steps, "{text}");
        }
        assert_eq!(found(&[]), [0; 0]);
        // Percents of odd lengths, and steps that grow.
        assert_eq!(found(&[&set("10%"), "train.steps=55"])[..5], [6, 11, 17, 22, 28]);
        let grows = "batch.ramp={start=4, increment=4, samples=40}";
        assert_eq!(found(&[grows, "batch.micro=4", &set("[\"80 samples\"]")]), [15]);
    }

    #[test]
    fn the_last_stable_step_is_one_unless_none_are_wanted() {
        for (sets, steps) in [
            (&["schedule.name=wsd"][..], vec![900]),
            (&["schedule.name=wsd", "checkpoint.milestones=500"], vec![500, 900, 1000]),
            (&["schedule.name=wsd", "checkpoint.milestones=[]"], vec![]),
            (&["schedule.name=wsd_s", "schedule.warmup=0"], vec![975]),
            (&["schedule.name=infinite_cosine"], vec![900]),
            (&["schedule.name=inv_sqrt_cooldown"], vec![900]),
            (&["schedule.phases=[{shape=\"constant\"}, {shape=\"linear\", length=20, to=0}]"], vec![980]),
            (&["schedule.name=cosine"], vec![]),
            (&["schedule.name=constant"], vec![]),
            (&["schedule.name=inv_sqrt"], vec![]),
            (&["schedule.name=cosine_constant"], vec![]),
            (&["schedule.pre_hold=10", "schedule.pre_hold_lr=1e-5"], vec![]),
        ] {
            assert_eq!(found(sets), steps, "{sets:?}");
        }
    }
}
