//! The arguments of named schedules and of shapes. A name means the same wherever it occurs.
use crate::schedule::kind::Kind::{self, *};
use crate::schedule::range::{
    ABOVE_0, AT_LEAST_0, AT_LEAST_1, INSIDE_1, U32, U32_FROM_1, UP_TO_1, UP_TO_A_MILLION,
};
use crate::{Error, Result};
use toml::Value;

/// An argument of a schedule or a shape.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// As a configuration writes it.
    pub name: &'static str,
    /// The kind and range that it accepts.
    pub(crate) kind: Kind,
    /// What it is where it is not given.
    pub default: ArgumentDefault,
}

/// What an argument is where it is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentDefault {
    /// It must be given.
    Required,
    /// This value, in TOML.
    Value(&'static str),
    /// It is absent: then this, in words.
    Words(&'static str),
}

impl Argument {
    /// One that must be given.
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: ArgumentDefault::Required }
    }

    /// The same with a default, in TOML.
    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default: ArgumentDefault::Value(default), ..self }
    }

    /// The same, but it may be absent.
    pub(super) const fn or_absent(self, words: &'static str) -> Self {
        Self { default: ArgumentDefault::Words(words), ..self }
    }

    /// Its default as a resolved configuration has it, where that is a value.
    pub(super) fn default_value(&self) -> Result<Option<Value>> {
        let ArgumentDefault::Value(text) = self.default else { return Ok(None) };
        let value = text.parse().map_err(|e| Error::refused(format!("{} = {text}: {e}", self.name)))?;
        self.kind.read(&value, self.name).map(Some)
    }
}

pub(super) const ANNEAL: Argument = Argument::new("anneal", Length);
pub(super) const CEILING: Argument = Argument::new("ceiling", Number(AT_LEAST_1));
pub(super) const CONSTANT_LR: Argument = Argument::new("constant_lr", GivenRate);
pub(super) const COOLDOWN: Argument = Argument::new("cooldown", Length);
pub(super) const CYCLES: Argument = Argument::new("cycles", Number(ABOVE_0));
pub(super) const DECAY: Argument = Argument::new("decay", Length);
pub(super) const DIVISOR: Argument = Argument::new("divisor", Number(AT_LEAST_1));
pub(super) const EPS: Argument = Argument::new("eps", Number(AT_LEAST_0));
pub(super) const EVERY: Argument = Argument::new("every", SomeLength);
pub(super) const EXPONENT: Argument = Argument::new("exponent", Number(ABOVE_0));
pub(super) const FACTOR: Argument = Argument::new("factor", Number(INSIDE_1));
pub(super) const FALL: Argument = Argument::new("fall", SomeLength);
pub(super) const FINAL_DIVISOR: Argument = Argument::new("final_divisor", Number(AT_LEAST_1));
pub(super) const GAMMA: Argument = Argument::new("gamma", Number(UP_TO_1));
pub(super) const HALF_LIFE: Argument = Argument::new("half_life", SomeLength);
pub(super) const HOLD: Argument = Argument::new("hold", Length);
pub(super) const INTERPOLATION: Argument = Argument::new("interpolation", Choice(&["linear", "hold"]));
pub(super) const MILESTONES: Argument = Argument::new("milestones", Lengths);
pub(super) const PATIENCE: Argument = Argument::new("patience", Whole(U32));
pub(super) const PAUSE: Argument = Argument::new("pause", Whole(U32));
pub(super) const PAUSE_UP: Argument = Argument::new("pause_up", Whole(U32));
pub(super) const PEAK_FACTOR: Argument = Argument::new("peak_factor", Number(UP_TO_1));
pub(super) const PER_CYCLE: Argument = Argument::new("per_cycle", Number(UP_TO_1));
pub(super) const PER_STEP: Argument = Argument::new("per_step", Number(UP_TO_1));
pub(super) const PERIOD: Argument = Argument::new("period", SomeLength);
pub(super) const PERIOD_FACTOR: Argument = Argument::new("period_factor", Number(AT_LEAST_1));
pub(super) const PERIODS: Argument = Argument::new("periods", Whole(UP_TO_A_MILLION));
pub(super) const POWER: Argument = Argument::new("power", Number(ABOVE_0));
pub(super) const RATE: Argument = Argument::new("rate", Number(ABOVE_0));
pub(super) const RESET_AFTER: Argument = Argument::new("reset_after", Whole(U32));
pub(super) const RISE: Argument = Argument::new("rise", SomeLength);
pub(super) const SCALE: Argument = Argument::new("scale", Number(ABOVE_0));
pub(super) const SPACING: Argument = Argument::new("spacing", Choice(&["linear", "log"]));
pub(super) const STEEPNESS: Argument = Argument::new("steepness", Number(ABOVE_0));
pub(super) const THETA: Argument = Argument::new("theta", Number(ABOVE_0));
pub(super) const THRESHOLD: Argument = Argument::new("threshold", Number(AT_LEAST_0));
pub(super) const TIMESCALE: Argument = Argument::new("timescale", SomeLength);
pub(super) const WINDOW: Argument = Argument::new("window", Whole(U32_FROM_1));
pub(super) const X: Argument = Argument::new("x", Lengths);
pub(super) const Y: Argument = Argument::new("y", GivenRates);
