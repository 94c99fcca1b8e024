//! Which texts to read, and a file of them.
use super::format::Format;
use super::open::Place;

/// Which files to take and what to read from them.
#[derive(Clone, Debug)]
pub struct InputOptions {
    /// Take only files with these extensions from folders (without the dot). Empty: all files.
    pub extensions: Vec<String>,
    /// The field of each JSON object that holds the text.
    pub field: String,
    /// How documents lie in files.
    pub format: Format,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self { extensions: Vec::new(), field: "text".into(), format: Format::Auto }
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
}
