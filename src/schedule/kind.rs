//! What a key of a configuration or an argument of a schedule accepts.
use super::range::Range;
use super::units::{self, TokenCount};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use toml::Value;

/// The kinds of values. Ranges that depend on other keys are the business of whoever knows those.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A string that is not empty.
    Text,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A whole number in this range.
    Whole(Range),
    /// A number in this range.
    Number(Range),
    /// Two of them.
    Pair(Range),
    /// `true` or `false`.
    Flag,
    /// A list of strings that are not empty.
    Texts,
    /// A [`units::Length`].
    Length,
    /// One that is not 0.
    SomeLength,
    /// A list of [`units::Length`]s.
    Lengths,
    /// A [`TokenCount`].
    Tokens,
    /// A [`units::Rate`].
    Rate,
    /// One that is known without those before it.
    GivenRate,
    /// A list of such.
    GivenRates,
    /// A list of tables.
    Tables,
    /// A list of phases: tables, all with the keys of `schedule.phases`.
    Phases,
    /// A table whose keys are another program's.
    Arguments,
    /// What a function reads as [`Kind::read`] does, and what that expects in words.
    Read(fn(&Value, &str) -> Result<Value>, &'static str),
}

impl Kind {
    /// The value in the form in which a resolved configuration has it; `at` is its key. Refused: a value of another kind.
    pub fn read(self, value: &Value, at: &str) -> Result<Value> {
        let fits = match (self, value) {
            (Self::Text, Value::String(s)) => !s.is_empty(),
            (Self::Choice(names), Value::String(s)) if names.contains(&s.as_str()) => true,
            (Self::Choice(names), Value::String(s)) => return Err(self.no_choice(s, names, at)),
            (Self::Whole(range), Value::Integer(n)) => range.has(*n as f64),
            (Self::Number(range), value) => match number(value).filter(|x| range.has(*x)) {
                Some(x) => return Ok(Value::Float(x)),
                None => false,
            },
            (Self::Pair(range), Value::Array(list)) => {
                list.len() == 2 && list.iter().all(|x| number(x).is_some_and(|x| range.has(x)))
            }
            (Self::Flag, Value::Boolean(_)) => true,
            (Self::Texts, Value::Array(list)) => {
                list.iter().all(|item| item.as_str().is_some_and(|s| !s.is_empty()))
            }
            (Self::Tables | Self::Phases, Value::Array(list)) => list.iter().all(Value::is_table),
            (Self::Arguments, Value::Table(_)) => true,
            (Self::Lengths, Value::Array(list)) => return Self::Length.read_each(list, at),
            (Self::GivenRates, Value::Array(list)) => return Self::GivenRate.read_each(list, at),
            (Self::SomeLength, value) => {
                let length = Self::Length.read(value, at)?;
                if !units::Length::deserialize(length.clone()).is_ok_and(units::Length::is_zero) {
                    return Ok(length);
                }
                false
            }
            (Self::GivenRate, Value::String(s)) if s == "previous" => false,
            (Self::Length, value) => return parsed::<units::Length>(value, at, self.expected()),
            (Self::Tokens, value) => return parsed::<TokenCount>(value, at, self.expected()),
            (Self::Rate | Self::GivenRate, value) => {
                return parsed::<units::Rate>(value, at, self.expected());
            }
            (Self::Read(read, _), value) => return read(value, at),
            _ => false,
        };
        if fits { Ok(value.clone()) } else { Err(unfit(value, at, self.expected())) }
    }

    /// A list of this kind.
    fn read_each(self, list: &[Value], at: &str) -> Result<Value> {
        let each = |(i, value)| self.read(value, &format!("{at}[{i}]"));
        list.iter().enumerate().map(each).collect::<Result<_>>().map(Value::Array)
    }

    /// What it accepts, in words.
    pub fn expected(self) -> String {
        let words = match self {
            Self::Text => "a string that is not empty",
            Self::Choice(names) => return format!("one of {}", quoted(names)),
            Self::Pair(range) => return format!("a list of two, each {}", range.words),
            Self::Whole(range) | Self::Number(range) => range.words,
            Self::Flag => "true or false",
            Self::Texts => r#"a list of strings, such as ["data/pile"]"#,
            Self::Length => r#"a number of steps or a string such as "1%" or "2M tokens""#,
            Self::SomeLength => r#"a length above 0, such as 100 or "10%""#,
            Self::Lengths => r#"a list of lengths, such as [100, "50%"]"#,
            Self::Tokens => r#"a number of tokens or a string such as "10M""#,
            Self::Rate => r#"a number of at least 0, a share of the peak such as "10%", or "previous""#,
            Self::GivenRate => r#"a number of at least 0, or a share of the peak such as "10%""#,
            Self::GivenRates => r#"a list of rates, such as [1e-3, "10%"]"#,
            Self::Tables | Self::Phases => "a list of tables, written [[like.this]]",
            Self::Arguments => "a section, written [like.this]",
            Self::Read(_, words) => words,
        };
        words.to_owned()
    }

    fn no_choice(self, found: &str, names: &[&str], at: &str) -> Error {
        let near = names.iter().find(|name| strsim::damerau_levenshtein(found, name) <= 2);
        let hint = near.map_or(String::new(), |name| format!(" (did you mean {name:?}?)"));
        Error::refused(format!("{at} is {found:?}; give {}{hint}", self.expected()))
    }
}

/// Reads a number or a string by the parser of its type.
pub(crate) fn parsed<T>(value: &Value, at: &str, expected: impl Display) -> Result<Value>
where
    T: Serialize + for<'a> Deserialize<'a>,
{
    if !matches!(value, Value::Integer(_) | Value::Float(_) | Value::String(_)) {
        return Err(unfit(value, at, expected));
    }
    let read =
        T::deserialize(value.clone()).map_err(|e| Error::refused(format!("{at} = {}", e.message())))?;
    Ok(Value::try_from(read).expect("a number or a string has a TOML form"))
}

/// What is said of a value of another kind.
pub(crate) fn unfit(value: &Value, at: &str, expected: impl Display) -> Error {
    Error::refused(format!("{at} is {}; give {expected}", describe(value)))
}

/// A number, whole or not.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|n| n as f64))
}

/// Names as a message lists them.
pub(super) fn quoted(names: &[&str]) -> String {
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
