//! Defaults, file, overrides: the later wins, key by key.
use super::place::Place;
use super::{RawConfig, keys};
use crate::error::one_line;
use crate::{Error, Result};
use std::path::Path;
use toml::{Table, Value};

impl RawConfig {
    /// Reads the file (none: an empty one), applies `--set` overrides in order, and fills in the defaults of
    /// single keys. Unknown keys and values of the wrong kind are refused, naming file or override.
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self> {
        Self::load_without(path, &[], sets)
    }

    /// As [`RawConfig::load`], with the keys `unset` taken out of the file before others are set.
    pub fn load_without(path: Option<&Path>, unset: &[String], sets: &[String]) -> Result<Self> {
        let Some(path) = path else { return Self::from_table(Table::new(), "configuration", unset, sets) };
        let text = std::fs::read_to_string(path).map_err(Error::input("read the configuration", path))?;
        let origin = path.display().to_string();
        Self::from_table(parse_toml(&text, &origin)?, &origin, unset, sets)
    }

    /// As [`RawConfig::load`], of a text; `origin` stands for its name in messages.
    pub fn from_toml_str(text: &str, origin: &str, sets: &[String]) -> Result<Self> {
        Self::from_table(parse_toml(text, origin)?, origin, &[], sets)
    }

    /// As [`RawConfig::load_without`], of what a file holds.
    pub fn from_table(mut table: Table, origin: &str, unset: &[String], sets: &[String]) -> Result<Self> {
        keys::check(&table, origin)?;
        for key in unset {
            let origin = format!("--unset {key}");
            let place = Place::read(key).ok_or_else(|| {
                Error::refused(format!("{origin}: not a key; write it as in --unset optim.weight_decay"))
            })?;
            keys::check_name(&place.known(), &origin)?;
            place.remove(&mut table).map_err(|why| Error::refused(format!("{origin}: {why}")))?;
        }
        for set in sets {
            let origin = format!("--set {set}");
            let (place, value) = parse_set(set)?;
            place.put(&mut table, value).map_err(|why| Error::refused(format!("{origin}: {why}")))?;
            keys::check(&table, &origin)?;
        }
        // The keys and kinds are checked: what is left for serde to refuse would be a gap in the key table.
        table.try_into().map_err(|e| Error::refused(format!("{origin}: {}", one_line(e))))
    }

    /// As the check of a file, of what a program made.
    pub(super) fn check(&self) -> Result<()> {
        let table =
            Table::try_from(self).map_err(|e| Error::refused(format!("configuration: {}", one_line(e))))?;
        keys::check(&table, "configuration")
    }
}

/// What a file holds; `origin` stands for its name in messages.
pub fn parse_toml(text: &str, origin: &str) -> Result<Table> {
    text.parse().map_err(|e| not_toml(origin, text, &e))
}

/// The place, what stands there and the reason, on one line: without the drawing that the parser has around them.
fn not_toml(origin: &str, text: &str, error: &toml::de::Error) -> Error {
    let place = error.span().and_then(|span| text.get(..span.start)).map_or(String::new(), |before| {
        let (line, lines) = (before.rsplit('\n').next().unwrap_or(before), before.matches('\n').count());
        let shown: String = text.lines().nth(lines).unwrap_or_default().trim().chars().take(80).collect();
        format!("line {}, column {}, in `{}`: ", lines + 1, line.chars().count() + 1, one_line(shown))
    });
    Error::refused(format!("{origin} is not TOML: {place}{}", one_line(error.message())))
}

/// `a.b=value`: the place, and what is to stand there. The value is TOML where it can be (numbers, booleans, lists,
/// tables, quoted strings), else the text itself, so that `--set run_dir=runs/a` needs no quotes.
fn parse_set(set: &str) -> Result<(Place, Value)> {
    let wrong = || {
        Error::refused(format!(
            "--set {set}: not of the form key=value; write it as in --set optim.weight_decay=0.05"
        ))
    };
    let (key, text) = set.split_once('=').ok_or_else(wrong)?;
    let text = text.trim();
    let value = text.parse::<Value>().unwrap_or_else(|_| Value::String(text.to_owned()));
    Ok((Place::read(key.trim()).ok_or_else(wrong)?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_toml_or_text() {
        let value = |set: &str| {
            let (place, value) = parse_set(set).unwrap();
            assert!(place.known().starts_with('a'));
            value
        };
        assert_eq!(value("a=1e-3").as_float(), Some(1e-3));
        assert_eq!(value("a = 7").as_integer(), Some(7));
        assert_eq!(value("a=true").as_bool(), Some(true));
        assert_eq!(value("a=runs/x=y").as_str(), Some("runs/x=y"));
        assert_eq!(value("a=\"7\"").as_str(), Some("7"));
        assert_eq!(value("a=[1, 2]").as_array().map(Vec::len), Some(2));
        assert_eq!(value("a.b=1%").as_str(), Some("1%"));
        assert_eq!(value("a[0].b={c = 1}")["c"].as_integer(), Some(1));
        assert_eq!(value("a=1\nseed=2").as_str(), Some("1\nseed=2"));
        for bad in
            ["a", "=1", "a..b=1", ".a=1", "", "a[=1", "a[x].b=1", "a]0[=1", "[0]=1", "a[0]b=1", "a[-1]=1"]
        {
            assert!(parse_set(bad).unwrap_err().to_string().contains("key=value"), "{bad}");
        }
    }
}
