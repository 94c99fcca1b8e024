//! A file of many documents that is being read: JSON, or a table.
use std::path::PathBuf;

use super::counts::{DROPPED_MAX, Dropped};
use super::options::{InputOptions, OnError};
#[cfg(feature = "parquet")]
use super::parquet;
use super::record::{Record, Without, document_of};
#[cfg(feature = "parquet")]
use super::record::{weigh, without_weight};
use super::records::{Next, Records};
use super::tally::Tally;
use crate::data::document::Document;
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
    /// The document of the next value that has one.
    pub(super) fn next_document(
        &mut self,
        options: &InputOptions,
        mended: &mut Tally,
    ) -> Result<Option<Document>> {
        loop {
            let records = match &mut self.records {
                Source::Json(records) => records,
                #[cfg(feature = "parquet")]
                Source::Parquet(_) => match self.next_row(options)? {
                    Some(Ok(document)) => return Ok(Some(document)),
                    None => return Ok(None),
                    Some(Err(without)) => {
                        self.without(without)?;
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
            let value = value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value);
            match document_of(value, options).map_err(|e| e.within(&self.place()))? {
                Record::Document(document, lone) => {
                    if lone > 0 {
                        mended.add("documents with lone surrogates, which became U+FFFD", self.place());
                    }
                    return Ok(Some(document));
                }
                Record::Without(without) => self.without(without)?,
                Record::Bad(bad) => self.bad(format!("{}, byte {}", bad.what, bad.at))?,
            }
        }
    }

    /// The next row of a table, or why it gives none.
    #[cfg(feature = "parquet")]
    fn next_row(&mut self, options: &InputOptions) -> Result<Option<Result<Document, Without>>> {
        let Source::Parquet(texts) = &mut self.records else { return Ok(None) };
        let field = &options.field;
        let without = |fault: String| Without {
            fault,
            advice: "name another with --field",
            reason: format!("values without a text in the field {field:?}"),
        };
        let Some((row, number)) = texts.next(&self.path)? else { return Ok(None) };
        let mut document = match row {
            parquet::Row::Text(text) => Document::from(text),
            parquet::Row::Null => {
                return Ok(Some(Err(without(format!("it has no value, expected text in {field:?}")))));
            }
            parquet::Row::NoText => return Ok(Some(Err(without(format!("{field:?} is not UTF-8 text"))))),
        };
        if let Some(weight) = &options.weight {
            let Some(number) = number.filter(|number| number.is_finite()) else {
                return Ok(Some(Err(without_weight(std::slice::from_ref(&weight.field), &weight.field))));
            };
            let factor = weight.kind.weight(number).map_err(|e| Error::refused(e).within(&self.place()))?;
            weigh(&mut document, factor);
        }
        Ok(Some(Ok(document)))
    }

    /// A value that has no document where it is looked for.
    fn without(&mut self, without: Without) -> Result<()> {
        let fault = format!("{}: {}; {}", self.place(), without.fault, without.advice);
        if self.on_error == OnError::Stop {
            return Err(Error::refused(fault));
        }
        self.fault.get_or_insert(fault);
        self.drop_value(&without.reason);
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
