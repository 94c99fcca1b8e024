//! The page of several runs: their curves and what differs between them, in one HTML file that needs nothing else.
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::kept::{KEPT_MAX, kept};
use super::log::{EvalPoint, RunLog, StepPoint};
use super::page::escape;
use crate::train::CONFIG;
use crate::{Error, Result};

/// A small library for charts, under its own licence: <https://github.com/leeoniya/uPlot>, 1.6.32.
const UPLOT: [&str; 3] = [
    include_str!("uplot/LICENSE"),
    include_str!("uplot/uPlot.iife.min.js"),
    include_str!("uplot/uPlot.min.css"),
];
const STYLE: &str = include_str!("app/app.css");
const SCRIPTS: [&str; 4] = [
    include_str!("app/tables.js"),
    include_str!("app/charts.js"),
    include_str!("app/scatter.js"),
    include_str!("app/main.js"),
];

/// What the page tells.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    title: String,
    origin: String,
    runs: Vec<RunStory>,
    differences: Differences,
}

/// The curves of a run. Columns of one list are of equal length.
#[derive(Clone, Debug, Serialize)]
struct RunStory {
    name: String,
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

/// Keys of configurations whose values differ, and the values, a row per run.
#[derive(Clone, Debug, Default, Serialize)]
struct Differences {
    keys: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Story {
    /// Of run directories, by the names that they were given. Refused where one has no log that can be read.
    pub fn of_runs(title: &str, runs: &[(String, &Path)]) -> Result<Self> {
        let mut configs = Vec::new();
        let mut told = Vec::new();
        for (name, dir) in runs {
            let log = RunLog::read(dir)?;
            if log.steps.is_empty() && log.evals.is_empty() {
                return Err(Error::refused(format!("{} has nothing in its log yet", dir.display())));
            }
            let config = configuration(dir)?;
            told.push(RunStory::new(name, &log, roles(&config)));
            configs.push(flat(&config));
        }
        let differences = Differences::of(runs, &configs);
        let origin = format!("Made by rewarm {}.", env!("CARGO_PKG_VERSION"));
        Ok(Self { title: title.into(), origin, runs: told, differences })
    }

    /// The whole document. What is said in names and texts cannot become part of it.
    pub fn to_html(&self) -> Result<String> {
        let data = serde_json::to_string(self)
            .map_err(|e| Error::failed(format!("cannot write the report: {e}")))?;
        let [licence, uplot, uplot_style] = UPLOT;
        Ok(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{uplot_style}{STYLE}</style>\n\
             </head>\n<body>\n<main></main>\n<script type=\"application/json\" id=\"story\">{}</script>\n\
             <script>\n/*\n{licence}*/\n{uplot}\n{}</script>\n</body>\n</html>\n",
            escape(&self.title),
            data.replace('<', "\\u003c"), // inside of strings alone
            SCRIPTS.concat()
        ))
    }
}

impl RunStory {
    fn new(name: &str, log: &RunLog, roles: BTreeMap<String, String>) -> Self {
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
        Self { name: name.into(), group: group_of(name), flops, loss, norm, sets: sets.collect(), roles }
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

fn roles(config: &Table) -> BTreeMap<String, String> {
    let sets = config.get("data").and_then(|data| data.get("validation")).and_then(Value::as_array);
    let text = |set: &Value, key: &str| Some(set.get(key)?.as_str()?.to_owned());
    sets.into_iter().flatten().filter_map(|set| Some((text(set, "name")?, text(set, "role")?))).collect()
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

impl Differences {
    fn of(runs: &[(String, &Path)], configs: &[BTreeMap<String, String>]) -> Self {
        let differs = |key: &&String| {
            let mut values = configs.iter().map(|config| config.get(*key));
            let first = values.next();
            *key != "run_dir" && values.any(|value| Some(value) != first)
        };
        let mut keys: Vec<&String> = configs.iter().flat_map(BTreeMap::keys).filter(differs).collect();
        keys.sort();
        keys.dedup();
        let row = |((name, _), config): (&(String, &Path), &BTreeMap<String, String>)| {
            let values = keys.iter().map(|key| config.get(*key).cloned().unwrap_or_else(|| "–".into()));
            std::iter::once(name.clone()).chain(values).collect()
        };
        let rows = runs.iter().zip(configs).map(row).collect();
        Self { keys: keys.into_iter().cloned().collect(), rows }
    }
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
}
