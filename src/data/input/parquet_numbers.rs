//! A column of numbers of a Parquet file, beside one of texts.
use parquet::basic::{ConvertedType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;
use parquet::schema::types::ColumnDescPtr;

/// The column, row group by row group.
pub(super) struct Numbers {
    /// Its number.
    column: usize,
    /// From this level on a row has a value.
    defined: i16,
    reader: Option<ColumnReader>,
}

impl Numbers {
    /// The column `field`, a field of a struct `struct.field`; or what is there instead.
    pub(super) fn find(columns: &[ColumnDescPtr], field: &str) -> Result<Self, String> {
        let Some(column) = columns.iter().position(|column| column.path().string() == field) else {
            let some = columns.iter().take(8).map(|column| format!("{:?}", column.path().string()));
            let some = some.collect::<Vec<_>>().join(", ");
            return Err(format!(
                "it has the columns {some}, expected numbers in {field:?}; name another with --weights-field"
            ));
        };
        let found = &columns[column];
        let is_number =
            matches!(found.physical_type(), Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE)
                && found.converted_type() != ConvertedType::DECIMAL;
        if !is_number || found.max_rep_level() > 0 {
            return Err(format!(
                "the column {field:?} has no numbers, one for each row: 32 or 64 bits, whole or floating; name another with \
                 --weights-field"
            ));
        }
        Ok(Self { column, defined: found.max_def_level(), reader: None })
    }

    pub(super) fn begin(&mut self, group: &dyn RowGroupReader) -> Result<(), ParquetError> {
        self.reader = Some(group.get_column_reader(self.column)?);
        Ok(())
    }

    /// The numbers of the next `rows` rows.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<Option<f64>>, ParquetError> {
        let defined = self.defined;
        match &mut self.reader {
            Some(ColumnReader::Int32ColumnReader(reader)) => read(reader, defined, rows, f64::from),
            Some(ColumnReader::Int64ColumnReader(reader)) => read(reader, defined, rows, |n| n as f64),
            Some(ColumnReader::FloatColumnReader(reader)) => read(reader, defined, rows, f64::from),
            Some(ColumnReader::DoubleColumnReader(reader)) => read(reader, defined, rows, |n| n),
            _ => {
                Err(ParquetError::General("the column of weights has another type in this row group".into()))
            }
        }
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    defined: i16,
    rows: usize,
    number: impl Fn(T::T) -> f64,
) -> Result<Vec<Option<f64>>, ParquetError> {
    let (mut values, mut levels, mut done) = (Vec::new(), Vec::new(), 0);
    while done < rows {
        let wanted = (defined > 0).then_some(&mut levels);
        let (records, _, _) = reader.read_records(rows - done, wanted, None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::General(
                "the column of weights has fewer rows than that of texts".into(),
            ));
        }
        done += records;
    }
    let mut values = values.into_iter();
    if defined == 0 {
        return Ok(values.map(|value| Some(number(value))).collect());
    }
    Ok(levels.iter().map(|level| if *level == defined { values.next().map(&number) } else { None }).collect())
}
