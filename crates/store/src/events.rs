//! Events: appended, never changed. What lists and filters need is derived in the same commit.
//!
//! Invariant: every event that speaks of a run follows that run's start, and a run is over once.

use crate::database::parsed;
use crate::encoding::{body, bounded, encode, new_id};
use crate::error::StoreError;
use crate::{findings, ledger, runs};
use model::{Event, EventRecord, RunId, Timestamp};
use rusqlite::{Connection, Row, named_params, params};

/// Which events are asked for. The default is: all, oldest first, up to 100,000.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those that speak of this run.
    pub run: Option<RunId>,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Appends an event and everything derived from it. The caller commits.
pub(crate) fn append(
    connection: &Connection,
    event: Event,
    at: Timestamp,
    writer: &str,
) -> Result<EventRecord, StoreError> {
    let body = encode(&event)?;
    let record = EventRecord {
        id: new_id(at),
        at,
        event,
    };
    let run = record.event.run();
    connection.execute(
        "INSERT INTO events (id, at_ns, run, body) VALUES (?1, ?2, ?3, ?4)",
        params![
            record.id.to_string(),
            at.unix_ns(),
            run.map(|run| run.to_string()),
            body
        ],
    )?;
    let sequence = connection.last_insert_rowid();
    derive(connection, &record, sequence, writer)?;
    ledger::name(connection, &record.event.blobs(), (run, sequence), writer)?;
    Ok(record)
}

/// The events that a filter lets through, in the order of their commits.
pub(crate) fn list(
    connection: &Connection,
    filter: &EventFilter,
) -> Result<Vec<EventRecord>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT id, at_ns, body FROM events
         WHERE (:run IS NULL OR run = :run)
           AND (:since IS NULL OR at_ns >= :since) AND (:until IS NULL OR at_ns < :until)
         ORDER BY sequence LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":run": filter.run.map(|run| run.to_string()),
            ":since": filter.since.map(Timestamp::unix_ns),
            ":until": filter.until.map(Timestamp::unix_ns),
            ":limit": bounded(filter.limit),
        },
        record,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn record(row: &Row<'_>) -> rusqlite::Result<EventRecord> {
    Ok(EventRecord {
        id: parsed(row, "id")?,
        at: Timestamp::from_unix_ns(row.get("at_ns")?),
        event: body(row)?,
    })
}

fn derive(
    connection: &Connection,
    record: &EventRecord,
    sequence: i64,
    writer: &str,
) -> Result<(), StoreError> {
    if let Event::RunStarted { .. } = record.event {
        return runs::start(connection, record, sequence, writer);
    }
    if let Some(run) = record.event.run() {
        runs::require(connection, run)?;
    }
    match &record.event {
        Event::RunEnded { run } => runs::end(
            connection,
            run.id,
            sequence,
            &runs::Ending {
                at: run.ended,
                verdict: Some(run.verdict),
                reason: &run.reason,
            },
        ),
        Event::RunFailed { run, reason } => runs::end(
            connection,
            *run,
            sequence,
            &runs::Ending {
                at: record.at,
                verdict: None,
                reason,
            },
        ),
        Event::FindingRecorded { finding } => findings::insert(connection, finding, sequence),
        Event::RunStarted { .. }
        | Event::StateCaptured { .. }
        | Event::ActionRecorded { .. }
        | Event::ImageCaptured { .. }
        | Event::ImageChecked { .. }
        | Event::ImageForgotten { .. }
        | Event::ImageRemoved { .. }
        | Event::Pruned { .. } => Ok(()),
    }
}
