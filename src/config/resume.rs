//! Which keys may change between the parts of one run.
use super::keys::on_resume;
use super::table::{KEYS, Key, OnResume};
use crate::model::Precision;
use serde::Deserialize;
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

/// The differences of two [`super::Config::to_json`] values, in the order of the keys of `old`, then `new`.
pub fn resume_differences(old: &Value, new: &Value) -> Vec<Difference> {
    let (old, new) = (flatten(old), flatten(new));
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let value = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
    let on_cpu = value(&new, "device") == "cpu";
    old.keys()
        .chain(added)
        .map(|key| {
            let (old, new) = (value(&old, key), value(&new, key));
            Difference { kind: kind(key, [&old, &new], on_cpu), key: key.clone(), old, new }
        })
        .filter(|difference| difference.old != difference.new)
        .collect()
}

fn kind(key: &str, values: [&Value; 2], on_cpu: bool) -> DifferenceKind {
    let has_f32_state = |value: &Value| Precision::deserialize(value).is_ok_and(Precision::has_f32_state);
    match on_resume(key) {
        OnResume::Free => DifferenceKind::Free,
        OnResume::FreeOnCpu if on_cpu => DifferenceKind::Free,
        OnResume::Plan => DifferenceKind::Plan,
        OnResume::PlanInF32 if values.into_iter().all(has_f32_state) => DifferenceKind::Plan,
        OnResume::FreeOnCpu | OnResume::PlanInF32 | OnResume::Fixed => DifferenceKind::ChangesRun,
    }
}

/// What `rewarm resume --set` takes, for its help.
pub fn resume_help() -> String {
    let keys = |wanted| names(wanted).join(", ");
    format!(
        "Override a key that cannot change a result: {}; on a cpu {}; with --override also {}, and between f32 and mixed {}",
        keys(OnResume::Free),
        keys(OnResume::FreeOnCpu),
        keys(OnResume::Plan),
        keys(OnResume::PlanInF32)
    )
}

/// The keys that a resume may treat so; sections as `eval.*`, a list of tables without the keys of its entries.
fn names(wanted: OnResume) -> Vec<String> {
    let is = |key: &&Key| key.on_resume == wanted;
    let mut names: Vec<String> = Vec::new();
    for key in KEYS.iter().filter(is) {
        let top = key.name.split('.').next().unwrap_or_default();
        let alike = |other: &Key| {
            other.name.strip_prefix(top).is_none_or(|rest| !rest.starts_with('.')) || is(&other)
        };
        let name =
            if key.name != top && KEYS.iter().all(alike) { format!("{top}.*") } else { key.name.to_owned() };
        let said = names.iter().any(|said| *said == name || name.starts_with(&format!("{said}[]")));
        if !said {
            names.push(name);
        }
    }
    names
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
