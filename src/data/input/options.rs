//! Which texts to read, and a file of them.
use super::format::Format;
use super::open::Place;
use crate::data::chat::Chat;
use crate::data::plane::PlaneKind;
use std::sync::Arc;
use strum::{Display, EnumString, VariantNames};

/// Which files to take and what to read from them.
#[derive(Clone, Debug)]
pub struct InputOptions {
    /// Take only files with these extensions from folders (without the dot). Empty: all files.
    pub extensions: Vec<String>,
    /// The field of each JSON object, or the column of a table, that holds the text; a field of a field is `meta.text`.
    pub field: String,
    /// How documents lie in files.
    pub format: Format,
    /// What becomes of lines without a text, and of files in folders that cannot be read as text.
    pub on_error: OnError,
    /// The field of each JSON object, or the column of a table, that says how much its text counts.
    pub weight: Option<WeightField>,
    /// Texts are conversations, which stand in the field of this one; `field` is not looked at.
    pub chat: Option<Arc<Chat>>,
}

/// Where the weight of a text is, and what it may be.
#[derive(Clone, Debug)]
pub struct WeightField {
    /// A number; a field of a field is `meta.weight`.
    pub field: String,
    /// What will hold it.
    pub kind: PlaneKind,
}

impl InputOptions {
    /// The field in which a document lies, and how its value begins.
    pub(super) fn looked_for(&self) -> (&str, u8) {
        self.chat.as_ref().map_or((&self.field, b'"'), |chat| (&chat.field, b'['))
    }

    /// What takes more than a text: the argument that asks for it.
    pub(super) fn needs_fields(&self) -> Option<&'static str> {
        let chat = self.chat.as_ref().map(|_| "--chat");
        chat.or(self.weight.as_ref().map(|_| "--weights-field"))
    }
}

/// What becomes of what cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum OnError {
    /// It is left out and counted.
    #[default]
    Skip,
    /// The first of it is refused.
    Stop,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self {
            extensions: Vec::new(),
            field: "text".into(),
            format: Format::Auto,
            on_error: OnError::Skip,
            weight: None,
            chat: None,
        }
    }
}

/// A file, or a stream.
#[derive(Clone, Debug)]
pub(super) struct InputFile {
    pub(super) place: Place,
    /// As it lies there; of a stream nobody knows.
    pub(super) bytes: Option<u64>,
    /// Named by the user and not found in a folder: must be text.
    pub(super) named: bool,
    /// The number of the input that was named, itself or the folder that it is in.
    pub(super) source: usize,
}
