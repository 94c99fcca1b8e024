//! The texts of one column of a Parquet file, row group by row group.
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::options::InputOptions;
use super::parquet_numbers::Numbers;
use crate::error::one_line;
use crate::{Error, Result};

/// Rows that are decoded at a time.
const BATCH: usize = 256;

/// A column of texts that is being read.
pub(super) struct ParquetTexts {
    file: SerializedFileReader<File>,
    /// Its number.
    column: usize,
    /// From this level on a row has a value.
    defined: i16,
    /// The row group that comes next.
    group: usize,
    current: Option<ColumnReaderImpl<ByteArrayType>>,
    /// Of the rows that were decoded, those that come next last.
    rows: Vec<Option<ByteArray>>,
    /// The column of their weights, and what was decoded of it.
    numbers: Option<Numbers>,
    weights: Vec<Option<f64>>,
    /// Of the row that was given last, from 1.
    pub(super) row: u64,
    consumed: Arc<AtomicU64>,
}

/// What a row has in the column.
pub(super) enum Row {
    Text(String),
    /// No value.
    Null,
    /// Bytes that are no UTF-8.
    NoText,
}

impl ParquetTexts {
    /// Opens `path`, of which `field` is a column of strings, and the weight's, if there is one, a column of numbers; a
    /// field of a struct is `struct.field`. `consumed` follows the bytes of row groups that were begun.
    pub(super) fn open(path: &Path, options: &InputOptions, consumed: &Arc<AtomicU64>) -> Result<Self> {
        let field = options.field.as_str();
        let source = File::open(path).map_err(Error::input("open", path))?;
        let file = SerializedFileReader::new(source).map_err(|e| bad(path, &e))?;
        let columns = file.metadata().file_metadata().schema_descr().columns();
        let names: Vec<String> = columns.iter().map(|column| column.path().string()).collect();
        let refused = |why: String| Error::refused(format!("{}: {why}", path.display()));
        if options.chat.is_some() {
            return Err(refused(
                "conversations are read from JSON; write it as JSON lines first: \
                 datasets.Dataset.from_parquet(FILE).to_json(NAME.jsonl)"
                    .into(),
            ));
        }
        let column = names.iter().position(|name| name == field).ok_or_else(|| {
            let some = names.iter().take(8).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            refused(format!(
                "it has the columns {some}, expected text in {field:?}; name another with --field"
            ))
        })?;
        if columns[column].physical_type() != Type::BYTE_ARRAY || columns[column].max_rep_level() > 0 {
            return Err(refused(format!(
                "the column {field:?} has no strings, one for each row; name another with --field"
            )));
        }
        let defined = columns[column].max_def_level();
        let numbers = options.weight.as_ref().map(|weight| Numbers::find(columns, &weight.field));
        let numbers = numbers.transpose().map_err(refused)?;
        Ok(Self {
            file,
            column,
            defined,
            group: 0,
            current: None,
            rows: Vec::new(),
            numbers,
            weights: Vec::new(),
            row: 0,
            consumed: consumed.clone(),
        })
    }

    /// The next row and its weight; `None` at the end.
    pub(super) fn next(&mut self, path: &Path) -> Result<Option<(Row, Option<f64>)>> {
        while self.rows.is_empty() {
            if !self.decode().map_err(|e| bad(path, &e))? {
                return Ok(None);
            }
        }
        let Some(row) = self.rows.pop() else { return Ok(None) };
        self.row += 1;
        let weight = self.weights.pop().flatten();
        let row = match row {
            None => Row::Null,
            Some(bytes) => match str::from_utf8(bytes.data()) {
                Ok(text) => Row::Text(text.into()),
                Err(_) => Row::NoText,
            },
        };
        Ok(Some((row, weight)))
    }

    /// Decodes more rows, or begins the next row group; whether there was either.
    fn decode(&mut self) -> Result<bool, ParquetError> {
        let Some(reader) = &mut self.current else {
            if self.group == self.file.num_row_groups() {
                return Ok(false);
            }
            let group = self.file.get_row_group(self.group)?;
            self.group += 1;
            let bytes = group.metadata().column(self.column).compressed_size();
            self.consumed.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
            if let Some(numbers) = &mut self.numbers {
                numbers.begin(group.as_ref())?;
            }
            self.current = match group.get_column_reader(self.column)? {
                ColumnReader::ByteArrayColumnReader(reader) => Some(reader),
                _ => {
                    return Err(ParquetError::General(
                        "the column has another type in this row group".into(),
                    ));
                }
            };
            return Ok(true);
        };
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let defined = (self.defined > 0).then_some(&mut levels);
        let (records, _, _) = reader.read_records(BATCH, defined, None, &mut values)?;
        if records == 0 {
            self.current = None;
        } else if self.defined == 0 {
            self.rows = values.into_iter().map(Some).collect();
        } else {
            let mut values = values.into_iter();
            let row = |level: &i16| if *level == self.defined { values.next() } else { None };
            self.rows = levels.iter().map(row).collect();
        }
        self.rows.reverse();
        if let Some(numbers) = &mut self.numbers {
            self.weights = numbers.read(self.rows.len())?;
            self.weights.reverse();
        }
        Ok(true)
    }
}

fn bad(path: &Path, error: &ParquetError) -> Error {
    Error::refused(format!(
        "{}: {}; Parquet is read where its columns are plain, or packed by snappy or zstd; write it anew so, or copy it again",
        path.display(),
        one_line(error)
    ))
}
