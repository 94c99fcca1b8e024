//! Text as users keep it: files, folders of files, pipes; as it is, as JSON, packed.
mod find;
mod format;
mod json;
mod open;
mod options;
mod own;
mod records;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::vec::IntoIter;

pub use format::Format;
pub use options::InputOptions;
pub use tally::Tally;

use crate::{Error, Result};
use find::Finder;
use json::TextField;
use open::{Opened, Unfit, read_text};
use options::InputFile;
use records::{Next, Records};

/// The files to read, in order.
#[derive(Clone, Debug)]
pub struct Inputs {
    files: Vec<InputFile>,
    options: InputOptions,
    left_out: Tally,
}

impl Inputs {
    /// Files as named, `-` for the standard input; folders recursively, sorted, links followed, each file once. What is
    /// left out of folders is counted.
    ///
    /// Refused: what is named twice, and what `rewarm data tokenize` itself wrote.
    pub fn find<P: AsRef<Path>>(paths: &[P], options: &InputOptions) -> Result<Self> {
        let mut finder = Finder::new(options);
        paths.iter().try_for_each(|path| finder.name(path.as_ref()))?;
        let Finder { files, left_out, .. } = finder;
        if files.is_empty() {
            let wanted = match options.extensions.as_slice() {
                [] => "files".to_string(),
                some => format!("files named .{}", some.join(" or .")),
            };
            return Err(Error::refused(format!(
                "no {wanted} were found there{}; check the paths and --extension",
                with_reasons(&left_out)
            )));
        }
        Ok(Self { files, options: options.clone(), left_out })
    }

    /// Number of files that will be read.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Size of all files as they lie there, bytes; `None` where one is a stream.
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().try_fold(0u64, |sum, file| Some(sum.saturating_add(file.bytes?)))
    }

    /// Makes streams readable more than once: a copy of each in `folder`, in files without names.
    pub fn keep_streams(&mut self, folder: &Path) -> Result<()> {
        for file in self.files.iter_mut().filter(|file| file.place.is_stream()) {
            file.place = file.place.spooled(folder)?;
        }
        Ok(())
    }

    /// Reads them one document at a time.
    pub fn documents(&self) -> Documents {
        Documents {
            files: self.files.clone().into_iter(),
            options: self.options.clone(),
            current: None,
            left_out: self.left_out.clone(),
            mended: Tally::default(),
            given: 0,
            files_given: 0,
            consumed: Arc::default(),
            ended: false,
        }
    }
}

/// The documents of `Inputs`: text files, and the texts in JSON. Empty ones are left out, and so is what is not text in
/// folders. Refused where nothing is left.
pub struct Documents {
    files: IntoIter<InputFile>,
    options: InputOptions,
    current: Option<Current>,
    left_out: Tally,
    mended: Tally,
    given: u64,
    files_given: u64,
    consumed: Arc<AtomicU64>,
    ended: bool,
}

/// A file of JSON that is being read.
struct Current {
    records: Records,
    path: PathBuf,
    /// It must hold texts: it was named, or its name says that it does.
    strict: bool,
    given: u64,
    left_out: Tally,
    /// What was wrong first.
    fault: Option<String>,
}

impl Documents {
    /// What was left out so far.
    pub fn left_out(&self) -> &Tally {
        &self.left_out
    }

    /// Documents that could not be taken as they are, and what was done.
    pub fn mended(&self) -> &Tally {
        &self.mended
    }

    /// Documents given so far.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Files that gave a document so far.
    pub fn files(&self) -> u64 {
        self.files_given
    }

    /// Follows the bytes that are read, as they lie in files.
    pub fn consumed(&self) -> Arc<AtomicU64> {
        self.consumed.clone()
    }

    fn next_document(&mut self) -> Result<Option<String>> {
        loop {
            while let Some(current) = &mut self.current {
                match current.next_text(&self.options.field, &mut self.mended)? {
                    Some(text) if text.is_empty() => current.left_out.add(EMPTY, current.place()),
                    Some(text) => {
                        self.files_given += u64::from(current.given == 0);
                        current.given += 1;
                        return Ok(Some(text));
                    }
                    None => self.end_of_file()?,
                }
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            if let Some(text) = self.open(&file)? {
                self.files_given += 1;
                return Ok(Some(text));
            }
        }
    }

    /// The document that a text file is; a file of JSON becomes the current one.
    fn open(&mut self, file: &InputFile) -> Result<Option<String>> {
        let path = file.place.path().to_path_buf();
        let opened = match file.place.open(&self.consumed)? {
            Ok(opened) => opened,
            Err(unfit) => return self.leave_out(file, unfit).map(|()| None),
        };
        let Opened { name, whole, .. } = &opened;
        let format = match self.options.format {
            Format::Auto => format::detect(name, opened.head(), *whole, &self.options.field),
            said => said,
        };
        let strict = file.named || format::extension(name).is_none_or(|e| e != "json");
        let records = match format {
            Format::JsonLines => Records::lines(opened.reader),
            Format::Json => Records::values(opened.reader),
            Format::Text | Format::Auto => {
                return match text_of(opened, &path)? {
                    Ok(text) if text.is_empty() => {
                        self.left_out.add("empty files", path.display());
                        Ok(None)
                    }
                    Ok(text) => Ok(Some(text)),
                    Err(unfit) => self.leave_out(file, unfit).map(|()| None),
                };
            }
        };
        let (left_out, fault) = (Tally::default(), None);
        self.current = Some(Current { records, path, strict, given: 0, left_out, fault });
        Ok(None)
    }

    fn leave_out(&mut self, file: &InputFile, unfit: Unfit) -> Result<()> {
        if file.named {
            return Err(Error::refused(unfit.message));
        }
        self.left_out.add(&unfit.what, file.place.path().display());
        Ok(())
    }

    /// A file without a single text is a mistake about the field or the format; a `.json` in a folder may be anything.
    fn end_of_file(&mut self) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        match current.fault {
            Some(fault) if current.given == 0 && current.strict => return Err(Error::refused(fault)),
            Some(_) if current.given == 0 => {
                let what = format!("JSON files without texts in the field {:?}", self.options.field);
                self.left_out.add(&what, current.path.display());
            }
            _ => self.left_out.merge(current.left_out),
        }
        Ok(())
    }
}

impl Iterator for Documents {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let document = self.next_document();
        self.given += u64::from(matches!(document, Ok(Some(_))));
        let ends = matches!(document, Ok(None)) && !std::mem::replace(&mut self.ended, true);
        if ends && self.given == 0 {
            return Some(Err(Error::refused(format!(
                "the input holds no text{}; check the paths, --format, --extension and --field",
                with_reasons(&self.left_out)
            ))));
        }
        document.transpose()
    }
}

impl Current {
    /// The text of the next value that has one.
    fn next_text(&mut self, field: &str, mended: &mut Tally) -> Result<Option<String>> {
        loop {
            match self.records.next().map_err(Error::input("read", &self.path))? {
                Next::End => return Ok(None),
                Next::Bad(what) => {
                    self.bad(what.into())?;
                    return Ok(None);
                }
                Next::Value => {}
            }
            let value = self.records.value.as_slice();
            match json::text_of(value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value), field) {
                Ok(TextField::Text(text, 0)) => return Ok(Some(text)),
                Ok(TextField::Text(text, _)) => {
                    mended.add("documents with lone surrogates, which became U+FFFD", self.place());
                    return Ok(Some(text));
                }
                Ok(TextField::None) => {
                    let keys = json::keys(value, 8);
                    let place = self.place();
                    self.fault.get_or_insert_with(|| without_text(&place, &keys, field));
                    self.left_out.add(&format!("values without a text in the field {field:?}"), place);
                }
                Err(bad) => self.bad(format!("{}, byte {}", bad.what, bad.at))?,
            }
        }
    }

    /// A value that is not JSON: left out where the next one is found all the same.
    fn bad(&mut self, what: String) -> Result<()> {
        let place = self.place();
        let fault = format!(
            "{place}: not JSON ({what}); repair it, or say how the documents lie there with --format text, jsonl or json"
        );
        if !self.records.go_on_after_bad() && (self.strict || self.given > 0) {
            return Err(Error::refused(fault));
        }
        self.fault.get_or_insert(fault);
        self.left_out.add("lines that are not JSON", place);
        Ok(())
    }

    fn place(&self) -> String {
        format!("{} line {}", self.path.display(), self.records.line)
    }
}

const EMPTY: &str = "empty texts";

fn text_of(opened: Opened, path: &Path) -> Result<Result<String, Unfit>> {
    let bytes = read_text(opened.reader).map_err(Error::input("read", path))?;
    Ok(String::from_utf8(bytes).map_err(|e| Unfit {
        what: "files that are not UTF-8 text".into(),
        message: format!(
            "{} is not UTF-8 text: byte {} is wrong; convert it (iconv) or leave it out",
            path.display(),
            e.utf8_error().valid_up_to()
        ),
    }))
}

fn without_text(place: &str, keys: &[String], field: &str) -> String {
    let found = match keys {
        [] => "it is no object with fields".to_string(),
        keys if keys.iter().any(|key| key == field) => format!("the field {field:?} is not a string"),
        keys => format!("it has the fields {keys:?}"),
    };
    format!("{place}: {found}, expected text in the field {field:?}; name another with --field")
}

/// `: left out were 2 hidden (a, b), 1 empty file (c)`.
fn with_reasons(left_out: &Tally) -> String {
    if left_out.is_empty() {
        String::new()
    } else {
        format!(": left out were {}", left_out.lines().join(", "))
    }
}
