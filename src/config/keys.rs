//! Every key of a run configuration, what it accepts, and the answer to a key that does not exist.
use super::elsewhere::{ELSEWHERE, SHARES};
use super::kind::ARGUMENTS;
use super::kind::Kind::{self, *};
use crate::error::one_line;
use crate::schedule::catalogue::{PRESETS, SHAPES, WARMUPS};
use crate::{Error, Result};
use toml::{Table, Value};

/// `[]` stands for an entry of an array of tables. A test holds this list and [`super::RawConfig`] together.
pub(crate) const KEYS: &[(&str, Kind)] = &[
    ("run_dir", Text),
    ("seed", Count),
    ("threads", Count),
    ("device", Device),
    ("model.preset", Text),
    ("model.vocab_size", Count),
    ("model.hidden_size", Count),
    ("model.num_hidden_layers", Count),
    ("model.num_attention_heads", Count),
    ("model.intermediate_size", Count),
    ("model.max_position_embeddings", Count),
    ("model.rotary_pct", Number),
    ("model.rotary_emb_base", Number),
    ("model.layer_norm_eps", Number),
    ("model.gelu", Choice(&["erf", "tanh"])),
    ("model.use_parallel_residual", Flag),
    ("model.attention_bias", Flag),
    ("model.tie_word_embeddings", Flag),
    ("model.initializer_range", Number),
    ("model.bos_token_id", Token),
    ("model.eos_token_id", Token),
    ("model.init", Choice(&["small", "normal"])),
    ("start.from", Text),
    ("start.optimizer", Choice(&["reset", "keep"])),
    ("start.data", Choice(&["restart", "continue"])),
    ("data.train", Texts),
    ("data.mixture", Tables),
    ("data.mixture[].name", Text),
    ("data.mixture[].paths", Texts),
    ("data.mixture[].weight", Number),
    ("data.mixture[].weight_phases", Tables),
    ("data.mixture[].fraction", Number),
    ("data.mixture[].fraction_phases", Tables),
    ("data.seq_len", Count),
    ("data.validation_fraction", Number),
    ("data.tokenizer", Text),
    ("data.validation", Tables),
    ("data.validation[].name", Text),
    ("data.validation[].paths", Texts),
    ("batch.sequences", Count),
    ("batch.micro", Count),
    ("batch.ramp.start", Count),
    ("batch.ramp.increment", Count),
    ("batch.ramp.samples", Count),
    ("batch.stages", Tables),
    ("batch.stages[].sequences", Count),
    ("batch.stages[].until", Tokens),
    ("batch.lr_scaling", Choice(&["sqrt", "linear"])),
    ("optim.betas", Pair),
    ("optim.eps", Number),
    ("optim.weight_decay", Number),
    ("optim.weight_decay_phases", Tables),
    ("optim.beta1_phases", Tables),
    ("optim.beta2_phases", Tables),
    ("optim.clip", Number),
    ("optim.layer_decay", Number),
    ("optim.groups", Tables),
    ("optim.groups[].pattern", Text),
    ("optim.groups[].lr_mult", Number),
    ("optim.groups[].weight_decay", Number),
    ("optim.groups[].decay_follows_rate", Flag),
    ("schedule.name", Entry(&[SHAPES, PRESETS])),
    ("schedule.lr", Number),
    ("schedule.min_lr", Rate),
    ("schedule.pre_hold", Length),
    ("schedule.pre_hold_lr", Rate),
    ("schedule.warmup", Length),
    ("schedule.warmup_from", Rate),
    ("schedule.warmup_shape", Shape(&[WARMUPS])),
    ("schedule.warmup_convention", Choice(&["zero_based", "one_based", "floor_one", "inclusive"])),
    ("schedule.tail", Choice(&["hold", "min_lr", "error"])),
    ("schedule.counter", Choice(&["attempted", "applied"])),
    ("schedule.style", Text),
    ("schedule.args", Arguments),
    ("schedule.phases", Tables),
    ("schedule.phases[].shape", Entry(&[SHAPES])),
    ("schedule.phases[].length", Length),
    ("schedule.phases[].from", Rate),
    ("schedule.phases[].to", Rate),
    ("schedule.phases[].part", Pair),
    ("train.steps", Count),
    ("train.tokens", Tokens),
    ("train.recompute", Choice(&["none", "cheap", "block"])),
    ("train.precision", Choice(&["mixed", "bf16"])),
    ("train.ema", Number),
    ("train.separate_bias_gradients", Flag),
    ("eval.every", Count),
    ("eval.sequences", Count),
    ("checkpoint.every", Cadence),
    ("checkpoint.keep", Count),
    ("head.chunk_rows", Count),
];

/// Lists of phases, all with the keys of the first.
const PHASES: [&str; 6] = [
    "schedule.phases[]",
    "optim.weight_decay_phases[]",
    "optim.beta1_phases[]",
    "optim.beta2_phases[]",
    "data.mixture[].weight_phases[]",
    "data.mixture[].fraction_phases[]",
];

/// A key of a phase as a key of [`KEYS`].
fn as_listed(known: &str) -> String {
    let list = PHASES.iter().find(|list| known.starts_with(**list));
    list.map_or(known.to_owned(), |list| known.replacen(list, PHASES[0], 1))
}

/// The kind of a key, if it exists; `[]` stands for an entry of an array of tables.
pub(crate) fn kind_of(known: &str) -> Option<Kind> {
    let known = &as_listed(known)[..];
    let argument = known.strip_prefix("schedule.phases[].").or(known.strip_prefix("schedule."));
    let found = KEYS.iter().find(|(key, _)| *key == known);
    found.or(ARGUMENTS.iter().find(|(key, _)| argument == Some(*key))).map(|(_, kind)| *kind)
}

/// All keys of the file, arguments of schedules as keys of `[schedule]`.
fn all_keys() -> impl Iterator<Item = String> {
    let arguments = ARGUMENTS.iter().map(|(key, _)| format!("schedule.{key}"));
    KEYS.iter().map(|(key, _)| (*key).to_owned()).chain(arguments)
}

/// Keys that an array entry cannot do without.
const REQUIRED: &[(&str, &[&str])] = &[
    ("batch.stages[]", &["sequences", "until"]),
    ("data.mixture[]", &["name", "paths"]),
    ("data.validation[]", &["name", "paths"]),
    ("optim.groups[]", &["pattern"]),
    ("schedule.phases[]", &["shape"]),
];

/// Refuses the first key of `table` that does not exist or has a value of another kind; `origin` names the
/// file or override in the message.
pub(crate) fn check(table: &Table, origin: &str) -> Result<()> {
    walk(table, "", "", origin)
}

/// `shown` is the path as the user wrote it (`data.validation[0]`), `known` as [`KEYS`] has it.
fn walk(table: &Table, shown: &str, known: &str, origin: &str) -> Result<()> {
    for (name, value) in table {
        let (shown, known) = (join(shown, &one_line(name)), join(known, name));
        if is_section(&known) {
            match value {
                Value::Table(inner) => walk(inner, &shown, &known, origin)?,
                other => {
                    return Err(Error::refused(format!(
                        "{origin}: {shown} is {}; it is a section, write its keys under [{shown}]",
                        super::kind::describe(other)
                    )));
                }
            }
            continue;
        }
        let Some(kind) = kind_of(&known) else {
            return Err(unknown(&shown, &known, value, origin));
        };
        kind.check(value).map_err(|expected| Error::refused(format!("{origin}: {shown} {expected}")))?;
        if let (Tables, Value::Array(entries)) = (kind, value) {
            for (i, entry) in entries.iter().enumerate() {
                check_entry(entry, &format!("{shown}[{i}]"), &format!("{known}[]"), origin)?;
            }
        }
    }
    Ok(())
}

/// One table of an array of tables.
fn check_entry(entry: &Value, shown: &str, known: &str, origin: &str) -> Result<()> {
    let Value::Table(table) = entry else { return Ok(()) }; // the kind's check has refused anything else
    walk(table, shown, known, origin)?;
    let required =
        REQUIRED.iter().find(|(array, _)| *array == as_listed(known)).map_or(&[][..], |(_, keys)| keys);
    match required.iter().find(|key| !table.contains_key(**key)) {
        Some(key) => Err(Error::refused(format!(
            "{origin}: {shown}.{key} is missing; every entry needs {}",
            required.join(" and ")
        ))),
        None => Ok(()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether `path` is a `[section]`.
fn is_section(path: &str) -> bool {
    !path.contains('[')
        && KEYS.iter().any(|(key, _)| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(shown: &str, known: &str, value: &Value, origin: &str) -> Error {
    let remedy = match nearest(known, value.is_table()) {
        Some(key) => format!("did you mean `{key}`?"),
        None if known.contains('.') => format!("remove it; [{}] has {}", section(known), siblings(known)),
        None => format!("remove it; the sections are {}", sections().join(", ")),
    };
    Error::refused(format!("{origin}: unknown key `{shown}`; {remedy}"))
}

/// The known key (or section) most like `path`: by spelling, or by its last word in another section.
fn nearest(path: &str, table: bool) -> Option<String> {
    if let Some((_, key)) = ELSEWHERE.iter().chain(SHARES).find(|(name, _)| [path, leaf(path)].contains(name))
    {
        return Some((*key).to_owned());
    }
    let names: Vec<String> = if table { sections() } else { all_keys().collect() };
    let distance = |key: &str| {
        let whole = strsim::damerau_levenshtein(path, key);
        // The right word in the wrong section counts like one slip of the pen.
        whole.min(strsim::damerau_levenshtein(leaf(path), leaf(key)) + 1)
    };
    let best = names.into_iter().min_by_key(|key| distance(key))?;
    (distance(&best) <= 1 + leaf(path).len() / 4).then_some(best)
}

/// What `--set` takes in the place of a flag that does not exist: `schedule.lr=1e-4` for `learning_rate` (its name without
/// dashes before it, and with `_` inside) with the value 1e-4, where a key is like it.
pub fn set_for_flag(name: &str, value: Option<&str>) -> Option<String> {
    let exact = all_keys().find(|key| *key == name);
    let key = exact.or_else(|| nearest(name, false)).filter(|key| !key.contains('['))?;
    let share = SHARES.iter().any(|(share, _)| *share == leaf(name));
    let value = match (kind_of(&key)?, value) {
        (Texts, value) => format!("[\"{}\"]", value.unwrap_or("PATH")),
        (Choice(words), value) if !value.is_some_and(|v| words.contains(&v)) => words.join("|"),
        (_, Some(value)) if share => format!("{}%", value.parse::<f64>().ok()? * 100.0),
        (_, value) => value.unwrap_or("VALUE").to_owned(),
    };
    Some(format!("{key}={value}"))
}

fn section(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

/// The keys beside `path`, for a message.
fn siblings(path: &str) -> String {
    let here = section(path);
    let names: Vec<&str> =
        KEYS.iter().filter(|(key, _)| section(key) == here).map(|(key, _)| leaf(key)).collect();
    names.join(", ")
}

/// All `[section]` names, in the order of the file.
fn sections() -> Vec<String> {
    let mut names: Vec<String> = KEYS
        .iter()
        .map(|(key, _)| section(key))
        .filter(|s| !s.is_empty() && !s.contains('['))
        .map(Into::into)
        .collect();
    names.dedup();
    names
}
