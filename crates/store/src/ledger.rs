//! The tables of blobs: who answers for each, and what is known of it.
//!
//! ```text
//!  reserve ──► pending, no digest ──complete──► pending, digest ──name──► kept ──prune──► pruned ──► removed
//!                    └────────────── adopt (its writer is dead), forget ──────┘
//! ```
//!
//! Invariants: a key is in one of the two tables, never in both; a key in `blobs` is never written
//! again; only its own writer completes or names a pending blob.

use crate::database::{parsed, signed, unsigned};
use crate::error::StoreError;
use crate::key::BlobKey;
use model::RunId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;

/// What the store knows of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its key.
    pub key: BlobKey,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes that it takes on disk: less than its size where the file is sparse.
    pub allocated_bytes: u64,
    /// The BLAKE3 digest of its content, in hexadecimal.
    pub digest: String,
}

/// Registers that `writer` will put a blob at `key`. A key of the same writer is taken anew.
pub(crate) fn reserve(
    connection: &Connection,
    key: &BlobKey,
    writer: &str,
) -> Result<(), StoreError> {
    let named: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM blobs WHERE key = ?1)",
        [key.as_str()],
        |row| row.get(0),
    )?;
    let reserved = if named {
        0
    } else {
        connection.execute(
            "INSERT INTO pending (key, writer) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET digest = NULL WHERE writer = excluded.writer",
            params![key.as_str(), writer],
        )?
    };
    match reserved {
        0 => Err(StoreError::BlobTaken {
            key: key.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Records that a reserved blob is durable.
pub(crate) fn complete(
    connection: &Connection,
    info: &BlobInfo,
    writer: &str,
) -> Result<(), StoreError> {
    let completed = connection.execute(
        "UPDATE pending SET bytes = ?3, allocated_bytes = ?4, digest = ?5
         WHERE key = ?1 AND writer = ?2",
        params![
            info.key.as_str(),
            writer,
            signed(info.bytes),
            signed(info.allocated_bytes),
            info.digest
        ],
    )?;
    match completed {
        0 => Err(StoreError::BlobTaken {
            key: info.key.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Binds the blobs that an event names to that event: each is named already, or pending, durable
/// and this writer's own.
pub(crate) fn name(
    connection: &Connection,
    keys: &[&str],
    (run, sequence): (Option<RunId>, i64),
    writer: &str,
) -> Result<(), StoreError> {
    for key in keys.iter().copied().collect::<BTreeSet<_>>() {
        let bound = connection.execute(
            "INSERT INTO blobs (key, run, sequence, bytes, allocated_bytes, digest)
             SELECT key, ?2, ?3, bytes, allocated_bytes, digest FROM pending
             WHERE key = ?1 AND writer = ?4 AND digest IS NOT NULL",
            params![key, run.map(|run| run.to_string()), sequence, writer],
        )?;
        if bound == 0 {
            find(connection, key)?;
        } else {
            forget(connection, key)?;
        }
    }
    Ok(())
}

/// What is known of a blob that an event names.
///
/// # Errors
/// No event names it, or it was pruned.
pub(crate) fn find(connection: &Connection, key: &str) -> Result<BlobInfo, StoreError> {
    let found = connection
        .query_row("SELECT * FROM blobs WHERE key = ?1", [key], |row| {
            Ok((info(row)?, row.get::<_, String>("state")?))
        })
        .optional()?;
    match found {
        Some((info, state)) if state == "kept" => Ok(info),
        Some(_) => Err(StoreError::Pruned {
            key: key.to_owned(),
        }),
        None => Err(StoreError::BlobMissing {
            key: key.to_owned(),
        }),
    }
}

/// What is known of a blob that an event names, or of one that this writer has put.
pub(crate) fn find_visible(
    connection: &Connection,
    key: &str,
    writer: &str,
) -> Result<BlobInfo, StoreError> {
    let own = connection
        .query_row(
            "SELECT * FROM pending WHERE key = ?1 AND writer = ?2 AND digest IS NOT NULL",
            [key, writer],
            info,
        )
        .optional()?;
    own.map_or_else(|| find(connection, key), Ok)
}

fn info(row: &Row<'_>) -> rusqlite::Result<BlobInfo> {
    Ok(BlobInfo {
        key: parsed(row, "key")?,
        bytes: unsigned(row, "bytes")?,
        allocated_bytes: unsigned(row, "allocated_bytes")?,
        digest: row.get("digest")?,
    })
}

/// Forgets a pending blob, whose file is gone or now belongs to an event.
pub(crate) fn forget(connection: &Connection, key: &str) -> Result<(), StoreError> {
    connection.execute("DELETE FROM pending WHERE key = ?1", [key])?;
    Ok(())
}

/// All writers that answer for pending blobs.
pub(crate) fn pending_writers(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("SELECT DISTINCT writer FROM pending")?;
    let writers = statement.query_map([], |row| row.get(0))?;
    Ok(writers.collect::<Result<_, _>>()?)
}

/// Takes over the pending blobs of a dead writer, so that one sweeper alone removes them. They
/// lose their digests: nobody can name them any more. Returns their keys.
pub(crate) fn adopt(
    connection: &Connection,
    dead: &str,
    heir: &str,
) -> Result<Vec<BlobKey>, StoreError> {
    let mut statement = connection
        .prepare("UPDATE pending SET writer = ?2, digest = NULL WHERE writer = ?1 RETURNING key")?;
    let keys = statement.query_map([dead, heir], |row| parsed(row, "key"))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Bytes on disk of all blobs, named or pending, and how many they are.
pub(crate) fn totals(connection: &Connection) -> Result<(u64, u64), StoreError> {
    Ok(connection.query_row(
        "SELECT coalesce(sum(allocated_bytes), 0) AS bytes, count(*) AS blobs FROM (
             SELECT allocated_bytes FROM blobs WHERE state <> 'removed'
             UNION ALL SELECT allocated_bytes FROM pending)",
        [],
        |row| Ok((unsigned(row, "bytes")?, unsigned(row, "blobs")?)),
    )?)
}

/// The oldest blobs that may go, up to a sum of `excess_bytes` or a little more, and at most
/// `limit` of them. Blobs of the newest run and of runs that are not over are never among them.
pub(crate) fn victims(
    connection: &Connection,
    excess_bytes: u64,
    limit: usize,
) -> Result<Vec<BlobInfo>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT blobs.* FROM blobs LEFT JOIN runs ON runs.id = blobs.run
         WHERE state = 'kept'
           AND (runs.id IS NULL OR (runs.over IS NOT NULL
                AND runs.sequence < (SELECT max(sequence) FROM runs)))
         ORDER BY coalesce(runs.sequence, blobs.sequence), blobs.sequence, blobs.key LIMIT ?1",
    )?;
    let candidates = statement.query_map([signed(limit as u64)], info)?;
    let (mut chosen, mut freed) = (Vec::new(), 0_u64);
    for candidate in candidates {
        if freed >= excess_bytes {
            break;
        }
        let candidate = candidate?;
        freed = freed.saturating_add(candidate.allocated_bytes);
        chosen.push(candidate);
    }
    Ok(chosen)
}

/// Marks a blob pruned: from this commit on it cannot be read.
pub(crate) fn mark_pruned(connection: &Connection, key: &BlobKey) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE blobs SET state = 'pruned' WHERE key = ?1",
        [key.as_str()],
    )?;
    Ok(())
}

/// Blobs that were pruned and whose files may still be there.
pub(crate) fn to_remove(connection: &Connection) -> Result<Vec<BlobKey>, StoreError> {
    let mut statement = connection.prepare("SELECT key FROM blobs WHERE state = 'pruned'")?;
    let keys = statement.query_map([], |row| parsed(row, "key"))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Records that the file of a pruned blob is gone.
pub(crate) fn mark_removed(connection: &Connection, key: &BlobKey) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE blobs SET state = 'removed' WHERE key = ?1 AND state = 'pruned'",
        [key.as_str()],
    )?;
    Ok(())
}
