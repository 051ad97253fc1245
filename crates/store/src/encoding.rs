//! Events as rows: their text, their ids, and how many one answer holds.

use crate::error::StoreError;
use model::{Event, EventId, Timestamp};
use rusqlite::Row;
use uuid::{NoContext, Uuid};

/// Largest event as text. A run with all its bounded differences stays below 4 MiB.
const EVENT_BYTES_MAX: usize = 32 << 20;

/// Most records that one question returns, so that an answer fits in memory.
const ANSWER_RECORDS_MAX: u32 = 100_000;

/// How many records an answer may have.
pub(crate) fn bounded(limit: Option<u32>) -> u32 {
    limit.map_or(ANSWER_RECORDS_MAX, |limit| limit.min(ANSWER_RECORDS_MAX))
}

/// The event in a row's column `body`.
pub(crate) fn body(row: &Row<'_>) -> rusqlite::Result<Event> {
    let index = row.as_ref().column_index("body")?;
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text).map_err(|e| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(index, kind, Box::new(e))
    })
}

/// The event as text, if that text can be read back: an infinite number, for one, cannot.
pub(crate) fn encode(event: &Event) -> Result<String, StoreError> {
    let text = serde_json::to_string(event).map_err(StoreError::EventUnreadable)?;
    if text.len() > EVENT_BYTES_MAX {
        return Err(StoreError::EventTooLarge {
            bytes: text.len(),
            limit: EVENT_BYTES_MAX,
        });
    }
    serde_json::from_str::<Event>(&text).map_err(StoreError::EventUnreadable)?;
    Ok(text)
}

/// A new id that carries the moment `at`.
pub(crate) fn new_id(at: Timestamp) -> EventId {
    let milliseconds = at.unix_ms();
    let nanoseconds = u32::try_from(milliseconds % 1000).expect("below 1,000") * 1_000_000;
    let moment = uuid::Timestamp::from_unix(NoContext, milliseconds / 1000, nanoseconds);
    EventId(Uuid::new_v7(moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_the_moment() {
        let early = new_id(Timestamp::from_unix_ns(1_700_000_000_123_999_999));
        let late = new_id(Timestamp::from_unix_ns(1_700_000_000_124_000_000));
        assert!(early < late);
        assert_eq!(early.0.get_version_num(), 7);
        let (seconds, nanoseconds) = early.0.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanoseconds), (1_700_000_000, 123_000_000));
    }
}
