//! From `[schedule]` as written to what it means, and back.
use super::catalogue::{Motion, Named, PRESETS, SHAPES, WARMUP, WARMUPS, Warmup};
use super::*;
use crate::{Error, Result};
use serde::Serialize;
use toml::{Table, Value};

impl RawSchedule {
    /// Fills in defaults and refuses what cannot be meant, naming the key.
    pub fn validate(&self) -> Result<ScheduleConfig> {
        self.validate_after(false)
    }

    /// As [`RawSchedule::validate`], of a phase that may keep the moments of the run before it: then they need no warmup, and
    /// the default is none.
    pub fn validate_after(&self, moments_kept: bool) -> Result<ScheduleConfig> {
        if self.style.is_some() || self.style_args.is_some() {
            return self.style();
        }
        if let Some(key) = self.refers_back() {
            return Err(no_run_before(key));
        }
        let plan = self.plan()?;
        let lr = self.peak()?;
        let min_lr = self.lowest(&plan, lr)?;
        let (mut warmup, warmup_from, warmup_shape) = plan.warmup()?;
        let asked = self.warmup_from.is_some() || self.warmup_shape.is_some();
        if moments_kept && !asked && (warmup, warmup_from, warmup_shape) == WARMUP {
            warmup = Length::Steps(0);
            plan.check_without_warmup()?;
        }
        let warmup_shape = warmup_named(self.warmup_shape.as_ref().unwrap_or(&warmup_shape.into()))?;
        let warmup_from = self.warmup_from.unwrap_or(warmup_from);
        warmup_from.check("schedule.warmup_from")?;
        let pre_hold_lr = self.pre_hold_lr.unwrap_or(Rate::Value(0.0));
        pre_hold_lr.check("schedule.pre_hold_lr")?;
        if self.pre_hold_lr.is_some() && self.pre_hold.is_none() {
            return Err(Error::refused(
                "schedule.pre_hold_lr is given without schedule.pre_hold; give the length of the hold, or remove it",
            ));
        }
        Ok(ScheduleConfig {
            lr,
            min_lr,
            pre_hold: self.pre_hold.unwrap_or(Length::Steps(0)),
            pre_hold_lr,
            warmup: self.warmup.unwrap_or(warmup),
            warmup_from,
            warmup_shape,
            warmup_convention: self.warmup_convention.unwrap_or_default(),
            plan,
            tail: self.tail.unwrap_or_default(),
            counter: self.counter.unwrap_or_default(),
        })
    }

    /// The key of a rate that is the last one of the run that is started from, where there is such a rate. (A warmup's is
    /// carried through the run; [`ScheduleConfig::compile`] asks for it.)
    pub fn refers_back(&self) -> Option<&'static str> {
        let first = self.phases.as_ref().and_then(|phases| phases.first()).and_then(|phase| phase.from);
        match (self.lr, first) {
            (Some(Rate::Previous), _) => Some("schedule.lr"),
            (_, Some(Rate::Previous)) => Some("schedule.phases[0].from"),
            _ => None,
        }
    }

    /// Itself with the number `previous` for every rate that is the last one of the run before. Refused where there is none.
    pub fn settled(&self, previous: Option<f64>) -> Result<Self> {
        let mut settled = self.clone();
        let Some(key) = self.refers_back() else { return Ok(settled) };
        let rate = Rate::Value(previous.ok_or_else(|| no_run_before(key))?);
        let first = settled.phases.iter_mut().flatten().next().and_then(|phase| phase.from.as_mut());
        for place in settled.lr.as_mut().into_iter().chain(first).filter(|place| **place == Rate::Previous) {
            *place = rate;
        }
        Ok(settled)
    }

    /// The peak, where it is written as a number.
    pub fn number(&self) -> Option<f64> {
        self.lr.and_then(|lr| if let Rate::Value(lr) = lr { Some(lr) } else { None })
    }

    fn peak(&self) -> Result<f64> {
        let lr = match self.lr {
            Some(Rate::Value(lr)) => lr,
            Some(_) => {
                return Err(Error::refused(
                    "schedule.lr is a share of the peak, and it is the peak; give a number, such as 1e-3",
                ));
            }
            None => {
                return Err(Error::refused(
                    "schedule.lr is missing; give the peak learning rate (Pythia: 1e-3 at 70M, 3e-4 at 410M, 1.2e-4 at 12B)",
                ));
            }
        };
        if !(lr.is_finite() && lr > 0.0) {
            return Err(Error::refused(format!("schedule.lr is {lr}; it must be positive, such as 1e-3")));
        }
        Ok(lr)
    }

    /// Another framework's schedule, which takes nothing else from the section than what it counts.
    fn style(&self) -> Result<ScheduleConfig> {
        let Some(style) = &self.style else {
            return Err(Error::refused(
                "schedule.args is given without schedule.style; name the schedule they belong to, as in \"hf:cosine\"",
            ));
        };
        compat::find(style)?;
        let own = Self { style: None, style_args: None, counter: None, ..self.clone() };
        let table = Table::try_from(own).expect("a section of a configuration has a TOML form");
        if let Some(key) = table.keys().next() {
            return Err(Error::refused(format!(
                "schedule.{key} and schedule.style are both given; another framework's schedule has its own arguments, give them in [schedule.args]"
            )));
        }
        Ok(ScheduleConfig {
            lr: 0.0,
            min_lr: 0.0,
            pre_hold: Length::Steps(0),
            pre_hold_lr: Rate::Value(0.0),
            warmup: Length::Steps(0),
            warmup_from: Rate::Value(0.0),
            warmup_shape: warmup_named(&"linear".into())?,
            warmup_convention: WarmupConvention::ZeroBased,
            plan: Plan::Style(style.clone(), self.style_args.clone().unwrap_or_default()),
            tail: Tail::Hold,
            counter: self.counter.unwrap_or_default(),
        })
    }

    /// `min_lr`, given or by default.
    fn lowest(&self, plan: &Plan, lr: f64) -> Result<f64> {
        let min_lr = match self.min_lr {
            Some(Rate::Previous) => {
                return Err(Error::refused(
                    "schedule.min_lr is \"previous\"; give a number, or a share of the peak such as \"10%\"",
                ));
            }
            Some(rate) => rate.value(0.0, lr),
            None => plan.min_lr(lr),
        };
        if !(0.0..=lr).contains(&min_lr) {
            return Err(Error::refused(format!(
                "schedule.min_lr is {min_lr}, schedule.lr is {lr}; min_lr must be in 0..=lr, leave it out for the default"
            )));
        }
        Ok(min_lr)
    }

    fn plan(&self) -> Result<Plan> {
        if let Some(phases) = &self.phases {
            return self.phase_list(phases).map(Plan::Phases);
        }
        let name = self.name.as_deref().unwrap_or("cosine");
        Named::new(&[SHAPES, PRESETS], name, &self.args, "schedule", "schedule.name").map(Plan::Named)
    }

    fn phase_list(&self, phases: &[RawPhase]) -> Result<Vec<PhaseConfig>> {
        let given = self.name.as_ref().map(|_| "name").or(self.args.keys().map(String::as_str).next());
        if let Some(key) = given {
            return Err(Error::refused(format!(
                "schedule.{key} and schedule.phases are both given; a schedule is named or listed, remove one"
            )));
        }
        if phases.is_empty() {
            return Err(Error::refused("schedule.phases is empty; list a phase or give schedule.name"));
        }
        list(phases, "schedule.phases")
    }
}

fn no_run_before(key: &str) -> Error {
    Error::refused(format!(
        "{key} is \"previous\" but no run is continued; point start.from at a rewarm run or checkpoint, or give a number"
    ))
}

/// The phases of the list `key`.
pub(super) fn list(phases: &[RawPhase], key: &str) -> Result<Vec<PhaseConfig>> {
    if phases.iter().filter(|phase| phase.length.is_none()).count() > 1 {
        return Err(Error::refused(format!(
            "{key} has several entries without a length; only one can take the rest of the run"
        )));
    }
    phases.iter().enumerate().map(|(i, phase)| phase.validate(&format!("{key}[{i}]"))).collect()
}

fn warmup_named(value: &Value) -> Result<Named> {
    Named::read(value, WARMUPS, "schedule.warmup_shape")
}

impl RawPhase {
    /// Whether its length in steps depends on the tokens of a step.
    pub fn has_token_lengths(&self) -> bool {
        self.validate("").is_ok_and(|phase| has_token_lengths(&phase.to_raw()))
    }

    /// `at` is the path of the entry, for messages.
    fn validate(&self, at: &str) -> Result<PhaseConfig> {
        let name = self.shape.get("shape").and_then(Value::as_str).unwrap_or_default();
        let shape = Named::new(&[SHAPES], name, &self.shape, at, &format!("{at}.shape"))?;
        let motion = shape.entry.motion;
        match self.to {
            Some(_) if motion == Motion::Stays => Err(Error::refused(format!(
                "{at}.to is given but shape {name:?} has no rate to go to; remove `to`"
            ))),
            None if matches!(motion, Motion::Arrives | Motion::Cycles) => {
                Err(Error::refused(format!("{at}.to is missing; give the rate that the phase ends at")))
            }
            Some(Rate::Previous) => Err(Error::refused(format!(
                "{at}.to is \"previous\"; give a number, a share of the peak such as \"10%\", or take shape \"constant\""
            ))),
            Some(to) => to.check(&format!("{at}.to")),
            None => Ok(()),
        }?;
        let from = self.from.unwrap_or(Rate::Previous);
        from.check(&format!("{at}.from"))?;
        let part = self.part.unwrap_or([0.0, 1.0]);
        if !(0.0 <= part[0] && part[0] < part[1] && part[1] <= 1.0) {
            return Err(Error::refused(format!(
                "{at}.part is [{}, {}]; give the progress at the start and at the end of the phase, increasing and in 0..=1",
                part[0], part[1]
            )));
        }
        if self.part.is_some() && motion != Motion::Arrives {
            return Err(Error::refused(format!("{at}.part is given but shape {name:?} has none; remove it")));
        }
        Ok(PhaseConfig { shape, length: self.length, from, to: self.to, part })
    }
}

impl Plan {
    /// The default of `min_lr`.
    fn min_lr(&self, lr: f64) -> f64 {
        match self {
            Self::Named(named) => (named.entry.min_lr)(lr),
            Self::Phases(_) | Self::Style(..) => 0.0,
        }
    }

    /// Refuses to do without a default warmup where its length would be the timescale.
    fn check_without_warmup(&self) -> Result<()> {
        match self {
            Self::Named(named) if named.entry.takes("timescale") && !named.args.contains_key("timescale") => {
                Err(Error::refused(format!(
                    "schedule.timescale is missing: that of {:?} is the length of the warmup, of which a phase that keeps \
                     moments has none unless it is given; give schedule.timescale or schedule.warmup",
                    named.entry.name
                )))
            }
            _ => Ok(()),
        }
    }

    /// The default warmup.
    fn warmup(&self) -> Result<Warmup> {
        match self {
            Self::Named(named) => (named.entry.warmup)(named),
            Self::Phases(_) | Self::Style(..) => Ok(WARMUP),
        }
    }
}

impl ScheduleConfig {
    /// The section that means this schedule; [`RawSchedule::validate`] gives it back. What has its default and was
    /// not always written is left out.
    pub fn to_raw(&self) -> RawSchedule {
        if let Plan::Style(style, args) = &self.plan {
            return RawSchedule {
                style: Some(style.clone()),
                style_args: Some(args.clone()),
                counter: (self.counter != Counter::Attempted).then_some(self.counter),
                ..RawSchedule::default()
            };
        }
        let default_shape = self.plan.warmup().ok().map(|(.., name)| Value::from(name));
        let mut raw = RawSchedule {
            lr: Some(Rate::Value(self.lr)),
            min_lr: Some(Rate::Value(self.min_lr)),
            pre_hold: (self.pre_hold != Length::Steps(0)).then_some(self.pre_hold),
            warmup: Some(self.warmup),
            warmup_from: Some(self.warmup_from),
            warmup_shape: Some(self.warmup_shape.to_value())
                .filter(|shape| Some(shape) != default_shape.as_ref()),
            warmup_convention: Some(self.warmup_convention),
            tail: (self.tail != Tail::Hold).then_some(self.tail),
            counter: (self.counter != Counter::Attempted).then_some(self.counter),
            ..RawSchedule::default()
        };
        raw.pre_hold_lr = raw.pre_hold.map(|_| self.pre_hold_lr);
        match &self.plan {
            Plan::Named(named) => {
                raw.name = Some(named.entry.name.to_owned());
                raw.args = named.written();
            }
            Plan::Phases(phases) => {
                let mut phases: Vec<RawPhase> = phases.iter().map(PhaseConfig::to_raw).collect();
                // There, "previous" is a rate of another run.
                for first in phases.iter_mut().take(1) {
                    first.from = first.from.filter(|from| *from != Rate::Previous);
                }
                raw.phases = Some(phases);
            }
            Plan::Style(..) => unreachable!("returned above"),
        }
        raw
    }

    /// Whether its steps depend on the tokens of a step.
    pub fn has_token_lengths(&self) -> bool {
        let tokens = matches!(&self.plan, Plan::Named(named) if named.entry.counts_tokens);
        tokens || has_token_lengths(&self.to_raw())
    }
}

/// Whether a length of it is one of tokens.
fn has_token_lengths(written: &impl Serialize) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::String(text) => matches!(Length::parse(text), Ok(Length::Tokens(_))),
            Value::Array(list) => list.iter().any(any),
            Value::Table(table) => table.iter().any(|(_, value)| any(value)),
            _ => false,
        }
    }
    any(&Value::try_from(written).expect("a section of a configuration has a TOML form"))
}

impl PhaseConfig {
    fn to_raw(&self) -> RawPhase {
        RawPhase {
            length: self.length,
            from: Some(self.from),
            to: self.to,
            part: (self.part != [0.0, 1.0]).then_some(self.part),
            shape: self.shape.to_table(),
        }
    }
}
