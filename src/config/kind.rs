//! What a key of the configuration accepts.
use crate::device::DeviceName;
use crate::schedule::catalogue::{self, Entry};
use crate::schedule::{self, Scalar, TokenCount};
use toml::{Table, Value};

/// Which finite numbers a key accepts; nothing in a configuration is negative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    fits: fn(f64) -> bool,
    /// The range in words, behind "a finite number".
    words: &'static str,
}

pub(crate) const AT_LEAST_0: Range = Range { fits: |x| x >= 0.0, words: "of at least 0" };
pub(crate) const ABOVE_0: Range = Range { fits: |x| x > 0.0, words: "above 0" };
pub(crate) const BELOW_1: Range =
    Range { fits: |x| (0.0..1.0).contains(&x), words: "of at least 0 and below 1" };
pub(crate) const SHARE: Range = Range { fits: |x| (0.0..=1.0).contains(&x), words: "from 0 to 1" };
pub(crate) const INSIDE_1: Range = Range { fits: |x| x > 0.0 && x < 1.0, words: "above 0 and below 1" };
pub(crate) const UP_TO_1: Range = Range { fits: |x| x > 0.0 && x <= 1.0, words: "above 0 and at most 1" };

/// Counts of sequences and tokens stay below this.
const SIZE_LIMIT: i64 = 1 << 31;

/// The kinds of values. Ranges that depend on other keys are `validate`'s business.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A string that is not empty.
    Text,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A whole number of at least this.
    Count(u64),
    /// A count of sequences or tokens: at least 1 and so small that the product of two fits in 64 bits.
    Size,
    /// A token id: a whole number in u32.
    Token,
    /// A finite number in this range.
    Number(Range),
    /// Two of them.
    Pair(Range),
    /// `true` or `false`.
    Flag,
    /// A list of strings that are not empty.
    Texts,
    /// A [`schedule::Length`].
    Length,
    /// A [`schedule::TokenCount`].
    Tokens,
    /// A [`schedule::Rate`].
    Rate,
    /// A list of [`schedule::Length`]s.
    Lengths,
    /// A list of [`schedule::Rate`]s.
    Rates,
    /// A name of the catalogue of schedules.
    Entry(&'static [&'static [Entry]]),
    /// Such a name, or a table with it as `shape` and its arguments.
    Shape(&'static [&'static [Entry]]),
    /// A [`super::Cadence`].
    Cadence,
    /// A [`DeviceName`].
    Device,
    /// A list of tables.
    Tables,
    /// A list of phases: tables, all with the keys of `schedule.phases`.
    Phases,
    /// A table whose keys are another program's.
    Arguments,
}

/// Arguments of named schedules and of shapes: keys of `[schedule]`, of its phases, and of a shape that is written as a
/// table. Which schedule takes which is said by [`crate::schedule::catalogue`].
pub(crate) const ARGUMENTS: &[(&str, Kind)] = {
    use Kind::*;
    use catalogue::SHAPES;
    &[
        ("anneal", Length),
        ("anneal_shape", Shape(&[SHAPES])),
        ("ceiling", Number(AT_LEAST_0)),
        ("constant_lr", Rate),
        ("cooldown", Length),
        ("cycles", Number(AT_LEAST_0)),
        ("decay", Length),
        ("decay_shape", Shape(&[SHAPES])),
        ("divisor", Number(AT_LEAST_0)),
        ("eps", Number(AT_LEAST_0)),
        ("every", Length),
        ("exponent", Number(AT_LEAST_0)),
        ("factor", Number(AT_LEAST_0)),
        ("fall", Length),
        ("final_divisor", Number(AT_LEAST_0)),
        ("gamma", Number(AT_LEAST_0)),
        ("half_life", Length),
        ("hold", Length),
        ("interpolation", Choice(&["linear", "hold"])),
        ("milestones", Lengths),
        ("patience", Count(0)),
        ("pause", Count(0)),
        ("pause_up", Count(0)),
        ("peak_factor", Number(AT_LEAST_0)),
        ("per_cycle", Number(AT_LEAST_0)),
        ("per_step", Number(AT_LEAST_0)),
        ("period", Length),
        ("period_factor", Number(AT_LEAST_0)),
        ("periods", Count(0)),
        ("power", Number(AT_LEAST_0)),
        ("rate", Number(AT_LEAST_0)),
        ("reset_after", Count(0)),
        ("rise", Length),
        ("scale", Number(AT_LEAST_0)),
        ("spacing", Choice(&["linear", "log"])),
        ("steepness", Number(AT_LEAST_0)),
        ("theta", Number(AT_LEAST_0)),
        ("threshold", Number(AT_LEAST_0)),
        ("timescale", Length),
        ("window", Count(0)),
        ("x", Lengths),
        ("y", Rates),
    ]
};

impl Kind {
    /// `Err("is …; expected …")` where `value` is of another kind; the caller puts the key in front.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::Text, Value::String(s)) => !s.is_empty(),
            (Self::Choice(names), Value::String(s)) if names.contains(&s.as_str()) => true,
            (Self::Choice(names), Value::String(s)) => return Err(no_choice(s, names)),
            (Self::Count(least), Value::Integer(n)) => u64::try_from(*n).is_ok_and(|n| n >= least),
            (Self::Size, Value::Integer(n)) => (1..SIZE_LIMIT).contains(n),
            (Self::Token, Value::Integer(n)) => u32::try_from(*n).is_ok(),
            (Self::Number(range), value) => range.has(value),
            (Self::Pair(range), Value::Array(list)) => list.len() == 2 && list.iter().all(|x| range.has(x)),
            (Self::Flag, Value::Boolean(_)) => true,
            (Self::Texts, Value::Array(list)) => {
                list.iter().all(|item| item.as_str().is_some_and(|s| !s.is_empty()))
            }
            (Self::Tables | Self::Phases, Value::Array(list)) => list.iter().all(Value::is_table),
            (Self::Arguments, Value::Table(_)) => true,
            (Self::Lengths, Value::Array(list)) => {
                return list.iter().try_for_each(|x| Self::Length.check(x));
            }
            (Self::Rates, Value::Array(list)) => return list.iter().try_for_each(|x| Self::Rate.check(x)),
            (Self::Entry(lists), Value::String(s)) => return entry(s, lists).map(drop),
            (Self::Shape(lists), Value::String(s)) => return shape(s, &Table::new(), lists),
            (Self::Shape(lists), Value::Table(table)) => match table.get("shape") {
                Some(Value::String(name)) => return shape(name, table, lists),
                _ => return Err(format!("has no `shape`; give {}", self.expected())),
            },
            (Self::Device, Value::String(s)) => s.parse::<DeviceName>().is_ok(),
            (Self::Length, value) => return parsed(value, self, schedule::Length::try_from),
            (Self::Tokens, value) => return parsed(value, self, TokenCount::try_from),
            (Self::Rate, value) => return parsed(value, self, schedule::Rate::try_from),
            (Self::Cadence, value) => return parsed(value, self, super::Cadence::try_from),
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("is {}; give {}", describe(value), self.expected())) }
    }

    fn expected(self) -> String {
        match self {
            Self::Text => "a string that is not empty".into(),
            Self::Choice(names) => format!("one of {}", quoted(names)),
            Self::Count(least) => format!("a whole number of at least {least}"),
            Self::Size => "a whole number of at least 1 and below 2^31".into(),
            Self::Token => "a token id, a whole number from 0 to 2^32 - 1".into(),
            Self::Number(range) => format!("a finite number {}", range.words),
            Self::Pair(range) => format!("a list of two finite numbers {}", range.words),
            Self::Flag => "true or false".into(),
            Self::Texts => r#"a list of strings, such as ["data/pile"]"#.into(),
            Self::Length => r#"a number of steps or a string such as "1%" or "2M tokens""#.into(),
            Self::Tokens => r#"a number of tokens or a string such as "10M""#.into(),
            Self::Rate => {
                r#"a number of at least 0, a share of the peak such as "10%", or "previous""#.into()
            }
            Self::Lengths => r#"a list of lengths, such as [100, "50%"]"#.into(),
            Self::Rates => r#"a list of rates, such as [1e-3, "10%"]"#.into(),
            Self::Entry(_) => r#"a name of `rewarm schedule list`, such as "cosine""#.into(),
            Self::Shape(_) => {
                r#"a name such as "linear", or a table such as {shape = "poly", power = 2}"#.into()
            }
            Self::Cadence => r#"a number of steps, or a time such as "30m""#.into(),
            Self::Device => r#""cpu", "cuda:0" (or another number), "emulated" or "auto""#.into(),
            Self::Tables | Self::Phases => "a list of tables, written [[like.this]]".into(),
            Self::Arguments => "a section, written [like.this]".into(),
        }
    }
}

impl Range {
    fn has(self, value: &Value) -> bool {
        match value {
            Value::Integer(n) => (self.fits)(*n as f64),
            Value::Float(x) => x.is_finite() && (self.fits)(*x),
            _ => false,
        }
    }
}

/// The check of a kind that has its own parser.
fn parsed<T>(value: &Value, kind: Kind, parse: fn(Scalar) -> Result<T, String>) -> Result<(), String> {
    let scalar = match value {
        Value::Integer(n) => Scalar::Integer(*n),
        Value::Float(x) => Scalar::Number(*x),
        Value::String(s) => Scalar::Text(s.clone()),
        other => return Err(format!("is {}; give {}", describe(other), kind.expected())),
    };
    parse(scalar).map(drop).map_err(|message| format!("= {message}"))
}

/// The entry of that name in any of the lists.
fn entry(name: &str, lists: &[&'static [Entry]]) -> Result<&'static Entry, String> {
    lists.iter().flat_map(|list| list.iter()).find(|entry| entry.name == name).ok_or_else(|| {
        let near =
            catalogue::nearest(name, lists).map_or(String::new(), |n| format!(" (did you mean {n:?}?)"));
        let names: Vec<&str> = lists.iter().flat_map(|list| list.iter()).map(|entry| entry.name).collect();
        format!("is {name:?}; give one of {}{near}", quoted(&names))
    })
}

/// A shape with its arguments: all of them it takes, and none that it needs is missing.
fn shape(name: &str, table: &Table, lists: &[&'static [Entry]]) -> Result<(), String> {
    let entry = entry(name, lists)?;
    for (key, value) in table.iter().filter(|(key, _)| *key != "shape") {
        match ARGUMENTS.iter().find(|(name, _)| name == key) {
            Some((_, kind)) if entry.takes(key) => kind.check(value).map_err(|e| format!(".{key} {e}"))?,
            _ => {
                let takes: Vec<&str> = entry.required.iter().chain(entry.optional).copied().collect();
                return Err(format!(
                    "has {key:?}, which shape {name:?} does not take; it takes [{}]",
                    takes.join(", ")
                ));
            }
        }
    }
    match entry.required.iter().find(|key| !table.contains_key(**key)) {
        Some(key) => Err(format!("has no {key:?}, which shape {name:?} needs; give it")),
        None => Ok(()),
    }
}

fn no_choice(found: &str, names: &'static [&'static str]) -> String {
    let near = names.iter().find(|name| strsim::damerau_levenshtein(found, name) <= 2);
    let hint = near.map_or(String::new(), |name| format!(" (did you mean {name:?}?)"));
    format!("is {found:?}; give {}{hint}", Kind::Choice(names).expected())
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// The value and its TOML type, cut to a line.
pub(crate) fn describe(value: &Value) -> String {
    let kind = match value {
        Value::Array(_) => "list",
        other => other.type_str(),
    };
    let text = value.to_string();
    let shown: String = text.chars().take(40).map(|c| if c == '\n' { ' ' } else { c }).collect();
    let dots = if text.chars().count() > 40 { "…" } else { "" };
    format!("{shown}{dots} (a {kind})").replace("(a integer)", "(an integer)")
}
