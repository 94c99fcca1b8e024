//! A file of many documents that is being read: JSON, or a table.
use std::path::PathBuf;

use super::counts::{DROPPED_MAX, Dropped};
use super::json::{self, TextField};
use super::options::OnError;
#[cfg(feature = "parquet")]
use super::parquet;
use super::records::{Next, Records};
use super::tally::Tally;
use crate::{Error, Result};

/// Why a value gives no document though it has a text.
pub(super) const EMPTY: &str = "empty texts";

/// A file of many documents that is being read.
pub(super) struct Current {
    pub(super) records: Source,
    pub(super) path: PathBuf,
    pub(super) source: usize,
    /// It must hold texts: it was named, or its name says that it does.
    pub(super) strict: bool,
    pub(super) on_error: OnError,
    pub(super) given: u64,
    pub(super) left_out: Tally,
    pub(super) dropped: Vec<Dropped>,
    /// What was wrong first.
    pub(super) fault: Option<String>,
}

/// Where its documents come from.
pub(super) enum Source {
    Json(Records),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::ParquetTexts>),
}

impl Current {
    /// The text of the next value that has one.
    pub(super) fn next_text(&mut self, field: &str, mended: &mut Tally) -> Result<Option<String>> {
        loop {
            let records = match &mut self.records {
                Source::Json(records) => records,
                #[cfg(feature = "parquet")]
                Source::Parquet(texts) => match texts.next(&self.path)? {
                    Some(parquet::Row::Text(text)) => return Ok(Some(text)),
                    None => return Ok(None),
                    Some(parquet::Row::Null) => {
                        self.without(format!("it has no value, expected text in {field:?}"), field)?;
                        continue;
                    }
                    Some(parquet::Row::NoText) => {
                        self.without(format!("{field:?} is not UTF-8 text"), field)?;
                        continue;
                    }
                },
            };
            match records.next().map_err(Error::input("read", &self.path))? {
                Next::End => return Ok(None),
                Next::Bad(what) => {
                    self.bad(what.into())?;
                    return Ok(None);
                }
                Next::Value => {}
            }
            let value = records.value.as_slice();
            match json::text_of(value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value), field) {
                Ok(TextField::Text(text, 0)) => return Ok(Some(text)),
                Ok(TextField::Text(text, _)) => {
                    mended.add("documents with lone surrogates, which became U+FFFD", self.place());
                    return Ok(Some(text));
                }
                Ok(TextField::None) => {
                    let found = without_text(&json::keys(value, 8), field);
                    self.without(found, field)?;
                }
                Err(bad) => self.bad(format!("{}, byte {}", bad.what, bad.at))?,
            }
        }
    }

    /// A value that has no text where it is looked for.
    fn without(&mut self, found: String, field: &str) -> Result<()> {
        let fault = format!("{}: {found}; name another with --field", self.place());
        if self.on_error == OnError::Stop {
            return Err(Error::refused(fault));
        }
        self.fault.get_or_insert(fault);
        self.drop_value(&format!("values without a text in the field {field:?}"));
        Ok(())
    }

    /// A value that is not JSON: left out where the next one is found all the same.
    fn bad(&mut self, what: String) -> Result<()> {
        let place = self.place();
        let fault = format!(
            "{place}: not JSON ({what}); repair it, or say how the documents lie there with --format text, jsonl or json"
        );
        let goes_on = matches!(&self.records, Source::Json(records) if records.go_on_after_bad());
        if self.on_error == OnError::Stop || !goes_on && (self.strict || self.given > 0) {
            return Err(Error::refused(fault));
        }
        self.fault.get_or_insert(fault);
        self.drop_value("lines that are not JSON");
        Ok(())
    }

    pub(super) fn drop_value(&mut self, reason: &str) {
        self.left_out.add(reason, self.place());
        if self.dropped.len() < DROPPED_MAX {
            self.dropped.push(Dropped {
                file: self.path.clone(),
                line: self.line().1,
                reason: reason.into(),
            });
        }
    }

    /// What lies there, and its number.
    fn line(&self) -> (&'static str, u64) {
        match &self.records {
            Source::Json(records) => ("line", records.line),
            #[cfg(feature = "parquet")]
            Source::Parquet(texts) => ("row", texts.row),
        }
    }

    fn place(&self) -> String {
        let (what, number) = self.line();
        format!("{} {what} {number}", self.path.display())
    }
}

fn without_text(keys: &[String], field: &str) -> String {
    let found = match keys {
        [] => "it is no object with fields".to_string(),
        keys if keys.iter().any(|key| key == field) => format!("the field {field:?} is not a string"),
        keys => format!("it has the fields {keys:?}"),
    };
    format!("{found}, expected text in the field {field:?}")
}
