//! The rows of one group, column by column, as Parquet keeps them.
//!
//! A column holds values, and for each place whether there is one: its definition level counts the
//! optional and repeated things on the way to it that are there, and its repetition level is 0 where
//! a row begins. A [`Row`] is given its values in the order of the columns, and holds that all came.

use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::SchemaDescriptor;
use std::io::Write;

/// What both levels of a place take.
const LEVELS_BYTES: usize = 2 * size_of::<i16>();

/// The rows of a group.
#[derive(Debug)]
pub(super) struct Columns {
    all: Vec<Column>,
    rows: usize,
    bytes: usize,
}

/// A column of a group.
#[derive(Debug)]
struct Column {
    /// The definition level of a value that is there.
    whole: i16,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    texts: Vec<ByteArray>,
    numbers: Vec<i64>,
    small_numbers: Vec<i32>,
}

enum Value<'v> {
    Text(&'v [u8]),
    Number(i64),
    SmallNumber(i32),
}

impl Columns {
    /// None yet of those that a schema has.
    pub(super) fn of(schema: &SchemaDescriptor) -> Self {
        let columns = schema.columns().iter().map(|column| Column {
            whole: column.max_def_level(),
            definitions: Vec::new(),
            repetitions: Vec::new(),
            texts: Vec::new(),
            numbers: Vec::new(),
            small_numbers: Vec::new(),
        });
        Self {
            all: columns.collect(),
            rows: 0,
            bytes: 0,
        }
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// About how much memory they take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a row.
    pub(super) fn row(&mut self) -> Row<'_> {
        self.rows += 1;
        Row {
            columns: self.all.iter_mut(),
            bytes: &mut self.bytes,
        }
    }

    /// Writes them as a group, if there are any, and holds none then.
    pub(super) fn write<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
    ) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = file.next_row_group()?;
        for column in &mut self.all {
            let next = group.next_column()?;
            let mut writer = next.ok_or(ParquetError::EOF("a column too many".to_owned()))?;
            column.write(writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        self.bytes = 0;
        Ok(())
    }
}

impl Column {
    /// Takes a value. Says how much memory that takes.
    fn push(&mut self, value: Option<Value<'_>>, definition: i16, repetition: i16) -> usize {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
        let value_bytes = match value {
            None => 0,
            Some(Value::Text(text)) => {
                self.texts.push(text.to_vec().into());
                size_of::<ByteArray>() + text.len()
            }
            Some(Value::Number(number)) => {
                self.numbers.push(number);
                size_of::<i64>()
            }
            Some(Value::SmallNumber(number)) => {
                self.small_numbers.push(number);
                size_of::<i32>()
            }
        };
        LEVELS_BYTES + value_bytes
    }

    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<()> {
        let levels = (
            Some(self.definitions.as_slice()),
            Some(self.repetitions.as_slice()),
        );
        match writer {
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                writer.write_batch(&self.texts, levels.0, levels.1)?
            }
            ColumnWriter::Int64ColumnWriter(writer) => {
                writer.write_batch(&self.numbers, levels.0, levels.1)?
            }
            ColumnWriter::Int32ColumnWriter(writer) => {
                writer.write_batch(&self.small_numbers, levels.0, levels.1)?
            }
            _ => return Err(ParquetError::NYI("a column of another type".to_owned())),
        };
        self.definitions.clear();
        self.repetitions.clear();
        self.texts.clear();
        self.numbers.clear();
        self.small_numbers.clear();
        Ok(())
    }
}

/// A row on its way into the columns: each call gives the next column its part.
#[derive(Debug)]
pub(super) struct Row<'c> {
    columns: std::slice::IterMut<'c, Column>,
    bytes: &'c mut usize,
}

impl Row<'_> {
    pub(super) fn text(&mut self, text: &str) {
        self.put(Some(Value::Text(text.as_bytes())), 0);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.put(Some(Value::Number(number.cast_signed())), 0);
    }

    pub(super) fn time(&mut self, microseconds: i64) {
        self.put(Some(Value::Number(microseconds)), 0);
    }

    /// What may be absent.
    pub(super) fn bytes_if(&mut self, bytes: Option<&[u8]>) {
        self.put(bytes.map(Value::Text), 0);
    }

    /// A field of what may be absent.
    pub(super) fn text_of(&mut self, text: Option<&str>) {
        self.put(text.map(|text| Value::Text(text.as_bytes())), 0);
    }

    /// A field, of what may be absent, that may be absent itself.
    pub(super) fn text_if_of(&mut self, text: Option<Option<&str>>) {
        let value = text.map(|text| text.map(|text| Value::Text(text.as_bytes())));
        self.put_of(value);
    }

    pub(super) fn number_of(&mut self, number: Option<u64>) {
        self.put(number.map(|number| Value::Number(number.cast_signed())), 0);
    }

    pub(super) fn small_number_of(&mut self, number: Option<u32>) {
        let value = number.map(|number| Value::SmallNumber(number.cast_signed()));
        self.put(value, 0);
    }

    pub(super) fn time_of(&mut self, microseconds: Option<Option<i64>>) {
        self.put_of(microseconds.map(|time| time.map(Value::Number)));
    }

    /// A list.
    pub(super) fn numbers(&mut self, numbers: impl Iterator<Item = u64>) {
        self.list(numbers.map(|number| Value::Number(number.cast_signed())));
    }

    /// A list.
    pub(super) fn texts<'t>(&mut self, texts: impl Iterator<Item = &'t str>) {
        self.list(texts.map(|text| Value::Text(text.as_bytes())));
    }

    /// The row has all of its columns.
    pub(super) fn end(mut self) {
        debug_assert!(self.columns.next().is_none(), "a column has no value");
    }

    /// What may be absent with all that it is a part of, or alone.
    fn put_of(&mut self, value: Option<Option<Value<'_>>>) {
        let above = i16::from(value.is_some());
        self.put(value.flatten(), above);
    }

    /// A value; where it is absent, `absent` is the level of what is there above it.
    fn put(&mut self, value: Option<Value<'_>>, absent: i16) {
        if let Some(column) = self.columns.next() {
            let definition = if value.is_some() {
                column.whole
            } else {
                absent
            };
            *self.bytes += column.push(value, definition, 0);
        }
    }

    fn list<'v>(&mut self, values: impl Iterator<Item = Value<'v>>) {
        if let Some(column) = self.columns.next() {
            let mut repetition = 0;
            for value in values {
                *self.bytes += column.push(Some(value), column.whole, repetition);
                repetition = 1;
            }
            if repetition == 0 {
                *self.bytes += column.push(None, 0, 0);
            }
        }
    }
}
