//! The record: events are appended, and what they tell of runs and findings is asked for.

use crate::error::StoreError;
use crate::events::{self, EventFilter};
use crate::findings::{self, FindingFilter};
use crate::lookup::{self, Noun};
use crate::runs::{self, RunSummary};
use crate::store::Store;
use model::{Event, EventRecord, Finding, Run, RunId, Timestamp};

impl Store {
    /// Appends an event that happened at `now`. When this returns, the event is on stable storage.
    ///
    /// # Errors
    /// The event names a blob that this handle did not put and no event names, speaks of a run
    /// that was not started or is over, or cannot be read back; or the disk is full.
    pub async fn append(&self, event: Event, now: Timestamp) -> Result<EventRecord, StoreError> {
        self.write(move |connection, writer| events::append(connection, event, now, writer))
            .await
    }

    /// The events that a filter lets through, in the order in which they were appended.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>, StoreError> {
        self.read(move |session, _| events::list(&session.connection, &filter))
            .await
    }

    /// The newest runs, at most `limit`, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn runs(&self, limit: u32) -> Result<Vec<RunSummary>, StoreError> {
        self.read(move |session, directory| runs::list(&session.connection, directory, limit))
            .await
    }

    /// The run whole; nothing where it has not ended in a verdict.
    ///
    /// # Errors
    /// There is no such run, or the database cannot be read.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        self.read(move |session, _| runs::whole(&session.connection, id))
            .await
    }

    /// The run that a user means: an id, at least four characters of its beginning, `@last` or
    /// `@last~N`.
    ///
    /// # Errors
    /// The text names no run, several, or is malformed ([`StoreError::Reference`]).
    pub async fn find_run(&self, reference: &str) -> Result<RunSummary, StoreError> {
        let text = reference.to_owned();
        self.read(move |session, directory| {
            let connection = &session.connection;
            let id = lookup::resolve(connection, Noun::Run, &text)?;
            runs::find(connection, directory, id)
        })
        .await
    }

    /// Runs that were started, are not over, and whose process is no more: oldest first. Whoever
    /// finds one records [`Event::RunFailed`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unfinished_runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        self.read(|session, directory| runs::abandoned(&session.connection, directory))
            .await
    }

    /// The findings that a filter lets through, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn findings(&self, filter: FindingFilter) -> Result<Vec<Finding>, StoreError> {
        self.read(move |session, _| findings::list(&session.connection, &filter))
            .await
    }

    /// The finding that a user means, named as in [`Store::find_run`].
    ///
    /// # Errors
    /// The text names no finding, several, or is malformed ([`StoreError::Reference`]).
    pub async fn find_finding(&self, reference: &str) -> Result<Finding, StoreError> {
        let text = reference.to_owned();
        self.read(move |session, _| {
            let connection = &session.connection;
            let id = lookup::resolve(connection, Noun::Finding, &text)?;
            findings::find(connection, id)
        })
        .await
    }
}
