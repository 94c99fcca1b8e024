//! Text as users keep it: files, folders of files, pipes; as it is, as JSON, packed.
mod counts;
mod current;
mod find;
mod format;
mod json;
mod open;
mod options;
mod own;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parquet_numbers;
mod record;
mod records;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::IntoIter;

pub use counts::{Dropped, SourceCounts, TokenCounts};
pub use format::Format;
pub use options::{InputOptions, OnError, WeightField};
pub use tally::Tally;

use crate::data::document::Document;
use crate::{Error, Result};
use counts::DROPPED_MAX;
use current::{Current, EMPTY, Source};
use find::Finder;
use open::{Opened, Unfit, read_text};
use options::InputFile;
use records::Records;

/// The files to read, in order.
#[derive(Clone, Debug)]
pub struct Inputs {
    files: Vec<InputFile>,
    /// As they were named.
    sources: Vec<PathBuf>,
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
        let Finder { files, left_out, sources, .. } = finder;
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
        Ok(Self { files, sources, options: options.clone(), left_out })
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
            sources: self
                .sources
                .iter()
                .map(|path| SourceCounts { path: path.clone(), ..SourceCounts::default() })
                .collect(),
            given_by: self.sources.iter().map(|_| AtomicU64::new(0)).collect(),
            dropped: Vec::new(),
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
    sources: Vec<SourceCounts>,
    /// Documents of each of them, for whoever meets them later.
    given_by: Arc<[AtomicU64]>,
    dropped: Vec<Dropped>,
    consumed: Arc<AtomicU64>,
    ended: bool,
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
        self.sources.iter().map(|source| source.documents).sum()
    }

    /// Files that gave a document so far.
    pub fn files(&self) -> u64 {
        self.sources.iter().map(|source| source.files).sum()
    }

    /// What each of the named inputs gave so far.
    pub fn sources(&self) -> &[SourceCounts] {
        &self.sources
    }

    /// Counts the tokens of each of them, for whoever meets the documents later, in order.
    pub fn token_counts(&self) -> TokenCounts {
        TokenCounts::new(self.given_by.clone())
    }

    /// Lines, rows and values that gave no document, the first of them one by one: [`SourceCounts`] has their number.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Follows the bytes that are read, as they lie in files.
    pub fn consumed(&self) -> Arc<AtomicU64> {
        self.consumed.clone()
    }

    /// The documents with their weights, where the options ask for those.
    pub fn weighed(&mut self) -> impl Iterator<Item = Result<Document>> + Send + '_ {
        std::iter::from_fn(|| self.next_weighed())
    }

    fn next_weighed(&mut self) -> Option<Result<Document>> {
        let document = self.next_document();
        let ends = matches!(document, Ok(None)) && !std::mem::replace(&mut self.ended, true);
        if ends && self.given() == 0 {
            return Some(Err(Error::refused(format!(
                "the input holds no text{}; check the paths, --format, --extension and {}",
                with_reasons(&self.left_out),
                if self.options.chat.is_some() { "--chat" } else { "--field" }
            ))));
        }
        document.transpose()
    }

    fn next_document(&mut self) -> Result<Option<Document>> {
        loop {
            while let Some(current) = &mut self.current {
                match current.next_document(&self.options, &mut self.mended)? {
                    Some(document) if document.text.is_empty() => current.drop_value(EMPTY),
                    Some(document) => {
                        current.given += 1;
                        let (source, first) = (current.source, current.given == 1);
                        return Ok(Some(self.give(document, source, first)));
                    }
                    None => self.end_of_file()?,
                }
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            if let Some(text) = self.open(&file)? {
                return Ok(Some(self.give(text.into(), file.source, true)));
            }
        }
    }

    /// Counts a document; whether it is the first of its file.
    fn give(&mut self, document: Document, source: usize, first: bool) -> Document {
        let counts = &mut self.sources[source];
        counts.files += u64::from(first);
        counts.documents += 1;
        counts.bytes += document.text.len() as u64;
        self.given_by[source].fetch_add(1, Ordering::Relaxed);
        document
    }

    /// The document that a text file is; a file of JSON becomes the current one.
    fn open(&mut self, file: &InputFile) -> Result<Option<String>> {
        let path = file.place.path().to_path_buf();
        let opened = match file.place.open(&self.consumed)? {
            Ok(opened) => opened,
            #[cfg(feature = "parquet")]
            Err(unfit) if unfit.parquet && matches!(file.place, open::Place::File(_)) => {
                let texts = parquet::ParquetTexts::open(&path, &self.options, &self.consumed)?;
                self.current = Some(self.current(Source::Parquet(Box::new(texts)), file, true));
                return Ok(None);
            }
            Err(unfit) => return self.leave_out(file, unfit).map(|()| None),
        };
        let Opened { name, whole, .. } = &opened;
        let format = match self.options.format {
            Format::Auto => format::detect(name, opened.head(), *whole, self.options.looked_for()),
            said => said,
        };
        let strict = file.named || format::extension(name).is_none_or(|e| e != "json");
        let records = match format {
            Format::JsonLines => Source::Json(Records::lines(opened.reader)),
            Format::Json => Source::Json(Records::values(opened.reader)),
            Format::Text | Format::Auto => {
                if let Some(wanted) = self.options.needs_fields() {
                    return self.leave_out(file, without_fields(&path, wanted)).map(|()| None);
                }
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
        self.current = Some(self.current(records, file, strict));
        Ok(None)
    }

    fn current(&self, records: Source, file: &InputFile, strict: bool) -> Current {
        Current {
            records,
            path: file.place.path().to_path_buf(),
            source: file.source,
            strict,
            on_error: self.options.on_error,
            given: 0,
            left_out: Tally::default(),
            dropped: Vec::new(),
            fault: None,
        }
    }

    fn leave_out(&mut self, file: &InputFile, unfit: Unfit) -> Result<()> {
        if file.named || self.options.on_error == OnError::Stop {
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
                let what = format!("JSON files without texts in the field {:?}", self.options.looked_for().0);
                self.left_out.add(&what, current.path.display());
            }
            _ => {
                self.sources[current.source].dropped += current.left_out.total();
                let room = DROPPED_MAX - self.dropped.len();
                self.dropped.extend(current.dropped.into_iter().take(room));
                self.left_out.merge(current.left_out);
            }
        }
        Ok(())
    }
}

impl Iterator for Documents {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        self.next_weighed().map(|document| document.map(|document| document.text))
    }
}

fn without_fields(path: &Path, wanted: &str) -> Unfit {
    Unfit {
        what: "text files, which have no fields".into(),
        message: format!(
            "{} is read as text, which has no fields, and {wanted} names one; leave it out, or say with --format jsonl or \
             json that it is JSON",
            path.display()
        ),
        parquet: false,
    }
}

fn text_of(opened: Opened, path: &Path) -> Result<Result<String, Unfit>> {
    let bytes = read_text(opened.reader).map_err(Error::input("read", path))?;
    Ok(String::from_utf8(bytes).map_err(|e| Unfit {
        what: "files that are not UTF-8 text".into(),
        message: format!(
            "{} is not UTF-8 text: byte {} is wrong; convert it (iconv) or leave it out",
            path.display(),
            e.utf8_error().valid_up_to()
        ),
        parquet: false,
    }))
}

/// `: left out were 2 hidden (a, b), 1 empty file (c)`.
fn with_reasons(left_out: &Tally) -> String {
    if left_out.is_empty() {
        String::new()
    } else {
        format!(": left out were {}", left_out.lines().join(", "))
    }
}
