//! The `[schedule]` section: as written ([`RawSchedule`]) and as meant ([`ScheduleConfig`]).
use super::{Length, Rate, Shape, WarmupConvention};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// `[schedule]` as written; absent keys are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSchedule {
    /// `constant`, `linear`, `cosine` or `wsd`; not together with `phases`.
    pub name: Option<String>,
    /// Peak rate.
    pub lr: Option<f64>,
    /// Last rate of a named schedule, floor of every rate after the warmup.
    pub min_lr: Option<f64>,
    /// Length of the warmup.
    pub warmup: Option<Length>,
    /// Rate the warmup starts from.
    pub warmup_from: Option<Rate>,
    /// Counting of the warmup's steps.
    pub warmup_convention: Option<WarmupConvention>,
    /// `wsd` only: length of the decay at the end.
    pub decay: Option<Length>,
    /// `wsd` only: shape of the decay.
    pub decay_shape: Option<Shape>,
    /// Explicit phases after the warmup.
    pub phases: Option<Vec<PhaseConfig>>,
}

/// One entry of `[[schedule.phases]]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseConfig {
    /// How the rate moves.
    pub shape: Shape,
    /// How long; one phase may leave it out and takes the rest of the run.
    pub length: Option<Length>,
    /// Rate to start from.
    #[serde(default = "previous")]
    pub from: Rate,
    /// Rate to reach; required except for `constant`, which has none.
    pub to: Option<f64>,
}

fn previous() -> Rate {
    Rate::Previous
}

/// A complete and sensible `[schedule]`; lengths are still in the user's units.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleConfig {
    /// Rate at the end of the warmup.
    pub lr: f64,
    /// Last rate of a named schedule (default `lr / 10`, as Pythia's; 0 for `constant` and phases), and the
    /// floor of every rate after the warmup.
    pub min_lr: f64,
    /// Length of the warmup (default 1 % of the run, as Pythia's).
    pub warmup: Length,
    /// Rate the warmup starts from (default 0).
    pub warmup_from: Rate,
    /// Counting of the warmup's steps.
    pub warmup_convention: WarmupConvention,
    /// What follows the warmup.
    pub plan: Plan,
}

/// What follows the warmup.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// `lr` until the end.
    Constant,
    /// Straight from `lr` to `min_lr` at the end of the run.
    Linear,
    /// Half a cosine from `lr` to `min_lr` at the end of the run.
    Cosine,
    /// Warmup, stable, decay: `lr`, then down to `min_lr` over the last `decay` of the run
    /// (Hu et al. 2024, arXiv:2404.06395).
    Wsd {
        /// Length of the decay (default 10 % of the run).
        decay: Length,
        /// Shape of the decay (default linear).
        shape: Shape,
    },
    /// A list of phases.
    Phases(Vec<PhaseConfig>),
}

impl RawSchedule {
    /// Fills in defaults and refuses what cannot be meant, naming the key.
    pub fn validate(&self) -> Result<ScheduleConfig> {
        let plan = self.plan()?;
        let lr = self.lr.ok_or_else(|| {
            Error::refused(
                "schedule.lr is missing; give the peak learning rate (Pythia: 1e-3 at 70M, 3e-4 at 410M, 1.2e-4 at 12B)",
            )
        })?;
        if !(lr.is_finite() && lr > 0.0) {
            return Err(Error::refused(format!("schedule.lr is {lr}; it must be positive, such as 1e-3")));
        }
        let min_lr = self.min_lr.unwrap_or(match plan {
            Plan::Constant | Plan::Phases(_) => 0.0,
            Plan::Linear | Plan::Cosine | Plan::Wsd { .. } => lr / 10.0,
        });
        if !(0.0..=lr).contains(&min_lr) {
            return Err(Error::refused(format!(
                "schedule.min_lr is {min_lr}, schedule.lr is {lr}; min_lr must be in 0..=lr, leave it out for the default"
            )));
        }
        let warmup_from = self.warmup_from.unwrap_or(Rate::Value(0.0));
        if let Rate::Value(from) = warmup_from
            && !(from.is_finite() && from >= 0.0)
        {
            return Err(Error::refused(format!("schedule.warmup_from is {from}; it must be at least 0")));
        }
        Ok(ScheduleConfig {
            lr,
            min_lr,
            warmup: self.warmup.unwrap_or(Length::Percent(1.0)),
            warmup_from,
            warmup_convention: self.warmup_convention.unwrap_or_default(),
            plan,
        })
    }

    fn plan(&self) -> Result<Plan> {
        if let Some(phases) = &self.phases {
            return self.phase_list(phases);
        }
        let name = self.name.as_deref().unwrap_or("cosine");
        if name != "wsd" && (self.decay.is_some() || self.decay_shape.is_some()) {
            let key = if self.decay.is_some() { "decay" } else { "decay_shape" };
            return Err(Error::refused(format!(
                "schedule.{key} is given but schedule.name is {name:?}; only \"wsd\" has a decay of its own, remove one of them"
            )));
        }
        match name {
            "constant" => Ok(Plan::Constant),
            "linear" => Ok(Plan::Linear),
            "cosine" => Ok(Plan::Cosine),
            "wsd" => Ok(Plan::Wsd {
                decay: self.decay.unwrap_or(Length::Percent(10.0)),
                shape: self.decay_shape.unwrap_or(Shape::Linear),
            }),
            _ => Err(Error::refused(format!(
                "schedule.name is {name:?}; known are \"constant\", \"linear\", \"cosine\" and \"wsd\", anything else is schedule.phases"
            ))),
        }
    }

    fn phase_list(&self, phases: &[PhaseConfig]) -> Result<Plan> {
        let given = [
            ("name", self.name.is_some()),
            ("decay", self.decay.is_some()),
            ("decay_shape", self.decay_shape.is_some()),
        ];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Error::refused(format!(
                "schedule.{key} and schedule.phases are both given; a schedule is named or listed, remove one"
            )));
        }
        if phases.is_empty() {
            return Err(Error::refused("schedule.phases is empty; list a phase or give schedule.name"));
        }
        if phases.iter().filter(|phase| phase.length.is_none()).count() > 1 {
            return Err(Error::refused(
                "schedule.phases has several entries without a length; only one can take the rest of the run",
            ));
        }
        for (i, phase) in phases.iter().enumerate() {
            phase.validate(i)?;
        }
        Ok(Plan::Phases(phases.to_vec()))
    }
}

impl PhaseConfig {
    fn validate(&self, index: usize) -> Result<()> {
        match (self.shape, self.to) {
            (Shape::Constant, Some(_)) => Err(Error::refused(format!(
                "schedule.phases[{index}].to is given but shape \"constant\" stays where it is; remove `to`, or give `from`"
            ))),
            (Shape::Constant, None) => Ok(()),
            (_, None) => Err(Error::refused(format!(
                "schedule.phases[{index}].to is missing; give the rate that the phase ends at"
            ))),
            (_, Some(to)) if !(to.is_finite() && to >= 0.0) => Err(Error::refused(format!(
                "schedule.phases[{index}].to is {to}; a rate must be finite and at least 0"
            ))),
            _ => Ok(()),
        }
    }
}

impl ScheduleConfig {
    /// The section that means this schedule; [`RawSchedule::validate`] gives it back.
    pub fn to_raw(&self) -> RawSchedule {
        let mut raw = RawSchedule {
            lr: Some(self.lr),
            min_lr: Some(self.min_lr),
            warmup: Some(self.warmup),
            warmup_from: Some(self.warmup_from),
            warmup_convention: Some(self.warmup_convention),
            ..RawSchedule::default()
        };
        match &self.plan {
            Plan::Constant => raw.name = Some("constant".into()),
            Plan::Linear => raw.name = Some("linear".into()),
            Plan::Cosine => raw.name = Some("cosine".into()),
            Plan::Wsd { decay, shape } => {
                raw.name = Some("wsd".into());
                raw.decay = Some(*decay);
                raw.decay_shape = Some(*shape);
            }
            Plan::Phases(phases) => raw.phases = Some(phases.clone()),
        }
        raw
    }
}
