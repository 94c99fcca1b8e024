//! Which part of a conversation's text is which message's, for templates that do not say it: the text of the messages up
//! to it is compared with the text of all.
use serde_json::Value;

use super::template::{Parts, Template};

/// Why nobody can say it.
pub(super) enum Fault {
    /// These messages are none that the template takes.
    Conversation(String),
    /// The template gives the first messages another text where more follow.
    Template(String),
}

/// The text of all messages, and the bytes from and to of those that are `trained` (their numbers, in order). A message
/// begins where the text that asks for it ends, and has all that follows it before the next one: the token that ends it.
pub(super) fn of_messages(
    template: &Template,
    messages: &[Value],
    trained: &[usize],
) -> Result<Parts, Fault> {
    let whole = template.text(messages, false).map_err(Fault::Conversation)?;
    let mut parts = Vec::with_capacity(trained.len());
    for i in trained {
        let start = match prefix_of(&whole, template, &messages[..*i], true) {
            // Many templates look at the first message and have no text of none.
            Err(Fault::Conversation(_)) if *i == 0 => 0,
            start => start?,
        };
        let end = match i + 1 {
            all if all == messages.len() => whole.len(),
            some => prefix_of(&whole, template, &messages[..some], false)?,
        };
        if end < start {
            return Err(differs(*i));
        }
        parts.push((start, end));
    }
    Ok((whole, parts))
}

/// How far into the text of all messages that of the first ones reaches.
fn prefix_of(whole: &str, template: &Template, first: &[Value], answers: bool) -> Result<usize, Fault> {
    let text = template.text(first, answers).map_err(Fault::Conversation)?;
    if whole.starts_with(&text) { Ok(text.len()) } else { Err(differs(first.len())) }
}

fn differs(count: usize) -> Fault {
    Fault::Template(format!(
        "its text of the first {count} messages is not how the text of all begins, so which part of the text is trained on \
         cannot be said"
    ))
}
