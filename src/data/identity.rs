//! What makes two tokenizers one: the same ids for every text, however their files are written.
use serde_json::Value;
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Error, Result};

/// Entries of a `tokenizer.json` that change no id of a text, or whose ids are never asked for here.
const NO_MATTER: [&str; 5] = ["version", "truncation", "padding", "post_processor", "decoder"];

/// A hash of each part of a tokenizer that ids depend on: equal for equal parts in any order, spelling of merges,
/// version of the format, and whether defaults are written out or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// By name in the file, sorted.
    parts: Vec<(String, u128)>,
}

impl Identity {
    pub(crate) fn of(tokenizer: &Tokenizer) -> Result<Self> {
        // As the library writes it: vocabulary by id, merges as pairs by rank, added tokens by id, every option.
        let mut file = serde_json::to_value(tokenizer)
            .map_err(|e| Error::refused(format!("the tokenizer cannot be written again: {e}")))?;
        file.sort_all_objects();
        let mut parts = Vec::new();
        for (name, mut part) in file.as_object_mut().map(std::mem::take).into_iter().flatten() {
            if NO_MATTER.contains(&name.as_str()) {
                continue;
            }
            match (name.as_str(), &mut part) {
                ("model", Value::Object(model)) => {
                    model.remove("dropout");
                }
                ("added_tokens", Value::Array(tokens)) => {
                    // Special tokens are left out of decoded text; they are encoded as any other.
                    tokens.iter_mut().filter_map(Value::as_object_mut).for_each(|token| {
                        token.remove("special");
                    });
                }
                _ => {}
            }
            plain(&mut part);
            parts.push((name, xxh3_128(part.to_string().as_bytes())));
        }
        Ok(Self { parts })
    }

    /// 32 hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        let text: String = self.parts.iter().map(|(name, hash)| format!("{name} {hash:032x}\n")).collect();
        format!("{:032x}", xxh3_128(format!("rewarm tokenizer 1\n{text}").as_bytes()))
    }

    /// The parts that are not the same, for a person.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let differs =
            |(name, hash): &&(String, u128)| !other.parts.iter().any(|p| p == &(name.clone(), *hash));
        let named = |(name, _): &(String, u128)| match name.as_str() {
            "model" => "vocabulary or merges".to_owned(),
            other => other.replace('_', " "),
        };
        self.parts.iter().filter(differs).map(named).collect::<Vec<_>>().join(" and ")
    }
}

/// Without what is null or false, as if it were not there; scores in single precision, since readers of the format differ
/// in the last place of a double.
fn plain(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !matches!(value, Value::Null | Value::Bool(false)));
            object.values_mut().for_each(plain);
        }
        Value::Array(list) => list.iter_mut().for_each(plain),
        Value::Number(number) if number.is_f64() => {
            *value = Value::from(number.as_f64().map(|score| score as f32));
        }
        _ => {}
    }
}
