//! The document in one JSON value: its text or its conversation, and its weight.
use super::json::{self, Bad, TextField};
use super::options::InputOptions;
use crate::data::document::Document;
use crate::{Error, Result};

/// What a value gives.
pub(super) enum Record {
    /// A document, and how many lone surrogates became U+FFFD.
    Document(Document, usize),
    /// None.
    Without(Without),
    /// The value is not JSON.
    Bad(Bad),
}

/// Why a value gives no document.
pub(super) struct Without {
    /// What is there instead of what was expected.
    pub(super) fault: String,
    /// What to do.
    pub(super) advice: &'static str,
    /// What is counted.
    pub(super) reason: String,
}

/// The document of `value`. Refused: a weight that the plane cannot hold, and a template of which nobody can say what is
/// trained on.
pub(super) fn document_of(value: &[u8], options: &InputOptions) -> Result<Record> {
    let (mut document, lone) = match &options.chat {
        None => match json::text_of(value, &options.field) {
            Ok(TextField::Text(text, lone)) => (Document::from(text), lone),
            Ok(TextField::None) => return Ok(Record::Without(without_text(value, &options.field))),
            Err(bad) => return Ok(Record::Bad(bad)),
        },
        Some(chat) => match json::value_of(value, &chat.field) {
            Ok(Some(messages)) => match chat.document(messages)? {
                Ok(document) => (document, 0),
                Err(fault) => return Ok(Record::Without(without_chat(fault, &chat.field))),
            },
            Ok(None) => {
                let found = expected_in(&json::keys(value, 8), "a list of messages", &chat.field);
                return Ok(Record::Without(without_chat(found, &chat.field)));
            }
            Err(bad) => return Ok(Record::Bad(bad)),
        },
    };
    if let Some(weight) = &options.weight {
        let number = match json::value_of(value, &weight.field) {
            Ok(found) => found.and_then(json::number),
            Err(bad) => return Ok(Record::Bad(bad)),
        };
        let Some(number) = number else {
            return Ok(Record::Without(without_weight(&json::keys(value, 8), &weight.field)));
        };
        let factor = weight.kind.weight(number).map_err(Error::refused)?;
        weigh(&mut document, factor);
    }
    Ok(Record::Document(document, lone))
}

/// All of a document counts `factor` times what it does.
pub(super) fn weigh(document: &mut Document, factor: f32) {
    if document.runs.is_empty() {
        *document = Document::weighing(std::mem::take(&mut document.text), factor);
    } else {
        document.scale(factor);
    }
}

fn without_text(value: &[u8], field: &str) -> Without {
    Without {
        fault: expected_in(&json::keys(value, 8), "text", field),
        advice: "name another with --field",
        reason: format!("values without a text in the field {field:?}"),
    }
}

fn without_chat(fault: String, field: &str) -> Without {
    Without {
        fault,
        advice: "name another field with --chat, or another template with --chat-template",
        reason: format!("values without a conversation in the field {field:?}"),
    }
}

/// Of an object with these keys, or of the row of a table.
pub(super) fn without_weight(keys: &[String], field: &str) -> Without {
    Without {
        fault: expected_in(keys, "a number", field),
        advice: "name another with --weights-field",
        reason: format!("values without a weight in the field {field:?}"),
    }
}

fn expected_in(keys: &[String], what: &str, field: &str) -> String {
    let found = match keys {
        [] => "it is no object with fields".to_string(),
        keys if keys.iter().any(|key| key == field) => match what {
            "text" => format!("the field {field:?} is not a string"),
            _ => format!("the field {field:?} is something else"),
        },
        keys => format!("it has the fields {keys:?}"),
    };
    format!("{found}, expected {what} in the field {field:?}")
}
