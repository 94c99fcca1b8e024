//! How settings are called in tables and in names of directories.
use toml::Value;

use super::file::ANCESTOR;

/// The last part of a key where no other key ends with it, else all of it.
pub(super) fn short<'a>(key: &'a str, keys: &[&str]) -> &'a str {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let is_alone = keys.iter().filter(|other| other.rsplit('.').next() == Some(last(key))).count() <= 1;
    if is_alone { last(key) } else { key }
}

/// A value in a few characters; of lists and tables, which one of the axis it is.
pub(super) fn label(value: &Value, number: usize) -> String {
    match value {
        Value::String(text) => text.strip_prefix(ANCESTOR).unwrap_or(text).to_owned(),
        Value::Float(x) if *x != 0.0 && !(1e-2..1e5).contains(&x.abs()) => format!("{x:e}"),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.to_string(),
        _ => format!("#{}", number + 1),
    }
}

/// As a part of the name of a directory.
pub(super) fn as_file_name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=,%#".contains(c);
    text.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_short_names() {
        let keys = ["schedule.lr", "data.seed", "seed"];
        assert_eq!(keys.map(|key| short(key, &keys)), ["lr", "data.seed", "seed"]);
        let of = |text: &str| label(&text.parse::<Value>().unwrap(), 1);
        let texts =
            ["3e-4", "0.0", "0.25", "3e5", "7", "true", "\"1%\"", "\"ancestor:up\"", "[1]", "{a = 1}"];
        assert_eq!(texts.map(of), ["3e-4", "0.0", "0.25", "3e5", "7", "true", "1%", "up", "#2", "#2"]);
        assert_eq!(as_file_name("from=../a b/c"), "from=.._a_b_c");
    }
}
