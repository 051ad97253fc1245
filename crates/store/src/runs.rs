//! The table of runs: how far each has come, and whether its process still lives.

use crate::database::{parsed, unsigned};
use crate::directory::Directory;
use crate::encoding::{body, bounded};
use crate::error::StoreError;
use crate::writer;
use model::{Event, EventRecord, Run, RunId, Timestamp, Verdict};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Its process is at work.
    Running,
    /// Its process ended before the run did, and nobody has recorded that yet.
    Abandoned,
    /// It ended in a verdict.
    Ended,
    /// It ended without a verdict.
    Failed,
}

/// A line in the list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The computation's name.
    pub computation: String,
    /// How many replicas were ordered.
    pub replicas: u32,
    /// When it was recorded as started.
    pub started: Timestamp,
    /// When it ended or failed.
    pub ended: Option<Timestamp>,
    /// How far it has come.
    pub state: RunState,
    /// What it says, once it has ended.
    pub verdict: Option<Verdict>,
    /// Why, once it has ended or failed.
    pub reason: Option<String>,
    /// Findings that were recorded for it.
    pub findings: u64,
}

/// How a run came to its end.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    /// When.
    pub(crate) at: Timestamp,
    /// With which verdict, if any.
    pub(crate) verdict: Option<Verdict>,
    /// Why.
    pub(crate) reason: &'a str,
}

const SELECT: &str = "SELECT runs.*, (SELECT count(*) FROM findings WHERE run = runs.id) AS found
                      FROM runs";

/// Records the start of a run by `writer`. Any other event is left alone.
pub(crate) fn start(
    connection: &Connection,
    record: &EventRecord,
    sequence: i64,
    writer: &str,
) -> Result<(), StoreError> {
    let Event::RunStarted {
        run,
        computation,
        replicas,
    } = &record.event
    else {
        return Ok(());
    };
    let inserted = connection.execute(
        "INSERT INTO runs (id, sequence, writer, computation, replicas, started_ns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        params![
            run.to_string(),
            sequence,
            writer,
            computation,
            replicas,
            record.at.unix_ns()
        ],
    )?;
    if inserted == 0 {
        return Err(StoreError::Duplicate {
            id: run.to_string(),
        });
    }
    Ok(())
}

/// Records that a run is over.
pub(crate) fn end(
    connection: &Connection,
    run: RunId,
    sequence: i64,
    ending: &Ending<'_>,
) -> Result<(), StoreError> {
    let changed = connection.execute(
        "UPDATE runs SET over = ?2, ended_ns = ?3, verdict = ?4, reason = ?5
         WHERE id = ?1 AND over IS NULL",
        params![
            run.to_string(),
            sequence,
            ending.at.unix_ns(),
            ending.verdict.map(|verdict| verdict.to_string()),
            ending.reason
        ],
    )?;
    match changed {
        0 => Err(StoreError::RunOver { run }),
        _ => Ok(()),
    }
}

/// Refuses a run that was never started.
pub(crate) fn require(connection: &Connection, run: RunId) -> Result<(), StoreError> {
    let known: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)",
        [run.to_string()],
        |row| row.get(0),
    )?;
    known.then_some(()).ok_or(StoreError::UnknownRun { run })
}

/// The newest runs first, at most `limit`.
pub(crate) fn list(
    connection: &Connection,
    directory: &Directory,
    limit: u32,
) -> Result<Vec<RunSummary>, StoreError> {
    let question = format!("{SELECT} ORDER BY sequence DESC LIMIT ?1");
    let mut statement = connection.prepare(&question)?;
    let rows = statement.query_map([bounded(Some(limit))], summary)?;
    rows.map(|row| with_life(directory, row?)).collect()
}

/// Runs that are not over and whose process is no more, oldest first.
pub(crate) fn abandoned(
    connection: &Connection,
    directory: &Directory,
) -> Result<Vec<RunSummary>, StoreError> {
    let question = format!("{SELECT} WHERE over IS NULL ORDER BY sequence");
    let mut statement = connection.prepare(&question)?;
    let rows = statement.query_map([], summary)?;
    let runs: Vec<_> = rows
        .map(|row| with_life(directory, row?))
        .collect::<Result<_, _>>()?;
    let is_abandoned = |run: &RunSummary| run.state == RunState::Abandoned;
    Ok(runs.into_iter().filter(is_abandoned).collect())
}

/// The summary of one run.
pub(crate) fn find(
    connection: &Connection,
    directory: &Directory,
    id: RunId,
) -> Result<RunSummary, StoreError> {
    let row = connection
        .query_row(
            &format!("{SELECT} WHERE id = ?1"),
            [id.to_string()],
            summary,
        )
        .optional()?;
    with_life(directory, row.ok_or(StoreError::UnknownRun { run: id })?)
}

/// The run whole, if it has ended in a verdict.
pub(crate) fn whole(connection: &Connection, id: RunId) -> Result<Option<Run>, StoreError> {
    require(connection, id)?;
    let ending = connection
        .query_row(
            "SELECT body FROM events JOIN runs ON runs.over = events.sequence WHERE runs.id = ?1",
            [id.to_string()],
            body,
        )
        .optional()?;
    Ok(match ending {
        Some(Event::RunEnded { run }) => Some(*run),
        _ => None,
    })
}

/// A run and the writer that runs it; the state of one that is not over is still to be told.
fn summary(row: &Row<'_>) -> rusqlite::Result<(RunSummary, String)> {
    let ended: Option<i64> = row.get("ended_ns")?;
    let verdict: Option<String> = row.get("verdict")?;
    let verdict = verdict.as_deref().and_then(verdict_named);
    let state = match (ended, verdict) {
        (None, _) => RunState::Running,
        (Some(_), Some(_)) => RunState::Ended,
        (Some(_), None) => RunState::Failed,
    };
    let summary = RunSummary {
        id: parsed(row, "id")?,
        computation: row.get("computation")?,
        replicas: row.get("replicas")?,
        started: Timestamp::from_unix_ns(row.get("started_ns")?),
        ended: ended.map(Timestamp::from_unix_ns),
        state,
        verdict,
        reason: row.get("reason")?,
        findings: unsigned(row, "found")?,
    };
    Ok((summary, row.get("writer")?))
}

fn with_life(
    directory: &Directory,
    (mut summary, owner): (RunSummary, String),
) -> Result<RunSummary, StoreError> {
    if summary.state == RunState::Running && !writer::is_alive(directory, &owner)? {
        summary.state = RunState::Abandoned;
    }
    Ok(summary)
}

fn verdict_named(text: &str) -> Option<Verdict> {
    let all = [
        Verdict::Pass,
        Verdict::Deviates,
        Verdict::Inconclusive,
        Verdict::Skipped,
    ];
    all.into_iter().find(|verdict| verdict.to_string() == text)
}
