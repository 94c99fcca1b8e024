//! The check of a file or an override by the table of keys, and the answer to a key that does not exist.
use super::elsewhere::{ELSEWHERE, SHARES};
use super::table::{KEYS, Key, OnResume, REQUIRED};
use crate::error::one_line;
use crate::schedule::catalogue::arguments;
use crate::schedule::kind::Kind::{self, *};
use crate::schedule::kind::describe;
use crate::{Error, Result};
use toml::{Table, Value};

/// The key of a phase as the one of `schedule.phases`.
fn as_listed(known: &str) -> String {
    let mut lists = KEYS.iter().filter(|key| matches!(key.kind, Phases));
    let within = |list: &Key| known.strip_prefix(list.name).filter(|rest| rest.starts_with("[]"));
    lists.find_map(within).map_or(known.to_owned(), |rest| format!("schedule.phases{rest}"))
}

/// The key of the table; `[]` stands for an entry of an array of tables.
fn listed(known: &str) -> Option<&'static Key> {
    let known = as_listed(known);
    KEYS.iter().find(|key| key.name == known)
}

/// The kind of a key, if it exists; `[]` stands for an entry of an array of tables.
pub(super) fn kind_of(known: &str) -> Option<Kind> {
    let argument = || {
        let known = as_listed(known);
        let name = known.strip_prefix("schedule.phases[].").or(known.strip_prefix("schedule."))?;
        arguments().find(|argument| argument.name == name).map(|argument| argument.kind)
    };
    listed(known).map(|key| key.kind).or_else(argument)
}

/// What a resume may do with a key, or with what lies in it (`[0]` stands for an entry). A key that is not known, as one of
/// a later version is, may not change.
pub(super) fn on_resume(shown: &str) -> OnResume {
    let number = |c: char| c.is_ascii_digit();
    let known: String =
        shown.split('[').map(|part| part.trim_start_matches(number)).collect::<Vec<_>>().join("[");
    match (listed(&known), known.rsplit_once('.')) {
        (Some(key), _) => key.on_resume,
        (None, _) if kind_of(&known).is_some() => OnResume::Plan, // an argument of a schedule
        (None, Some((around, _))) => on_resume(around),
        (None, None) => OnResume::Fixed,
    }
}

/// All keys of the file, arguments of schedules as keys of `[schedule]`.
fn all_keys() -> impl Iterator<Item = String> {
    let arguments = arguments().map(|argument| format!("schedule.{}", argument.name));
    KEYS.iter().map(|key| key.name.to_owned()).chain(arguments)
}

/// Keys that an entry of an array cannot do without.
fn required(array: &str) -> Vec<&'static str> {
    let array = as_listed(array);
    let within = |key: &&Key| section(key.name) == array && key.default == REQUIRED;
    KEYS.iter().filter(within).map(|key| leaf(key.name)).collect()
}

/// Refuses the first key of `table` that does not exist or has a value of another kind; `origin` names the
/// file or override in the message.
pub(crate) fn check(table: &Table, origin: &str) -> Result<()> {
    walk(table, "", "", origin)
}

/// Refuses a name that neither a key has, nor a section, nor an entry of a list (`known` has `[]` for those).
pub(super) fn check_name(known: &str, origin: &str) -> Result<()> {
    let name = known.trim_end_matches("[]");
    if kind_of(name).is_some() || is_section(name) {
        return Ok(());
    }
    Err(unknown(known, known, &Value::Boolean(true), origin))
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
                        describe(other)
                    )));
                }
            }
            continue;
        }
        let Some(kind) = kind_of(&known) else {
            return Err(unknown(&shown, &known, value, origin));
        };
        kind.read(value, &shown)
            .map_err(|wrong| Error::refused(format!("{origin}: {wrong}{}", such_as(&known, kind))))?;
        if let (Tables | Phases, Value::Array(entries)) = (kind, value) {
            for (i, entry) in entries.iter().enumerate() {
                check_entry(entry, &format!("{shown}[{i}]"), &format!("{known}[]"), origin)?;
            }
        }
    }
    Ok(())
}

/// The default of a number as an example.
fn such_as(known: &str, kind: Kind) -> String {
    let default = listed(known).map(|key| key.default).filter(|default| default.parse::<Value>().is_ok());
    match (kind, default) {
        (Whole(_) | Number(_) | Pair(_), Some(default)) => format!(", such as {default}"),
        _ => String::new(),
    }
}

/// One table of an array of tables.
fn check_entry(entry: &Value, shown: &str, known: &str, origin: &str) -> Result<()> {
    let Value::Table(table) = entry else { return Ok(()) }; // the kind's check has refused anything else
    walk(table, shown, known, origin)?;
    let required = required(known);
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

/// The last word of a dotted name.
pub(super) fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether `path` is a `[section]`.
fn is_section(path: &str) -> bool {
    !path.contains('[')
        && KEYS.iter().any(|key| key.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
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

/// The part of a dotted name before its last word.
pub(super) fn section(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

/// The keys beside `path`, for a message.
fn siblings(path: &str) -> String {
    let here = section(path);
    let names: Vec<&str> =
        KEYS.iter().filter(|key| section(key.name) == here).map(|key| leaf(key.name)).collect();
    names.join(", ")
}

/// All `[section]` names, in the order of the file.
fn sections() -> Vec<String> {
    let mut names: Vec<String> = KEYS
        .iter()
        .map(|key| section(key.name))
        .filter(|s| !s.is_empty() && !s.contains('['))
        .map(Into::into)
        .collect();
    names.dedup();
    names
}
