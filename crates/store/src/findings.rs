//! The table of findings: which are there, and how bad they are.

use crate::encoding::{body, bounded};
use crate::error::StoreError;
use model::{Event, Finding, FindingId, RunId, Severity, Timestamp};
use rusqlite::{Connection, named_params, params};

/// Which findings are asked for. The default is: all, newest first, up to 100,000.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingFilter {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those at least this bad.
    pub severity_min: Option<Severity>,
    /// Only those found at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those found before this moment.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Records a finding.
pub(crate) fn insert(
    connection: &Connection,
    finding: &Finding,
    sequence: i64,
) -> Result<(), StoreError> {
    let inserted = connection.execute(
        "INSERT INTO findings (id, sequence, run, at_ns, severity) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
        params![
            finding.id.to_string(),
            sequence,
            finding.run.map(|run| run.to_string()),
            finding.at.unix_ns(),
            rank(finding.severity)
        ],
    )?;
    if inserted == 0 {
        return Err(StoreError::Duplicate {
            id: finding.id.to_string(),
        });
    }
    Ok(())
}

/// The findings that a filter lets through, newest first.
pub(crate) fn list(
    connection: &Connection,
    filter: &FindingFilter,
) -> Result<Vec<Finding>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT body FROM findings JOIN events USING (sequence)
         WHERE (:run IS NULL OR findings.run = :run) AND severity >= :severity
           AND (:since IS NULL OR findings.at_ns >= :since)
           AND (:until IS NULL OR findings.at_ns < :until)
         ORDER BY sequence DESC LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":run": filter.run.map(|run| run.to_string()),
            ":severity": rank(filter.severity_min.unwrap_or(Severity::Info)),
            ":since": filter.since.map(Timestamp::unix_ns),
            ":until": filter.until.map(Timestamp::unix_ns),
            ":limit": bounded(filter.limit),
        },
        body,
    )?;
    let mut found = Vec::new();
    for event in rows {
        found.extend(finding_of(event?));
    }
    Ok(found)
}

/// One finding that is known to be there.
pub(crate) fn find(connection: &Connection, id: FindingId) -> Result<Finding, StoreError> {
    let event = connection.query_row(
        "SELECT body FROM findings JOIN events USING (sequence) WHERE findings.id = ?1",
        [id.to_string()],
        body,
    )?;
    finding_of(event).ok_or(rusqlite::Error::QueryReturnedNoRows.into())
}

fn finding_of(event: Event) -> Option<Finding> {
    match event {
        Event::FindingRecorded { finding } => Some(*finding),
        _ => None,
    }
}

/// The place of a severity in its order; the numbers are part of the file format.
fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 0,
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}
