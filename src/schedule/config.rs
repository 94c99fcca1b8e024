//! The `[schedule]` section: as written ([`RawSchedule`]) and as meant ([`ScheduleConfig`]).
use super::catalogue::Named;
use super::{Counter, Length, Rate, WarmupConvention};
use serde::{Deserialize, Serialize};
use strum::VariantNames;
use toml::{Table, Value};

/// `[schedule]` as written; absent keys are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawSchedule {
    /// A shape or a preset of the catalogue; not together with `phases`.
    pub name: Option<String>,
    /// Peak of the rate: a number, or the last rate of the run that is started from.
    pub lr: Option<Rate>,
    /// Last rate of a named schedule, floor of every rate after the warmup.
    pub min_lr: Option<Rate>,
    /// Length of a hold before the warmup.
    pub pre_hold: Option<Length>,
    /// Rate of that hold.
    pub pre_hold_lr: Option<Rate>,
    /// Length of the warmup.
    pub warmup: Option<Length>,
    /// Rate the warmup starts from.
    pub warmup_from: Option<Rate>,
    /// The warmup's shape: a name, or a table with a `shape` and its arguments.
    pub warmup_shape: Option<Value>,
    /// Counting of the warmup's steps.
    pub warmup_convention: Option<WarmupConvention>,
    /// What comes behind the phases.
    pub tail: Option<Tail>,
    /// What the schedule counts.
    pub counter: Option<Counter>,
    /// Explicit phases after the warmup.
    pub phases: Option<Vec<RawPhase>>,
    /// Another framework's schedule; everything about it is in `style_args`.
    pub style: Option<String>,
    /// `[schedule.args]`: that framework's own arguments.
    #[serde(rename = "args")]
    pub style_args: Option<Table>,
    /// Arguments of the named schedule.
    #[serde(flatten)]
    pub args: Table,
}

/// One entry of `[[schedule.phases]]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawPhase {
    /// How long the phase lasts.
    pub length: Option<Length>,
    /// Rate to start from.
    pub from: Option<Rate>,
    /// Rate to reach at its end.
    pub to: Option<Rate>,
    /// The part of the shape that the phase follows.
    pub part: Option<[f64; 2]>,
    /// The shape and its arguments.
    #[serde(flatten)]
    pub shape: Table,
}

/// What comes behind the phases where they do not fill the run, and behind the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Tail {
    /// The last rate goes on.
    #[default]
    Hold,
    /// The rate is `min_lr`.
    MinLr,
    /// Nothing: phases that do not fill the run are refused.
    Error,
}

/// A complete and sensible `[schedule]`; lengths are still in the user's units.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleConfig {
    /// Rate at the end of the warmup; 0 for another framework's schedule, whose arguments have it.
    pub lr: f64,
    /// Last rate of a named schedule (default `lr / 10`, as Pythia's; 0 for `constant`, phases and what never ends),
    /// and the floor of every rate after the warmup.
    pub min_lr: f64,
    /// Hold before the warmup (default none).
    pub pre_hold: Length,
    /// Its rate (default 0).
    pub pre_hold_lr: Rate,
    /// Length of the warmup (default 1 % of the run, as Pythia's).
    pub warmup: Length,
    /// Rate the warmup starts from (default 0).
    pub warmup_from: Rate,
    /// Shape of the warmup.
    pub warmup_shape: Named,
    /// Counting of the warmup's steps.
    pub warmup_convention: WarmupConvention,
    /// What follows the warmup.
    pub plan: Plan,
    /// What comes behind the phases.
    pub tail: Tail,
    /// What the schedule counts.
    pub counter: Counter,
}

/// What follows the warmup.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// A shape from `lr` to `min_lr` at the end of the run, or a preset.
    Named(Named),
    /// A list of phases.
    Phases(Vec<PhaseConfig>),
    /// Another framework's schedule ([`super::compat`]) and its arguments.
    Style(String, Table),
}

/// A phase of a list, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseConfig {
    /// How the rate moves.
    pub shape: Named,
    /// How long; one phase may leave it out and takes the rest of the run.
    pub length: Option<Length>,
    /// Rate to start from.
    pub from: Rate,
    /// Rate to reach; required except for shapes that stay (`constant`), have points (`table`) or approach a rate
    /// without an end (0 unless given).
    pub to: Option<Rate>,
    /// The progress of the shape at the start and at the end of the phase: `[0, 1]` is all of it. `from` and `to`
    /// are the ends of the whole shape.
    pub part: [f64; 2],
}
