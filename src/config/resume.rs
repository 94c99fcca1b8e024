//! Which keys may change between the parts of one run.
use serde_json::{Map, Value};

/// What a change of a key means for a run that is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The run computes the same: where, how fast and how often it saves and evaluates.
    Free,
    /// Rates, decays, betas, shares of sources or the length of the run: another plan for its remaining steps.
    Plan,
    /// The run would no longer be the one that was started; `rewarm train` with `start.from` begins a new phase.
    ChangesRun,
}

/// A key with different values in two configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Dotted name; other lists than the sources of a mixture are compared whole.
    pub key: String,
    /// Value in the saved configuration; null where it has none.
    pub old: Value,
    /// Value in the new configuration; null where it has none.
    pub new: Value,
    /// Whether a resume may go on.
    pub kind: DifferenceKind,
}

/// Keys, and sections where they end in a dot, without influence on weights and losses beyond the rounding of a device;
/// paths are among them because fingerprints compare what is found there.
const FREE: &[&str] = &[
    "run_dir",
    "threads",
    "device",
    "data.train",
    "data.validation",
    "data.tokenizer",
    "train.recompute",
    "eval.",
    "checkpoint.",
];

/// Keys and sections of the plan. The sizes of steps are no part of it: positions in the data are counted by them.
const PLAN: &[&str] = &[
    "schedule.",
    "optim.weight_decay",
    "optim.weight_decay_phases",
    "optim.betas",
    "optim.beta1_phases",
    "optim.beta2_phases",
    "train.steps",
    "train.tokens",
];

/// The differences of two [`super::Config::to_json`] values, in the order of the keys of `old`, then `new`.
pub fn resume_differences(old: &Value, new: &Value) -> Vec<Difference> {
    let (old, new) = (flatten(old), flatten(new));
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let value = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
    old.keys()
        .chain(added)
        .map(|key| Difference {
            key: key.clone(),
            old: value(&old, key),
            new: value(&new, key),
            kind: kind(key, value(&new, "device") == "cpu"),
        })
        .filter(|difference| difference.old != difference.new)
        .collect()
}

/// On the processor gradients are summed in an order that does not depend on the micro-batch.
fn kind(key: &str, on_cpu: bool) -> DifferenceKind {
    let listed = |list: &[&str]| {
        list.iter().any(|name| key == *name || (name.ends_with('.') && key.starts_with(name)))
    };
    let of_a_source = key.strip_prefix("data.mixture[").and_then(|entry| entry.split_once("]."));
    if let Some((_, key)) = of_a_source {
        return match key {
            "paths" => DifferenceKind::Free,
            "name" => DifferenceKind::ChangesRun,
            _ => DifferenceKind::Plan,
        };
    }
    if (on_cpu && key == "batch.micro") || listed(FREE) {
        DifferenceKind::Free
    } else if listed(PLAN) {
        DifferenceKind::Plan
    } else {
        DifferenceKind::ChangesRun
    }
}

/// Dotted keys of nested objects, and of the sources of a mixture by their numbers.
fn flatten(value: &Value) -> Map<String, Value> {
    fn add(value: &Value, path: &str, out: &mut Map<String, Value>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    add(inner, &path, out);
                }
            }
            Value::Array(sources) if path == "data.mixture" => {
                sources.iter().enumerate().for_each(|(i, source)| add(source, &format!("{path}[{i}]"), out));
            }
            leaf => {
                out.insert(path.to_owned(), leaf.clone());
            }
        }
    }
    let mut out = Map::new();
    add(value, "", &mut out);
    out
}
