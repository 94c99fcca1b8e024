//! One phase as a configuration has it, and how shapes are written.
use super::{Length, Rate, Shape};
use serde::{Deserialize, Serialize};
use toml::Table;

/// One phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseConfig {
    /// How the rate moves.
    pub shape: Shape,
    /// How long; one phase may leave it out and takes the rest of the run.
    pub length: Option<Length>,
    /// Rate to start from.
    pub from: Rate,
    /// Rate to reach; required except for shapes that stay (`constant`), have points (`table`) or approach a rate
    /// without an end (0 unless given).
    pub to: Option<Rate>,
    /// The progress of the shape at the start and at the end of the phase: `[0, 1]` is all of it. `from` and `to`
    /// are the ends of the whole shape.
    pub part: [f64; 2],
}

/// A shape that is written as its name, or as a table where it has arguments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
#[serde(bound = "T: Clone + Serialize + for<'a> Deserialize<'a>")]
pub struct Named<T>(pub T);

impl<T: for<'a> Deserialize<'a>> TryFrom<toml::Value> for Named<T> {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let value = match value {
            toml::Value::String(name) => Table::from_iter([("shape".to_owned(), name.into())]).into(),
            table => table,
        };
        T::deserialize(value).map(Self).map_err(|e| e.message().to_owned())
    }
}

impl<T: Serialize + for<'a> Deserialize<'a>> From<Named<T>> for toml::Value {
    fn from(named: Named<T>) -> Self {
        let mut table = written(&named.0);
        match table.remove("shape") {
            Some(name) if table.is_empty() => name,
            Some(name) => {
                Self::Table(Table::from_iter([("shape".to_owned(), name)].into_iter().chain(table)))
            }
            None => unreachable!("every shape has its tag"),
        }
    }
}

/// A shape as a table, without the arguments that have their defaults.
pub(super) fn written<T: Serialize + for<'a> Deserialize<'a>>(shape: &T) -> Table {
    let table = |shape: &T| Table::try_from(shape).expect("shapes are enums of numbers, strings and lists");
    let mut args = table(shape);
    let name = Table::from_iter(args.get_key_value("shape").map(|(key, name)| (key.clone(), name.clone())));
    if let Ok(plain) = T::deserialize(toml::Value::Table(name)) {
        let plain = table(&plain);
        args.retain(|key, value| key == "shape" || plain.get(key) != Some(value));
    }
    args
}
