//! Where a chat template is: a file of its own, or `tokenizer_config.json`, as transformers keeps them.
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::error::one_line;
use crate::{Error, Result};

/// Tokens that templates call by these names.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A template and what it may call by name.
#[derive(Clone, Debug)]
pub struct ChatFiles {
    /// Where the template was found.
    pub(super) name: String,
    pub(super) template: String,
    /// `bos_token` and the like.
    pub(super) special: BTreeMap<String, String>,
}

impl ChatFiles {
    /// The template `named`, or that of the tokenizer's `folder`: `chat_template.jinja`, else the one in
    /// `tokenizer_config.json`. The names of special tokens come from that folder. Refused where there is no template.
    pub fn find(named: Option<&Path>, folder: Option<&Path>) -> Result<Self> {
        let config = match folder {
            Some(folder) => config_in(folder)?,
            None => None,
        };
        let special = config.as_ref().map(special_tokens).unwrap_or_default();
        if let Some(path) = named {
            let template = std::fs::read_to_string(path).map_err(Error::input("read", path))?;
            return Ok(Self { name: path.display().to_string(), template, special });
        }
        let Some(folder) = folder else { return Err(none("there is no tokenizer to bring one along")) };
        let own = folder.join("chat_template.jinja");
        match std::fs::read_to_string(&own) {
            Ok(template) => return Ok(Self { name: own.display().to_string(), template, special }),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::input("read", &own)(e)),
        }
        let name = folder.join("tokenizer_config.json").display().to_string();
        match config.as_ref().and_then(|config| config.get("chat_template")).and_then(default_template) {
            Some(template) => Ok(Self { name, template, special }),
            None => Err(none(&format!(
                "{} has neither a chat_template.jinja nor one in tokenizer_config.json",
                folder.display()
            ))),
        }
    }

    /// A template by its text; special tokens by what templates call them.
    pub fn from_text(template: &str, special: &[(&str, &str)]) -> Self {
        let special = special.iter().map(|(name, token)| (name.to_string(), token.to_string()));
        Self { name: "the chat template".into(), template: template.into(), special: special.collect() }
    }
}

fn none(why: &str) -> Error {
    Error::refused(format!(
        "conversations become text by a chat template, and {why}; name a file of Jinja with --chat-template FILE"
    ))
}

fn config_in(folder: &Path) -> Result<Option<Value>> {
    let path = folder.join("tokenizer_config.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::input("read", &path)(e)),
    };
    let read = serde_json::from_slice(&text).map_err(|e| {
        Error::refused(format!("{}: not JSON ({}); copy it again", path.display(), one_line(e)))
    });
    read.map(Some)
}

/// The template itself, or of several that have names the one that is called default.
fn default_template(value: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(String::from);
    let is_default = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
    match value {
        Value::Array(several) => several.iter().find(is_default)?.get("template").and_then(text),
        value => text(value),
    }
}

/// Tokens as text, or as objects with their `content`.
fn special_tokens(config: &Value) -> BTreeMap<String, String> {
    let token = |name: &str| {
        let value = config.get(name)?;
        let content = value.get("content").unwrap_or(value).as_str()?;
        Some((name.to_owned(), content.to_owned()))
    };
    SPECIAL.into_iter().filter_map(token).collect()
}
