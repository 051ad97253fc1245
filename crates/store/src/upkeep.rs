//! Upkeep: what ended processes left is swept, and the oldest evidence makes room.
//!
//! Sweeping: the pending blobs of a dead writer are taken over in one commit, so that one sweeper
//! alone removes them; then their files go; then their rows. Pruning: the blobs are marked and the
//! event is written in one commit; then the files go; then the rows say so. A crash between any
//! two of these steps leaves work for the next sweep, and nothing untrue.

use crate::error::StoreError;
use crate::key::BlobKey;
use crate::store::Store;
use crate::{database, events, ledger, writer};
use model::{Event, EventRecord, Timestamp};
use rusqlite::Connection;

/// Most blobs that one commit prunes, so that it fits into the reserve of a full disk.
const PRUNE_BLOBS_MAX: usize = 1000;

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes on disk: blobs and database.
    pub bytes: u64,
    /// Blobs on disk, also those that no event names yet.
    pub blobs: u64,
    /// Events.
    pub events: u64,
}

impl Store {
    /// Removes blobs that no event names and whose writer is dead, and files of pruned blobs.
    /// Blobs of writers at work are untouched. Returns how many files were removed.
    ///
    /// # Errors
    /// The database or a file refuses.
    pub async fn sweep_orphans(&self) -> Result<u64, StoreError> {
        let orphans = self.adopt_orphans().await?;
        for key in &orphans {
            self.shared.files.remove(key).await?;
        }
        if !orphans.is_empty() {
            tracing::info!(blobs = orphans.len(), "Removed what ended processes left.");
        }
        let swept = orphans.len() as u64;
        self.call(move |session, directory| {
            let transaction = database::write(&mut session.connection)?;
            for key in &orphans {
                ledger::forget(&transaction, key.as_str())?;
            }
            transaction.commit()?;
            writer::remove_dead(directory)
        })
        .await?;
        Ok(swept + self.remove_pruned().await?)
    }

    /// What the store holds, and how much of the disk it takes.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usage(&self) -> Result<StoreUsage, StoreError> {
        self.read(|session, _| usage(&session.connection)).await
    }

    /// Removes blobs until the store is within its limit: those of the oldest runs first, never
    /// those of the newest run or of runs that are not over. Each removal is an event, committed
    /// before the first file goes; events are never removed. Works on a full disk too. Returns the
    /// events.
    ///
    /// # Errors
    /// The database or a file refuses.
    pub async fn prune_to_limit(&self, now: Timestamp) -> Result<Vec<EventRecord>, StoreError> {
        let mut records = Vec::new();
        while let Some(record) = self.prune_some(now).await? {
            records.push(record);
            let removed = self.remove_pruned().await?;
            self.shared.directory.hold_reserve();
            tracing::info!(removed, "Pruned the oldest evidence.");
        }
        Ok(records)
    }

    /// One commit of pruning; where the disk is full, with the space of the reserve.
    async fn prune_some(&self, now: Timestamp) -> Result<Option<EventRecord>, StoreError> {
        let limit = self.shared.limits.max_bytes;
        let commit = || {
            self.write(move |connection, writer| {
                let excess = usage(connection)?.bytes.saturating_sub(limit);
                prune(connection, excess, now, writer)
            })
        };
        match commit().await {
            Err(StoreError::Full { .. }) if self.shared.directory.release_reserve() => {
                commit().await
            }
            outcome => outcome,
        }
    }

    /// Takes over the pending blobs of dead writers, for removal.
    async fn adopt_orphans(&self) -> Result<Vec<BlobKey>, StoreError> {
        self.call(|session, directory| {
            let mut dead = ledger::pending_writers(&session.connection)?;
            dead.retain(|writer| !matches!(writer::is_alive(directory, writer), Ok(true)));
            if dead.is_empty() {
                return Ok(Vec::new());
            }
            let heir = session.writer(directory)?;
            let transaction = database::write(&mut session.connection)?;
            let mut orphans = Vec::new();
            for writer in &dead {
                orphans.extend(ledger::adopt(&transaction, writer, &heir)?);
            }
            transaction.commit()?;
            Ok(orphans)
        })
        .await
    }

    /// Removes the files of pruned blobs, and records that they are gone.
    async fn remove_pruned(&self) -> Result<u64, StoreError> {
        let keys = self
            .read(|session, _| ledger::to_remove(&session.connection))
            .await?;
        if keys.is_empty() {
            return Ok(0);
        }
        for key in &keys {
            self.shared.files.remove(key).await?;
        }
        let removed = keys.len() as u64;
        self.call(move |session, _| {
            let transaction = database::write(&mut session.connection)?;
            for key in &keys {
                ledger::mark_removed(&transaction, key)?;
            }
            Ok(transaction.commit()?)
        })
        .await?;
        Ok(removed)
    }
}

fn usage(connection: &Connection) -> Result<StoreUsage, StoreError> {
    let (blob_bytes, blobs) = ledger::totals(connection)?;
    let (database_bytes, events) = connection.query_row(
        "SELECT (SELECT page_count FROM pragma_page_count)
              * (SELECT page_size FROM pragma_page_size) AS bytes,
                (SELECT count(*) FROM events) AS events",
        [],
        |row| {
            let events = database::unsigned(row, "events")?;
            Ok((database::unsigned(row, "bytes")?, events))
        },
    )?;
    Ok(StoreUsage {
        bytes: blob_bytes.saturating_add(database_bytes),
        blobs,
        events,
    })
}

/// Marks enough blobs as pruned and records that, in the caller's commit.
fn prune(
    connection: &Connection,
    excess_bytes: u64,
    now: Timestamp,
    writer: &str,
) -> Result<Option<EventRecord>, StoreError> {
    let victims = ledger::victims(connection, excess_bytes, PRUNE_BLOBS_MAX)?;
    if victims.is_empty() {
        return Ok(None);
    }
    for victim in &victims {
        ledger::mark_pruned(connection, &victim.key)?;
    }
    let event = Event::Pruned {
        blobs: victims.iter().map(|blob| blob.key.to_string()).collect(),
        freed_bytes: victims.iter().map(|blob| blob.allocated_bytes).sum(),
    };
    events::append(connection, event, now, writer).map(Some)
}
