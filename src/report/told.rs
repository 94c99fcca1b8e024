//! What a page has of one run: its curves, few points that keep the extremes, and its configuration.
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::kept::{KEPT_MAX, kept};
use super::log::{EvalPoint, RunLog, StepPoint};
use crate::config::HELDOUT;
use crate::train::CONFIG;
use crate::{Error, Result};

/// What is told of a run.
#[derive(Clone, Debug)]
pub struct Told {
    pub(super) story: RunStory,
    /// Dotted keys of its configuration and their values.
    pub(super) config: BTreeMap<String, String>,
}

/// The curves of a run. Columns of one list are of equal length.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunStory {
    pub(super) name: String,
    /// What runs that differ in seeds alone have in common.
    group: Option<String>,
    /// FLOPs per token, where the log says it.
    flops: Option<f64>,
    /// Steps that keep the extremes of the loss.
    loss: Columns,
    /// Steps that keep the extremes of the gradient's norm.
    norm: Columns,
    sets: BTreeMap<String, Columns>,
    /// What a validation set is for, where the configuration says it.
    roles: BTreeMap<String, String>,
    /// Whether it started from a model, which can forget.
    continued: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Columns {
    step: Vec<u64>,
    tokens: Vec<u64>,
    /// Seconds since the first line of the log; none where it has no times.
    time: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    loss: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lr: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grad_norm: Vec<f64>,
}

impl Told {
    /// Of a run directory by the name it was given, and its log. Refused where that has nothing.
    pub fn of(name: &str, dir: &Path, log: &RunLog) -> Result<Self> {
        if log.is_empty() {
            return Err(Error::refused(format!("{} has nothing in its log yet", dir.display())));
        }
        let config = configuration(dir)?;
        let story = RunStory::new(name, log, roles(&config), config.contains_key("start"));
        Ok(Self { story, config: flat(&config) })
    }
}

impl RunStory {
    fn new(name: &str, log: &RunLog, roles: BTreeMap<String, String>, continued: bool) -> Self {
        let first = log.evals.iter().filter_map(|e| e.time).chain(log.steps.iter().filter_map(|s| s.time));
        let began = first.reduce(f64::min);
        let of_steps = |value: fn(&StepPoint) -> f64| {
            let values: Vec<f64> = log.steps.iter().map(value).collect();
            let points: Vec<&StepPoint> =
                kept(&values, KEPT_MAX).into_iter().map(|i| &log.steps[i]).collect();
            let places = points.iter().map(|p| (p.step, p.tokens, p.time));
            (Columns::new(places, began), points)
        };
        let column = |points: &[&StepPoint], value: fn(&StepPoint) -> f64| {
            points.iter().map(|p| rounded(value(p))).collect()
        };
        let (places, points) = of_steps(|step| step.loss);
        let loss = Columns { loss: column(&points, |p| p.loss), lr: column(&points, |p| p.lr), ..places };
        let (places, points) = of_steps(|step| step.grad_norm.unwrap_or(f64::NAN));
        let norm = Columns { grad_norm: column(&points, |p| p.grad_norm.unwrap_or(f64::NAN)), ..places };
        let mut sets: BTreeMap<String, Vec<&EvalPoint>> = BTreeMap::new();
        log.evals.iter().for_each(|eval| sets.entry(eval.set.clone()).or_default().push(eval));
        let sets = sets.into_iter().map(|(set, evals)| {
            let losses: Vec<f64> = evals.iter().map(|eval| eval.loss).collect();
            let points: Vec<&EvalPoint> = kept(&losses, KEPT_MAX).into_iter().map(|i| evals[i]).collect();
            let places = Columns::new(points.iter().map(|p| (p.step, p.tokens, p.time)), began);
            (set, Columns { loss: points.iter().map(|p| rounded(p.loss)).collect(), ..places })
        });
        let flops = log.steps.last().and_then(|step| Some(step.gflop_per_s? * 1e9 / step.tokens_per_s));
        let (name, group, sets) = (name.into(), group_of(name), sets.collect());
        Self { name, group, flops, loss, norm, sets, roles, continued }
    }
}

/// The name of a run of a study without its seeds; nothing of one without.
fn group_of(name: &str) -> Option<String> {
    let is_seed =
        |part: &&str| part.split_once('=').is_some_and(|(key, _)| key.rsplit('.').next() == Some("seed"));
    let (seeds, others): (Vec<&str>, Vec<&str>) = name.split(',').partition(is_seed);
    (!seeds.is_empty()).then(|| if others.is_empty() { "base".into() } else { others.join(",") })
}

impl Columns {
    fn new(places: impl Iterator<Item = (u64, u64, Option<f64>)> + Clone, began: Option<f64>) -> Self {
        let time = |(_, _, time): (u64, u64, Option<f64>)| Some((time? - began?).round());
        Self {
            step: places.clone().map(|place| place.0).collect(),
            tokens: places.clone().map(|place| place.1).collect(),
            time: places.map(time).collect(),
            ..Self::default()
        }
    }
}

/// Seven significant digits, of which a chart shows five.
fn rounded(x: f64) -> f64 {
    format!("{x:.6e}").parse().unwrap_or(x)
}

fn configuration(dir: &Path) -> Result<Table> {
    let path = dir.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(Error::input("read", &path))?;
    text.parse().map_err(|_| Error::refused(format!("{} is not TOML; restore it", path.display())))
}

/// What validation sets are for: named ones, and those of what is held out of the sources.
fn roles(config: &Table) -> BTreeMap<String, String> {
    let Some(data) = config.get("data") else { return BTreeMap::new() };
    let text = |of: &Value, key: &str| Some(of.get(key)?.as_str()?.to_owned());
    let listed = |key: &str| data.get(key).and_then(Value::as_array).into_iter().flatten();
    let named = listed("validation").map(|set| (text(set, "name"), text(set, "role")));
    let sources = listed("mixture")
        .map(|source| (text(source, "name").map(|name| format!("{HELDOUT}-{name}")), text(source, "role")));
    let all = named.chain(sources).chain([(Some(HELDOUT.to_owned()), text(data, "role"))]);
    all.filter_map(|(name, role)| name.zip(role)).collect()
}

/// Dotted keys and their values.
fn flat(config: &Table) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, value) in config {
        match value {
            Value::Table(table) => {
                found.extend(flat(table).into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)));
            }
            other => drop(found.insert(key.clone(), other.to_string())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_no_part_of_a_group() {
        let of = |name| group_of(name);
        assert_eq!(of("lr=1e-3,seed=2"), Some("lr=1e-3".into()));
        assert_eq!(of("scratch,data.seed=2,seed=1"), Some("scratch".into()));
        assert_eq!((of("seed=3"), of("runs/seed"), of("lr=1")), (Some("base".into()), None, None));
    }

    #[test]
    fn roles_are_of_named_and_of_held_out_sets() {
        let of = |text: &str| {
            roles(&text.parse().unwrap())
                .into_iter()
                .map(|(set, role)| format!("{set}:{role}"))
                .collect::<Vec<_>>()
        };
        let set = "validation = [{ name = \"a\", role = \"retain\" }, { name = \"b\" }]";
        assert_eq!(of(&format!("[data]\nrole = \"learn\"\n{set}")), ["a:retain", "heldout:learn"]);
        let mixture = "mixture = [{ name = \"new\", role = \"learn\" }, { name = \"old\", role = \"retain\" }, { name = \"c\" }]";
        assert_eq!(of(&format!("[data]\n{mixture}")), ["heldout-new:learn", "heldout-old:retain"]);
        assert!(of("seed = 1").is_empty());
    }
}
