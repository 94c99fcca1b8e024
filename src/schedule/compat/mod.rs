//! Other frameworks' schedules: their names, their arguments, their counters, our phases.
//!
//! `style = "hf:cosine_with_min_lr"` and the arguments of that framework in `[schedule.args]` give, at every update,
//! the rate that the framework's own code gives. One file per framework says where that code is and how it counts.
//! `tools/golden_schedules.py` asks the frameworks themselves; `tests/schedules` compares.
mod args;
mod deepspeed;
mod epfl;
mod feedback;
mod hf;
mod lingua;
mod litgpt;
mod llm_c;
mod megatron;
mod nanochat;
mod nanotron;
mod neox;
mod olmo;
mod olmo_lists;
mod optax;
mod parts;
mod refined;
mod styles;
mod torch;
mod torch_lists;
mod torchtitan;

use super::pieces::Pieces;
use super::{Counter, RunSize, Schedule};
use crate::{Error, Result};
use args::Args;
pub use styles::STYLES;
use toml::Table;

/// One schedule of one framework.
pub struct Style {
    /// `framework:name`, the name being the framework's.
    pub name: &'static str,
    /// Arguments, as TOML, that show it over a run of [`EXAMPLE_STEPS`]; empty where a file is needed.
    pub example: &'static str,
    build: fn(&Args, &RunSize) -> Result<Pieces>,
}

/// The length of a run that [`Style::example`] is for.
pub const EXAMPLE_STEPS: u64 = 1000;

/// Schedulers that are a function of the user's, in the framework's language.
const FUNCTIONS: [&str; 2] = ["torch:LambdaLR", "torch:MultiplicativeLR"];

/// The style of that name; the error names the nearest.
pub fn find(name: &str) -> Result<&'static Style> {
    find_for("schedule.style", name)
}

/// The style that `key` names.
fn find_for(key: &str, name: &str) -> Result<&'static Style> {
    if let Some(style) = STYLES.iter().find(|style| style.name == name) {
        return Ok(style);
    }
    if FUNCTIONS.contains(&name) {
        return Err(Error::refused(format!(
            "{key} is {name:?}, whose rates are a Python function, which a configuration cannot hold; give its values as points (schedule.name = \"table\" with x and y), or what it computes by name or as schedule.phases"
        )));
    }
    let distance = |style: &&Style| strsim::damerau_levenshtein(name, style.name);
    let near = STYLES.iter().min_by_key(distance).map_or("", |style| style.name);
    Err(Error::refused(format!(
        "{key} is {name:?}, which is unknown (did you mean {near:?}?); `rewarm schedule list` prints what there is"
    )))
}

impl Style {
    /// The schedule that the framework computes from `args` for a run of this size, which stands in for lengths that
    /// it takes from its own run.
    pub fn compile(&self, args: &Table, run: &RunSize) -> Result<Schedule> {
        let args = Args::new(self.name, "schedule.args".into(), args);
        let pieces = (self.build)(&args, run)?;
        args.finish()?;
        let schedule = pieces.schedule(run.steps, Counter::Attempted);
        if !schedule.peak().is_finite() {
            return Err(Error::refused(format!(
                "schedule.args make {} grow beyond all numbers within {} steps; let it grow more slowly",
                self.name, run.steps
            )));
        }
        Ok(schedule)
    }

    /// The schedule of [`Style::example`], where there is one.
    pub fn show(&self) -> Option<Schedule> {
        let args: Table = self.example.parse().expect("examples are TOML");
        let run = RunSize { steps: EXAMPLE_STEPS, tokens_per_step: 1, samples_per_step: 1 };
        (!args.is_empty()).then(|| self.compile(&args, &run).expect("examples are complete"))
    }
}
