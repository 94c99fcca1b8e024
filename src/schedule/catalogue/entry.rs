//! What the catalogue says of a shape, a preset or a warmup; and one of them with its arguments.
use super::arguments::{Argument, ArgumentDefault};
use crate::schedule::kind::{quoted, unfit};
use crate::schedule::leg::{Leg, Stretch};
use crate::schedule::{Feedback, Length, Rate};
use crate::{Error, Result};
use serde::Deserialize;
use toml::{Table, Value};

/// A row of the catalogue: a shape, a preset or a warmup.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As a configuration writes it.
    pub name: &'static str,
    /// The arguments that it takes.
    pub arguments: &'static [Argument],
    /// Arguments of the drawing, as lines of TOML.
    pub example: &'static str,
    /// The formula that it computes.
    pub formula: &'static str,
    /// The paper or program that it comes from.
    pub source: &'static str,
    /// When to use it.
    pub purpose: &'static str,
    pub(in crate::schedule) motion: Motion,
    /// Whether it is more than one shape.
    pub(super) is_preset: bool,
    /// Whether its rates depend on the tokens of a step.
    pub(in crate::schedule) counts_tokens: bool,
    /// The default of `min_lr` for a peak.
    pub(in crate::schedule) min_lr: fn(f64) -> f64,
    /// The default warmup.
    pub(in crate::schedule) warmup: fn(&Named) -> Result<Warmup>,
    /// The rate that the warmup leads to.
    pub(in crate::schedule) top: fn(&Named, &Stretch) -> Result<f64>,
    /// The rule that moves the rates with the loss.
    pub(in crate::schedule) feedback: fn(&Named, &Stretch) -> Result<Option<Feedback>>,
    /// The legs that fill a stretch.
    pub(super) build: fn(&Named, &Stretch) -> Result<Vec<Leg>>,
}

/// The length of a warmup, the rate that it starts from, and its shape.
pub(in crate::schedule) type Warmup = (Length, Rate, &'static str);

/// Pythia's: 1 % of the run, from 0.
pub(in crate::schedule) const WARMUP: Warmup = (Length::Percent(1.0), Rate::Value(0.0), "linear");

/// How a shape comes to its last rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    /// It is there at the end. A function of the progress alone: a phase may follow a part of it.
    Arrives,
    /// It comes nearer without ever being there: the rate is 0 unless given, and `min_lr` cuts it off.
    Approaches,
    /// It has none: it holds its first rate, or goes through points.
    Stays,
    /// It comes and goes.
    Cycles,
}

impl Entry {
    /// What most of them have in common, but for what is told of each: a tenth of the peak at the end, as Pythia's.
    pub(super) const ARRIVES: Self = Self {
        name: "",
        arguments: &[],
        example: "",
        formula: "",
        source: "",
        purpose: "",
        motion: Motion::Arrives,
        is_preset: false,
        counts_tokens: false,
        min_lr: |lr| lr / 10.0,
        warmup: |_| Ok(WARMUP),
        top: |_, s| Ok(s.lr),
        feedback: |_, _| Ok(None),
        build: |_, _| Ok(Vec::new()),
    };
    pub(super) const APPROACHES: Self = Self { motion: Motion::Approaches, min_lr: |_| 0.0, ..Self::ARRIVES };
    pub(super) const STAYS: Self = Self { motion: Motion::Stays, min_lr: |_| 0.0, ..Self::ARRIVES };
    /// It begins at `min_lr` and rises by itself.
    pub(super) const RISES: Self = Self {
        warmup: |_| Ok((Length::Steps(0), Rate::Value(0.0), "linear")),
        top: |_, s| Ok(s.min_lr),
        ..Self::ARRIVES
    };

    /// Whether it takes the argument.
    pub fn takes(&self, argument: &str) -> bool {
        self.arguments.iter().any(|known| known.name == argument)
    }

    /// Whether all arguments are written, defaults too: of presets, and of shapes that cannot do without one.
    fn is_written_in_full(&self) -> bool {
        self.is_preset || self.arguments.iter().any(|argument| argument.default == ArgumentDefault::Required)
    }
}

/// An entry with all of its arguments.
#[derive(Clone, Debug)]
pub struct Named {
    /// The row that is named.
    pub entry: &'static Entry,
    /// Its arguments, complete with defaults, each of the kind and in the range that it is to have.
    pub(crate) args: Table,
    /// Where they stand in the configuration.
    at: String,
}

impl PartialEq for Named {
    /// Of one list of entries, whose names differ.
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name && self.args == other.args
    }
}

impl Named {
    /// The entry `name` of `lists`, which the key `chosen_by` chose, with the arguments that stand at `at` (beside others that
    /// are none: `shape`). Refused: what it does not take, what is of another kind, and the absence of what it needs.
    pub(in crate::schedule) fn new(
        lists: &[&'static [Entry]],
        name: &str,
        given: &Table,
        at: &str,
        chosen_by: &str,
    ) -> Result<Self> {
        let entry = find(lists, name, chosen_by)?;
        if let Some(key) = given.keys().find(|key| *key != "shape" && !entry.takes(key)) {
            return Err(not_taken(lists, entry, &format!("{at}.{key}"), key, chosen_by));
        }
        let mut args = Table::new();
        for argument in entry.arguments {
            let key = format!("{at}.{}", argument.name);
            let default = argument.default_value()?;
            if let Some(value) = given.get(argument.name).or(default.as_ref()) {
                args.insert(argument.name.into(), argument.kind.read(value, &key)?);
            } else if argument.default == ArgumentDefault::Required {
                return Err(Error::refused(format!("{key} is missing; {chosen_by} = {name:?} needs it")));
            }
        }
        Ok(Self { entry, args, at: at.to_owned() })
    }

    /// What is written as a name, or as a table with it as `shape` and its arguments.
    pub(in crate::schedule) fn read(value: &Value, list: &'static [Entry], at: &str) -> Result<Self> {
        match value {
            Value::String(name) => Self::new(&[list], name, &Table::new(), at, at),
            Value::Table(table) => match table.get("shape") {
                Some(Value::String(name)) => Self::new(&[list], name, table, at, &format!("{at}.shape")),
                _ => Err(Error::refused(format!("{at} has no `shape`; give {NAME_OR_TABLE}"))),
            },
            other => Err(unfit(other, at, NAME_OR_TABLE)),
        }
    }

    /// As a table with its name as `shape`.
    pub(in crate::schedule) fn to_table(&self) -> Table {
        let name = [("shape".to_owned(), Value::from(self.entry.name))];
        name.into_iter().chain(self.written()).collect()
    }

    /// As its name, or as a table where there is more to say.
    pub(in crate::schedule) fn to_value(&self) -> Value {
        if self.written().is_empty() { self.entry.name.into() } else { self.to_table().into() }
    }

    /// The arguments as a resolved configuration has them.
    pub(in crate::schedule) fn written(&self) -> Table {
        let left_out = |argument: &Argument, value: &Value| {
            !self.entry.is_written_in_full()
                && argument.default_value().is_ok_and(|default| default.as_ref() == Some(value))
        };
        let given = |argument: &Argument| {
            let value = self.args.get(argument.name).filter(|value| !left_out(argument, value))?;
            Some((argument.name.to_owned(), value.clone()))
        };
        self.entry.arguments.iter().filter_map(given).collect()
    }

    /// The legs that fill the stretch down to `min_lr`, or, as the floor cuts them off, towards 0.
    pub(in crate::schedule) fn down(&self, stretch: &Stretch) -> Result<Vec<Leg>> {
        let to = match self.entry.motion {
            Motion::Approaches => 0.0,
            Motion::Cycles => stretch.lr,
            Motion::Arrives | Motion::Stays => stretch.min_lr,
        };
        self.legs(&Stretch { to, ..*stretch })
    }

    /// The legs that fill the stretch.
    pub(in crate::schedule) fn legs(&self, stretch: &Stretch) -> Result<Vec<Leg>> {
        (self.entry.build)(self, stretch)
    }

    /// Where an argument stands, for messages.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    /// An argument that was given or has a default.
    pub(super) fn get<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<T> {
        let value = self.find(name)?;
        value.ok_or_else(|| {
            Error::refused(format!("{} is missing; {:?} needs it", self.key(name), self.entry.name))
        })
    }

    /// An argument that may be absent.
    pub(super) fn find<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        let read = |value: &Value| {
            T::deserialize(value.clone())
                .map_err(|e| Error::refused(format!("{}: {}", self.key(name), e.message())))
        };
        self.args.get(name).map(read).transpose()
    }
}

/// What [`Named::read`] takes.
pub(super) const NAME_OR_TABLE: &str =
    r#"a name such as "linear", or a table such as {shape = "poly", power = 2}"#;

/// The entry of that name in any of the lists; `key` has the name.
pub(super) fn find(lists: &[&'static [Entry]], name: &str, key: &str) -> Result<&'static Entry> {
    let entries = || lists.iter().flat_map(|list| list.iter());
    entries().find(|entry| entry.name == name).ok_or_else(|| {
        let distance = |known: &str| strsim::damerau_levenshtein(name, known);
        let names: Vec<&str> = entries().map(|entry| entry.name).collect();
        let near = names.iter().min_by_key(|known| distance(known));
        let near = near.filter(|known| distance(known) <= 1 + name.len() / 3);
        let hint = near.map_or(String::new(), |near| format!(" (did you mean {near:?}?)"));
        Error::refused(format!("{key} is {name:?}; give one of {}{hint}", quoted(&names)))
    })
}

/// The error about an argument that other entries may have.
fn not_taken(lists: &[&'static [Entry]], entry: &Entry, key: &str, argument: &str, chosen_by: &str) -> Error {
    let takers = lists.iter().flat_map(|list| list.iter()).filter(|other| other.takes(argument));
    let takers: Vec<&str> = takers.map(|other| other.name).collect();
    let why = if takers.is_empty() {
        let takes: Vec<&str> = entry.arguments.iter().map(|argument| argument.name).collect();
        let takes = if takes.is_empty() { "none".into() } else { quoted(&takes) };
        format!("of arguments it takes {takes}, remove it")
    } else {
        format!("it belongs to {}, remove one of them", quoted(&takers))
    };
    Error::refused(format!("{key} is given but {chosen_by} is {:?}; {why}", entry.name))
}
