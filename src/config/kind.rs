//! What a key of the configuration accepts.
use crate::device::DeviceName;
use crate::schedule::{self, Scalar, TokenCount};
use toml::Value;

/// The kinds of values. Ranges that depend on other keys are `validate`'s business.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A string that is not empty.
    Text,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A whole number of at least 0.
    Count,
    /// A token id: a whole number in u32.
    Token,
    /// A finite number of at least 0; nothing in a configuration is negative.
    Number,
    /// Two numbers.
    Pair,
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
    /// A [`DeviceName`].
    Device,
    /// A list of tables.
    Tables,
}

impl Kind {
    /// `Err("is …; expected …")` where `value` is of another kind; the caller puts the key in front.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::Text, Value::String(s)) => !s.is_empty(),
            (Self::Choice(names), Value::String(s)) if names.contains(&s.as_str()) => true,
            (Self::Choice(names), Value::String(s)) => return Err(no_choice(s, names)),
            (Self::Count, Value::Integer(n)) => *n >= 0,
            (Self::Token, Value::Integer(n)) => u32::try_from(*n).is_ok(),
            (Self::Number, value) => number(value),
            (Self::Pair, Value::Array(list)) => list.len() == 2 && list.iter().all(number),
            (Self::Flag, Value::Boolean(_)) => true,
            (Self::Texts, Value::Array(list)) => {
                list.iter().all(|item| item.as_str().is_some_and(|s| !s.is_empty()))
            }
            (Self::Tables, Value::Array(list)) => list.iter().all(Value::is_table),
            (Self::Device, Value::String(s)) => s.parse::<DeviceName>().is_ok(),
            (Self::Length, value) => return parsed(value, self, schedule::Length::try_from),
            (Self::Tokens, value) => return parsed(value, self, TokenCount::try_from),
            (Self::Rate, value) => return parsed(value, self, schedule::Rate::try_from),
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("is {}; give {}", describe(value), self.expected())) }
    }

    fn expected(self) -> String {
        match self {
            Self::Text => "a string that is not empty".into(),
            Self::Choice(names) => format!("one of {}", quoted(names)),
            Self::Count => "a whole number of at least 0".into(),
            Self::Token => "a token id, a whole number from 0 to 2^32 - 1".into(),
            Self::Number => "a finite number of at least 0".into(),
            Self::Pair => "a list of two finite numbers of at least 0, such as [0.9, 0.95]".into(),
            Self::Flag => "true or false".into(),
            Self::Texts => r#"a list of strings, such as ["data/pile"]"#.into(),
            Self::Length => r#"a number of steps or a string such as "1%" or "2M tokens""#.into(),
            Self::Tokens => r#"a number of tokens or a string such as "10M""#.into(),
            Self::Rate => r#"a number of at least 0 or "previous""#.into(),
            Self::Device => r#""cpu", "cuda:0" (or another number), "emulated" or "auto""#.into(),
            Self::Tables => "a list of tables, written [[like.this]]".into(),
        }
    }
}

fn number(value: &Value) -> bool {
    match value {
        Value::Integer(n) => *n >= 0,
        Value::Float(x) => x.is_finite() && *x >= 0.0,
        _ => false,
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
