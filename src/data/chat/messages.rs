//! The messages of a conversation: `role` and `content`, or ShareGPT's `from` and `value`.
use serde_json::Value;

use crate::error::one_line;

/// Messages for a template, and whose each is.
pub(super) struct Messages {
    pub(super) values: Vec<Value>,
    pub(super) roles: Vec<String>,
}

/// What ShareGPT calls them, and what templates do.
const ROLES: [(&str, &str); 4] =
    [("human", "user"), ("gpt", "assistant"), ("chatgpt", "assistant"), ("bing", "assistant")];

/// Reads a JSON array of messages, or says what it is instead.
pub(super) fn read(bytes: &[u8]) -> Result<Messages, String> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| format!("the messages cannot be read ({})", one_line(e)))?;
    let Value::Array(values) = value else {
        return Err("the messages are no list of {role, content} objects".into());
    };
    if values.is_empty() {
        return Err("the list of messages is empty".into());
    }
    let mut messages = Messages { values: Vec::new(), roles: Vec::new() };
    for (i, value) in values.into_iter().enumerate() {
        let (role, value) = named(value)
            .ok_or_else(|| format!("message {i} has neither a role with content nor from with value"))?;
        messages.roles.push(role);
        messages.values.push(value);
    }
    Ok(messages)
}

/// A message by the names that templates know, and whose it is.
fn named(mut message: Value) -> Option<(String, Value)> {
    let fields = message.as_object_mut()?;
    if !fields.contains_key("role") {
        let from = fields.get("from")?.as_str()?;
        let role = ROLES.iter().find(|(theirs, _)| *theirs == from).map_or(from, |(_, role)| role).to_owned();
        let content = fields.get("value")?.clone();
        fields.shift_remove("from");
        fields.shift_remove("value");
        fields.insert("role".into(), Value::String(role));
        fields.insert("content".into(), content);
    }
    let role = fields.get("role")?.as_str()?.to_owned();
    // As transformers does: templates look whether a field is there.
    fields.retain(|_, value| !value.is_null());
    Some((role, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_one() {
        let ours =
            read(br#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]"#).unwrap();
        let theirs = read(br#"[{"from": "human", "value": "a"}, {"value": "b", "from": "gpt"}]"#).unwrap();
        assert_eq!((ours.values, ours.roles), (theirs.values, theirs.roles));
        for (text, word) in [
            ("{}", "no list"),
            ("[]", "empty"),
            ("[1]", "message 0 has neither"),
            (r#"[{"role": "user"}, {"from": "gpt"}]"#, "message 1 has neither"),
            (r#"[{"role": 3, "content": ""}]"#, "message 0 has neither"),
            (r#"["\ud800"]"#, "cannot be read"),
            ("[NaN]", "cannot be read"),
        ] {
            let Err(found) = read(text.as_bytes()) else { panic!("{text}") };
            assert!(found.contains(word), "{found}");
        }
    }
}
