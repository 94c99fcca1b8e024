//! Conversations as a model reads them: `{role, content}` messages through the chat template of its tokenizer, and which
//! parts of the text are trained on.
mod files;
mod messages;
mod spans;
mod template;

use crate::data::document::Document;
use crate::{Error, Result};
pub use files::ChatFiles;
use template::Template;

/// How conversations become documents.
#[derive(Debug)]
pub struct Chat {
    /// The field of each JSON object that holds the messages; a field of a field is `data.messages`.
    pub field: String,
    template: Template,
    /// Whose messages are trained on; none where the template itself says it.
    roles: Option<Vec<String>>,
}

/// What is trained on where neither the user nor the template says it.
const TRAINED: &str = "assistant";

impl Chat {
    /// Messages in `field` through the template in `files`. What is trained on are the messages of `roles`; where none are
    /// named, what the template marks by `{% generation %}`, or else the messages of the assistant.
    ///
    /// Refused: a template that is none.
    pub fn new(field: &str, files: ChatFiles, roles: &[String]) -> Result<Self> {
        let template = Template::new(files, roles.is_empty())?;
        let roles = match roles {
            [] if template.marks() => None,
            [] => Some(vec![TRAINED.to_owned()]),
            named => Some(named.to_vec()),
        };
        Ok(Self { field: field.to_owned(), template, roles })
    }

    /// The document of the JSON value `messages`: weight 1 for what is trained on, 0 for all else. Inside, why these
    /// messages are no conversation for this template.
    ///
    /// Refused: a template whose text of the first messages is another one where more follow, which leaves nobody able to
    /// say which part of the text is whose.
    pub fn document(&self, messages: &[u8]) -> Result<Result<Document, String>> {
        let messages = match messages::read(messages) {
            Ok(messages) => messages,
            Err(found) => return Ok(Err(found)),
        };
        let Some(roles) = &self.roles else {
            return Ok(self
                .template
                .marked(&messages.values)
                .map(|(text, parts)| Document::of_parts(text, &parts)));
        };
        let trained: Vec<usize> =
            (0..messages.roles.len()).filter(|i| roles.contains(&messages.roles[*i])).collect();
        match spans::of_messages(&self.template, &messages.values, &trained) {
            Ok((text, parts)) => Ok(Ok(Document::of_parts(text, &parts))),
            Err(spans::Fault::Conversation(found)) => Ok(Err(found)),
            Err(spans::Fault::Template(found)) => Err(Error::refused(format!(
                "{}: {found}; mark what is trained on in a copy of the template by {{% generation %}} ... \
                 {{% endgeneration %}}, as transformers has it, and name that with --chat-template",
                self.template.name()
            ))),
        }
    }
}
