//! The database: opened durable, brought to the current format, and the meaning of its tables.
//!
//! ```text
//! events    the append-only record; all other tables can be told from it and from the files
//! runs      one row per run: who runs it, how far it has come, and the events that say so
//! findings  one row per finding: what lists and filters need without reading its event
//! pending   blobs that no event names yet, with the writer that answers for them
//! blobs     blobs that an event names, with size and digest
//! ```
//!
//! Ids are lower-case text, moments are nanoseconds since the Unix epoch. The format version is the
//! file's `user_version`; migrations run in one commit each and never look back. A newer version
//! is refused, not guessed at.

use crate::error::StoreError;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior};
use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long one process waits for another: a commit takes milliseconds, and a prune of thousands
/// of rows well under a second.
const BUSY_LIMIT: Duration = Duration::from_secs(20);

/// Pause between attempts at the one statement that does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// What marks a database file as ours: `vrdg`.
const APPLICATION_ID: i32 = 0x7672_6467;

/// The steps from each format version to the next. What was released is never edited.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The format version that this program writes.
const FORMAT: u32 = MIGRATIONS.len() as u32;

/// Opens the database at `path`, which must exist (an empty file will do).
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_LIMIT)?;
    check_marks(&connection, path)?;
    use_write_ahead_log(&connection)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
    )?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// A transaction that holds the right to write from its beginning, so that it never fails halfway.
pub(crate) fn write(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

/// A text column as the type that it was written from.
pub(crate) fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str()?;
    text.parse()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(e)))
}

/// A column of a size or count, which are never negative.
pub(crate) fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// A size or count as the database holds it; beyond 2^63 - 1 it is held as that.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Refuses another program's database and a newer format, before anything is written.
fn check_marks(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    // One snapshot: another process may be making the tables at this moment.
    let snapshot = connection.unchecked_transaction()?;
    let application: i32 = pragma(&snapshot, "application_id")?;
    let version: u32 = pragma(&snapshot, "user_version")?;
    let tables: i64 =
        snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    drop(snapshot);
    let fresh = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !fresh {
        return Err(StoreError::NotAStore {
            path: path.to_owned(),
        });
    }
    refuse_newer(version, path)
}

fn refuse_newer(found: u32, path: &Path) -> Result<(), StoreError> {
    if found <= FORMAT {
        return Ok(());
    }
    Err(StoreError::NewerVersion {
        path: path.to_owned(),
        found,
        supported: FORMAT,
    })
}

/// Switches to the write-ahead log. This statement needs the file to itself for an instant and
/// fails at once where another process has it, so it is repeated.
fn use_write_ahead_log(connection: &Connection) -> Result<(), StoreError> {
    let give_up = Instant::now() + BUSY_LIMIT;
    loop {
        let outcome = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
            row.get::<_, String>(0)
        });
        match outcome {
            Err(e) if is_busy(&e) && Instant::now() < give_up => std::thread::sleep(BUSY_PAUSE),
            other => return Ok(other.map(drop)?),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if format(connection)? == FORMAT {
        return Ok(());
    }
    let transaction = write(connection)?;
    // Read again: another process may have done it while we waited.
    let done = format(&transaction)?;
    refuse_newer(done, path)?;
    for step in MIGRATIONS.iter().skip(done as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    Ok(transaction.commit()?)
}

fn format(connection: &Connection) -> Result<u32, StoreError> {
    pragma(connection, "user_version")
}

fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> Result<T, StoreError> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_fresh_file_gets_the_current_format_and_durability() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.sqlite");
        fs::write(&path, "").unwrap();
        let connection = open(&path).unwrap();
        assert_eq!(format(&connection).unwrap(), FORMAT);
        let mode: String = pragma(&connection, "journal_mode").unwrap();
        let synchronous: i64 = pragma(&connection, "synchronous").unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.sqlite");
        fs::write(&path, "").unwrap();
        let newer = FORMAT + 1;
        let connection = open(&path).unwrap();
        connection
            .pragma_update(None, "user_version", newer)
            .unwrap();
        drop(connection);
        let before = fs::read(&path).unwrap();
        let Err(StoreError::NewerVersion { found, .. }) = open(&path) else {
            panic!("a newer format was opened");
        };
        assert_eq!(found, newer);
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn another_program_s_database_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.sqlite");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE recipes (x)").unwrap();
        assert!(matches!(open(&path), Err(StoreError::NotAStore { .. })));
    }

    #[test]
    fn what_is_no_database_is_damaged() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.sqlite");
        fs::write(&path, vec![0xa5; 8192]).unwrap();
        let error = open(&path).unwrap_err().located(place.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    }
}
