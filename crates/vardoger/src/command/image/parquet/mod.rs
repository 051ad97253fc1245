//! Changes as a Parquet file: the fields of `vardoger/change/1`, each with a type of its own.
//!
//! Numbers are numbers, times are UTC in microseconds, what is a list or an object there is one here,
//! and bytes are bytes. The schema's name is in the file's metadata. A row group is written when it
//! has [`ROWS_MAX`] rows or [`BYTES_MAX`] bytes, so that memory does not grow with the changes; what
//! grows is the footer, by some kilobytes for each group.
//!
//! Left out: the envelope of the documents, whose warnings are told on the terminal.

mod columns;

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::{ColumnPath, TypePtr};
use columns::{Columns, Row};
use control::image::{Bytes, Change, ChangeSink, Explanation, FileState, ImageError};
use schema::{ChangeDocument, Payload as _};
use std::io::Write;
use std::sync::Arc;

/// The most rows of a group. Readers skip groups by the paths in them, and work on several at once.
const ROWS_MAX: usize = 1 << 15;

/// The most bytes of a group before they are encoded: what is held in memory, but for a small factor.
const BYTES_MAX: usize = 32 << 20;

/// What is quick, and not much larger than what is not.
const ZSTD_LEVEL: i32 = 3;

const NS_PER_US: i64 = 1_000;
const US_PER_S: i64 = 1_000_000;

/// The fields of [`ChangeDocument`], in its order, which is that of [`Sink::row`].
const SCHEMA: &str = "
message change {
  REQUIRED BYTE_ARRAY image (STRING);
  REQUIRED INT64 sequence (INTEGER(64,false));
  REQUIRED INT64 after (TIMESTAMP(MICROS,true));
  REQUIRED INT64 until (TIMESTAMP(MICROS,true));
  REQUIRED BYTE_ARRAY volume (STRING);
  REQUIRED BYTE_ARRAY path (STRING);
  OPTIONAL BYTE_ARRAY path_bytes;
  REQUIRED BYTE_ARRAY change (STRING);
  OPTIONAL BYTE_ARRAY from (STRING);
  REQUIRED group ranges (LIST) {
    REPEATED group list {
      REQUIRED group element {
        REQUIRED INT64 start_bytes (INTEGER(64,false));
        REQUIRED INT64 end_bytes (INTEGER(64,false));
      }
    }
  }
  REQUIRED INT64 ranges_all (INTEGER(64,false));
  REQUIRED INT64 changed_bytes (INTEGER(64,false));
  REQUIRED group fields (LIST) {
    REPEATED group list {
      REQUIRED BYTE_ARRAY element (STRING);
    }
  }
  OPTIONAL group state_before {
    REQUIRED INT64 size_bytes (INTEGER(64,false));
    REQUIRED BYTE_ARRAY mode (STRING);
    REQUIRED INT32 uid (INTEGER(32,false));
    REQUIRED INT32 gid (INTEGER(32,false));
    OPTIONAL INT64 modified (TIMESTAMP(MICROS,true));
    OPTIONAL INT64 changed (TIMESTAMP(MICROS,true));
  }
  OPTIONAL group state {
    REQUIRED INT64 size_bytes (INTEGER(64,false));
    REQUIRED BYTE_ARRAY mode (STRING);
    REQUIRED INT32 uid (INTEGER(32,false));
    REQUIRED INT32 gid (INTEGER(32,false));
    OPTIONAL INT64 modified (TIMESTAMP(MICROS,true));
    OPTIONAL INT64 changed (TIMESTAMP(MICROS,true));
  }
  OPTIONAL group explanation {
    REQUIRED BYTE_ARRAY standing (STRING);
    REQUIRED BYTE_ARRAY package (STRING);
    OPTIONAL BYTE_ARRAY before (STRING);
    OPTIONAL BYTE_ARRAY after (STRING);
  }
}";

/// Where changes of an image go.
pub(super) struct Sink<W: Write + Send> {
    image: String,
    file: SerializedFileWriter<W>,
    columns: Columns,
}

impl<W: Write + Send> Sink<W> {
    pub(super) fn begin(image: &str, output: W) -> Result<Self, ImageError> {
        let schema: TypePtr = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
        let file = SerializedFileWriter::new(output, schema, properties()?).map_err(failed)?;
        Ok(Self {
            image: image.to_owned(),
            columns: Columns::of(file.schema_descr()),
            file,
        })
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        self.columns.write(&mut self.file).map_err(failed)
    }
}

impl<W: Write + Send> ChangeSink for Sink<W> {
    fn put(&mut self, change: &Change) -> Result<(), ImageError> {
        row(self.columns.row(), &self.image, change);
        if self.columns.rows() >= ROWS_MAX || self.columns.bytes() >= BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn end(mut self: Box<Self>) -> Result<(), ImageError> {
        self.flush()?;
        self.file.finish().map_err(failed)?;
        self.file.inner_mut().flush().map_err(ImageError::Output)
    }
}

/// Paths come in order, so each has much of the one before it; all else is of a few values.
fn properties() -> Result<WriterPropertiesPtr, ImageError> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(failed)?;
    let path = || ColumnPath::from("path");
    let schema = KeyValue::new("schema".to_owned(), ChangeDocument::SCHEMA.to_owned());
    let properties = WriterProperties::builder()
        .set_created_by("vardoger".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_column_dictionary_enabled(path(), false)
        .set_column_encoding(path(), Encoding::DELTA_BYTE_ARRAY)
        .set_key_value_metadata(Some(vec![schema]));
    Ok(Arc::new(properties.build()))
}

fn failed(error: ParquetError) -> ImageError {
    ImageError::Output(std::io::Error::other(error))
}

fn row(mut row: Row<'_>, image: &str, change: &Change) {
    let record = &change.record;
    let path = Bytes(record.path.clone());
    row.text(image);
    row.number(record.sequence);
    row.time(change.after.unix_ns().div_euclid(NS_PER_US));
    row.time(change.until.unix_ns().div_euclid(NS_PER_US));
    row.text(&record.volume);
    row.text(&path.text());
    row.bytes_if((!path.is_text()).then_some(record.path.as_slice()));
    row.text(record.change.name());
    let from = record.from.clone().map(|from| Bytes(from).text());
    row.bytes_if(from.as_ref().map(String::as_bytes));
    row.numbers(record.ranges.iter().map(|range| range.start));
    row.numbers(record.ranges.iter().map(|range| range.end));
    row.number(record.ranges_all);
    row.number(record.changed_bytes);
    row.texts(record.fields.names());
    state(&mut row, record.before.as_ref());
    state(&mut row, record.after.as_ref());
    explanation(&mut row, record.explanation.as_ref());
    row.end();
}

fn state(row: &mut Row<'_>, state: Option<&FileState>) {
    let mode = state.map(|state| format!("{:o}", state.mode));
    row.number_of(state.map(|state| state.size_bytes));
    row.text_of(mode.as_deref());
    row.small_number_of(state.map(|state| state.uid));
    row.small_number_of(state.map(|state| state.gid));
    row.time_of(state.map(|state| microseconds(state.modified)));
    row.time_of(state.map(|state| microseconds(state.changed)));
}

fn explanation(row: &mut Row<'_>, explanation: Option<&Explanation>) {
    let version = |version: &'_ String| (!version.is_empty()).then(|| version.clone());
    let (before, after) = (
        explanation.map(|one| version(&one.before)),
        explanation.map(|one| version(&one.after)),
    );
    row.text_of(explanation.map(|one| one.standing.name()));
    row.text_of(explanation.map(|one| one.package.as_str()));
    row.text_if_of(before.as_ref().map(Option::as_deref));
    row.text_if_of(after.as_ref().map(Option::as_deref));
}

/// A time of a file; nothing where it is out of all range, as a disk may say.
fn microseconds((seconds, nanoseconds): (i64, u32)) -> Option<i64> {
    let below = i64::from(nanoseconds).div_euclid(NS_PER_US);
    seconds.checked_mul(US_PER_S)?.checked_add(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use control::image::{ChangeKind, ChangeRecord};
    use model::Timestamp;
    use std::fs::File;

    fn change(path: Vec<u8>) -> Change {
        Change {
            record: ChangeRecord {
                sequence: 1,
                volume: "disk".into(),
                path,
                change: ChangeKind::Created,
                from: None,
                ranges: Vec::new(),
                ranges_all: 0,
                changed_bytes: 0,
                fields: Default::default(),
                before: None,
                after: None,
                explanation: None,
            },
            after: Timestamp::from_unix_ns(0),
            until: Timestamp::from_unix_ns(0),
        }
    }

    /// Rows of each group of a file with these changes.
    fn groups(changes: impl Iterator<Item = Change>) -> Vec<i64> {
        let file = tempfile::tempfile().unwrap();
        let output: File = file.try_clone().unwrap();
        let mut sink = Box::new(Sink::begin("t", output).unwrap());
        for change in changes {
            sink.put(&change).unwrap();
            assert!(sink.columns.rows() < ROWS_MAX && sink.columns.bytes() < BYTES_MAX);
        }
        sink.end().unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let groups = reader.metadata().row_groups().iter();
        groups.map(|group| group.num_rows()).collect()
    }

    #[test]
    fn a_group_is_bounded() {
        assert_eq!(groups(std::iter::empty()), [0_i64; 0]);
        let many = (0..=ROWS_MAX).map(|number| change(number.to_string().into_bytes()));
        assert_eq!(groups(many), [ROWS_MAX as i64, 1]);
        let long = (0..20).map(|_| change(vec![b'a'; BYTES_MAX / 8]));
        assert_eq!(groups(long), [8, 8, 4]);
    }

    #[test]
    fn times_of_any_disk_are_told_or_left_out() {
        assert_eq!(microseconds((-1, 999_999_999)), Some(-1));
        // Later than nanoseconds in 64 bits can say.
        assert_eq!(
            microseconds((13_600_000_000, 0)),
            Some(13_600_000_000_000_000)
        );
        assert_eq!(microseconds((i64::MAX, 0)), None);
        assert_eq!(microseconds((i64::MAX / US_PER_S, 999_999_999)), None);
    }
}
