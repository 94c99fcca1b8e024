//! Text as users keep it: files, folders of files, `.jsonl`.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use walkdir::WalkDir;

use crate::{Error, Result};

/// Which files to take and what to read from them.
#[derive(Clone, Debug)]
pub struct InputOptions {
    /// Take only files with these extensions from folders (without the dot). Empty: all files.
    pub extensions: Vec<String>,
    /// The field of each `.jsonl` line that holds the text.
    pub field: String,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self { extensions: Vec::new(), field: "text".into() }
    }
}

/// The files to read, in order.
#[derive(Clone, Debug)]
pub struct Inputs {
    files: Vec<InputFile>,
    field: String,
}

#[derive(Clone, Debug)]
struct InputFile {
    path: PathBuf,
    bytes: u64,
    /// Named by the user and not found in a folder: must be text.
    named: bool,
}

impl Inputs {
    /// Files as named; folders recursively, sorted, without hidden entries and symbolic links.
    pub fn find<P: AsRef<Path>>(paths: &[P], options: &InputOptions) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let metadata = std::fs::metadata(path).map_err(Error::input("open", path))?;
            if metadata.is_dir() {
                find_in(path, options, &mut files)?;
            } else {
                refuse_packed(path)?;
                files.push(InputFile { path: path.to_path_buf(), bytes: metadata.len(), named: true });
            }
        }
        if files.is_empty() {
            let wanted = match options.extensions.as_slice() {
                [] => "files".to_string(),
                some => format!("files named .{}", some.join(" or .")),
            };
            return Err(Error::refused(format!(
                "no {wanted} were found there; check the paths and --extension"
            )));
        }
        Ok(Self { files, field: options.field.clone() })
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Size of all files, bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Reads them one document at a time.
    pub fn documents(&self) -> Documents {
        Documents {
            files: self.files.clone().into_iter(),
            lines: None,
            field: self.field.clone(),
            skipped: 0,
            read: 0,
        }
    }
}

/// The documents of `Inputs`: a text file or a `.jsonl` line each. Empty ones are left out, and so are files in folders
/// that are not UTF-8.
#[derive(Debug)]
pub struct Documents {
    files: IntoIter<InputFile>,
    lines: Option<Lines>,
    field: String,
    skipped: u64,
    read: u64,
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl Documents {
    /// Files left out so far because they are not UTF-8 text.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Documents given so far.
    pub fn given(&self) -> u64 {
        self.read
    }

    fn next_document(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(lines) = &mut self.lines {
                match lines.next_text(&self.field)? {
                    Some(text) if text.is_empty() => continue,
                    Some(text) => return Ok(Some(text)),
                    None => self.lines = None,
                }
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            if file.path.extension().is_some_and(|e| e == "jsonl") {
                let reader =
                    BufReader::new(File::open(&file.path).map_err(Error::input("open", &file.path))?);
                self.lines = Some(Lines { path: file.path, reader, number: 0 });
                continue;
            }
            let bytes = std::fs::read(&file.path).map_err(Error::input("read", &file.path))?;
            match String::from_utf8(bytes) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Ok(Some(text)),
                Err(_) if !file.named => self.skipped += 1,
                Err(e) => {
                    return Err(Error::refused(format!(
                        "{} is not UTF-8 text: byte {} is wrong; convert it (iconv) or leave it out",
                        file.path.display(),
                        e.utf8_error().valid_up_to()
                    )));
                }
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let document = self.next_document().transpose();
        self.read += u64::from(matches!(document, Some(Ok(_))));
        document
    }
}

impl Lines {
    /// The text of the next line that is not blank.
    fn next_text(&mut self, field: &str) -> Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.reader.read_until(b'\n', &mut line).map_err(Error::input("read", &self.path))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        let refuse =
            |what: String| Error::refused(format!("{} line {}: {what}", self.path.display(), self.number));
        let value: serde_json::Value = serde_json::from_slice(&line).map_err(|e| {
            refuse(format!("not JSON ({e}), expected an object with a field {field:?}; repair the line"))
        })?;
        let found = match value {
            serde_json::Value::Object(mut object) => match object.shift_remove(field) {
                Some(serde_json::Value::String(text)) => return Ok(Some(text)),
                Some(_) => "the field is not a string".into(),
                None => format!("it has the fields {:?}", object.keys().take(8).collect::<Vec<_>>()),
            },
            _ => "it is not an object".into(),
        };
        Err(refuse(format!("{found}, expected text in the field {field:?}; name another with --field")))
    }
}

fn find_in(folder: &Path, options: &InputOptions, files: &mut Vec<InputFile>) -> Result<()> {
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(folder).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|e| e.depth() == 0 || !hidden(e.file_name())) {
        let entry = entry.map_err(|e| Error::refused(format!("cannot list {}: {e}", folder.display())))?;
        let wanted = options.extensions.is_empty()
            || entry
                .path()
                .extension()
                .is_some_and(|e| options.extensions.iter().any(|wanted| e == wanted.as_str()));
        if entry.file_type().is_file() && wanted {
            let bytes = entry.metadata().map_or(0, |m| m.len());
            files.push(InputFile { path: entry.into_path(), bytes, named: false });
        }
    }
    Ok(())
}

fn refuse_packed(path: &Path) -> Result<()> {
    let Some(kind) = path.extension().and_then(|e| e.to_str()) else { return Ok(()) };
    let command = match kind {
        "zst" => "zstd -d",
        "gz" => "gunzip -k",
        "xz" => "unxz -k",
        "parquet" => "the `datasets` library's to_json",
        _ => return Ok(()),
    };
    Err(Error::refused(format!(
        "{} is packed as .{kind}, expected text or .jsonl; unpack it first with {command}",
        path.display()
    )))
}
